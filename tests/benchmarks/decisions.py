"""How often does the verdict err? Many cheap comparisons on the digits, through the real arms and verdict.

Each repetition deals the digits out anew into several splits and trains the baseline, arms that cannot help (noise,
shuffled-labels, oversample) and one that must: held-out real images passed off as synthetic ones. The table says how
often each ended in each answer, and how wide the intervals were. With several looks an arm gets further seeds until its
own answer is firm, as ``ganaug run --until-clear`` gives them; the first table is of a fixed plan, of as many seeds as
asked. The looks' first seeds are the fixed plan's, so no model is trained twice. Last comes what validation would
choose among all arms, by accuracy or by calibrated cross-entropy: how much worse the choice is than the best arm on
test, on average.

    python -m tests.benchmarks.decisions --repetitions 100 --seeds 2
    python -m tests.benchmarks.decisions --repetitions 100 --seeds 2 --looks 3
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.pipeline.sequential_plan import OPEN_VERDICTS
from ganaug_ray.verdict import from_experiment
from ganaug_ray.verdict.paired_statistics import Verdict
from tests.benchmarks import cheap_trainings

NULL = {"noise": 0.25, "shuffled-labels": 0.25, "oversample": 0.25}
RIGGED = {"real+classic+synthetic": 1.0}
ARMS = NULL | RIGGED
"""Name of an arm -> extra rows for each real one."""
CHOSEN_BY = {"accuracy": 1, "calibrated_cross_entropy": -1}
"""Metric -> whether more or less of it is better."""
HELD_OUT = 60  # of a class: what the rigged arm has

load_digits = functools.lru_cache(maxsize=1)(cheap_trainings.load_digits)


def build_job(repetition: int, splits: int, steps: int, arms: list[str], seeds: int = 1, looks: int = 1) -> Job:
    """A comparison on the digits with another dealing out of the images.

    Without classic augmentation: beside it, oversampling is no null, as more rows a step are more draws of it.
    """
    return Job.model_validate(
        {
            "data": {
                "source": "sklearn:digits", "train_per_class": 15, "val_per_class": 10,
                "split": {"val": 0.08, "test": 0.2, "seed": repetition},
            },
            "gan": {"steps": 1},
            "augment": {"per_class": HELD_OUT, "screen": {"enabled": False}},
            "arms": {name: {"ratio": ARMS[name]} for name in arms},
            "classifier": {
                "steps": steps, "batch_size": 32, "input_size": 8, "flip": False, "rotate": 0.0, "zoom": 0.0,
                "shift": 0.0, "evaluate_every": steps // 2, "log_every": steps,
            },
            "compare": {"splits": splits, "seeds": seeds, "looks": looks},
            "seed": repetition,
        }
    )  # fmt: skip


def repeat(number: int, splits: int, seeds: int, steps: int, looks: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Do one comparison in a folder of its own; return, by plan, each arm's verdict and what it is made of."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="ganaug-") as name:
        folder = Path(name)
        job = build_job(number, splits, steps, list(ARMS), seeds)
        fixed = _read_answers(job, cheap_trainings.train_arms(load_digits(), job, folder, HELD_OUT))
        if looks == 1:
            return {"fixed": fixed}
        answers: dict[str, dict[str, Any]] = {}
        open_arms = list(ARMS)
        for look in range(1, looks + 1):
            job = build_job(number, splits, steps, open_arms, look, looks)
            answers |= _read_answers(job, cheap_trainings.train_arms(load_digits(), job, folder, HELD_OUT))
            open_arms = [arm for arm in open_arms if answers[arm]["verdict"] in OPEN_VERDICTS]
            if not open_arms:
                break
    return {"fixed": fixed, "until clear": answers}


def _read_answers(job: Job, run: Run) -> dict[str, dict[str, Any]]:
    verdict = from_experiment.build_verdict(job, run)
    answers = {}
    for one in verdict["comparisons"]:
        validated = [repeat["val"] for repeat in verdict["arms"][one["arm"]]["repeats"]]
        answers[one["arm"]] = {
            "verdict": one["verdict"],
            "mean": one["mean"],
            "half": one["ci95"][1] - one["mean"],
            "models": len(validated),
            **{f"val_{key}": float(np.mean([figures[key] for figures in validated])) for key in CHOSEN_BY},
        }
    return answers


def main() -> None:
    """Print a table, and a line of JSON for each repetition as it ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1, help="of the fixed plan")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--looks", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    numbers = range(given.first, given.first + given.repetitions)
    started, found = time.monotonic(), []
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        settings = (given.splits, given.seeds, given.steps, given.looks)
        waiting = [pool.apply_async(repeat, (number, *settings)) for number in numbers]
        for number, result in zip(numbers, waiting, strict=True):
            found.append(result.get())
            print(json.dumps({"repetition": number, **found[-1]}), flush=True)
    seconds = time.monotonic() - started
    print(f"{len(found)} repetitions of {given.splits} splits with {given.seeds} seeds in {seconds:.0f} s")
    _print_table("fixed plan", [one["fixed"] for one in found])
    if given.looks > 1:
        _print_table(f"until clear, {given.looks} looks", [one["until clear"] for one in found])
    _print_regret([one["fixed"] for one in found])


def _print_table(plan: str, found: list[dict[str, dict[str, Any]]]) -> None:
    words = get_args(Verdict)
    print(f"{plan:<24} {'  '.join(words)}  mean difference, points  mean half width  mean models")
    for arm in ARMS:
        tally = Counter(str(one[arm]["verdict"]) for one in found)
        means = {key: float(np.mean([one[arm][key] for one in found])) for key in ("mean", "half", "models")}
        columns = "  ".join(f"{tally[word]:>{len(word)}}" for word in words)
        print(f"{arm:<24} {columns}  {100 * means['mean']:+.2f}  {100 * means['half']:.2f}  {means['models']:.1f}")


def _print_regret(found: list[dict[str, dict[str, Any]]]) -> None:
    """Print how much is lost by a choice on validation, among all arms and without the rigged one."""
    for arms in (list(ARMS), list(NULL)):
        on_test = {arm: np.mean([one[arm]["mean"] for one in found]) for arm in arms}
        for key, sign in CHOSEN_BY.items():
            chosen = [max(arms, key=lambda arm: sign * one[arm][f"val_{key}"]) for one in found]
            regret = np.mean([max(on_test.values()) - on_test[arm] for arm in chosen])
            print(f"chosen of {', '.join(arms)} by {key}: {100 * regret:.2f} points lost")


if __name__ == "__main__":
    main()
