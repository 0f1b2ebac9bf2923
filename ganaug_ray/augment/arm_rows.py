"""Opens the sources of extra rows, for the kinds of arm to choose from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ganaug_ray.augment import strategies, synthetic_pools
from ganaug_ray.augment.synthetic_sources import locate_source
from ganaug_ray.config import ArmConfig, Job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord

if TYPE_CHECKING:  # torch is imported when an arm is trained
    from ganaug_ray.data.loading.sampler import Sampling

BatchOpener = functools.partial[Any]
"""Opens an arm's batches on a rank."""
RowCounter = Callable[[int], int]
"""How many rows beside the real ones have been used after a number of steps."""


@dataclass(frozen=True)
class ArmRows:
    """All that the extra rows of an arm are opened from, and the ways to open them.

    Attributes:
        job: as the split has it.
        run: the split's.
        arm: which is trained.
        seed: of the draws.
        classes: that get such rows.
        undrawn: classes that would get some too, if there were synthetic images of them.
    """

    job: Job
    run: Run
    arm: ArmConfig
    seed: int
    classes: list[str]
    undrawn: Sequence[str] = ()

    @functools.cached_property
    def data(self) -> DatasetRecord:
        """The content of dataset.json."""
        return DatasetRecord.read(self.run.dataset)

    @functools.cached_property
    def pool(self) -> synthetic_pools.SyntheticPool:
        """The pool of the arm's synthetic images."""
        return synthetic_pools.plan_pool(self.job, self.run, self.arm)

    @functools.cached_property
    def mixture(self) -> strategies.Mixture:
        """How many extra rows each batch gets beside the real ones: fewer where classes were not drawn."""
        return self._build_mixture(self._compute_undrawn_share())

    @property
    def undiminished_mixture(self) -> strategies.Mixture:
        """The same if every class were drawn."""
        return self._build_mixture(undrawn_share=0.0)

    def _compute_undrawn_share(self) -> float:
        """Return the share of the synthetic rows that the undrawn classes would have had."""
        if not self.undrawn:
            return 0.0
        planned = self.pool.folder.read_json("synthetic.json")["asked"]
        weights = {
            name: 1 if self.pool.is_balanced else planned.get(name, 0) for name in (*self.classes, *self.undrawn)
        }
        return sum(weights[name] for name in self.undrawn) / sum(weights.values())

    def _build_mixture(self, undrawn_share: float) -> strategies.Mixture:
        counts = self.data.counts["train"]
        config = self.job.classifier
        unused_classes = [name for name in self.data.classes if name not in self.classes]
        steps = config.count_steps(sum(counts.values()))
        return strategies.Mixture.from_config(self.arm, counts, config.batch_size, steps, unused_classes, undrawn_share)

    @property
    def sampling(self) -> Sampling:
        """A sampling of the arm's classes in which each stored row is drawn once a pass."""
        from ganaug_ray.data.loading.sampler import Sampling

        classes = self.data.classes
        if self.classes == classes:
            return Sampling()
        return Sampling(classes=tuple(classes.index(name) for name in self.classes))

    @property
    def real_sampling(self) -> Sampling:
        """A sampling of the arm's classes, balanced if that of the real rows is."""
        return replace(self.sampling, balanced=is_balanced(self.job))

    def open_pool(self, upto: RowCounter) -> BatchOpener:
        """Return a function that opens a feed of the stored synthetic images."""
        from ganaug_ray.augment.mixed_batches import open_pool_feed

        folder = str(self.pool.folder)
        sampling = replace(self.sampling, balanced=self.pool.is_balanced)
        return functools.partial(open_pool_feed, folder, upto, self.job.data.resident_gb, self.seed, sampling=sampling)

    def open_oversampled(self, upto: RowCounter) -> BatchOpener:
        """Return a function that opens a feed of real rows in another order."""
        from ganaug_ray.augment.mixed_batches import open_oversampled_feed

        dataset = str(self.run.dataset)
        return functools.partial(
            open_oversampled_feed, dataset, upto, self.job.data.resident_gb, self.seed, self.real_sampling
        )

    def open_pseudo(self, upto: RowCounter, sampling: Sampling) -> BatchOpener:
        """Return a function that opens a feed of the pseudo-labelled images."""
        from ganaug_ray.augment.mixed_batches import open_pool_feed

        folder = find_pseudo_store(self.run)
        return functools.partial(open_pool_feed, folder, upto, self.job.data.resident_gb, self.seed, sampling=sampling)

    def soften(self, extra: BatchOpener) -> BatchOpener:
        """Return a function that opens the same feed with soft labels of the judge, if the arm has these."""
        from ganaug_ray.augment.soft_labels import open_soft_label_feed

        if not self.arm.soft_labels:
            return extra
        judge = synthetic_pools.locate_judge(self.run, locate_source(self.run, self.arm))
        return functools.partial(open_soft_label_feed, extra, str(judge))


def is_balanced(job: Job) -> bool:
    """Whether real and pseudo-labelled images are drawn from all classes equally often."""
    return job.classifier.sampling == "balanced"


def find_pseudo_store(run: Run) -> str:
    """Return the folder of the store that holds the pseudo-labelled images alone."""
    from ganaug_ray.augment.pseudo_labels import PSEUDO_ONLY_FOLDER

    return str(run.pseudo / PSEUDO_ONLY_FOLDER)
