"""Plans the trainings of classifiers that a stage asks for, in each of the job's splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganaug_ray.augment import arm_batches, arms
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.pipeline.stage import Split, StageContext

if TYPE_CHECKING:
    from ganaug_ray.classify.train_worker import ClassifierTraining

ModelRequest = tuple[Split, str, int]
"""A model that is to be trained: the split, the arm, the seed."""


@dataclass(frozen=True)
class ClassifierFits:
    """The trainings of classifiers, and the folder and the steps of each."""

    trainings: list[ClassifierTraining]
    steps: list[tuple[Folder, int]]


def plan_fits(context: StageContext, requests: list[ModelRequest], stage: str) -> ClassifierFits:
    """Return the trainings of these models; what they start from is read first, and told on the terminal."""
    from ganaug_ray.classify import initial_weights
    from ganaug_ray.verdict import from_experiment

    gaining = {}
    for arm in dict.fromkeys(arm for _, arm, _ in requests):
        if arms.is_deferred(context.job, arm):
            gaining[arm] = from_experiment.choose_classes_for_guided_arm(context.job, context.run, arm)
    steps = {}
    for split in {split.number: split for split, _, _ in requests}.values():
        if weights := initial_weights.prepare_weights(split.job, split.run):
            context.terminal.print_stage_line(
                stage, "note", f"{split.name}starts from {initial_weights.describe_match(weights)}"
            )
        for arm in dict.fromkeys(arm for other, arm, _ in requests if other.number == split.number):
            if arm in split.job.compared_arms and split.job.compared_arms[arm].traits.transfer:
                arm_batches.prepare_transfer(split.job, split.run, arm)
        arm_batches.refuse_streamed(split.job, split.run)
        rows = DatasetRecord.read(split.run.dataset).count_train_images()
        steps[split.number] = split.job.classifier.count_steps(rows)
    trainings = []
    fit_steps = []
    for split, arm, seed in requests:
        trainings.append(arm_batches.build_training(split.job, split.run, arm, seed, gaining.get(arm)))
        fit_steps.append((split.run.locate_model(arm, seed), steps[split.number]))
    return ClassifierFits(trainings, fit_steps)
