"""What a run has to do: all of it, or what the folder of an experiment lacks."""

from __future__ import annotations

from dataclasses import dataclass

from ganaug_ray.augment import arms, synthetic_pools, usable_arms
from ganaug_ray.classify import augmentation_choice
from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord, GanRecord, ModelRecord


@dataclass(frozen=True)
class Work:
    """How much of each kind a run has to do."""

    datasets: int
    teachers: int
    gans: int
    pools: int
    classifiers: int
    trials: int = 0
    """Of an augmentation."""
    early_classifiers: int = 0
    """Those among the classifiers that can be trained beside the GANs."""
    labels: int = 0
    """Splits whose unlabelled images are to be labelled by the teacher."""

    @property
    def trainings(self) -> int:
        """The number of trainings of all kinds."""
        return self.trials + self.teachers + self.gans + self.classifiers


def count_work(job: Job, run: Run | None = None) -> Work:
    """Count what a run has to do: all, or what an experiment's folder lacks."""
    if run is not None:
        job = usable_arms.leave_out_unusable(job, run)
    needs_teachers = arms.needs_teacher(job)
    gans_per_split = arms.count_gans(job)
    needs_labels = synthetic_pools.needs_pseudo(job)
    datasets = teachers = gans = pools = classifiers = early = labels = 0
    early_pairs = [(arm, seed) for arm, seed in arms.list_pairs(job) if not arms.needs_generated_images(job, arm)]
    for number in range(job.compare.splits):
        split = run.locate_split(number) if run else None
        if split is None or DatasetRecord.find(split.dataset) is None:
            datasets += 1
            teachers += needs_teachers
            gans += gans_per_split
            labels += needs_labels
            pools += job.needs_synthetic_sources
            classifiers += len(arms.list_pairs(job))
            early += len(early_pairs)
            continue
        pairs = arms.list_pairs(job)
        classifiers += sum(ModelRecord.find(split.locate_model(arm, seed)) is None for arm, seed in pairs)
        early += sum(ModelRecord.find(split.locate_model(arm, seed)) is None for arm, seed in early_pairs)
        teachers += needs_teachers and ModelRecord.find(arms.locate_teacher(split)) is None
        labels += needs_labels and DatasetRecord.find(split.pseudo) is None
        if gans_per_split:
            gans += sum(GanRecord.find(gan.folder) is None for gan in synthetic_pools.list_gans(job, split))
        if job.needs_synthetic_sources:
            split_pools = synthetic_pools.list_pools(job, split)
            pools += any(synthetic_pools.read_finished_pool(pool) is None for pool in split_pools)
    trials = len(augmentation_choice.list_missing_trials(job, run))
    return Work(datasets, teachers, gans, pools, classifiers, trials, early, labels)
