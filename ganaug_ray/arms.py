"""The arms of a comparison: which there are, what each is trained on, and what came out of it.

Arms differ in their batches alone: the same steps, real rows, classic augmentation and seeds in each.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ganaug_ray import runs
from ganaug_ray.config import Job
from ganaug_ray.runs import Record, Run

if TYPE_CHECKING:  # torch is imported when an arm is trained
    from ganaug_ray.augment.evidence import Screening
    from ganaug_ray.augment.live import Live
    from ganaug_ray.classify.worker import Fit
    from ganaug_ray.evaluate.outcomes import Outcome

REAL = "real+classic"
SYNTHETIC = "real+classic+synthetic"
LIVE = "real+classic+live"
_BY_SOURCE = {"pool": SYNTHETIC, "live": LIVE}


def has_synthetic(job: Job) -> bool:
    """Whether the job has an arm with synthetic images."""
    return job.augment.ratio > 0


def has_gan(job: Job) -> bool:
    """Whether a run trains a GAN: for an arm, or for its own sake. One without classes is for nothing else."""
    return has_synthetic(job) or not job.gan.conditional


def names(job: Job) -> list[str]:
    """The job's arms, the baseline first."""
    return [REAL, *(_BY_SOURCE[source] for source in job.augment.source)] if has_synthetic(job) else [REAL]


def pairs(job: Job) -> list[tuple[str, int]]:
    """Every (arm, seed) there is a model of."""
    return [(arm, seed) for arm in names(job) for seed in range(job.compare.seeds)]


def screening(job: Job, run: Run) -> Screening | None:
    """What synthetic images are screened with, stored or live; the first model of the real arm is the teacher."""
    from ganaug_ray.augment.evidence import Screening

    settings = job.augment.screen
    folders = (str(folder) for folder in (run.model(REAL, 0), run.dataset, run.gan))
    return Screening(settings, *folders) if settings.enabled else None


def generated(job: Job, run: Run) -> Record | None:
    """The generate stage's marker, if it did what the job's sources need: images for a pool, limits for live ones."""
    record, sources = runs.done(run.synthetic, "synthetic.json"), job.augment.source
    if record is None or ("pool" in sources and not record["images"]):
        return None
    return record if sources == ["pool"] or "limits" in record else None


def fit(job: Job, run: Run, arm: str, seed: int) -> Fit:
    """Describe the training of one arm's model of one seed; dataset/ and, if it needs it, synthetic/ are finished."""
    from ganaug_ray.augment import plan
    from ganaug_ray.augment.live import live_batches
    from ganaug_ray.augment.mix import mixed_batches, pool_batches
    from ganaug_ray.augment.soften import softened_batches
    from ganaug_ray.classify.worker import Fit
    from ganaug_ray.data.batches import real_batches
    from ganaug_ray.data.sampling import Sampling

    dataset, size, memory = str(run.dataset), job.classifier.batch_size, job.data.resident_gb
    data, augment = run.dataset.read_json("dataset.json"), job.augment
    sampling = Sampling(job.classifier.sampling == "balanced")
    inputs: dict[str, Any] = {"dataset": data["hash"]}
    batches: functools.partial[Any] = functools.partial(real_batches, dataset, size, memory, seed, sampling=sampling)
    if arm != REAL:
        synthetic, counts = run.synthetic.read_json("synthetic.json"), data["counts"]["train"]
        inputs |= {"synthetic": synthetic["hash"], "generator": synthetic["inputs"]["gan"]}
        steps = job.classifier.total_steps(sum(counts.values()))
        mixture = plan.Mixture.of(augment, counts, size, steps, synthetic["not_drawn"])
        fake: functools.partial[Any]
        if arm == LIVE:
            fake = functools.partial(live_batches, _live(job, run, synthetic), mixture.synthetic_upto, seed)
        else:
            fake = functools.partial(pool_batches, str(run.synthetic), mixture.synthetic_upto, memory, seed)
        if augment.soft_labels:
            teacher = run.model(REAL, 0)
            fake = functools.partial(softened_batches, fake, str(teacher))
            inputs |= {"teacher": teacher.read_json("model.json")["hash"]}
        batches = functools.partial(batches, wait=mixture.wait)
        apart = augment.batch_norm == "separate"
        batches = functools.partial(mixed_batches, batches, fake, weight=augment.weight, apart=apart)
    start = runs.done(run.models, "start.json")
    if start is not None:
        inputs |= {"weights": start["hash"]}
    folder = str(run.models) if start is not None else None
    return Fit(arm, seed, job.classifier, dataset, str(run.model(arm, seed)), batches, inputs, folder)


def _live(job: Job, run: Run, synthetic: Record) -> Live:
    from ganaug_ray.augment.live import Live
    from ganaug_ray.augment.screen import Limits

    pool = {name: n for name, n in synthetic["asked"].items() if name not in synthetic["not_drawn"]}
    limits = synthetic["limits"]
    return Live(str(run.gan), pool, screening(job, run), Limits.stored(limits) if limits else None)


def outcomes(job: Job, run: Run, arm: str) -> list[Outcome]:
    """What an arm's models answered, seed by seed."""
    from ganaug_ray.evaluate.outcomes import Outcome

    seeds = range(job.compare.seeds)
    return [Outcome.of(run.model(arm, seed).read_table("predictions.parquet"), 0, seed) for seed in seeds]
