"""The frozen generator as an augmentation layer: new images in every step, screened before a classifier sees them.

A row of a step's global batch is a pure function of (seed, step, row). Its class is that of the same row of a pool,
shuffled epoch by epoch. Its latents are drawn whole for the global batch, once a round, and each rank takes its own:
the number of ranks changes nothing but the rounding of sums, at most one grey level. Rows whose image fails the
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

Examine = Callable[[np.ndarray, np.ndarray], screening_rules.Evidence]


@dataclass(frozen=True)
class LiveScreener:
    """Screens images as they are generated: an examiner and the limits that images must pass."""

    examine: Examine
    limits: screening_rules.ScreeningLimits

    def __call__(self, images_BHWC: torch.Tensor, y_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (which images fail, which are near copies), bool [B] on the CPU.

        Images are uint8 [B, H, W, C], the classes asked for int64 [B].
        """
        evidence = self.examine(images_BHWC.cpu().numpy(), y_B.numpy())
        fails_B = screening_rules.screen_images(evidence, self.limits) != screening_rules.KEPT
        return fails_B.cpu(), (evidence.near_N < self.limits.copy_distance).cpu()


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
        upto: how many rows have been used after so many steps; its differences are the sizes of the batches.
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
        order = slice_permutations(len(self._labels_N), self._upto(step), self._upto(step + 1), (self._seed, "live"))
        share = self._place.slice_rows(len(order))
        rows = torch.arange(len(order))[share]
        y_B = torch.from_numpy(self._labels_N[order[share]])
        images_BHWC = self._generate_images(step, len(order), rows, y_B)
        return Batch(tensors.to_network(images_BHWC), y_B.to(self._place.device), rows, len(order))

    @torch.no_grad()
    def _generate_images(self, step: int, total: int, rows: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
        """Images uint8 [B, H, W, C] of these rows of the global batch, in whole grey levels as a store has them."""
        spec = self._generator.spec
        device = self._place.device
        images_BHWC = torch.empty(len(rows), spec.size, spec.size, spec.channels, dtype=torch.uint8, device=device)
        waiting = torch.arange(len(rows))
        for round_number in range(MAX_ROUNDS):
            if not len(waiting):
                break
            draw = rng.make_generator(self._seed, "live", step, round_number)
            z_BZ = torch.randn(total, spec.latent, generator=draw)[rows[waiting]].to(device)
            fresh_BHWC = tensors.from_network(self._generator.network(z_BZ, y_B[waiting].to(device)))
            fails_B = torch.zeros(len(waiting), dtype=torch.bool)
            copies_B = torch.zeros(len(waiting), dtype=torch.bool)
            if self._screener is not None:
                fails_B, copies_B = self._screener(fresh_BHWC, y_B[waiting])
            is_first_round = round_number == 0
            taken_B = torch.ones_like(copies_B) if is_first_round else ~copies_B
            images_BHWC[waiting[taken_B]] = fresh_BHWC[taken_B]
            self._tally["generated"] += len(waiting)
            waiting = waiting[fails_B]
            self._tally["rejected"] += len(waiting)
        self._tally["let_through"] += len(waiting)
        return images_BHWC


def open_live_feed(live: LiveSpec, upto: Callable[[int], int], seed: int, place: Place) -> LiveFeed:
    """Open a feed of newly generated rows on a rank; ``upto`` maps a number of steps to the rows that these use."""
    screener = None
    if live.screening is not None:
        assert live.limits is not None, "a screening has limits"
        screener = LiveScreener(Examiner(live.screening, place.device), live.limits)
    generator = Generator.load(Folder.from_uri(live.gan), place.device)
    return LiveFeed(generator, live.pool, screener, upto, place, seed)
