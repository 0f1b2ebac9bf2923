"""The frozen generator as an augmentation layer: new images in every step, screened before a classifier sees them.

A row of a step's global batch is a pure function of (seed, step, row). Its class is that of the same row of a pool,
shuffled epoch by epoch. Its latents depend on its position in the global batch and the round: the number of ranks
changes nothing but the rounding of sums, at most one grey level. Rows whose image fails the
screening get another in the next round. A row that fails in all of them takes the last of its images that is not a
near copy of a training image, or the first where all are. Such rows are counted: the screening was not kept to.

The host learns how many images of the first round are rejected, since that is how many rows the next ones have: on a
GPU it waits for that once a step. There, all other rounds of these rows follow in one batch, most of which nobody
needs; small batches cost a GPU little. On the CPU, where waiting costs nothing, they follow one by one. Both take the
same images, to within the rounding above.
"""

from collections.abc import Callable, Iterator, Mapping
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
COUNTS = ("generated", "rejected", "let_through")  # images, images, rows

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
        self._counts = torch.zeros(len(COUNTS), dtype=torch.int64, device=place.device)

    def count_rows(self, step: int) -> int:
        """Return the number of rows of a step's global batch."""
        return self._upto(step + 1) - self._upto(step)

    def collect_counts(self) -> dict[str, int]:
        """Return how many images were generated and rejected, and how many rows got a rejected one after all.

        Each row counts the images up to the first that passes, whatever else was generated with them.
        """
        return dict(zip(COUNTS, self._counts.tolist(), strict=True))

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
        """Images uint8 [B, H, W, C] of these rows of the global batch, in whole grey levels as a store has them."""
        spec = self._generator.spec
        images_BHWC = y_B.new_zeros((len(rows), spec.size, spec.size, spec.channels), dtype=torch.uint8)
        waiting_W = torch.arange(len(rows), device=y_B.device)
        for rounds in _group_rounds(y_B.device):
            if not len(waiting_W):
                break
            z_RBZ = torch.stack(
                [rng.draw_normal_rows(rows, (spec.latent,), self._seed, "live", step, number) for number in rounds]
            )
            z_NZ = self._place.move_to_device(z_RBZ)[:, waiting_W].flatten(0, 1)
            y_N = y_B[waiting_W].repeat(len(rounds))
            fresh_NHWC = tensors.from_network(self._generator.network(z_NZ, y_N))
            if self._screener is None:
                self._counts[0] += len(waiting_W)
                return fresh_NHWC
            fails_RW, copies_RW = (flags_N.view(len(rounds), -1) for flags_N in self._screener(fresh_NHWC, y_N))
            failed_W, taken_W = _choose_rounds(fails_RW, copies_RW)
            has_failed_W = failed_W == len(rounds)
            if rounds.start == 0:  # there is nothing yet that a near copy could take the place of
                images_BHWC.copy_(fresh_NHWC)
            else:
                fresh_RWHWC = fresh_NHWC.view(len(rounds), -1, *fresh_NHWC.shape[1:])
                taken_WHWC = fresh_RWHWC[taken_W.clamp_min(0), torch.arange(len(taken_W), device=y_B.device)]
                is_taken_W = taken_W >= 0
                images_BHWC[waiting_W] = taken_WHWC.where(is_taken_W[:, None, None, None], images_BHWC[waiting_W])
            rejected, without = failed_W.sum(), has_failed_W.sum()
            is_last = rounds.stop == MAX_ROUNDS
            self._counts += torch.stack([rejected + len(failed_W) - without, rejected, without * is_last])
            if not is_last:
                waiting_W = waiting_W[has_failed_W]  # the host waits for how many they are
        return images_BHWC


def _choose_rounds(fails_RW: torch.Tensor, copies_RW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose the image of each row among those of some rounds.

    Args:
        fails_RW: which images fail the screening, bool [R, W].
        copies_RW: which are near copies, bool [R, W].

    Returns:
        How many fail before the first that passes, R where all do, int64 [W]; and the round whose image is taken,
        int64 [W]: the first that passes, else the last that is no near copy, else -1.
    """
    number_R1 = torch.arange(len(fails_RW), device=fails_RW.device)[:, None]
    failed_W = number_R1.where(~fails_RW, len(fails_RW)).amin(0)
    usable_W = number_R1.where(~copies_RW, -1).amax(0)
    return failed_W, usable_W.where(failed_W == len(fails_RW), failed_W)


def _group_rounds(device: torch.device) -> Iterator[range]:
    """Yield the rounds that are made in one batch: see the top of this file."""
    size = MAX_ROUNDS if device.type == "cuda" else 1
    yield range(1)
    for start in range(1, MAX_ROUNDS, size):
        yield range(start, min(start + size, MAX_ROUNDS))


def open_live_feed(live: LiveSpec, upto: Callable[[int], int], seed: int, place: Place) -> LiveFeed:
    """Open a feed of newly generated rows on a rank; ``upto`` maps a number of steps to the rows that these use."""
    screener = None
    if live.screening is not None:
        assert live.limits is not None, "a screening has limits"
        screener = LiveScreener(Examiner(live.screening, place.device), live.limits)
    generator = Generator.load(Folder.from_uri(live.gan), place.device)
    return LiveFeed(generator, live.pool, screener, upto, place, seed)
