"""What arms need beside the real images: GANs, pools of synthetic images of any source, pseudo-labelled images.

Every function takes a job and a run as one split of the images has them, see ``Job.derive_split`` and
``Run.locate_split``.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ganaug_ray.augment import arms
from ganaug_ray.augment.synthetic_sources import GanSource, SyntheticSource, locate_gan, locate_source
from ganaug_ray.config import ArmConfig, Job, MixConfig, ScreenConfig
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.records import DatasetRecord, GanRecord, ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import StageFailed, UserError

if TYPE_CHECKING:  # it imports torch
    from ganaug_ray.augment.screening import Screening
    from ganaug_ray.gan.training_spec import GanTraining


def list_gans(job: Job, run: Run) -> list[GanSource]:
    """List the GANs that the arms need; if none does, the GAN of the labelled images."""
    trained_on_pseudo = [arm.traits.pseudo for arm in job.compared_arms.values() if arm.uses_gan] or [False]
    return [locate_gan(run, pseudo) for pseudo in dict.fromkeys(trained_on_pseudo)]


def build_training(job: Job, run: Run, source: GanSource) -> GanTraining:
    """Build the training of a GAN, once its data set and the teacher are finished."""
    from ganaug_ray.gan.training_spec import GanTraining

    teacher = arms.locate_teacher(run)
    inputs = {"dataset": DatasetRecord.read(source.dataset).hash, "teacher": ModelRecord.read(teacher).hash}
    start = None
    if job.gan.init_from is not None:
        from ganaug_ray.augment import warm_start

        inputs["init_from"] = warm_start.prepare_start(job, source.dataset, source.folder)["hash"]
        start = str(source.folder)
    return GanTraining(
        config=job.gan,
        size=job.gan_image_size,
        seed=job.seed,
        dataset=str(source.dataset),
        teacher=str(teacher),
        out=str(source.folder),
        resident_gb=job.data.resident_gb,
        inputs=inputs,
        start=start,
    )


def refuse_copies(job: Job, source: SyntheticSource, record: GanRecord) -> None:
    """Raise StageFailed if a finished generator was found to copy training images, unless the job allows copies."""
    if record.memorization.verdict == "copies" and not job.augment.allow_copies:
        remedy = "take another generator, in another --out, "
        if isinstance(source, GanSource):
            remedy = "more images or fewer gan.steps help, in another --out, "
        raise StageFailed(
            f"the generator copies: {record.memorization.reason} (see {source.folder.name}/closest_pairs.png); "
            f"{remedy}and --set augment.allow_copies=true uses its images here anyway"
        )


def needs_pseudo(job: Job) -> bool:
    """Whether an arm has pseudo-labelled images."""
    return any(arm.traits.pseudo for arm in job.compared_arms.values())


@dataclass(frozen=True)
class SyntheticPool:
    """A pool of synthetic images.

    Attributes:
        folder: of the pool.
        source: where the images come from.
        counts: class -> images to make, or of finished images to take at most; of the latter empty: all of them.
        used: the classes that arms have images of; no others are made.
        screen: how they are screened.
        stored: whether images are stored; else they are made in training.
    """

    folder: Folder
    source: SyntheticSource
    counts: dict[str, int]
    used: frozenset[str]
    screen: ScreenConfig
    stored: bool

    @property
    def used_counts(self) -> dict[str, int]:
        """The same counts of the classes that arms use; of all where the strategy gives these none."""
        return {name: n for name, n in self.counts.items() if name in self.used} or self.counts

    def select_used(self, names: Iterable[str]) -> list[str]:
        """Return those classes that arms use."""
        return [name for name in names if name in self.used]

    @property
    def is_balanced(self) -> bool:
        """Whether images are drawn from all classes equally often: finished ones come in numbers of no meaning."""
        return self.source.is_imported and len(set(self.counts.values())) <= 1


def list_pools(job: Job, run: Run) -> list[SyntheticPool]:
    """List the pools of synthetic images that the arms need; arms that ask for the same images share one."""
    pools_by_folder: dict[str, SyntheticPool] = {}
    for arm in job.compared_arms.values():
        if arm.traits.is_synthetic:
            arm_pool = plan_pool(job, run, arm)
            before = pools_by_folder.get(str(arm_pool.folder), arm_pool)
            pools_by_folder[str(arm_pool.folder)] = replace(
                arm_pool, stored=arm_pool.stored or before.stored, used=arm_pool.used | before.used
            )
    return list(pools_by_folder.values())


def plan_pool(job: Job, run: Run, arm: ArmConfig) -> SyntheticPool:
    """Plan the pool of an arm's synthetic images; its folder is ``synthetic`` if the augment section has it too.

    Its name says nothing of the classes that are used: arms of different classes share it.
    """
    data = DatasetRecord.read(run.dataset)
    train_counts = data.counts["train"]
    source = locate_source(run, arm)
    counts = _plan_counts(train_counts, arm, source)
    own_gan = locate_gan(run)
    default = ""
    with suppress(UserError):  # balance is for data with rare classes; the arms may have other strategies
        default = _name_pool(_plan_counts(train_counts, job.augment, own_gan), job.augment, own_gan)
    fingerprint = _name_pool(counts, arm, source)
    name = "synthetic" if fingerprint == default else f"synthetic-{fingerprint[:8]}"
    # Which classes gain is known later.
    used = frozenset(arms.choose_classes(arm, data.classes, data.rare, gaining=data.classes))
    return SyntheticPool(run.root / name, source, counts, used, arm.screen, arm.traits.stored)


def _plan_counts(train_counts: dict[str, int], settings: MixConfig, source: SyntheticSource) -> dict[str, int]:
    """Plan the images of each class; finished ones are all taken, unless the settings say how many."""
    from ganaug_ray.augment import strategies

    if source.is_imported and settings.per_class is None and settings.strategy != "balance":
        return {}
    return strategies.plan_pool_counts(train_counts, settings)


def _name_pool(counts: dict[str, int], settings: MixConfig, source: SyntheticSource) -> str:
    return experiment_dir.compute_fingerprint(counts, settings.screen.model_dump(), source.folder.name)


def choose_counts(synthetic_pool: SyntheticPool) -> dict[str, int]:
    """Return class -> images to make: of those classes that arms use, and of what was made before for other arms."""
    record = experiment_dir.read_marker(synthetic_pool.folder, "synthetic.json")
    classes = synthetic_pool.used_counts.keys() | (_list_made(record) if record else set())
    return {name: n for name, n in synthetic_pool.counts.items() if name in classes}


def _list_made(record: Record) -> set[str]:
    """List the classes that images of a finished pool were made of, whether or not any passed the screening."""
    return set(record["asked"] if "asked" in record else record["counts"])


def locate_judge(run: Run, source: SyntheticSource) -> Folder:
    """Return the folder of the classifier that judges which class a synthetic image shows.

    It is the one that came with the images, if one did, for it was trained on far more like them. Else it is the
    split's teacher.
    """
    return source.classifier or arms.locate_teacher(run)


def build_screening(run: Run, synthetic_pool: SyntheticPool) -> Screening | None:
    """Build what a pool's images are screened with, or None if it is not."""
    from ganaug_ray.augment.screening import Screening

    if not synthetic_pool.screen.enabled:
        return None
    discriminator = synthetic_pool.source.discriminator
    return Screening(
        config=synthetic_pool.screen,
        teacher=str(locate_judge(run, synthetic_pool.source)),
        dataset=str(synthetic_pool.source.dataset),
        gan=None if discriminator is None else str(discriminator),
    )


def read_finished_pool(synthetic_pool: SyntheticPool) -> Record | None:
    """Return the marker of a finished pool, or None if it lacks a used class, stored images, or limits of live ones."""
    record = experiment_dir.read_marker(synthetic_pool.folder, "synthetic.json")
    if record is None or (synthetic_pool.stored and not record["images"]):
        return None
    if not synthetic_pool.source.is_imported and not synthetic_pool.used_counts.keys() <= _list_made(record):
        return None
    return record if synthetic_pool.stored or "limits" in record else None
