"""The log of a search's trials, ``trials.jsonl``, from which alone a search goes on.

A line says that a trial was started, another how it ended; the last line of a trial counts. The file is written anew,
whole, with every line: there are hundreds of them at most, and so it is the same on a disk and on an object store.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ganaug_ray.core.storage import Folder

TRIAL_LOG_FILE = "trials.jsonl"
Status = Literal["started", "finished", "stopped", "failed"]
"""started: under way, or cut short with the whole search. stopped: it fell behind the others."""


@dataclass(frozen=True)
class IntermediateResult:
    """One measurement of a trial.

    Attributes:
        at: optimizer steps of a GAN; trainings that were finished of a classifier.
        value: of the objective, by all that was seen of the trial until then.
        score: of this training alone; None for a GAN.
    """

    at: int
    value: float
    score: float | None = None


@dataclass(frozen=True)
class Trial:
    """One trial: settings that were tried, and what came of them.

    Attributes:
        trial: its number, as text of four digits.
        settings: dotted key -> value, those that the space names.
        status: see ``Status``.
        reason: why it was stopped, failed or ended early.
        looks: in order.
        seconds: that it took.
        ended: when, in seconds of searching since the search began; of one under way, when the search was left.
        steps: of the optimizer that it took.
    """

    trial: str
    settings: dict[str, Any]
    status: Status = "started"
    reason: str | None = None
    looks: tuple[IntermediateResult, ...] = ()
    seconds: float = 0.0
    ended: float = 0.0
    steps: int = 0

    def find_best(self, direction: str) -> IntermediateResult | None:
        """Return the measurement with the best value, the first of equal ones; None if there is none."""
        ordered = sorted(self.looks, key=lambda result: result.value, reverse=direction == "max")
        return ordered[0] if ordered else None


@dataclass
class Ledger:
    """The log of the trials of one search, in the order in which they were started."""

    folder: Folder
    trials: dict[str, Trial] = field(default_factory=dict)
    _lines: list[str] = field(default_factory=list)
    _earlier_seconds: float = 0.0
    _started_at: float = field(default_factory=time.monotonic)

    @classmethod
    def from_folder(cls, folder: Folder) -> Ledger:
        """Read the log of a search; it is empty if the search has just begun."""
        ledger = cls(folder)
        if folder.has_file(TRIAL_LOG_FILE):
            for line in folder.read_bytes(TRIAL_LOG_FILE).decode().splitlines():
                content = json.loads(line)
                trial = Trial(**content | {"looks": tuple(IntermediateResult(**result) for result in content["looks"])})
                ledger.trials[trial.trial] = trial
                ledger._lines.append(line)
                ledger._earlier_seconds = max(ledger._earlier_seconds, trial.ended)
        return ledger

    @property
    def seconds(self) -> float:
        """Seconds that the search has run, in this and in earlier processes, without the time between."""
        return self._earlier_seconds + time.monotonic() - self._started_at

    @property
    def unfinished_trials(self) -> list[Trial]:
        """The trials that have not ended, such as those that an earlier process left."""
        return [trial for trial in self.trials.values() if trial.status == "started"]

    @property
    def ended_trials(self) -> list[Trial]:
        """The trials that have ended."""
        return [trial for trial in self.trials.values() if trial.status != "started"]

    def write_trial(self, trial: Trial) -> None:
        """Write the state of a trial; a later line on the same trial replaces it."""
        self.trials[trial.trial] = trial
        self._lines.append(json.dumps(asdict(trial)))
        self.folder.write_bytes(TRIAL_LOG_FILE, "".join(line + "\n" for line in self._lines).encode())

    def allocate_number(self) -> str:
        """Return the number of the next new trial."""
        last = max((int(number) for number in self.trials), default=0)
        return f"{last + 1:04d}"
