"""What every stage is given: the job, the experiment's folder and the terminal. A stage that is done is kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from ganaug_ray.config import Job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.errors import UserError
from ganaug_ray.runtime import executors
from ganaug_ray.runtime.executors import Executor


@dataclass(frozen=True)
class Split:
    """One way to deal out the images: the job and the folder as it has them, and how it is called."""

    number: int
    name: str
    job: Job
    run: Run


class Progress:
    """How far a stage of this process is: the stage sets it, and the terminal reads it from another thread."""

    def __init__(self, words: str) -> None:
        self.update(0.0, words)

    def update(self, share: float, words: str) -> None:
        """Note how far the stage is, from 0 to 1, and a few words on it."""
        self._state = share, words  # a single assignment: the reading thread never sees half of it

    def read(self) -> tuple[float, str]:
        """Return the share, from 0 to 1, and the words."""
        return self._state


@dataclass(frozen=True)
class StageContext:
    """What a stage works with: one job, the folder of its experiment, and the terminal that shows what happens."""

    job: Job
    run: Run
    terminal: Terminal

    @property
    def splits(self) -> list[Split]:
        """All of the job's splits; the first one's folders are the experiment's own."""
        splits = []
        for number in range(self.job.compare.splits):
            name = f"split {number}: " if self.job.compare.splits > 1 else ""
            splits.append(Split(number, name, self.job.derive_split(number), self.run.locate_split(number)))
        return splits

    def run_stage(
        self, name: str, marker: Record | None, work: Callable[[], Record], outcome: Callable[[Record], str]
    ) -> None:
        """Do a stage unless it is done, and print its one line: kept, done or failed.

        Args:
            name: the stage's name on the terminal.
            marker: the marker of a stage that is done; None where there is work to do.
            work: does the stage and returns its marker.
            outcome: says in words what a marker holds.
        """
        if marker is not None:
            self.terminal.print_stage_line(name, "kept", outcome(marker))
            return
        started = time.monotonic()
        try:
            record = work()
        except BaseException:
            self.terminal.print_stage_line(name, "failed", "", time.monotonic() - started)
            raise
        self.run.write_summary()
        self.terminal.print_stage_line(name, "done", outcome(record), time.monotonic() - started)

    def require_record(self, verb: str, record: Record | None) -> Record:
        """Return what another stage left. Raises UserError: it has not been done."""
        if record is None:
            raise UserError(f"{self.run.root}: `ganaug {verb}` has not been done there yet; run it first")
        return record

    def connect_cluster(self) -> None:
        """Connect to the cluster, or start one inside this machine."""
        from ganaug_ray.runtime import cluster

        cluster.connect(self.job, self.run.root)

    def open_executor(self) -> AbstractContextManager[Executor]:
        """Open an executor for light work: the cluster where there is one, else processes, which start sooner."""
        if "RAY_ADDRESS" not in os.environ:
            return executors.open_process_pool()
        self.connect_cluster()
        return nullcontext(executors.map_on_cluster)
