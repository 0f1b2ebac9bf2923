"""The frozen generator as an augmentation layer: new images in every step, screened before a classifier sees them.

A row of a step's global batch is a pure function of (seed, step, row). Its class is that of the same row of a pool,
shuffled epoch by epoch. Its latents depend on its position in the global batch and the round: the number of ranks
changes nothing but the rounding of sums, at most one grey level. Rows whose image fails the
screening get another in the next round. A row that fails in all of them takes the last of its images that is not a
near copy of a training image, or the first where all are. Such rows are counted: the screening was not kept to.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ganaug_ray.augment import screening_rules
from ganaug_ray.augment.screening import Examiner, Screening
from ganaug_ray.core import rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import tensors
from ganaug_ray.data.loading.batch import Batch, BatchFeed
from ganaug_ray.data.loading.resident_loader import slice_permutations
from ganaug_ray.gan.sampler import Generator

MAX_ROUNDS = 8  # images made for each row, at most

Examine = Callable[[torch.Tensor, torch.Tensor], screening_rules.Evidence]


@dataclass(frozen=True)
class LiveScreener:
    """Screens images as they are generated: an examiner and the limits that images must pass."""

    examine: Examine
    limits: screening_rules.ScreeningLimits

    def __call__(self, images_BHWC: torch.Tensor, y_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (which images fail, which are near copies), bool [B].

        Images are uint8 [B, H, W, C], the classes asked for int64 [B]; all on one device.
        """
        evidence = self.examine(images_BHWC, y_B)
        fails_B = screening_rules.screen_images(evidence, self.limits) != screening_rules.KEPT
        return fails_B, evidence.near_N < self.limits.copy_distance


@dataclass(frozen=True)
class LiveSpec:
    """What live images are generated and screened with, as plain data that can be sent to any process.

    Attributes:
        gan: folder of a finished generator.
        pool: class -> images that a pool would hold, which are the shares of the classes; without those not drawn.
        screening: what images are screened with; absent: none is rejected.
        limits: that go with it.
    """

    gan: str
    pool: Mapping[str, int]
    screening: Screening | None
    limits: screening_rules.ScreeningLimits | None


class LiveFeed(BatchFeed):
    """Batches whose images are generated and screened when the batch is asked for.

    Args:
        generator: on the place's device.
        pool: class -> images that a pool would hold.
        screener: absent: no image is rejected.
        upto: how many rows have been used after a number of steps; its differences are the sizes of the batches.
        place: this rank.
        seed: of classes and latents.
    """

    def __init__(
        self,
        generator: Generator,
        pool: Mapping[str, int],
        screener: LiveScreener | None,
        upto: Callable[[int], int],
        place: Place,
        seed: int,
    ) -> None:
        self._generator = generator
        self._labels_N = np.repeat([generator.classes.index(name) for name in pool], list(pool.values()))
        self._screener = screener
        self._upto = upto
        self._place = place
        self._seed = seed
        self._tally = {"generated": 0, "rejected": 0, "let_through": 0}

    def count_rows(self, step: int) -> int:
        """Return the number of rows of a step's global batch."""
        return self._upto(step + 1) - self._upto(step)

    def collect_counts(self) -> dict[str, int]:
        """Return how many images were generated and rejected, and how many rows got a rejected one after all."""
        return dict(self._tally)

    def __call__(self, step: int) -> Batch:
        """Return this rank's part of a step's global batch."""
        total = self.count_rows(step)
        share = self._place.slice_rows(total)
        first = self._upto(step)
        order = slice_permutations(len(self._labels_N), first + share.start, first + share.stop, (self._seed, "live"))
        rows = np.arange(share.start, share.stop)
        y_B = self._place.move_to_device(torch.from_numpy(self._labels_N[order]))
        return Batch(tensors.to_network(self._generate_images(step, rows, y_B)), y_B, rows, total)

    @torch.no_grad()
    def _generate_images(self, step: int, rows: np.ndarray, y_B: torch.Tensor) -> torch.Tensor:
        """Images uint8 [B, H, W, C] of these rows of the global batch, in whole grey levels as a store has them.

        They stay on the device. All that is waited for is how many of a round are rejected.
        """
        spec = self._generator.spec
        images_BHWC = y_B.new_zeros((len(rows), spec.size, spec.size, spec.channels), dtype=torch.uint8)
        waiting_W = torch.arange(len(rows), device=y_B.device)
        for round_number in range(MAX_ROUNDS):
            if not len(waiting_W):
                break
            z_BZ = rng.draw_normal_rows(rows, (spec.latent,), self._seed, "live", step, round_number)
            z_WZ = self._place.move_to_device(z_BZ)[waiting_W]
            y_W = y_B[waiting_W]
            fresh_WHWC = tensors.from_network(self._generator.network(z_WZ, y_W))
            self._tally["generated"] += len(waiting_W)
            if self._screener is None:
                return fresh_WHWC
            fails_W, copies_W = self._screener(fresh_WHWC, y_W)
            if round_number:  # a near copy takes no other image's place
                fresh_WHWC = torch.where(copies_W[:, None, None, None], images_BHWC[waiting_W], fresh_WHWC)
            images_BHWC[waiting_W] = fresh_WHWC
            waiting_W = waiting_W[fails_W]
            self._tally["rejected"] += len(waiting_W)
        self._tally["let_through"] += len(waiting_W)
        return images_BHWC


def open_live_feed(live: LiveSpec, upto: Callable[[int], int], seed: int, place: Place) -> LiveFeed:
    """Open a feed of newly generated rows on a rank; ``upto`` maps a number of steps to the rows that these use."""
    screener = None
    if live.screening is not None:
        assert live.limits is not None, "a screening has limits"
        screener = LiveScreener(Examiner(live.screening, place.device), live.limits)
    generator = Generator.load(Folder.from_uri(live.gan), place.device)
    return LiveFeed(generator, live.pool, screener, upto, place, seed)
