"""One rank of a classifier's training: loads images, runs the training loop, and on rank 0 writes the model folder."""

import copy
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save as tensors_to_bytes

from ganaug_ray.classify import initial_weights, networks, training_loop
from ganaug_ray.classify.checkpointing import TrainingCheckpoints
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.config.base import SCALING_KEYS
from ganaug_ray.core import checkpoint, compilation, experiment_dir, metrics_log, rng
from ganaug_ray.core.determinism import use_deterministic_algorithms
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.finite_guard import DivergenceError
from ganaug_ray.core.heap_memory import reuse_freed_memory
from ganaug_ray.core.records import DatasetRecord, ModelRecord, ModelSpec
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import shared_memory
from ganaug_ray.data.loading.batch import Batch, BatchFeed, draw_random_batch
from ganaug_ray.data.loading.resident_loader import ResidentImages

LAST_GOOD_FILE = "last_good.safetensors"
CHECKPOINT_FOLDER = "checkpoints"
MAX_TRAIN_ROWS = 10_000  # training rows that are predicted, for the gap between training and test figures

BatchMaker = Callable[[Place], BatchFeed]


@dataclass(frozen=True)
class ClassifierTraining:
    """One classifier to train, as plain data that can be sent to any process."""

    arm: str
    seed: int
    config: ClassifierConfig
    dataset: str
    out: str
    batches: BatchMaker
    """Opens the arm's batches on a rank: what makes one arm differ from another."""
    inputs: dict[str, str]
    """Hashes of what it is trained on."""
    start: str | None = None
    """Folder with the weights it starts from, see ``initial_weights``; absent: fresh ones."""
    draw_seed: int | None = None
    """What the random draws depend on; absent: the seed."""
    parts: tuple[str, ...] = ("train", "val", "test")
    """Whose rows the finished model is asked about; a search keeps its hands off the test rows."""
    pool_folder: str | None = None
    """Folder of the images that stand beside the real ones, where they are read from a store."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What decides the rows of its batches besides the config and the inputs: JSON-like, and no names of code."""

    @property
    def stores(self) -> list[str]:
        """The folders of the image stores that the training reads."""
        dataset = Folder.from_uri(self.dataset)
        folders = [str(dataset / part) for part in dict.fromkeys(("train", "val", *self.parts))]
        if self.pool_folder:
            folders.append(self.pool_folder)
        return folders

    @property
    def name(self) -> str:
        """The training's name in messages: arm and seed."""
        return f"{self.arm}, seed {self.seed}"

    def compute_fingerprint(self, started_from: Any) -> str:
        """Return a hash of all that decides the weights; a checkpoint with another hash is not used."""
        config = self.config.model_dump(exclude=SCALING_KEYS)
        return experiment_dir.compute_fingerprint(
            config, self.seed, self.draw_seed, self.inputs, started_from, self.settings
        )


def train_and_finish(fit: ClassifierTraining, place: Place) -> None:
    """Train one rank to the end, from the newest checkpoint if there is one, and on rank 0 write model.json.

    Raises:
        DivergenceError: a gradient was not finite; the weights kept before that are in last_good.safetensors.
    """
    started = time.monotonic()
    dataset = Folder.from_uri(fit.dataset)
    out = Folder.from_uri(fit.out)
    facts = DatasetRecord.read(dataset)
    config = fit.config
    counts = list(facts.counts["train"].values())
    steps = config.count_steps(sum(counts))
    network_input = networks.choose_input(config.arch, facts.image_size, config.input_size, config.is_pretrained)
    draws = fit.seed if fit.draw_seed is None else fit.draw_seed
    torch.manual_seed(rng.hash_to_number(draws, "weights"))
    network = networks.build_network(config.arch, facts.channels, len(facts.classes), config.dropout, network_input)
    assert fit.start or not (config.weights or config.init_from), "never a silent fresh start"
    started_from = initial_weights.load_weights(network, Folder.from_uri(fit.start)) if fit.start else None
    network.to(place.device).to(memory_format=torch.channels_last)
    val = ResidentImages.load(dataset / "val", place.device)
    weights_K = None
    if config.class_weights == "balanced":
        weights_K = balance_class_weights(counts).to(place.device)
    batches = fit.batches(place)
    checkpoints = TrainingCheckpoints(out / CHECKPOINT_FOLDER, fit.compute_fingerprint(started_from), batches, place)
    log = None
    report: Callable[[dict[str, Any]], None] = _ignore_row
    if place.is_first:
        log = metrics_log.MetricsLog(out, checkpoints.start.step if checkpoints.start else 0)
        report = log.append_line
    kept_evaluations: deque[training_loop.KeptEvaluation] = deque(maxlen=1)

    def save(step: int, parts: dict[str, checkpoint.Stateful], history: checkpoint.Tensors) -> None:
        if checkpoints.decide_to_save() and log is not None:
            log.flush()
            checkpoints.save(step, {**checkpoint.pack_states(parts), **history})

    try:
        with use_deterministic_algorithms(config.deterministic), reuse_freed_memory(place.device):
            first = checkpoints.start.step if checkpoints.start else 0
            compiled = choose_compile(network, batches, val, config, facts, range(first, steps), place)
            evaluation = training_loop.train_classifier(
                network,
                batches,
                val,
                config.model_copy(update={"compile": compiled}),
                steps,
                draws,
                place,
                report,
                kept_evaluations.append,
                weights_K,
                checkpoints.start,
                save,
            )
    except DivergenceError:
        if log is not None and kept_evaluations:
            out.write_bytes(LAST_GOOD_FILE, tensors_to_bytes(kept_evaluations[-1].weights))
        raise
    train_seconds, tally = checkpoints.sum_spent()
    if log is None:
        return
    log.flush()
    weights = tensors_to_bytes(evaluation.weights)
    spec = ModelSpec(
        hash=experiment_dir.hash_content(weights),
        arch=config.arch,
        classes=facts.classes,
        channels=facts.channels,
        image_size=facts.image_size,
        resize=facts.resize,
        value_range=facts.value_range,
        **network_input.spec,
    )
    out.write_bytes("model.safetensors", weights)
    classifier = Classifier(spec, evaluation.weights, place.device)
    with reuse_freed_memory(place.device):
        predictions = tabulate_predictions(classifier, dataset, fit.parts)
    out.write_table("predictions.parquet", predictions)
    record = {
        "hash": spec.hash,
        "inputs": fit.inputs,
        **spec.model_dump(),
        "arm": fit.arm,
        "seed": fit.seed,
        "steps": steps,
        "train_seconds": round(train_seconds, 3),  # of the loop with its looks at validation
        "occupied": place.occupied,
        "best_step": evaluation.step,
        "val_accuracy": evaluation.accuracy,
        "val_loss": evaluation.loss,
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "start": started_from,
        "config": config.model_dump(),
    }
    if tally:
        record["tally"] = tally
    ModelRecord.write(out, "train", started, record)
    checkpoint.delete_all(out / CHECKPOINT_FOLDER)


def choose_compile(
    network: networks.Network,
    batches: BatchFeed,
    val: ResidentImages,
    config: ClassifierConfig,
    facts: DatasetRecord,
    steps: range,
    place: Place,
) -> bool:
    """Decide whether a classifier's network is compiled, alike on every rank; see ``compilation.choose_compile``.

    Steps are timed on a copy of the network and on noise: real batches would be counted in the model's record.

    Args:
        network: to be trained; it is left as it is.
        batches: of the training.
        val: the validation split.
        config: the training's.
        facts: of the data set.
        steps: those that are left.
        place: this rank.
    """

    def make_batch() -> Batch:
        rows = place.slice_rows(batches.count_rows(steps.start))
        count = rows.stop - rows.start
        return draw_random_batch(count, len(facts.classes), facts.channels, facts.image_size, place.device)

    def train_briefly(compiled: bool, timed: Callable[[int], Batch], alone: Place) -> None:
        brief = training_loop.keep_steps_alone(config, compiled)
        copied = copy.deepcopy(network)
        training_loop.train_classifier(copied, timed, val, brief, compilation.NEVER, 0, alone, _ignore_row)

    return compilation.choose_compile(config, len(steps), place, make_batch, train_briefly)


def balance_class_weights(counts: list[int]) -> torch.Tensor:
    """Return loss weights by which all classes count equally and the mean row counts one: float [K].

    >>> balance_class_weights([10, 30])
    tensor([2.0000, 0.6667])
    """
    return torch.tensor([sum(counts) / (len(counts) * max(1, count)) for count in counts])


def tabulate_predictions(classifier: Classifier, dataset: Folder, parts: tuple[str, ...]) -> pa.Table:
    """Return a table (split, id, label, probabilities) of these parts' rows; of train at most 10,000."""
    tables = []
    for split in parts:
        max_rows = MAX_TRAIN_ROWS if split == "train" else None
        rows = shared_memory.read_images(dataset / split, max_rows)
        probabilities = classifier.predict_probabilities(rows.images)
        columns: dict[str, Any] = {
            "split": pa.array([split] * len(rows)),
            "id": pa.array(rows.ids),
            "label": pa.array(rows.labels, pa.int64()),
            "probabilities": pa.FixedSizeListArray.from_arrays(
                pa.array(np.ascontiguousarray(probabilities).ravel()), probabilities.shape[1]
            ),
        }
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def _ignore_row(row: dict[str, Any]) -> None:
    """Ranks other than the first have nothing to write."""
