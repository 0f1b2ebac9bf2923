"""What a search costs: ASHA beside the full grid, and Tune beside the bare loops.

    python -m tests.benchmarks.searching asha [--rates 12] [--steps 800] [--filters 16]
    python -m tests.benchmarks.searching overhead [--trials 4] [--steps 1200]

asha: GANs on scikit-learn's digits, 20 of a class, over learning rates between 5e-5 and 3e-3, as a full grid and with
      ASHA; then the setting that each chose is trained again with three other seeds. The objective is KID against
      validation images, lower is better; a look at a quarter, an eighth and a half of the steps and at the end.
overhead: the same trials by `ganaug search`'s own path on a Ray that is up, and in as many plain processes without Ray;
      each process has one thread, on both sides.
"""

from __future__ import annotations

import argparse
import functools
import math
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import ray
import torch

from ganaug_ray.config import Job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.runtime import cluster
from ganaug_ray.search import driver, trainable
from ganaug_ray.search.search_plan import SearchPlan
from ganaug_ray.search.search_space import Dimension, SearchSpace
from ganaug_ray.search.trial_log import IntermediateResult, Ledger
from ganaug_ray.search.tune_runner import plan_trials, run_trials

AT_ONCE = 2
SEEDS = (11, 12, 13)


def job(steps: int, filters: int, **search: object) -> Job:
    """A job on the digits."""
    return Job.model_validate(
        {
            "data": {
                "source": ["sklearn:digits"],
                "image_size": 32,
                "resize": "stretch",
                "train_per_class": 20,
                "val_per_class": 30,
                "split": {"val": 0.3, "test": 0.3},
            },
            "gan": {"steps": steps, "batch_size": 64, "filters": filters, "checkpoint_every": steps},
            "classifier": {"arch": "cnn", "steps": 200, "batch_size": 64, "flip": False},
            "search": {"algorithm": "grid", **search},
        }
    )


def space(rates: list[float], steps: int) -> SearchSpace:
    """Learning rates, each looked at four times on the way."""
    budgets = tuple(steps * share // 8 for share in (1, 2, 4, 8))
    return SearchSpace("gan", (Dimension("gan.lr", "choice", tuple(rates), {}),), "gan.steps", budgets)


def rates_of(n: int) -> list[float]:
    """Evenly by their logarithm, in an order that has nothing to do with their size."""
    rates = [float(f"{rate:.3g}") for rate in np.geomspace(5e-5, 3e-3, n)]
    return [rates[i] for i in np.random.default_rng(0).permutation(n)]


def found(own: Job, wanted: SearchSpace, out: str) -> tuple[dict[str, Any], float]:
    """Search by the command's own path; return search.json and the seconds."""
    started = time.monotonic()
    pipeline = Pipeline(own, Run(Folder.from_uri(out)), Terminal())
    driver.run_search(pipeline, wanted, None)
    record = pipeline.run.root.read_json("search/gan/search.json")
    return record, time.monotonic() - started


def asha(given: argparse.Namespace, room: str) -> None:
    """Print both searches and what their choices give with other seeds."""
    rates = rates_of(given.rates)
    for name, early in (("grid", False), ("ASHA", True)):
        out = f"{room}/{name}"
        record, seconds = found(job(given.steps, given.filters, stop_early=early), space(rates, given.steps), out)
        best = record["best"]
        lr = best["settings"]["gan.lr"]
        values = []
        for seed in SEEDS:
            own = job(given.steps, given.filters).model_copy(update={"seed": seed})
            again, _ = found(own, space([lr], given.steps), f"{room}/{name}-{seed}")
            looks = {look["at"]: look["value"] for look in again["trials"][0]["looks"]}
            values.append(looks[best["at"]])
        share = record["steps"] / record["full_steps"]
        error = stdev(values) / math.sqrt(len(values))
        print(
            f"{name}: {record['steps']} of {record['full_steps']} steps ({share:.0%}), {seconds:.0f} s; lr {lr:g} at "
            f"step {best['at']}, KID {best['value']:.4f}; with seeds {SEEDS}: {mean(values):.4f}, its standard error "
            f"{error:.4f}",
            flush=True,
        )


def overhead(given: argparse.Namespace, room: str) -> None:
    """Print seconds on both sides and their ratio."""
    rates = rates_of(given.trials)
    own = job(given.steps, given.filters, stop_early=False)
    pipeline = Pipeline(own, Run(Folder.from_uri(f"{room}/run")), Terminal())
    pipeline.prepare_data()
    pipeline.train_teachers()
    plan = SearchPlan(own, space(rates, given.steps), str(pipeline.run.root))
    settings = [{"gan.lr": rate} for rate in rates]
    started = time.monotonic()
    with ProcessPoolExecutor(AT_ONCE, multiprocessing.get_context("spawn")) as pool:
        each = list(pool.map(functools.partial(_bare, plan), range(9001, 9001 + len(rates)), settings))
    bare = time.monotonic() - started
    hardware = cluster.connect(own, pipeline.run.root, 1)
    ledger = Ledger.from_folder(plan.folder.create())
    started = time.monotonic()
    run_trials(plan, ledger, len(rates), AT_ONCE, plan_trials(plan, hardware), lambda trial: None)
    tune = time.monotonic() - started
    assert all(trial.status == "finished" for trial in ledger.trials.values())
    inside = [trial.seconds for trial in ledger.trials.values()]
    print(
        f"{len(rates)} trials, {AT_ONCE} at a time: bare {bare:.0f} s (a trial {mean(each):.0f} s), "
        f"search {tune:.0f} s (a trial {mean(inside):.0f} s), ratio {tune / bare:.2f}"
    )


def _bare(plan: SearchPlan, number: int, settings: dict[str, float]) -> float:
    torch.set_num_threads(1)
    started = time.monotonic()
    told: list[IntermediateResult] = []
    trainable.run_trial(plan, str(number), settings, trainable.TrialRunner.build_local(Place(), told.append))
    assert len(told) == len(plan.space.budgets), "it came to its end"
    return time.monotonic() - started


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["asha", "overhead"])
    parser.add_argument("--rates", type=int, default=12)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--filters", type=int, default=16)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as room:
        Path(room, "runs").mkdir()
        {"asha": asha, "overhead": overhead}[given.what](given, room)
    ray.shutdown()


if __name__ == "__main__":
    main()
