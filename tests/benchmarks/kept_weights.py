"""Which weights of a training should be compared? Those of the best evaluation, the last, or averaged ones.

Trains the baseline, an arm that oversamples and one that is given held-out real images, with several seeds on one
split, and looks at each training's weights in four ways at once. What the verdict needs is a paired difference that
varies little from seed to seed, at no lower accuracy.

    python -m tests.benchmarks.kept_weights --seeds 8 --processes 2
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from ganaug_ray.augment import arm_batches
from ganaug_ray.classify import networks, training_loop
from ganaug_ray.config import Job
from ganaug_ray.core import rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.weight_average import WeightAverage
from ganaug_ray.data.loading.image_store import LabelledImages
from ganaug_ray.data.loading.resident_loader import ResidentImages
from tests.benchmarks import cheap_trainings

BASELINE = "real+classic"
ARMS = {"oversample": 0.5, "real+classic+synthetic": 0.5}
HELD_OUT = 50  # of a class
AVERAGED_SHARE = 0.1  # of the images seen: half-life of the average
PLACE = Place()

SETTINGS: dict[str, dict[str, Any]] = {
    "digits": {"train": 20, "classifier": {"steps": 300, "batch_size": 64, "flip": False}},
    "fashion": {"train": 100, "classifier": {"steps": 300, "batch_size": 32}},
    "photographs": {"train": 200, "classifier": {"steps": 300, "batch_size": 32, "lr": 1e-3}},
}


def _load(name: str) -> LabelledImages:
    if name == "digits":
        return cheap_trainings.load_digits()
    return cheap_trainings.load_fashion(250, 0) if name == "fashion" else cheap_trainings.load_photographs(None, 0, 32)


def build_job(name: str) -> Job:
    """Build the comparison on a data set."""
    classifier = SETTINGS[name]["classifier"]
    every = classifier["steps"] // 8
    return Job.model_validate(
        {
            "data": {
                "source": "sklearn:digits", "train_per_class": SETTINGS[name]["train"],
                "split": {"val": 0.1, "test": 0.4, "seed": 0},
            },
            "gan": {"steps": 1},
            "augment": {"per_class": HELD_OUT, "screen": {"enabled": False}},
            "arms": {arm: {"ratio": ratio} for arm, ratio in ARMS.items()},
            "classifier": {
                "input_size": 32, "evaluate_every": every, "log_every": every,
                "ema_half_life": int(AVERAGED_SHARE * classifier["steps"] * classifier["batch_size"]), **classifier,
            },
            "compare": {"seeds": 8},
        }
    )  # fmt: skip


def train(name: str, folder: str, arm: str, seed: int) -> dict[str, tuple[float, float]]:
    """Train once; return (accuracy, cross-entropy) on test of each way to keep weights."""
    torch.set_num_threads(1)
    job, run = build_job(name), Run(Folder.from_uri(folder))
    fit = arm_batches.build_training(job, run, arm, seed)
    facts = DatasetRecord.read(run.dataset)
    draws = fit.seed if fit.draw_seed is None else fit.draw_seed
    steps = SETTINGS[name]["classifier"]["steps"]
    torch.manual_seed(rng.hash_to_number(draws, "weights"))
    network_input = networks.choose_input(fit.config.arch, facts.image_size, fit.config.input_size, False)
    network = networks.build_network(
        fit.config.arch, facts.channels, len(facts.classes), fit.config.dropout, network_input
    )
    val, test = (ResidentImages.load(run.dataset / part, PLACE.device) for part in ("val", "test"))
    averages: list[networks.Network] = []
    build_average = training_loop.build_average

    def remember_average(*given: Any) -> WeightAverage[networks.Network] | None:
        average = build_average(*given)
        assert average is not None
        averages.append(average.module)
        return average

    best: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {}
    figures: dict[str, tuple[float, float]] = {}

    def evaluate(row: dict[str, Any]) -> None:
        for way, model in (("last", network), ("averaged", averages[0])):
            accuracy, loss = training_loop.evaluate_network(model, val, PLACE)
            is_best = way not in best or (accuracy, -loss) > best[way][0]
            if is_best or row["step"] == steps:
                figures[way] = training_loop.evaluate_network(model, test, PLACE)
            if is_best:
                best[way] = (accuracy, -loss), figures[way]

    with mock.patch.object(training_loop, "build_average", remember_average):
        training_loop.train_classifier(network, fit.batches(PLACE), val, fit.config, steps, draws, PLACE, evaluate)
    return {**figures, "best": best["last"][1], "averaged, best": best["averaged"][1]}


def main() -> None:
    """Print a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--sets", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    names = [BASELINE, *ARMS]
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool, tempfile.TemporaryDirectory() as folder:
        for name in given.sets:
            started = time.monotonic()
            run = Run(Folder.from_uri(Path(folder) / name))
            cheap_trainings.deal_images(_load(name), build_job(name), run, HELD_OUT)
            cells = list(itertools.product([name], [str(Path(folder) / name)], names, range(given.seeds)))
            found = dict(zip([cell[2:] for cell in cells], pool.starmap(train, cells, chunksize=1), strict=True))
            print(f"{name}: {given.seeds} seeds, {time.monotonic() - started:.0f} s")
            for way in ("best", "last", "averaged", "averaged, best"):
                _print_way(way, {arm: np.array([found[arm, s][way] for s in range(given.seeds)]) for arm in names})


def _print_way(way: str, of_arm: dict[str, np.ndarray]) -> None:
    own = of_arm[BASELINE]
    text = f"  {way:<15} accuracy {100 * own[:, 0].mean():.2f} %, cross-entropy {own[:, 1].mean():.3f}"
    for arm in ARMS:
        mean, spread = (of_arm[arm] - own).mean(0), (of_arm[arm] - own).std(0, ddof=1)
        text += f"; {arm}: {100 * mean[0]:+.2f}, sd {100 * spread[0]:.2f} points, {mean[1]:+.3f}, sd {spread[1]:.3f}"
    print(text, flush=True)


if __name__ == "__main__":
    main()
