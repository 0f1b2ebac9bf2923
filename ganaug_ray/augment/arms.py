"""The arms of a comparison: which there are, what each has images of, and what came out of it.

Arms differ in their batches alone: the same steps, real rows, classic augmentation and seeds in each.
"""

from __future__ import annotations

import itertools

from ganaug_ray.config import Job, MixConfig, augment
from ganaug_ray.config.job import BASELINE_ARM
from ganaug_ray.core.experiment_dir import Record
from ganaug_ray.errors import UserError

REAL = BASELINE_ARM
SYNTHETIC = augment.SYNTHETIC_ARM
LIVE = augment.LIVE_ARM


def has_gan(job: Job) -> bool:
    """Whether a run trains a GAN: for an arm, or for its own sake. One without classes is for nothing else."""
    return job.needs_gan or not job.gan.conditional


def list_names(job: Job) -> list[str]:
    """The job's arms, the baseline first."""
    return [REAL, *job.compared_arms]


def list_candidates(job: Job) -> list[str]:
    """The arms that may take the baseline's place."""
    return [name for name, arm in job.compared_arms.items() if not arm.traits.control]


def list_pairs(job: Job) -> list[tuple[str, int]]:
    """Every (arm, seed) there is a model of in each split; last the arms that go by what others gained."""
    by_turn = sorted(list_names(job), key=lambda name: is_deferred(job, name))
    return list(itertools.product(by_turn, range(job.compare.seeds)))


def is_deferred(job: Job, name: str) -> bool:
    """Whether an arm can only be trained when the others are."""
    return name != REAL and job.compared_arms[name].classes == "gaining"


def check_classes(name: str, arm: MixConfig, data: Record) -> None:
    """Raises UserError: an arm names a class that there is none of, or asks for rare ones where none are."""
    if arm.classes == "rare" and not data["rare"]:
        raise UserError(f"arms.{name}.classes rare: no class was thinned, see data.imbalance; give names, or all")
    if isinstance(arm.classes, list):
        for class_name in arm.classes:
            if class_name not in data["classes"]:
                raise UserError(
                    f"arms.{name}.classes: found {class_name!r}, known are {', '.join(data['classes'][:12])}"
                )


def choose_classes(arm: MixConfig, data: Record, gaining: list[str] | None = None) -> list[str]:
    """The classes that an arm has synthetic images of."""
    if arm.classes == "all":
        return list(data["classes"])
    if arm.classes == "rare":
        return list(data["rare"])
    if arm.classes == "gaining":
        assert gaining is not None, "the other arms come first"
        return gaining
    return arm.classes
