"""The ledger of answers and true labels, from which champion and candidate are compared; one for all replicas.

It holds a bounded number of answers and the counts of a few pairs of versions, and no image.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from ganaug_ray.serve import sequential_test

Role = Literal["champion", "candidate"]
ROLES: tuple[Role, Role] = ("champion", "candidate")
MAX_ANSWERS = 20_000  # answers
MAX_VERSION_PAIRS = 8  # of versions; replicas do not change to a new one at the same instant

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class ModelNote:
    """A note on what one model answered about one image.

    Attributes:
        id: of the answer about that image.
        role: the model's.
        version: its version.
        label: what it said.
        milliseconds: that the network took, in its batch.
        pair: of the second model's, the versions of champion and candidate.
    """

    id: str
    role: Role
    version: str
    label: str
    milliseconds: float
    pair: tuple[str, str] | None = None


@dataclass
class AnswerRecord:
    """The notes on one image, first that of the model whose answer was given, and the image's true label."""

    notes: list[ModelNote] = field(default_factory=list)
    truth: str | None = None


@dataclass
class VersionComparison:
    """The comparison of two versions on the images that both answered."""

    images: int = 0
    agreed: int = 0
    milliseconds: dict[Role, float] = field(default_factory=lambda: dict.fromkeys(ROLES, 0.0))
    labels: int = 0
    correct: dict[Role, int] = field(default_factory=lambda: dict.fromkeys(ROLES, 0))
    wins: int = 0
    losses: int = 0
    verdict: sequential_test.Verdict = "undecided"
    decided_after: int | None = None

    def add_answers(self, notes: Sequence[ModelNote]) -> None:
        """Count an image that both versions have answered."""
        self.images += 1
        self.agreed += notes[0].label == notes[1].label
        for note in notes:
            self.milliseconds[note.role] += note.milliseconds

    def add_label(self, notes: Sequence[ModelNote], truth: str) -> None:
        """Count the true label of an image that both versions have answered, and judge the candidate by all labels.

        Once a verdict is reached it stays, and later labels are only counted.

        Args:
            notes: one of the champion and one of the candidate, on that image.
            truth: its true label.
        """
        is_correct = {note.role: note.label == truth for note in notes}
        self.labels += 1
        for role in ROLES:
            self.correct[role] += is_correct[role]
        self.wins += is_correct["candidate"] and not is_correct["champion"]
        self.losses += is_correct["champion"] and not is_correct["candidate"]
        if self.verdict == "undecided":
            self.verdict = sequential_test.judge_candidate(self.wins, self.losses)
            if self.verdict != "undecided":
                self.decided_after = self.labels

    def describe_status(self, pair: tuple[str, str]) -> dict[str, Any]:
        """Return the comparison as it is sent to clients."""
        agreement = None
        milliseconds = dict.fromkeys(ROLES, 0.0)
        if self.images:
            agreement = self.agreed / self.images
            milliseconds = {role: round(self.milliseconds[role] / self.images, 3) for role in ROLES}
        accuracy: dict[Role, float | None] = dict.fromkeys(ROLES)
        if self.labels:
            accuracy = {role: self.correct[role] / self.labels for role in ROLES}
        return {
            "champion": pair[0],
            "candidate": pair[1],
            "images": self.images,
            "agreement": agreement,
            "milliseconds": milliseconds,
            "labels": self.labels,
            "accuracy": accuracy,
            "candidate_alone_right": self.wins,
            "champion_alone_right": self.losses,
            "evidence": sequential_test.compute_evidence(self.wins, self.losses),
            "verdict": self.verdict,
            "decided_after": self.decided_after,
        }


class FeedbackLedger:
    """Collects notes and true labels, which may come in any order.

    Args:
        files: images that may still be stored.
        bytes: of them.
    """

    def __init__(self, files: int = 0, bytes: int = 0) -> None:
        self._answers: OrderedDict[str, AnswerRecord] = OrderedDict()
        self._pairs: OrderedDict[tuple[str, str], VersionComparison] = OrderedDict()
        self._files = files
        self._bytes = bytes
        self._dropped = self._labels = self._stored = 0

    def note(self, notes: Sequence[ModelNote], dropped: int = 0) -> None:
        """Add notes, and the number of images that could not be compared."""
        self._dropped += dropped
        for note in notes:
            record = _get_or_add(self._answers, note.id, AnswerRecord(), MAX_ANSWERS)
            record.notes.append(note)
            if note.pair and len(record.notes) == 2:
                comparison = _get_or_add(self._pairs, note.pair, VersionComparison(), MAX_VERSION_PAIRS)
                comparison.add_answers(record.notes)
                if record.truth is not None:
                    comparison.add_label(record.notes, record.truth)

    def label(self, id: str, label: str, size: int | None) -> dict[str, Any]:
        """Add the true label of an image.

        Args:
            id: of the answer.
            label: the true one.
            size: bytes of the image, where it is to be stored.

        Returns:
            ``known``: whether that answer is remembered; ``labelled``: whether it had a label already; else
            ``version`` and ``predicted`` of what was heard, and ``has_room``: whether the image may be stored.
        """
        record = self._answers.get(id)
        if record is None or not record.notes:
            return {"known": False}
        if record.truth is not None:
            return {"known": True, "labelled": True}
        record.truth = label
        self._labels += 1
        heard = record.notes[0]
        last = record.notes[-1]
        if last.pair:
            _get_or_add(self._pairs, last.pair, VersionComparison(), MAX_VERSION_PAIRS).add_label(record.notes, label)
        has_room = size is not None and self._reserve_room(size)
        reply = {"version": heard.version, "predicted": heard.label, "has_room": has_room}
        return {"known": True, "labelled": False, **reply}

    def _reserve_room(self, size: int) -> bool:
        """Count an image of this size as stored if there is room for it, and return whether there is."""
        if self._files <= 0 or self._bytes < size:
            return False
        self._files -= 1
        self._bytes -= size
        self._stored += 1
        return True

    def status(self) -> dict[str, Any]:
        """Return the newest comparison, and how many images were labelled, dropped and stored."""
        comparison = None
        if self._pairs:
            pair = next(reversed(self._pairs))
            comparison = self._pairs[pair].describe_status(pair)
        return {
            "comparison": comparison,
            "dropped": self._dropped,
            "labels": self._labels,
            "stored": self._stored,
        }


def _get_or_add(table: OrderedDict[Key, Value], key: Key, fresh: Value, max_entries: int) -> Value:
    """Return an entry, made where there is none; the oldest goes where they are too many."""
    entry = table.setdefault(key, fresh)
    table.move_to_end(key)
    if len(table) > max_entries:
        table.popitem(last=False)
    return entry
