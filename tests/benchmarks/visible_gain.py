"""How small a gain does the default plan see? Beside the plan and the rule that it replaced, at as many models.

Small data sets are dealt out in several orders. In each, the baseline and an arm that oversamples real images are
trained by the default plan, five splits with two seeds, and ten times on the first split. Both are judged by today's
rule and by the one before; printed is the gain that is found with 80 % power. The default plan's trainings are also
repeated with the weights that were compared before, those of the best look: as many models, and as many GANs.

    python -m tests.benchmarks.visible_gain --orders 10 --processes 2
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.data.loading.image_store import LabelledImages
from ganaug_ray.pipeline.comparison_plan import SEEDS, SPLITS
from ganaug_ray.verdict.from_experiment import read_outcomes
from ganaug_ray.verdict.outcomes import compute_differences
from ganaug_ray.verdict.paired_statistics import (
    POWER,
    SIGNIFICANCE_LEVEL,
    Differences,
    compute_row_variance,
    estimate_means,
)
from tests.benchmarks import cheap_trainings
from tests.benchmarks.interval_coverage import Cell, compute_old_half

ARM = "oversample"
MODELS = SPLITS * SEEDS  # of each arm


@dataclass(frozen=True)
class Setting:
    """A data set and the trainings on it."""

    load: Callable[[int], LabelledImages]
    """Order -> every image there is."""
    train_per_class: int | None
    classifier: dict[str, Any]
    test: float = 0.2
    """Share of the images that a single split tests."""


def _load_digits(order: int) -> LabelledImages:
    return cheap_trainings.load_digits()


def _load_fashion(order: int) -> LabelledImages:
    return cheap_trainings.load_fashion(100, order)


def _load_photographs(order: int) -> LabelledImages:
    return cheap_trainings.load_photographs(None, order, 32)


def _load_few_photographs(order: int) -> LabelledImages:
    return cheap_trainings.load_photographs(120, order, 32)


PHOTOGRAPHS = {"steps": 100, "batch_size": 32, "input_size": 32, "lr": 1e-3}
SETTINGS = {
    "digits": Setting(_load_digits, 20, {"steps": 100, "batch_size": 32, "input_size": 16, "flip": False}),
    "fashion": Setting(_load_fashion, None, {"steps": 100, "batch_size": 32, "input_size": 16}),
    "photographs": Setting(_load_photographs, 100, PHOTOGRAPHS),
    "240-photographs": Setting(
        _load_few_photographs, None, {"steps": 100, "batch_size": 32, "input_size": 32, "lr": 1e-3}
    ),
}


def build_job(setting: Setting, order: int, splits: int, seeds: int, keep: str = "auto") -> Job:
    """Build the comparison with another dealing out of the images."""
    every = max(1, setting.classifier["steps"] // 4)
    return Job.model_validate(
        {
            "data": {
                "source": "sklearn:digits", "train_per_class": setting.train_per_class,
                "split": {"val": 0.1, "test": setting.test, "seed": order},
            },
            "gan": {"steps": 1},
            "arms": {ARM: {"ratio": 0.5}},
            "classifier": {"evaluate_every": every, "log_every": every, "keep": keep, **setting.classifier},
            "compare": {"splits": splits, "seeds": seeds},
            "seed": order,
        }
    )  # fmt: skip


def measure(name: str, order: int) -> dict[str, float]:
    """Train in a folder of its own; return the smallest visible gains and what they are made of, as shares."""
    torch.set_num_threads(1)
    setting = SETTINGS[name]
    rows = setting.load(order)
    with tempfile.TemporaryDirectory(prefix="ganaug-") as folder:
        over_splits = build_job(setting, order, SPLITS, SEEDS)
        over_seeds = build_job(setting, order, 1, MODELS)
        best_look = build_job(setting, order, SPLITS, SEEDS, keep="best")
        run = cheap_trainings.train_arms(rows, over_splits, Path(folder) / "run")
        differences = {"splits": _read_differences(over_splits, run)}
        cheap_trainings.train_arms(rows, over_seeds, Path(folder) / "run")
        differences["seeds"] = _read_differences(over_seeds, run)
        run = cheap_trainings.train_arms(rows, best_look, Path(folder) / "best")
        differences["splits of best looks"] = _read_differences(best_look, run)
    gains = {}
    for plan, found in differences.items():
        gains[f"{plan}, now"] = _see_now(found)
        gains[f"{plan}, before"] = _see_before(found)
        gains[f"{plan}, mean"] = float(found.values_JSM.mean())
    first_three = differences["seeds"]
    assert first_three.influence is not None
    first_three = replace(
        first_three, values_JSM=first_three.values_JSM[:, :3], influence=[first_three.influence[0][:3]]
    )
    gains["three seeds, before"] = _see_before(first_three)
    return gains


def _read_differences(job: Job, run: Run) -> Differences:
    return compute_differences(read_outcomes(job, run, ARM), read_outcomes(job, run, "real+classic"), "accuracy")


def _see_now(differences: Differences) -> float:
    (estimate,) = estimate_means(differences)
    assert estimate.smallest_visible_gain is not None
    return estimate.smallest_visible_gain


def _see_before(differences: Differences) -> float:
    values_JSM, influence = differences.values_JSM, differences.influence
    assert influence is not None
    splits, seeds = values_JSM.shape[:2]
    repeats_RM = values_JSM.mean(1) if splits > 1 else values_JSM[0]
    cell = Cell(splits, seeds, sum(len(one[0]) for one in influence), (1.0, 0.0, 0.0), 1)
    levels = (SIGNIFICANCE_LEVEL, 2 * (1 - POWER))
    between, by_rows = repeats_RM.var(0, ddof=1), compute_row_variance(influence[0])
    return float(sum(compute_old_half(between, by_rows, cell, level)[0] for level in levels))


def main() -> None:
    """Print medians over the orders, and a line of JSON for each order as it ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=10)
    parser.add_argument("--sets", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        for name in given.sets:
            started, found = time.monotonic(), []
            for row in pool.imap(functools.partial(measure, name), range(given.orders)):
                found.append(row)
                print(json.dumps({"set": name, **{key: round(value, 5) for key, value in row.items()}}), flush=True)
            medians = {key: float(np.median([row[key] for row in found])) for key in found[0]}
            figures = ", ".join(f"{key} {100 * value:.2f}" for key, value in medians.items())
            print(f"{name}: {figures} points", flush=True)
            for before in ("seeds, before", "splits of best looks, before", "three seeds, before"):
                ratio = float(np.median([row["splits, now"] / row[before] for row in found]))
                print(f"{name}: the default plan over {before}: {ratio:.2f}", flush=True)
            print(f"{given.orders} orders, {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
