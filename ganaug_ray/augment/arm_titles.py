"""Plain names of a job's arms, for sentences and charts: what the classifiers of each are trained on.

The arms' own names are keys of the job and names of folders. On pages they stand in tables alone.
"""

from __future__ import annotations

from collections import defaultdict

from ganaug_ray.augment import arms, strategies
from ganaug_ray.augment.arm_kinds import KINDS
from ganaug_ray.config import ArmConfig, Job
from ganaug_ray.config.synthetic_sources import GENERATOR, OWN_GAN
from ganaug_ray.core.wording import shorten_text

REAL_TITLE = "real images alone"
_MADE_HERE = "synthetic images"
_MAX_SOURCE_LETTERS = 24


def name_arms(job: Job) -> dict[str, str]:
    """Return for each arm what its classifiers are trained on, in words that no other arm has; the baseline first.

    Args:
        job: of the whole experiment; the arms that it leaves out are named too.

    >>> job = Job.model_validate({"data": {"source": "pets"}, "arms": {"few": {"kind": "synthetic", "ratio": 0.5},
    ...     "many": {"kind": "synthetic", "ratio": 2}, "live": {}}})
    >>> list(name_arms(job).values())[1:3]
    ['real and synthetic images, ratio 0.5', 'real and synthetic images, ratio 2']
    """
    arms_by_title: dict[str, list[str]] = defaultdict(list)
    for name, arm in job.all_arms.items():
        arms_by_title[describe_images(job, arm)].append(name)
    titles: dict[str, str] = {}
    for title, names in arms_by_title.items():
        titles |= _tell_apart(job, title, names)
    return {arms.REAL: REAL_TITLE, **{name: titles[name] for name in job.all_arms}}


def describe_images(job: Job, arm: ArmConfig) -> str:
    """Say what an arm's classifiers are trained on, by its kind and the source of its synthetic images."""
    title = KINDS[arm.kind].trained_on
    source = GENERATOR if arm.traits.transfer else arm.source
    if source == OWN_GAN:
        return title
    origin = shorten_text(job.augment.sources[source].short_name, _MAX_SOURCE_LETTERS)
    return title.replace(_MADE_HERE, f"{_MADE_HERE} of {origin}").replace("shared weights", f"the weights of {origin}")


def _tell_apart(job: Job, title: str, names: list[str]) -> dict[str, str]:
    """Add to a title that several arms have what differs between them or, where that says nothing, a number."""
    settings = {name: strategies.list_settings(job.all_arms[name]) for name in names}
    common = set.intersection(*(set(parts) for parts in settings.values()))
    differing = {name: [part for part in parts if part not in common] for name, parts in settings.items()}
    titles = {name: ", ".join([title, *parts]) for name, parts in differing.items()}
    if len(set(titles.values())) == len(names):
        return titles
    return {name: f"{own} ({number})" for number, (name, own) in enumerate(titles.items(), 1)}
