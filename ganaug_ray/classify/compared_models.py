"""The job's models section: networks trained on the same real images with the same seeds, to be compared."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING

from ganaug_ray.config import ClassifierConfig, Job
from ganaug_ray.config.base import SCALING_KEYS
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.records import DatasetRecord, ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError

if TYPE_CHECKING:  # torch is imported when a model is trained
    from ganaug_ray.classify.train_worker import ClassifierTraining

BOARD_MARKER = "board.json"


def list_pairs(job: Job) -> list[tuple[str, int]]:
    """List (model, seed) of every training, the baseline's first. Raises UserError if the job names no models."""
    if not job.models:
        raise UserError(
            "models: the job has no such section; name two or more, "
            "such as {cnn: {}, resnet: {arch: torchvision:resnet18}}"
        )
    return list(itertools.product(job.models, range(job.compare.seeds)))


def locate_folder(run: Run, name: str, seed: int) -> Folder:
    """Return the folder of one model of one seed."""
    return run.board / name / f"seed-{seed}"


def read_marker(job: Job, run: Run, name: str, seed: int) -> ModelRecord | None:
    """Return the marker of a finished model, or None if it has other settings or another data set."""
    record = ModelRecord.find(locate_folder(run, name, seed))
    dataset = DatasetRecord.read(run.dataset).hash
    if record is None or record.inputs["dataset"] != dataset:
        return None
    if _dump_settings(ClassifierConfig(**record.config)) != _dump_settings(job.models[name]):
        return None
    return record


def _dump_settings(config: ClassifierConfig) -> Record:
    return config.model_dump(exclude=SCALING_KEYS)


def collect_inputs(job: Job, run: Run) -> dict[str, str]:
    """Return the hashes of the finished models, by model and seed."""
    hashes = {}
    for name, seed in list_pairs(job):
        record = ModelRecord.read(locate_folder(run, name, seed))
        hashes[f"{name}/seed-{seed}"] = record.hash
    return hashes


def compute_fingerprint(job: Job, run: Run) -> str:
    """Return a hash of all that board.json is made from."""
    return experiment_dir.compute_fingerprint(collect_inputs(job, run), list(job.models), job.compare.model_dump())


def prepare_weights(job: Job, run: Run, name: str) -> Record | None:
    """Find the weights that a model starts from, and keep them in its folder; None where it starts afresh.

    See ``initial_weights.prepare_weights``.
    """
    from ganaug_ray.classify import initial_weights

    weights_folder = run.board / name
    weights_folder.delete_file("start.json")  # of other settings, maybe
    try:
        return initial_weights.prepare_weights(
            job.model_copy(update={"classifier": job.models[name]}), run, weights_folder
        )
    except UserError as error:
        raise UserError(str(error).replace("classifier.", f"models.{name}.", 1)) from None


def build_training(job: Job, run: Run, name: str, seed: int) -> ClassifierTraining:
    """Build the training of a model of one seed, once the data set and its initial weights are there."""
    from ganaug_ray.classify.train_worker import ClassifierTraining
    from ganaug_ray.data.loading.resident_loader import open_real_feed
    from ganaug_ray.data.loading.sampler import Sampling

    config = job.models[name]
    dataset = str(run.dataset)
    input_hashes = {"dataset": DatasetRecord.read(run.dataset).hash}
    folder_of_start = None
    start = experiment_dir.read_marker(run.board / name, "start.json")
    if start is not None:
        input_hashes["weights"] = start["hash"]
        folder_of_start = str(run.board / name)
    sampling = Sampling(config.sampling == "balanced")
    batches = functools.partial(
        open_real_feed, dataset, config.batch_size, job.data.resident_gb, seed, sampling=sampling
    )
    model_folder = locate_folder(run, name, seed)
    model_folder.delete_file(ModelRecord.FILE)  # of other settings: a training that is killed leaves no marker
    settings = {"resident_gb": job.data.resident_gb}

    return ClassifierTraining(
        name, seed, config, dataset, str(model_folder), batches, input_hashes, folder_of_start, settings=settings
    )
