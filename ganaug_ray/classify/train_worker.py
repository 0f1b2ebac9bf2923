"""One rank of one fit: loads its rows, runs the loop from the newest checkpoint, and on rank 0 writes the folder."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save as tensors_to_bytes

from ganaug_ray.classify import initial_weights, networks, training_loop
from ganaug_ray.classify.checkpointing import Keeper
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.config.base import SPREADING
from ganaug_ray.core import checkpoint, experiment_dir, metrics_log, rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.finite_guard import Diverged
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import shared_memory
from ganaug_ray.data.loading.batch import Feed
from ganaug_ray.data.loading.resident_loader import Resident

LAST_GOOD = "last_good.safetensors"
CHECKPOINTS = "checkpoints"
MOST_TRAIN = 10_000  # training rows that are predicted, for the gap between training and test figures

BatchMaker = Callable[[Place], Feed]


@dataclass(frozen=True)
class Fit:
    """One model to train: plain data, so that it travels to any process."""

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
    """Folder with the weights it starts from, see ``start``; absent: fresh ones."""
    draws: int | None = None
    """What the random draws depend on; absent: the seed."""
    parts: tuple[str, ...] = ("train", "val", "test")
    """Whose rows the finished model is asked about; a search keeps its hands off the test rows."""
    pool: str | None = None
    """Folder of the images that stand beside the real ones, where they are read from a store."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What decides the rows of its batches besides the config and the inputs: JSON-like, and no names of code."""

    @property
    def stores(self) -> list[str]:
        """The folders whose rows it needs."""
        own = [str(Folder.at(self.dataset) / part) for part in dict.fromkeys(("train", "val", *self.parts))]
        return own + ([self.pool] if self.pool else [])

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return f"{self.arm}, seed {self.seed}"

    def fingerprint(self, started_from: Any) -> str:
        """Of all that decides the weights: a checkpoint serves only the training that made it."""
        config = self.config.model_dump(exclude=SPREADING)
        return experiment_dir.fingerprint(config, self.seed, self.draws, self.inputs, started_from, self.settings)


def work(fit: Fit, place: Place) -> None:
    """Train one rank of a fit; returns when model.json is written.

    Raises:
        Diverged: a loss was not finite; the best weights before that are in last_good.safetensors.
    """
    started = time.monotonic()
    dataset, out = Folder.at(fit.dataset), Folder.at(fit.out)
    facts = dataset.read_json("dataset.json")
    config, counts = fit.config, list(facts["counts"]["train"].values())
    steps = config.total_steps(sum(counts))
    wanted = networks.input_of(config.arch, facts["image_size"], config.input_size, config.pretrained)
    draws = fit.seed if fit.draws is None else fit.draws
    torch.manual_seed(rng.number(draws, "weights"))
    network = networks.build(config.arch, facts["channels"], len(facts["classes"]), config.dropout, wanted)
    assert fit.start or not (config.weights or config.init_from), "never a silent fresh start"
    started_from = initial_weights.load(network, Folder.at(fit.start)) if fit.start else None
    network.to(place.device).to(memory_format=torch.channels_last)
    val = Resident.load(dataset / "val", place.device)
    weights_K = balanced(counts).to(place.device) if config.class_weights == "balanced" else None
    batches = fit.batches(place)
    keeper = Keeper(out / CHECKPOINTS, fit.fingerprint(started_from), batches, place)
    log = metrics_log.MetricsLog(out, keeper.start.step if keeper.start else 0) if place.is_first else None
    report = log.add if log else _ignore
    good: list[training_loop.Best] = []

    def save(step: int, parts: dict[str, checkpoint.Stateful], stand: checkpoint.Tensors) -> None:
        if keeper.due() and log is not None:
            log.flush()
            keeper.save(step, {**checkpoint.pack(parts), **stand})

    try:
        best = training_loop.train(
            network, batches, val, config, steps, draws, place, report, good.append, weights_K, keeper.start, save
        )
    except Diverged:
        if log is not None and good:
            out.write(LAST_GOOD, tensors_to_bytes(good[-1].weights))
        raise
    train_seconds, tally = keeper.spent()
    if log is None:
        return
    log.flush()
    spec = {
        "arch": config.arch,
        "classes": facts["classes"],
        "channels": facts["channels"],
        "image_size": facts["image_size"],
        "resize": facts["resize"],
        **wanted.spec,
    }
    weights = tensors_to_bytes(best.weights)
    out.write("model.safetensors", weights)
    classifier = Classifier(spec, best.weights, place.device)
    out.write_table("predictions.parquet", predictions(classifier, dataset, fit.parts))
    record = {
        "hash": experiment_dir.content_hash(weights),
        "inputs": fit.inputs,
        **spec,
        "arm": fit.arm,
        "seed": fit.seed,
        "steps": steps,
        "train_seconds": round(train_seconds, 3),  # of the loop with its looks at validation
        "best_step": best.step,
        "val_accuracy": best.accuracy,
        "val_loss": best.loss,
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "start": started_from,
        "config": config.model_dump(),
        **({"tally": tally} if tally else {}),
    }
    experiment_dir.commit(out, "model.json", "train", started, record)
    checkpoint.clear(out / CHECKPOINTS)


def balanced(counts: list[int]) -> torch.Tensor:
    """What a row of each class counts, so that classes count alike and the mean row counts one: float [K].

    >>> balanced([10, 30])
    tensor([2.0000, 0.6667])
    """
    return torch.tensor([sum(counts) / (len(counts) * max(1, count)) for count in counts])


def predictions(classifier: Classifier, dataset: Folder, parts: tuple[str, ...]) -> pa.Table:
    """Return the table (split, id, label, probabilities) of these parts' rows; of training rows only some."""
    tables = []
    for split in parts:
        rows = shared_memory.read(dataset / split, MOST_TRAIN if split == "train" else None)
        probabilities = classifier.probabilities(rows.images)
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


def _ignore(row: dict[str, Any]) -> None:
    """Ranks other than the first have nothing to write."""
