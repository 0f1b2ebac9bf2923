"""What the books of comparisons know images and candidates by: their content, not their place or their name.

Whoever deals the same images out anew, moves them or renames their folder has the same images. Whoever puts others in
their place has others.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.augment import arms
from ganaug_ray.augment.synthetic_sources import locate_generator, locate_source
from ganaug_ray.config import ArmConfig, Job
from ganaug_ray.config.synthetic_sources import GENERATOR
from ganaug_ray.core.experiment_dir import Run, compute_fingerprint, read_marker
from ganaug_ray.core.job_changes import FREE_KEYS
from ganaug_ray.core.records import ModelRecord

# No weight depends on these, though an experiment may not change them. A GAN's early end depends on gan.log_every.
RECORDING_KEYS = {"classifier.log_every", "gan.checkpoint_every"}
START_FILE = "start.json"  # beside the weights that trainings start from


def hash_testable_images(deal: pa.Table, has_given_splits: bool) -> str:
    """Hash the labelled images that may be tested, however they are dealt out.

    Args:
        deal: the columns ``id``, ``class`` and ``split`` of all labelled images.
        has_given_splits: whether images stay in the splits that they came in: then those of test alone are tested.

    Returns:
        16 hex digits.
    """
    if has_given_splits:
        deal = deal.filter(pc.equal(deal["split"], "test"))
    return compute_fingerprint(deal.select(["id", "class"]).sort_by("id").to_pydict())


def hash_candidates(job: Job, run: Run, dataset: str) -> list[str]:
    """Hash all that the models of each candidate are trained with, but how many seeds they have, and what judges them.

    Settings by which no weight changes are left out, such as those of a GAN that no image of the arm comes from. Of
    data, and of images and weights from elsewhere, it is the content that counts: so an experiment that is repeated,
    with more workers or from another copy of the images, has the same candidates. With another ``seed`` or another
    ``compare.metric`` it has others, or the luckiest of many would cost nothing. Another ``compare.worthwhile`` has the
    same: neither the interval nor the limit of the gain depends on it.

    Args:
        job: of the whole experiment.
        run: the whole experiment. What it has from elsewhere and has not read yet is like nothing else.
        dataset: hash of that of the first split.
    """
    fingerprints = []
    for name in arms.list_candidates(job):
        arm = job.compared_arms[name]
        parts: list[Any] = [dataset, job.seed, job.compare.metric, _dump_section(job, run, "classifier")]
        parts.append(arm.model_dump(exclude={"source"}))
        if arm.uses_gan:
            parts.append(_dump_section(job, run, "gan"))
        if arm.traits.pseudo:
            parts.append(job.augment.pseudo_confidence)
        if arm.is_from_elsewhere:
            parts.append(_identify_source(job, run, arm))
        fingerprints.append(compute_fingerprint(*parts))
    return fingerprints


def has_read_sources(job: Job, run: Run) -> bool:
    """Whether all images and weights that candidates have from elsewhere were read, so that their content is known."""
    candidates = [job.compared_arms[name] for name in arms.list_candidates(job)]
    sections = ["classifier", *("gan" for arm in candidates if arm.uses_gan)]
    started = [section for section in sections if _has_start(job, section)]
    return all(_hash_start(run, section) is not None for section in started) and all(
        _hash_source(run, arm) is not None for arm in candidates if arm.is_from_elsewhere
    )


def _dump_section(job: Job, run: Run, section: str) -> dict[str, Any]:
    """Dump a section of a job without the settings by which no weight changes, and with the content of its start."""
    free = {key.partition(".")[2] for key in FREE_KEYS | RECORDING_KEYS if key.startswith(f"{section}.")}
    settings = getattr(job, section).model_dump(exclude=free)
    if _has_start(job, section) and (content := _hash_start(run, section)):
        settings |= {"weights": None, "init_from": content}
    return settings


def _has_start(job: Job, section: str) -> bool:
    """Whether trainings start from weights that the job names."""
    return bool(getattr(job, section).init_from or (section == "classifier" and job.classifier.weights))


def _hash_start(run: Run, section: str) -> str | None:
    """Return the hash of those weights, as they were read for the first split; None before that."""
    record = read_marker(run.models if section == "classifier" else run.gan, START_FILE)
    return None if record is None else str(record["hash"])


def _identify_source(job: Job, run: Run, arm: ArmConfig) -> Any:
    """Return what tells the source of an arm from others: the hash of its content or, unread, where it is."""
    if (content := _hash_source(run, arm)) is not None:
        return content
    return job.augment.sources[GENERATOR if arm.traits.transfer else arm.source].model_dump()


def _hash_source(run: Run, arm: ArmConfig) -> str | None:
    """Return the hash of what an arm has from elsewhere, as it was read for the first split; None before that."""
    if arm.traits.transfer:
        classifier = locate_generator(run).classifier
        return None if classifier is None else str(classifier.read_json(ModelRecord.FILE)["hash"])
    record = locate_source(run, arm).find_record()
    return None if record is None else record.hash
