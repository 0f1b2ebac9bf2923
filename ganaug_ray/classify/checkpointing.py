"""Checkpoints of a classifier in training: when they are written, and what a resume needs beside the weights."""

import logging
import time

import torch

from ganaug_ray.core import checkpoint
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.batch import BatchFeed

logger = logging.getLogger(__name__)

MIN_INTERVAL_S = 60.0  # seconds: most trainings are shorter, and start again
INTERVAL_PER_SAVE_SECOND = 20  # seconds without a checkpoint, at least, after one that took a second
SPENT_KEY = "spent"  # seconds, then what the batches have counted, by name


class TrainingCheckpoints:
    """Writes checkpoints of a classifier's training at suitable intervals, and loads the newest one.

    Args:
        folder: of the checkpoints.
        inputs: hash of all that decides the weights.
        batches: what they have counted is kept, too.
        place: this rank; the first one writes.

    Attributes:
        start: the newest whole checkpoint of this training.
    """

    def __init__(self, folder: Folder, inputs: str, batches: BatchFeed, place: Place) -> None:
        self.start = checkpoint.load_newest(folder, inputs, warn=logger.warning)
        if self.start and place.is_first:
            logger.info("resuming at step %d", self.start.step)
        self._folder = folder
        self._inputs = inputs
        self._batches = batches
        self._place = place
        self._before = torch.zeros(1, dtype=torch.float64)
        if self.start is not None:
            self._before = self.start.tensors[SPENT_KEY]
        self._began = self._last = time.monotonic()
        self._interval_s = MIN_INTERVAL_S
        self._counted: dict[str, int] = {}

    def decide_to_save(self) -> bool:
        """Decide, on all ranks at once, whether to write a checkpoint now, and sum the counts that it will hold.

        It does when enough time has passed, or a rank's machine is leaving.

        Collective: every rank must call it at the same step, and only the first rank's answer counts.
        """
        is_leaving = self._place.any_over_ranks(self._place.is_leaving())
        self._counted = self._count_rows()
        return is_leaving or time.monotonic() - self._last >= self._interval_s

    def save(self, step: int, tensors: checkpoint.Tensors) -> None:
        """Write a checkpoint; called on the first rank only, after ``decide_to_save``."""
        save_started = time.monotonic()
        spent = torch.tensor([self._count_seconds(), *self._counted.values()], dtype=torch.float64)
        checkpoint.save(self._folder, checkpoint.Checkpoint(step, {**tensors, SPENT_KEY: spent}), self._inputs)
        self._last = time.monotonic()
        self._interval_s = max(MIN_INTERVAL_S, INTERVAL_PER_SAVE_SECOND * (self._last - save_started))

    def sum_spent(self) -> tuple[float, dict[str, int]]:
        """Return the seconds of all attempts, and the counts of all ranks' batches; called on all ranks at once."""
        return self._count_seconds(), self._count_rows()

    def _count_seconds(self) -> float:
        return float(self._before[0]) + time.monotonic() - self._began

    def _count_rows(self) -> dict[str, int]:
        rank_counts = self._batches.collect_counts()
        before = self._before[1:].tolist() or [0] * len(rank_counts)
        counts = {}
        for counted, (name, n) in zip(before, rank_counts.items(), strict=True):
            total = self._place.sum_over_ranks(torch.tensor(n, device=self._place.device))
            counts[name] = int(counted) + int(total)
        return counts
