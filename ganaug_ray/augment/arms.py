"""The arms of a comparison: their names and order, and the classes that each has synthetic images of.

Arms differ in their batches alone: the same steps, real rows, classic augmentation and seeds in each.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from ganaug_ray.config import Job, MixConfig, augment
from ganaug_ray.config import job as job_schema
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError

REAL = job_schema.BASELINE_ARM
TEACHER = job_schema.TEACHER
AUGMENT_TRIALS = job_schema.AUGMENT_TRIALS
SYNTHETIC = augment.SYNTHETIC_ARM
LIVE = augment.LIVE_ARM


def locate_teacher(run: Run) -> Folder:
    """Return the folder of a split's teacher: a model as the real arm has them, of a seed that is not compared.

    It screens the synthetic images, and so its luck is in them; that of a compared model would tie the two arms.
    """
    return run.locate_model(TEACHER, 0)


def has_gan(job: Job) -> bool:
    """Whether the experiment trains a GAN: for an arm, or an unconditional one for its images alone."""
    return job.needs_gan or not job.gan.conditional


def needs_teacher(job: Job) -> bool:
    """Whether a teacher is trained: it measures a GAN, screens synthetic images, or gives pseudo-labels."""
    has_pseudo = any(arm.traits.pseudo for arm in job.compared_arms.values())
    return has_gan(job) or job.needs_synthetic_sources or has_pseudo


def count_gans(job: Job) -> int:
    """Count the GANs of a split: arms with pseudo-labelled images need another one than arms without."""
    trained_on_pseudo = {arm.traits.pseudo for arm in job.compared_arms.values() if arm.uses_gan}
    return len(trained_on_pseudo) or int(has_gan(job))


def list_names(job: Job) -> list[str]:
    """List the names of the job's arms, the baseline first."""
    return [REAL, *job.compared_arms]


def list_candidates(job: Job) -> list[str]:
    """List the names of the arms that may take the baseline's place: those that are no controls."""
    return [name for name, arm in job.compared_arms.items() if not arm.traits.control]


def list_pairs(job: Job) -> list[tuple[str, int]]:
    """List (arm, seed) of every model of a split, in the order in which they can be trained."""
    by_turn = sorted(list_names(job), key=lambda name: is_deferred(job, name))
    return list(itertools.product(by_turn, range(job.compare.seeds)))


def is_deferred(job: Job, name: str) -> bool:
    """Whether an arm can only be trained after the others, because its classes are those that gained in them."""
    arm = job.compared_arms.get(name)  # None: the baseline, or a model that is not compared
    return arm is not None and arm.classes == "gaining"


def needs_generated_images(job: Job, name: str) -> bool:
    """Whether an arm can only be trained after images were generated, or after arms that can."""
    arm = job.compared_arms.get(name)  # None: the baseline, or a model that is not compared
    return arm is not None and (arm.traits.is_synthetic or arm.traits.transfer or is_deferred(job, name))


def check_data(job: Job, train_counts: Mapping[str, int], rare: Sequence[str]) -> None:
    """Refuse arms, and a metric that decides between them, for which the data lack a class.

    Args:
        job: with its arms.
        train_counts: class -> training images.
        rare: the classes that are rare.

    Raises:
        UserError: as ``check_classes``; or the metric is about rare classes, and none is rare.
    """
    for name, arm in job.compared_arms.items():
        check_classes(name, arm, train_counts, rare)
    if job.compare.metric == "rare_f1" and not rare:
        raise UserError(
            "compare.metric rare_f1: no class is rare, as each has at least half of the mean number of images; "
            "macro_f1 lets every class count alike"
        )


def check_classes(name: str, arm: MixConfig, train_counts: Mapping[str, int], rare: Sequence[str]) -> None:
    """Refuse an arm that names an unknown class, or asks for rare classes where none are rare.

    Args:
        name: of the arm.
        arm: its settings.
        train_counts: class -> training images.
        rare: the classes that are rare.

    Raises:
        UserError: it names another class than these, or asks for rare ones where none is rare.
    """
    if arm.classes == "rare" and not rare:
        fewest = min(train_counts, key=train_counts.__getitem__)
        raise UserError(
            f"classes of arm {name}: no class is rare, as each has at least half of the mean number of images; "
            f"name some, such as [{fewest}], which has the fewest images"
        )
    if isinstance(arm.classes, list):
        for class_name in arm.classes:
            if class_name not in train_counts:
                known = ", ".join(list(train_counts)[:12])
                raise UserError(f"classes of arm {name}: found {class_name!r}, expected one of {known}")


def choose_classes(
    arm: MixConfig, classes: Sequence[str], rare: Sequence[str], gaining: list[str] | None = None
) -> list[str]:
    """Return the names of the classes that an arm has extra images of.

    Args:
        arm: its settings.
        classes: of the data set.
        rare: the classes that are rare.
        gaining: those that gained in other arms, for an arm that goes by them.
    """
    if arm.classes == "all":
        return list(classes)
    if arm.classes == "rare":
        return list(rare)
    if arm.classes == "gaining":
        assert gaining is not None, "the other arms come first"
        return gaining
    return arm.classes
