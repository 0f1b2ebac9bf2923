"""One rank of one fit: loads its rows, runs the loop, and on rank 0 writes the model folder."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save as tensors_to_bytes

from ganaug_ray import randomness, runs
from ganaug_ray.classify import loop, networks
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.data import store
from ganaug_ray.data.batches import Feed, Resident
from ganaug_ray.parallel import Place
from ganaug_ray.storage import Folder

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

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return f"{self.arm}, seed {self.seed}"


def work(fit: Fit, place: Place) -> None:
    """Train one rank of a fit; returns when model.json is written.

    Raises:
        Diverged: a loss was not finite.
    """
    started = time.monotonic()
    dataset, out = Folder.at(fit.dataset), Folder.at(fit.out)
    facts = dataset.read_json("dataset.json")
    rows = sum(facts["counts"]["train"].values())
    steps = fit.config.total_steps(rows)
    torch.manual_seed(randomness.number(fit.seed, "weights"))
    network = networks.build(fit.config.arch, facts["channels"], len(facts["classes"]), fit.config.dropout)
    network.to(place.device).to(memory_format=torch.channels_last)
    val = Resident.load(dataset / "val", place.device)
    log = runs.MetricsLog(out, 0) if place.is_first else None
    batches = fit.batches(place)
    best = loop.train(network, batches, val, fit.config, steps, fit.seed, place, log.add if log else _ignore)
    tally = {what: int(place.sum(torch.tensor(n, device=place.device))) for what, n in batches.tally().items()}
    if log is None:
        return
    log.flush()
    spec = {
        "arch": fit.config.arch,
        "classes": facts["classes"],
        "channels": facts["channels"],
        "image_size": facts["image_size"],
        "resize": facts["resize"],
    }
    weights = tensors_to_bytes(best.weights)
    out.write("model.safetensors", weights)
    classifier = Classifier(spec, best.weights, place.device)
    out.write_table("predictions.parquet", predictions(classifier, dataset))
    record = {
        "hash": runs.content_hash(weights),
        "inputs": fit.inputs,
        **spec,
        "arm": fit.arm,
        "seed": fit.seed,
        "steps": steps,
        "best_step": best.step,
        "val_accuracy": best.accuracy,
        "val_loss": best.loss,
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "config": fit.config.model_dump(),
        **({"tally": tally} if tally else {}),
    }
    runs.commit(out, "model.json", "train", started, record)


def predictions(classifier: Classifier, dataset: Folder) -> pa.Table:
    """Return the table (split, id, label, probabilities) of all validation and test rows, and of some training rows."""
    tables = []
    for split, most in (("train", MOST_TRAIN), ("val", None), ("test", None)):
        rows = store.read(dataset / split, most)
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
