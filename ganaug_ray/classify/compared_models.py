"""Comparing models: the job's networks side by side, each trained on the real arm's batches with the same seeds."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ganaug_ray.config import ClassifierConfig, Job
from ganaug_ray.config.base import SPREADING
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError

if TYPE_CHECKING:  # torch is imported when a model is trained
    from ganaug_ray.classify.train_worker import Fit

MARKER = "board.json"


def pairs(job: Job) -> list[tuple[str, int]]:
    """Every (model, seed) there is a fit of, the baseline's first. Raises UserError: the job names no models."""
    if not job.models:
        raise UserError(
            "models: the job has no such section; name two or more, "
            "such as {cnn: {}, resnet: {arch: torchvision:resnet18}}"
        )
    return [(name, seed) for name in job.models for seed in range(job.compare.seeds)]


def folder(run: Run, name: str, seed: int) -> Folder:
    """The folder of one model of one seed."""
    return run.board / name / f"seed-{seed}"


def done(job: Job, run: Run, name: str, seed: int) -> Record | None:
    """The marker of a finished model, if it was trained with these settings on this data set."""
    record = experiment_dir.done(folder(run, name, seed), "model.json")
    dataset = run.dataset.read_json("dataset.json")["hash"]
    if record is None or record["inputs"]["dataset"] != dataset:
        return None
    return record if _settings(ClassifierConfig(**record["config"])) == _settings(job.models[name]) else None


def _settings(config: ClassifierConfig) -> Record:
    return config.model_dump(exclude=SPREADING)


def inputs(job: Job, run: Run) -> dict[str, str]:
    """Hashes of the finished models."""
    return {f"{n}/seed-{k}": folder(run, n, k).read_json("model.json")["hash"] for n, k in pairs(job)}


def fingerprint(job: Job, run: Run) -> str:
    """What a board is made from."""
    return experiment_dir.fingerprint(inputs(job, run), list(job.models), job.compare.model_dump())


def prepare(job: Job, run: Run, name: str) -> Record | None:
    """Find the weights that a model starts from, see ``classify.start.prepare``; None where it starts afresh."""
    from ganaug_ray.classify import initial_weights

    here = run.board / name
    here.delete("start.json")  # of other settings, maybe
    try:
        return initial_weights.prepare(job.model_copy(update={"classifier": job.models[name]}), run, here)
    except UserError as error:
        raise UserError(str(error).replace("classifier.", f"models.{name}.", 1)) from None


def fit(job: Job, run: Run, name: str, seed: int) -> Fit:
    """Describe the training of one model of one seed; dataset/ and the weights it starts from are there."""
    from ganaug_ray.classify.train_worker import Fit
    from ganaug_ray.data.loading.resident_loader import real_batches
    from ganaug_ray.data.loading.sampler import Sampling

    config, dataset = job.models[name], str(run.dataset)
    made_from = {"dataset": run.dataset.read_json("dataset.json")["hash"]}
    start = experiment_dir.done(run.board / name, "start.json")
    if start is not None:
        made_from |= {"weights": start["hash"]}
    sampling = Sampling(config.sampling == "balanced")
    batches = functools.partial(real_batches, dataset, config.batch_size, job.data.resident_gb, seed, sampling=sampling)
    own, where = folder(run, name, seed), str(run.board / name)
    own.delete("model.json")  # of other settings: a training that is killed leaves no marker
    settings = {"resident_gb": job.data.resident_gb}
    folder_of_start = where if start is not None else None
    return Fit(name, seed, config, dataset, str(own), batches, made_from, folder_of_start, settings=settings)
