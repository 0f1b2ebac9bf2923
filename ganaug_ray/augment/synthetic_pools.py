"""What arms need beside the real images: GANs, stores of synthetic images, pseudo-labelled images.

Every function takes a job and a run as one split of the images has them, see ``Job.of_split`` and ``Run.split``.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ganaug_ray.augment import arms
from ganaug_ray.config import ArmConfig, Job, MixConfig, ScreenConfig
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import StageFailed, UserError

if TYPE_CHECKING:  # it imports torch
    from ganaug_ray.augment.screening import Screening
    from ganaug_ray.gan.training_spec import Training


@dataclass(frozen=True)
class Gan:
    """A GAN that is trained: its folder, and the data set that it sees."""

    folder: Folder
    dataset: Folder


def gan(run: Run, pseudo: bool = False) -> Gan:
    """Return the GAN that is trained on the labelled images, or on them and the pseudo-labelled ones."""
    return Gan(run.root / "gan-pseudo", run.pseudo) if pseudo else Gan(run.gan, run.dataset)


def gans(job: Job, run: Run) -> list[Gan]:
    """The GANs that the arms need, or the one that is trained for its own sake."""
    trained_on_pseudo = [arm.traits.pseudo for arm in job.compared.values() if arm.traits.drawn] or [False]
    return [gan(run, pseudo) for pseudo in dict.fromkeys(trained_on_pseudo)]


def training(job: Job, run: Run, wanted: Gan) -> Training:
    """Describe the training of a GAN; its data and the teacher are there."""
    from ganaug_ray.gan.training_spec import Training

    teacher = run.model(arms.REAL, 0)
    return Training(
        config=job.gan,
        size=job.gan_size,
        seed=job.seed,
        dataset=str(wanted.dataset),
        teacher=str(teacher),
        out=str(wanted.folder),
        resident_gb=job.data.resident_gb,
        inputs={
            "dataset": wanted.dataset.read_json("dataset.json")["hash"],
            "teacher": teacher.read_json("model.json")["hash"],
        },
    )


def refuse_copies(job: Job, record: Record) -> None:
    """Raise StageFailed if a finished GAN was found to copy training images, unless the job allows that."""
    if record["memorization"]["verdict"] == "copies" and not job.augment.allow_copies:
        raise StageFailed(
            f"the generator copies: {record['memorization']['reason']} (see gan/closest_pairs.png); more images "
            "or fewer gan.steps help, and augment.allow_copies=true goes on all the same"
        )


def needs_pseudo(job: Job) -> bool:
    """Whether an arm has pseudo-labelled images."""
    return any(arm.traits.pseudo for arm in job.compared.values())


@dataclass(frozen=True)
class Pool:
    """A store of synthetic images: where it is, whose they are, how many of each class, and how they are screened."""

    folder: Folder
    gan: Gan
    counts: dict[str, int]
    screen: ScreenConfig
    stored: bool


def pools(job: Job, run: Run) -> list[Pool]:
    """The synthetic stores that the arms need; arms that ask for the same images share one."""
    found: dict[str, Pool] = {}
    for arm in job.compared.values():
        if arm.traits.drawn:
            own = pool(job, run, arm)
            before = found.get(str(own.folder), own)
            found[str(own.folder)] = replace(own, stored=own.stored or before.stored)
    return list(found.values())


def pool(job: Job, run: Run, arm: ArmConfig) -> Pool:
    """The store of an arm's synthetic images; ``synthetic`` is that of the augment section."""
    from ganaug_ray.augment import strategies

    counts = run.dataset.read_json("dataset.json")["counts"]["train"]

    def key(wanted: dict[str, int], settings: MixConfig, whose: Gan) -> str:
        return experiment_dir.fingerprint(wanted, settings.screen.model_dump(), whose.folder.name)

    wanted, whose, default = strategies.pool(counts, arm), gan(run, arm.traits.pseudo), ""
    with suppress(UserError):  # balance is for data with rare classes; the arms may have other strategies
        default = key(strategies.pool(counts, job.augment), job.augment, gan(run))
    own = key(wanted, arm, whose)
    name = "synthetic" if own == default else f"synthetic-{own[:8]}"
    return Pool(run.root / name, whose, wanted, arm.screen, arm.traits.stored)


def screening(run: Run, wanted: Pool) -> Screening | None:
    """What synthetic images are screened with, stored or live; the first model of the real arm is the teacher."""
    from ganaug_ray.augment.screening import Screening

    folders = (run.model(arms.REAL, 0), wanted.gan.dataset, wanted.gan.folder)
    return Screening(wanted.screen, *map(str, folders)) if wanted.screen.enabled else None


def generated(wanted: Pool) -> Record | None:
    """The marker of a store, if it has what is needed: images for stored ones, limits for live ones."""
    record = experiment_dir.done(wanted.folder, "synthetic.json")
    if record is None or (wanted.stored and not record["images"]):
        return None
    return record if wanted.stored or "limits" in record else None
