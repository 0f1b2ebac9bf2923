"""The kinds of arm: which extra rows each has beside the real ones, from which store, and in which words.

A new kind is a class here, a line in KINDS, and its name and traits in ``config.augment``. Batches are opened by
partials of module functions: they travel to other processes.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from ganaug_ray.augment import strategies, synthetic_pools
from ganaug_ray.augment.arm_rows import ArmRows, BatchOpener, RowCounter, find_pseudo_store, is_balanced
from ganaug_ray.config import ArmConfig, ClassifierConfig, Job
from ganaug_ray.config.synthetic_sources import GENERATOR, OWN_GAN
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.wording import format_count

if TYPE_CHECKING:
    from ganaug_ray.config.augment import Kind


MAX_NAMED_CLASSES = 8  # in the line of an arm


class ArmKind(ABC):
    """What distinguishes the arms of one kind from the baseline: settings, extra rows, batches and words.

    Attributes:
        trained_on: the images that its classifiers are trained on, in words for sentences and charts.
        has_extra_rows: whether rows are put beside the real ones, or in their place.
        softens: whether soft labels take the place of the labels that its rows were asked for.
    """

    trained_on = ""
    has_extra_rows = True
    softens = False

    def adapt_classifier(self, config: ClassifierConfig) -> ClassifierConfig:
        """Return the settings that the arm's models are trained with."""
        return config

    def find_store(self, job: Job, run: Run, arm: ArmConfig) -> str | None:
        """Return the folder of the store that the extra rows are read from; None if they come from none."""
        if not arm.traits.stored:
            return None
        return str(synthetic_pools.plan_pool(job, run, arm).folder)

    @abstractmethod
    def open_extra_rows(self, rows: ArmRows, upto: RowCounter) -> BatchOpener:
        """Return a function that opens the feed of the extra rows on a rank."""

    def open_batches(self, rows: ArmRows, real: BatchOpener) -> BatchOpener:
        """Return a function that opens the feed of the arm's batches on a rank; ``real`` opens the baseline's."""
        from ganaug_ray.augment.mixed_batches import open_mixed_feed

        extra = self.open_extra_rows(rows, rows.mixture.count_synthetic_rows)
        real = functools.partial(real, wait=rows.mixture.synthetic_only_steps)
        apart = rows.arm.batch_norm == "separate"
        return functools.partial(open_mixed_feed, real, extra, weight=rows.arm.weight, apart=apart)

    def count_rows(self, arm: ArmConfig, counts: Mapping[str, int], batch_size: int, steps: int) -> int:
        """Return the number of rows, real and extra, in all batches of a training; see ``describe_batches``."""
        mixture = strategies.Mixture.from_config(arm, counts, batch_size, steps)
        return (steps - mixture.synthetic_only_steps) * batch_size + mixture.count_synthetic_rows(steps)

    def describe_settings(self, arm: ArmConfig) -> str:
        """Say for the report how the extra rows are mixed with the real ones."""
        text = strategies.describe_mix(arm)
        return text if arm.source == OWN_GAN else f"{text}, images from {arm.source}"

    def describe_batches(
        self, arm: ArmConfig, counts: Mapping[str, int], batch_size: int, steps: int, unused: Collection[str] = ()
    ) -> str:
        """Say for the dry run what the arm's batches hold.

        Args:
            arm: of this kind.
            counts: training images a class.
            batch_size: real rows of a batch.
            steps: of a training.
            unused: classes that get no extra rows.
        """
        parts = self._describe_source(arm, counts, unused)
        parts.append(strategies.Mixture.from_config(arm, counts, batch_size, steps, unused).describe())
        parts += strategies.describe_options(arm)
        return ", ".join(parts)

    def _describe_source(self, arm: ArmConfig, counts: Mapping[str, int], unused: Collection[str] = ()) -> list[str]:
        parts: list[str] = [arm.kind]
        if isinstance(arm.classes, list):
            parts[0] += f" of {', '.join(arm.classes)}"
        elif arm.classes != "all":
            parts[0] += f" of {arm.classes} classes"
            used = [name for name in counts if name not in unused]
            if unused and len(used) <= MAX_NAMED_CLASSES:
                parts[0] += f" ({', '.join(used)})"
        if arm.source != OWN_GAN:
            parts[0] += f" from {arm.source}"
        if arm.traits.stored and arm.source in (OWN_GAN, GENERATOR):
            planned = strategies.plan_pool_counts(counts, arm)
            pool = {name: n for name, n in planned.items() if name not in unused} or planned
            per_class = " to ".join(str(n) for n in sorted({min(pool.values()), max(pool.values())}))
            classes = format_count(len(pool), "class", "classes")
            parts.append(f"{sum(pool.values())} images of {classes}, {per_class} each")
        return parts


class RealRowsAlone(ArmKind):
    """Base class of kinds without extra rows."""

    has_extra_rows = False

    def open_extra_rows(self, rows: ArmRows, upto: RowCounter) -> BatchOpener:
        """Raise AssertionError, as this kind has no extra rows."""
        raise AssertionError("an arm of real rows alone has no others")

    def count_rows(self, arm: ArmConfig, counts: Mapping[str, int], batch_size: int, steps: int) -> int:
        """Return the number of real rows in all batches."""
        return steps * batch_size


class WithoutClassic(RealRowsAlone):
    """The kind ``real``: the baseline's rows without classic augmentation, and no extra rows."""

    trained_on = "real images without augmentation"

    def adapt_classifier(self, config: ClassifierConfig) -> ClassifierConfig:
        """Return the settings without classic augmentation, MixUp and CutMix."""
        without = {"flip": False, "rotate": 0.0, "zoom": 0.0, "shift": 0.0, "mixup": 0.0, "cutmix": 0.0}
        return config.model_copy(update={**without, "augment": "light"})

    def describe_settings(self, arm: ArmConfig) -> str:
        """Return an empty text, as there are no extra rows to describe."""
        return ""

    def describe_batches(
        self, arm: ArmConfig, counts: Mapping[str, int], batch_size: int, steps: int, unused: Collection[str] = ()
    ) -> str:
        """Say that the batches hold real rows without classic augmentation."""
        return "real rows without classic augmentation"


class Transfer(RealRowsAlone):
    """The kind ``transfer``: the baseline's rows, from the weights of a shared classifier in place of fresh ones."""

    trained_on = "real images, from shared weights"

    def describe_settings(self, arm: ArmConfig) -> str:
        """Say for the report where its models start."""
        return "no synthetic images, from the weights of the classifier that came with the shared generator"

    def describe_batches(
        self, arm: ArmConfig, counts: Mapping[str, int], batch_size: int, steps: int, unused: Collection[str] = ()
    ) -> str:
        """Say what the batches hold, and where the models start."""
        return "real rows, from the weights of the shared classifier"


class Oversample(ArmKind):
    """The kind ``oversample``, a control: extra real rows instead of synthetic ones."""

    trained_on = "real images, repeated more often"

    def open_extra_rows(self, rows: ArmRows, upto: RowCounter) -> BatchOpener:
        """Return a function that opens a feed of real rows in another order."""
        return rows.open_oversampled(upto)


class Noise(ArmKind):
    """The kind ``noise``, a control: extra rows with the labels of real ones, and noise as images."""

    trained_on = "real images and noise"

    def open_extra_rows(self, rows: ArmRows, upto: RowCounter) -> BatchOpener:
        """Return a function that opens a feed of noise with real labels."""
        from ganaug_ray.augment.negative_controls import open_noise_feed

        return functools.partial(open_noise_feed, rows.open_oversampled(upto), rows.seed)


class Synthetic(ArmKind):
    """The kind ``synthetic``: extra rows are stored synthetic images."""

    trained_on = "real and synthetic images"
    softens = True

    def open_extra_rows(self, rows: ArmRows, upto: RowCounter) -> BatchOpener:
        """Return a function that opens a feed of the stored images."""
        return rows.soften(rows.open_pool(upto))


class Live(ArmKind):
    """The kind ``live``: extra rows are new images that the GAN makes in every step."""

    trained_on = "real and ever new synthetic images"
    softens = True

    def open_extra_rows(self, rows: ArmRows, upto: RowCounter) -> BatchOpener:
        """Return a function that opens a feed of newly generated images, with the screening limits of the store."""
        from ganaug_ray.augment import live_generation
        from ganaug_ray.augment.screening_rules import ScreeningLimits

        synthetic = rows.pool.folder.read_json("synthetic.json")
        shares = {name: n for name, n in synthetic["asked"].items() if name in rows.classes}
        limits = ScreeningLimits.from_record(synthetic["limits"]) if synthetic["limits"] else None
        screening = synthetic_pools.build_screening(rows.run, rows.pool)
        live = live_generation.LiveSpec(str(rows.pool.source.folder), shares, screening, limits)
        return rows.soften(functools.partial(live_generation.open_live_feed, live, upto, rows.seed))


class SyntheticOnly(Synthetic):
    """The kind ``synthetic-only``, a control: batches of stored images of the GAN alone."""

    trained_on = "synthetic images alone"

    def open_batches(self, rows: ArmRows, real: BatchOpener) -> BatchOpener:
        """Return a function that opens a feed of batches without real rows."""
        from ganaug_ray.augment.mixed_batches import open_mixed_feed

        extra = self.open_extra_rows(rows, functools.partial(_count_rows_upto, rows.job.classifier.batch_size))
        real = functools.partial(real, wait=rows.mixture.steps)
        return functools.partial(open_mixed_feed, real, extra, weight=1.0, apart=False)

    def count_rows(self, arm: ArmConfig, counts: Mapping[str, int], batch_size: int, steps: int) -> int:
        """Return the number of rows in all batches, each as large as the baseline's."""
        return steps * batch_size

    def describe_batches(
        self, arm: ArmConfig, counts: Mapping[str, int], batch_size: int, steps: int, unused: Collection[str] = ()
    ) -> str:
        """Say for the dry run what the batches hold; the mixing strategy is not used."""
        return ", ".join([*self._describe_source(arm, counts, unused), f"batches of {batch_size}"])


class ShuffledLabels(ArmKind):
    """The kind ``shuffled-labels``, a control: stored images of the GAN with random labels."""

    trained_on = "real and wrongly labelled synthetic images"

    def open_extra_rows(self, rows: ArmRows, upto: RowCounter) -> BatchOpener:
        """Return a function that opens a feed of the stored images with random labels."""
        from ganaug_ray.augment.negative_controls import open_shuffled_feed

        shares = [float(name in rows.classes) for name in rows.data.classes]
        return functools.partial(open_shuffled_feed, rows.open_pool(upto), shares, rows.seed)


class Pseudo(ArmKind):
    """The kind ``pseudo``: extra rows are unlabelled images with the labels that the teacher is sure of."""

    trained_on = "real and pseudo-labelled images"

    def find_store(self, job: Job, run: Run, arm: ArmConfig) -> str | None:
        """Return the folder of the pseudo-labelled images."""
        return find_pseudo_store(run)

    def open_extra_rows(self, rows: ArmRows, upto: RowCounter) -> BatchOpener:
        """Return a function that opens a feed of the pseudo-labelled images."""
        return rows.open_pseudo(upto, rows.real_sampling)


class PseudoAndSynthetic(Synthetic):
    """The kind ``pseudo+synthetic``: pseudo-labelled images, and as many of a GAN that was trained on them too."""

    trained_on = "real, pseudo-labelled and synthetic images"

    def open_extra_rows(self, rows: ArmRows, upto: RowCounter) -> BatchOpener:
        """Return a function that opens a feed of both kinds of images."""
        from ganaug_ray.augment.mixed_batches import open_mixed_feed
        from ganaug_ray.data.loading.sampler import Sampling

        sampling = Sampling(balanced=is_balanced(rows.job))
        pseudo = rows.open_pseudo(rows.undiminished_mixture.count_synthetic_rows, sampling)
        return functools.partial(open_mixed_feed, pseudo, super().open_extra_rows(rows, upto))


KINDS: dict[Kind, ArmKind] = {
    "real": WithoutClassic(),
    "oversample": Oversample(),
    "synthetic": Synthetic(),
    "live": Live(),
    "synthetic-only": SyntheticOnly(),
    "noise": Noise(),
    "shuffled-labels": ShuffledLabels(),
    "pseudo": Pseudo(),
    "pseudo+synthetic": PseudoAndSynthetic(),
    "transfer": Transfer(),
}


def _count_rows_upto(batch_size: int, step: int) -> int:
    """Return the number of rows in the first ``step`` batches."""
    return batch_size * step
