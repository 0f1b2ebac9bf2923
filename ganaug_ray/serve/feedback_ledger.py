"""What both models said of an image and what it was, put together as it comes: one ledger for all replicas.

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
REMEMBERED = 20_000  # answers
PAIRS = 8  # of versions; replicas do not change to a new one at the same instant

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Note:
    """What one model said of one image.

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
class Answered:
    """What is known of one image: what was said of it, first what was heard; and its true label."""

    notes: list[Note] = field(default_factory=list)
    truth: str | None = None


@dataclass
class Comparison:
    """Two versions on the images that both answered."""

    images: int = 0
    agreed: int = 0
    milliseconds: dict[Role, float] = field(default_factory=lambda: dict.fromkeys(ROLES, 0.0))
    labels: int = 0
    right: dict[Role, int] = field(default_factory=lambda: dict.fromkeys(ROLES, 0))
    wins: int = 0
    losses: int = 0
    verdict: sequential_test.Verdict = "undecided"
    decided_after: int | None = None

    def add(self, notes: Sequence[Note]) -> None:
        """Count an image that both have answered."""
        self.images += 1
        self.agreed += notes[0].label == notes[1].label
        for note in notes:
            self.milliseconds[note.role] += note.milliseconds

    def add_label(self, notes: Sequence[Note], truth: str) -> None:
        """Count what such an image was. A verdict, once reached, stays: see ``sequential``."""
        right = {note.role: note.label == truth for note in notes}
        self.labels += 1
        for role in ROLES:
            self.right[role] += right[role]
        self.wins += right["candidate"] and not right["champion"]
        self.losses += right["champion"] and not right["candidate"]
        if self.verdict == "undecided":
            self.verdict = sequential_test.judge(self.wins, self.losses)
            self.decided_after = None if self.verdict == "undecided" else self.labels

    def status(self, pair: tuple[str, str]) -> dict[str, Any]:
        """As it is told."""
        images, labels = max(self.images, 1), max(self.labels, 1)
        return {
            "champion": pair[0],
            "candidate": pair[1],
            "images": self.images,
            "agreement": self.agreed / images if self.images else None,
            "milliseconds": {role: round(self.milliseconds[role] / images, 3) for role in ROLES},
            "labels": self.labels,
            "accuracy": {role: self.right[role] / labels if self.labels else None for role in ROLES},
            "candidate_alone_right": self.wins,
            "champion_alone_right": self.losses,
            "evidence": sequential_test.evidence(self.wins, self.losses),
            "verdict": self.verdict,
            "decided_after": self.decided_after,
        }


class Ledger:
    """Takes notes and labels in any order.

    Args:
        files: images that may still be stored.
        bytes: of them.
    """

    def __init__(self, files: int = 0, bytes: int = 0) -> None:
        self._answers: OrderedDict[str, Answered] = OrderedDict()
        self._pairs: OrderedDict[tuple[str, str], Comparison] = OrderedDict()
        self._files, self._bytes = files, bytes
        self._dropped = self._labels = self._stored = 0

    def note(self, notes: Sequence[Note], dropped: int = 0) -> None:
        """Take down what models said; and how many images could not be asked about."""
        self._dropped += dropped
        for note in notes:
            found = _of(self._answers, note.id, Answered(), REMEMBERED)
            found.notes.append(note)
            if note.pair and len(found.notes) == 2:
                comparison = _of(self._pairs, note.pair, Comparison(), PAIRS)
                comparison.add(found.notes)
                if found.truth is not None:
                    comparison.add_label(found.notes, found.truth)

    def label(self, id: str, label: str, size: int | None) -> dict[str, Any]:
        """Take down what an image was.

        Args:
            id: of the answer.
            label: the true one.
            size: bytes of the image, where it is to be stored.

        Returns:
            ``known``: whether that answer is remembered; ``labelled``: whether it had a label already; else
            ``version`` and ``predicted`` of what was heard, and ``has_room``: whether the image may be stored.
        """
        found = self._answers.get(id)
        if found is None or not found.notes:
            return {"known": False}
        if found.truth is not None:
            return {"known": True, "labelled": True}
        found.truth = label
        self._labels += 1
        heard, last = found.notes[0], found.notes[-1]
        if last.pair:
            _of(self._pairs, last.pair, Comparison(), PAIRS).add_label(found.notes, label)
        has_room = size is not None and self._files > 0 and self._bytes >= size
        if has_room:
            self._files, self._bytes, self._stored = self._files - 1, self._bytes - (size or 0), self._stored + 1
        told = {"version": heard.version, "predicted": heard.label, "has_room": has_room}
        return {"known": True, "labelled": False, **told}

    def status(self) -> dict[str, Any]:
        """Tell what is known: the pair of versions that was last seen, labels, and what was dropped and stored."""
        pair = next(reversed(self._pairs), None)
        return {
            "comparison": None if pair is None else self._pairs[pair].status(pair),
            "dropped": self._dropped,
            "labels": self._labels,
            "stored": self._stored,
        }


def _of(table: OrderedDict[Key, Value], key: Key, fresh: Value, most: int) -> Value:
    """Return an entry, made where there is none; the oldest goes where they are too many."""
    found = table.setdefault(key, fresh)
    table.move_to_end(key)
    if len(table) > most:
        table.popitem(last=False)
    return found
