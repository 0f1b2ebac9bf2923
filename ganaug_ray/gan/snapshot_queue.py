"""Has snapshots measured beside the training, and writes in the same order as if each had been waited for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch

from ganaug_ray.core.checkpoint import MAX_CHECKPOINTS_KEPT
from ganaug_ray.gan.snapshot_meter import MeasuredSnapshot, Snapshot

logger = logging.getLogger(__name__)

MeasureSnapshot = Callable[[Snapshot], MeasuredSnapshot]


class PendingMeasurement(Protocol):
    """A measurement under way, as ``concurrent.futures.Future`` is one."""

    def done(self) -> bool:
        """Return whether it has ended."""

    def result(self) -> MeasuredSnapshot:
        """Wait for it; raises the measurement's error, or BrokenExecutor if its process was lost."""


class SnapshotExecutor(Protocol):
    """Measures snapshots in another process."""

    def submit(self, item: Snapshot, /) -> PendingMeasurement | None:
        """Begin to measure a snapshot; None: that process has not started yet."""


OpenExecutor = Callable[[Callable[[str], MeasureSnapshot]], AbstractContextManager[SnapshotExecutor]]
"""Opens an executor, whose process calls the given function with its device to get what it measures by."""


@dataclass(frozen=True)
class _HeldWrite:
    step: int
    write: Callable[[], None]
    is_checkpoint: bool


class SnapshotQueue:
    """Measures one snapshot at a time, and holds back what is to be written after it until its figures are there.

    So a folder is always as if the training had waited: a killed training goes on from a checkpoint whose snapshots are
    all measured, and where the figures end the training, nothing of the steps since is left.

    Args:
        measure: measures a snapshot in this process.
        executor: measures it in another one; None: there is none. Snapshots that it cannot take are measured here.
        record: writes what a measurement gave; returns whether the training ends with that snapshot.
    """

    def __init__(
        self,
        measure: MeasureSnapshot,
        executor: SnapshotExecutor | None,
        record: Callable[[MeasuredSnapshot], bool],
    ) -> None:
        self._measure = measure
        self._executor = executor
        self._record = record
        self._snapshot: Snapshot | None = None
        self._pending: PendingMeasurement | None = None
        self._held: list[_HeldWrite] = []
        self._end: int | None = None  # step of the snapshot with which the training ends

    def write(self, step: int, write: Callable[[], None], is_checkpoint: bool = False) -> None:
        """Call a function that writes something of a step: now, or after the figures under way; never after the end."""
        if self._pending is not None and self._pending.done():
            self.wait()
        if self._pending is not None:
            self._held.append(_HeldWrite(step, write, is_checkpoint))
            if is_checkpoint:
                self._drop_old_checkpoints()
        elif not self._is_past_end(step):
            write()

    def add(self, snapshot: Snapshot) -> MeasuredSnapshot | None:
        """Have a snapshot measured, when the one before is; return what it gave if that was measured at once.

        Nothing is done where the training has ended with the one before.
        """
        self.wait()
        if self._end is not None:
            return None
        self._pending = self._executor.submit(snapshot) if self._executor is not None else None
        if self._pending is not None:
            self._snapshot = snapshot
            return None
        measured = self._measure(snapshot)
        self._finish(measured)
        return measured

    def wait(self) -> bool:
        """Wait for the measurement under way, if there is one, and write; return whether the training has ended."""
        if self._pending is None:
            return self._end is not None
        assert self._snapshot is not None, "it is what is measured"
        try:
            measured = self._pending.result()
        except (BrokenExecutor, torch.OutOfMemoryError) as error:  # the latter: of a GPU that the training fills
            logger.info("no other process can measure snapshots, the training measures them itself: %s", error)
            self._executor = None
            measured = self._measure(self._snapshot)
        self._pending = None
        self._finish(measured)
        for held in self._held:
            if not self._is_past_end(held.step):
                held.write()
        self._held = []
        return self._end is not None

    def _finish(self, measured: MeasuredSnapshot) -> None:
        if self._record(measured):
            self._end = measured.snapshot.step

    def _is_past_end(self, step: int) -> bool:
        return self._end is not None and step > self._end

    def _drop_old_checkpoints(self) -> None:
        """Keep the memory small: of the held checkpoints of later steps only as many as would be kept on disk."""
        assert self._snapshot is not None, "writes are held back for one"
        step = self._snapshot.step
        later = [held for held in self._held if held.is_checkpoint and held.step > step]
        for old in later[:-MAX_CHECKPOINTS_KEPT]:
            self._held.remove(old)
