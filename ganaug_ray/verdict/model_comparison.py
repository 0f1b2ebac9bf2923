"""The comparison of models: how good each is, how large, how fast, and when it had caught up with the baseline.

The rule is that of the verdict: the difference of the metric on test images from the baseline, paired by seed, with a
95 % interval for the chance of training and of the test images. The sentence names the model with the best verdict and,
of these, the largest mean.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganaug_ray.classify import compared_models
from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.metrics_log import read_metrics
from ganaug_ray.core.records import ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.evaluate.metric_register import get_metric
from ganaug_ray.verdict import paired_statistics, verdict, wording
from ganaug_ray.verdict.comparison import Comparison
from ganaug_ray.verdict.outcomes import Outcome

TIMED_IMAGES = 256
TIMED_PASSES = 3
_VERDICT_ORDER = ("hurt", "not enough repeats", "no worthwhile gain", "unclear", "helped")  # the worst first


def compare_models(
    run: experiment_dir.Run, job: Job, started: float, speeds: Mapping[str, experiment_dir.Record]
) -> experiment_dir.Record:
    """Measure all trained models, write board.json and return its content.

    Args:
        run: with the trained models of all seeds.
        job: which models, and by which metric.
        started: time.monotonic() at which their training began, in seconds.
        speeds: of ``time_models``.

    Returns:
        ``models`` (a row a model: its size, speed, and metrics on test with intervals over seeds), ``comparisons`` with
        the first model, ``sentence``, and what they were made from.
    """
    baseline = next(iter(job.models))
    seeds = range(job.compare.seeds)
    outcomes: dict[str, list[Outcome]] = {}
    for name in job.models:
        outcomes[name] = [_read_outcome(compared_models.locate_folder(run, name, seed), seed) for seed in seeds]
    baseline_folders = [compared_models.locate_folder(run, baseline, seed) for seed in seeds]
    targets = [ModelRecord.read(folder).val_accuracy for folder in baseline_folders]
    rows = []
    for name, config in job.models.items():
        folders = [compared_models.locate_folder(run, name, seed) for seed in seeds]
        records = [ModelRecord.read(folder) for folder in folders]
        logs = [read_metrics(folder) for folder in folders]
        rows.append(
            {
                "model": name,
                "arch": config.arch,
                "start": config.weights or config.init_from or "scratch",
                **_summarize_trainings(records, config.batch_size, outcomes[name]),
                **speeds[name],
                "reached": measure_catch_up(logs, targets, records),
            }
        )
    metric = job.compare.metric
    comparisons = compare_with_first(outcomes, metric, job.compare.worthwhile)
    record = {
        "hash": compared_models.compute_fingerprint(job, run),
        "inputs": compared_models.collect_inputs(job, run),
        "metric": metric,
        "baseline": baseline,
        "seeds": job.compare.seeds,
        "sentence": describe_comparison(comparisons, rows),
        "models": rows,
        "comparisons": [vars(comparison) for comparison in comparisons],
    }
    return experiment_dir.write_marker(run.root, compared_models.BOARD_MARKER, "compare-models", started, record)


def _read_outcome(folder: Folder, seed: int) -> Outcome:
    return Outcome.from_table(folder.read_table("predictions.parquet"), 0, seed)


def _summarize_trainings(
    records: Sequence[ModelRecord], batch_size: int, outcomes: Sequence[Outcome]
) -> experiment_dir.Record:
    """What the trainings of a model, one a seed, took and came to on test."""
    speeds = [record.steps * batch_size / record.train_seconds for record in records]
    figures = [outcome.test.summarize() for outcome in outcomes]
    estimates = {metric: _estimate_over_seeds([row[metric] for row in figures]) for metric in figures[0]}
    return {
        "input_size": records[0].input_size,
        "parameters": records[0].parameters,
        "steps": records[0].steps,
        **estimates,
        "train_seconds": float(np.mean([record.train_seconds for record in records])),
        "train_images_per_second": float(np.mean(speeds)),
    }


def compare_with_first(
    outcomes: Mapping[str, Sequence[Outcome]], metric: str, worthwhile: float = verdict.WORTHWHILE
) -> list[Comparison]:
    """Compare every model with the first one on test rows, paired by seed.

    The sentence names the best of them, so intervals are as wide as those for the best of several.

    Args:
        outcomes: name of a model -> its predictions, one outcome a seed; the baseline first.
        metric: key of the metric that they are compared by.
        worthwhile: the least gain in it that is worth having.

    Returns:
        One comparison for each model but the first.
    """
    baseline, *other_models = outcomes
    comparisons = []
    for name in other_models:
        comparison = verdict.compare_arms(
            name, baseline, outcomes[name], outcomes[baseline], metric, best_of=len(other_models), worthwhile=worthwhile
        )
        comparisons.append(comparison)
    return comparisons


def _estimate_over_seeds(values: list[float]) -> experiment_dir.Record:
    seed_estimate = paired_statistics.estimate_mean_over_repeats(np.array([values]))
    ends = None
    if seed_estimate.ci95 is not None:
        ends = np.clip(seed_estimate.ci95, 0.0, 1.0).tolist()  # two seeds can say anything
    return {"mean": seed_estimate.mean, "ci95": ends, "seeds": values}


def measure_catch_up(
    logs: Sequence[Sequence[Mapping[str, Any]]], targets: Sequence[float], records: Sequence[ModelRecord]
) -> experiment_dir.Record:
    """Measure when a model first was as good on validation as the baseline's best evaluation with the same seed.

    Args:
        logs: rows of the model's metrics.jsonl, seed by seed.
        targets: the baseline's best validation accuracy, in [0, 1], seed by seed.
        records: the model's model.json, seed by seed.

    Returns:
        ``seeds``, the number of seeds with which it got there, and the means over these: ``steps``, and ``seconds`` of
        training in proportion to them; both None where it never did.

    >>> rows = [{"step": 100, "val_accuracy": 0.6}, {"step": 200, "val_accuracy": 0.8}]
    >>> model = ModelRecord.model_construct(steps=400, train_seconds=60.0)
    >>> measure_catch_up([rows], [0.7], [model])
    {'seeds': 1, 'steps': 200.0, 'seconds': 30.0}
    """
    steps = []
    seconds = []
    for rows, target, record in zip(logs, targets, records, strict=True):
        # The log rounds to six places.
        as_good = [row["step"] for row in rows if row.get("val_accuracy", -1.0) >= target - 1e-6]
        if as_good:
            steps.append(as_good[0])
            seconds.append(record.train_seconds * as_good[0] / record.steps)
    if not steps:
        return {"seeds": 0, "steps": None, "seconds": None}
    return {"seeds": len(steps), "steps": float(np.mean(steps)), "seconds": float(np.mean(seconds))}


def time_models(run: experiment_dir.Run, names: Sequence[str], device: str) -> dict[str, experiment_dir.Record]:
    """Measure how many images a second each compared model predicts, one model after another.

    Args:
        run: with the trained models of the first seed.
        names: of the models.
        device: where they run.

    Returns:
        name -> ``predict_images_per_second``, the median of a few passes over test images after a first one, and
        ``device``.
    """
    return {name: _time_inference(run, name, device) for name in names}


def _time_inference(run: experiment_dir.Run, name: str, device: str) -> experiment_dir.Record:
    from ganaug_ray.classify.predict import Classifier

    classifier = Classifier.load(compared_models.locate_folder(run, name, 0), device)
    images_NHWC = image_store.read_images(run.dataset / "test", TIMED_IMAGES).images
    classifier.predict_probabilities(images_NHWC[: classifier.network.batch_size])
    pass_seconds = []
    for _ in range(TIMED_PASSES):
        pass_started = time.perf_counter()
        classifier.predict_probabilities(images_NHWC)
        pass_seconds.append(time.perf_counter() - pass_started)
    return {"predict_images_per_second": len(images_NHWC) / float(np.median(pass_seconds)), "device": device}


def describe_comparison(comparisons: list[Comparison], rows: Sequence[Mapping[str, Any]]) -> str:
    """Say in one sentence which model is best, by how much, and what it costs in training time.

    Args:
        comparisons: of ``compare_with_first``; one at least.
        rows: ``models`` of board.json.
    """
    metric = get_metric(comparisons[0].metric)
    sign = 1 if metric.higher_is_better else -1
    best = max(comparisons, key=lambda comparison: (_VERDICT_ORDER.index(comparison.verdict), sign * comparison.mean))
    seconds = {row["model"]: row["train_seconds"] for row in rows}
    cost = f"{seconds[best.arm] / max(seconds[best.baseline], 1e-9):.1f} times the training time"
    seeds = wording.describe_repeats(best)
    change = f"{metric.format_change(best.mean)} {metric.change_unit} in test {metric.name}"
    if best.ci95 is None:
        return f"Not enough repeats: {best.arm} against {best.baseline} is {change} at {cost}, over {seeds}."
    low, high = (metric.format_change(end) for end in best.ci95)
    change += f" (95 % interval {low} to {high}, {seeds}) at {cost}"
    if best.verdict == "helped":
        return f"{best.arm} is better than {best.baseline}: {change}."
    if best.verdict == "hurt":
        return f"{best.baseline} is better than every other model; {best.arm} comes nearest, with {change}."
    if best.verdict == "no worthwhile gain":
        return f"No model is better than {best.baseline} by a worthwhile gain; {best.arm} comes nearest, with {change}."
    return (
        f"No model is clearly better than {best.baseline}; {best.arm} comes nearest, with {change}. "
        "The interval includes zero."
    )
