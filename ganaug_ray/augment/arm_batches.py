"""Builds the trainings of each arm's models: the baseline's batches of real rows, and the extra rows of the arm.

Every function takes a job and a run as one split of the images has them, see ``Job.derive_split`` and
``Run.locate_split``.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ganaug_ray.augment import arms, synthetic_pools
from ganaug_ray.augment.arm_kinds import KINDS
from ganaug_ray.augment.arm_rows import ArmRows, BatchOpener, is_balanced
from ganaug_ray.augment.synthetic_sources import locate_generator
from ganaug_ray.config import ArmConfig, Job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.records import DatasetRecord, ModelRecord
from ganaug_ray.core.storage import Folder

if TYPE_CHECKING:  # torch is imported when an arm is trained
    from ganaug_ray.classify.train_worker import ClassifierTraining

SPLIT_SEED_STRIDE = 1000  # between the draws of two splits
TEACHER_SEED = 999  # of the draws of a split, beyond those of compared models


def build_training(job: Job, run: Run, name: str, seed: int, gaining: list[str] | None = None) -> ClassifierTraining:
    """Build the training of an arm's model of one seed, once the data, teacher and images it needs are finished.

    Args:
        job: as this split has it.
        run: this split's.
        name: of the arm, or ``arms.TEACHER``, or one of ``arms.AUGMENT_TRIALS``.
        seed: of the arm; 0 of the teacher and the trials.
        gaining: the classes that gained in other arms, for an arm that goes by them.
    """
    from ganaug_ray.classify.train_worker import ClassifierTraining
    from ganaug_ray.data.loading.resident_loader import open_real_feed
    from ganaug_ray.data.loading.sampler import Sampling

    data = DatasetRecord.read(run.dataset)
    config = job.classifier
    draws = seed + SPLIT_SEED_STRIDE * job.data.split.fold
    parts: tuple[str, ...] = ("train", "val", "test")
    if name == arms.TEACHER:
        draws += TEACHER_SEED
    elif name in arms.AUGMENT_TRIALS:
        draws += TEACHER_SEED
        config = config.model_copy(update={"augment": arms.AUGMENT_TRIALS[name]})
        parts = ("val",)
    inputs: dict[str, Any] = {"dataset": data.hash}
    batches: BatchOpener = functools.partial(
        open_real_feed,
        str(run.dataset),
        config.batch_size,
        job.data.resident_gb,
        draws,
        sampling=Sampling(balanced=is_balanced(job)),
    )
    settings: dict[str, Any] = {"resident_gb": job.data.resident_gb}
    pool = None
    if name not in (arms.REAL, arms.TEACHER, *arms.AUGMENT_TRIALS):
        arm = job.compared_arms[name]
        kind = KINDS[arm.kind]
        settings |= _collect_row_settings(job, run, arm)
        config = kind.adapt_classifier(config)
        if kind.has_extra_rows:
            classes = arms.choose_classes(arm, data.classes, data.rare, gaining)
            batches, made_from = _build_batches(job, run, arm, draws, batches, classes)
            inputs |= made_from
            pool = kind.find_store(job, run, arm)
    folder = None
    start_folder = locate_start(job, run, name)
    start = experiment_dir.read_marker(start_folder, "start.json")
    if start is not None:
        inputs["weights"] = start["hash"]
        folder = str(start_folder)
    return ClassifierTraining(
        name,
        seed,
        config,
        str(run.dataset),
        str(run.locate_model(name, seed)),
        batches,
        inputs,
        folder,
        draws,
        parts,
        pool_folder=pool,
        settings=settings,
    )


def locate_start(job: Job, run: Run, name: str) -> Folder:
    """Return the folder of the weights that an arm's models start from, if they start from any."""
    arm = job.compared_arms.get(name)
    return run.models / name if arm is not None and arm.traits.transfer else run.models


def prepare_transfer(job: Job, run: Run, name: str) -> Record:
    """Find and store the weights that the models of an arm of kind transfer start from.

    Raises:
        UserError: the shared generator came without a classifier, or with one that does not fit.
    """
    from ganaug_ray.augment.shared_generator import adopt_classifier
    from ganaug_ray.classify import initial_weights

    assert job.augment.generator is not None, "the job was refused without one"
    folder = locate_start(job, run, name)
    if record := experiment_dir.read_marker(folder, "start.json"):
        return record
    model = adopt_classifier(job.augment.generator, run.dataset, locate_generator(run).folder)
    update = {"init_from": str(model), "weights": None}
    classifier = job.classifier.model_copy(update=update)
    prepared = initial_weights.prepare_weights(job.model_copy(update={"classifier": classifier}), run, folder)
    assert prepared is not None, "there is something to start from"
    return prepared


def refuse_streamed(job: Job, run: Run) -> None:
    """Raise UserError if balanced sampling of real rows needs them in memory, and they are too many for it."""
    from ganaug_ray.data.loading import image_store, resident_loader
    from ganaug_ray.data.loading.sampler import Sampling

    shards = image_store.list_shards(run.dataset / "train")
    resident_loader.refuse_streamed(shards, job.data.resident_gb, Sampling(balanced=is_balanced(job)))


def _build_batches(
    job: Job, run: Run, arm: ArmConfig, seed: int, real: BatchOpener, classes: list[str]
) -> tuple[BatchOpener, dict[str, Any]]:
    """The batches of real rows and others behind them, and hashes of what the others are made from."""
    data = DatasetRecord.read(run.dataset)
    kind = KINDS[arm.kind]
    inputs: dict[str, Any] = {}
    undrawn: list[str] = []
    if arm.traits.is_synthetic:
        synthetic = _read_pool(job, run, arm)
        undrawn = [name for name in classes if name in synthetic["not_drawn"]]
        classes = [name for name in classes if name not in undrawn]
        made_from = dict(synthetic["inputs"])
        if generator := made_from.pop("gan", None):
            made_from["generator"] = generator
        inputs |= {"synthetic": synthetic["hash"], **made_from}
    if arm.traits.pseudo:
        inputs |= {"pseudo": DatasetRecord.read(run.pseudo).hash}
    if classes != data.classes:
        inputs |= {"classes": ", ".join(classes)}
    if not classes:
        return real, inputs
    if arm.soft_labels and kind.softens:
        inputs |= {"teacher": ModelRecord.read(arms.locate_teacher(run)).hash}
    return kind.open_batches(ArmRows(job, run, arm, seed, classes, undrawn), real), inputs


def _collect_row_settings(job: Job, run: Run, arm: ArmConfig) -> dict[str, Any]:
    """Return what decides an arm's rows besides the classifier's settings and the hashes of its inputs."""
    settings = {"arm": arm.model_dump()}
    if arm.traits.live:
        settings["limits"] = _read_pool(job, run, arm)["limits"]
    return settings


def _read_pool(job: Job, run: Run, arm: ArmConfig) -> Record:
    return synthetic_pools.plan_pool(job, run, arm).folder.read_json("synthetic.json")
