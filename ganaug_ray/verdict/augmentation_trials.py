"""Chooses what ``classifier.augment: auto`` means, from the predictions of the trials on validation images."""

from __future__ import annotations

import time

from ganaug_ray.config import Job
from ganaug_ray.config.job import AUGMENT_TRIALS
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import AugmentationRecord, ModelRecord
from ganaug_ray.evaluate.metric_register import get_choice_metric, get_metric
from ganaug_ray.verdict.outcomes import score_on_validation


def choose_augmentation(job: Job, run: Run) -> AugmentationRecord:
    """Write models/augmentation.json: the augmentation whose trial scores best by the metric that arms are chosen by.

    Args:
        job: of the whole experiment.
        run: the whole experiment; all trials are finished.
    """
    started = time.monotonic()
    metric = get_metric(get_choice_metric(job.compare.metric))
    folders = {augment: run.locate_model(name, 0) for name, augment in AUGMENT_TRIALS.items()}
    scores = {augment: score_on_validation(run, folder, metric.key) for augment, folder in folders.items()}
    chosen = (max if metric.higher_is_better else min)(scores, key=lambda augment: scores[augment])
    figures = ", ".join(f"{augment} {metric.format_value(score)}" for augment, score in scores.items())
    inputs = {name: ModelRecord.read(run.locate_model(name, 0)).hash for name in AUGMENT_TRIALS}
    record = {
        "hash": experiment_dir.compute_fingerprint(inputs, metric.key),
        "inputs": inputs,
        "chosen": chosen,
        "metric": metric.key,
        "scores": scores,
        "sentence": f"{chosen} augmentation, by {metric.name} on validation: {figures}",
    }
    return AugmentationRecord.write(run.models, "choose", started, record)
