"""What arms need beside the real images: GANs, pools of synthetic images, pseudo-labelled images.

Every function takes a job and a run as one split of the images has them, see ``Job.derive_split`` and
``Run.locate_split``.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ganaug_ray.augment import arms
from ganaug_ray.config import ArmConfig, Job, MixConfig, ScreenConfig
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.records import DatasetRecord, GanRecord, ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import StageFailed, UserError

if TYPE_CHECKING:  # it imports torch
    from ganaug_ray.augment.screening import Screening
    from ganaug_ray.gan.training_spec import GanTraining


@dataclass(frozen=True)
class GanSource:
    """The folder of a GAN, and of the data set that it is trained on."""

    folder: Folder
    dataset: Folder


def locate_gan(run: Run, pseudo: bool = False) -> GanSource:
    """Return the folders of the GAN that is trained on labelled images or, with ``pseudo``, on pseudo-labelled too."""
    return GanSource(run.root / "gan-pseudo", run.pseudo) if pseudo else GanSource(run.gan, run.dataset)


def list_gans(job: Job, run: Run) -> list[GanSource]:
    """List the GANs that the arms need; if none does, the GAN of the labelled images."""
    trained_on_pseudo = [arm.traits.pseudo for arm in job.compared_arms.values() if arm.traits.uses_gan] or [False]
    return [locate_gan(run, pseudo) for pseudo in dict.fromkeys(trained_on_pseudo)]


def build_training(job: Job, run: Run, source: GanSource) -> GanTraining:
    """Build the training of a GAN, once its data set and the teacher are finished."""
    from ganaug_ray.gan.training_spec import GanTraining

    teacher = arms.locate_teacher(run)
    return GanTraining(
        config=job.gan,
        size=job.gan_image_size,
        seed=job.seed,
        dataset=str(source.dataset),
        teacher=str(teacher),
        out=str(source.folder),
        resident_gb=job.data.resident_gb,
        inputs={
            "dataset": DatasetRecord.read(source.dataset).hash,
            "teacher": ModelRecord.read(teacher).hash,
        },
    )


def refuse_copies(job: Job, record: GanRecord) -> None:
    """Raise StageFailed if a finished GAN was found to copy training images, unless the job allows copies."""
    if record.memorization.verdict == "copies" and not job.augment.allow_copies:
        raise StageFailed(
            f"the generator copies: {record.memorization.reason} (see gan/closest_pairs.png); more images "
            "or fewer gan.steps help, in another --out, and --set augment.allow_copies=true goes on here all the same"
        )


def needs_pseudo(job: Job) -> bool:
    """Whether an arm has pseudo-labelled images."""
    return any(arm.traits.pseudo for arm in job.compared_arms.values())


@dataclass(frozen=True)
class SyntheticPool:
    """A pool of synthetic images: its folder, its GAN, images a class, screening, and whether images are stored."""

    folder: Folder
    gan: GanSource
    counts: dict[str, int]
    screen: ScreenConfig
    stored: bool


def list_pools(job: Job, run: Run) -> list[SyntheticPool]:
    """List the pools of synthetic images that the arms need; arms that ask for the same images share one."""
    pools_by_folder: dict[str, SyntheticPool] = {}
    for arm in job.compared_arms.values():
        if arm.traits.uses_gan:
            arm_pool = plan_pool(job, run, arm)
            before = pools_by_folder.get(str(arm_pool.folder), arm_pool)
            pools_by_folder[str(arm_pool.folder)] = replace(arm_pool, stored=arm_pool.stored or before.stored)
    return list(pools_by_folder.values())


def plan_pool(job: Job, run: Run, arm: ArmConfig) -> SyntheticPool:
    """Plan the pool of an arm's synthetic images; its folder is ``synthetic`` if the augment section has it too."""
    from ganaug_ray.augment import strategies

    counts = DatasetRecord.read(run.dataset).counts["train"]

    def key(counts: dict[str, int], settings: MixConfig, source: GanSource) -> str:
        return experiment_dir.compute_fingerprint(counts, settings.screen.model_dump(), source.folder.name)

    pool_counts = strategies.plan_pool_counts(counts, arm)
    source = locate_gan(run, arm.traits.pseudo)
    default = ""
    with suppress(UserError):  # balance is for data with rare classes; the arms may have other strategies
        default = key(strategies.plan_pool_counts(counts, job.augment), job.augment, locate_gan(run))
    fingerprint = key(pool_counts, arm, source)
    name = "synthetic" if fingerprint == default else f"synthetic-{fingerprint[:8]}"
    return SyntheticPool(run.root / name, source, pool_counts, arm.screen, arm.traits.stored)


def build_screening(run: Run, synthetic_pool: SyntheticPool) -> Screening | None:
    """Build what a pool's images are screened with, or None if it is not."""
    from ganaug_ray.augment.screening import Screening

    if not synthetic_pool.screen.enabled:
        return None
    return Screening(
        config=synthetic_pool.screen,
        teacher=str(arms.locate_teacher(run)),
        dataset=str(synthetic_pool.gan.dataset),
        gan=str(synthetic_pool.gan.folder),
    )


def read_finished_pool(synthetic_pool: SyntheticPool) -> Record | None:
    """Return the marker of a finished pool, or None if it lacks images (stored ones) or limits (live ones)."""
    record = experiment_dir.read_marker(synthetic_pool.folder, "synthetic.json")
    if record is None or (synthetic_pool.stored and not record["images"]):
        return None
    return record if synthetic_pool.stored or "limits" in record else None
