"""The trainings that an experiment still lacks, and how long they take, going by those that it has."""

from __future__ import annotations

from dataclasses import dataclass

from ganaug_ray.augment import arms, synthetic_pools, usable_arms
from ganaug_ray.classify import augmentation_choice
from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import GanRecord, ModelRecord
from ganaug_ray.core.wording import format_count


@dataclass(frozen=True)
class MissingTrainings:
    """How many trainings of each kind a comparison lacks.

    Attributes:
        classifiers: models of the arms, teachers, and trials of an augmentation.
        gans: of all splits.
    """

    classifiers: int
    gans: int

    def describe(self) -> str:
        """Return both numbers; without GANs that of classifiers alone."""
        text = format_count(self.classifiers, "more training")
        return f"{text} and {format_count(self.gans, 'GAN')}" if self.gans else text

    def sum_seconds(self, run: Run) -> float:
        """Return the seconds of training one after another, as long each as the first split's took on average.

        Args:
            run: the experiment's folder; a kind of which it has none finished counts as nothing.
        """
        classifier_s = []
        for arm in run.models.list_folders():
            for seed in (run.models / arm).list_folders():
                if record := ModelRecord.find(run.models / arm / seed):
                    classifier_s.append(record.train_seconds)
        gan_s = []
        for pseudo in (False, True):
            if gan := GanRecord.find(synthetic_pools.locate_gan(run, pseudo).folder):
                gan_s.append(gan.seconds)
        return self.classifiers * _average(classifier_s) + self.gans * _average(gan_s)


def _average(seconds: list[float]) -> float:
    return sum(seconds) / len(seconds) if seconds else 0.0


def count_missing(job: Job, run: Run) -> MissingTrainings:
    """Count the trainings of a comparison that are not finished; arms whose generator is not usable get none.

    Args:
        job: of the whole experiment.
        run: its folder.
    """
    job = usable_arms.leave_out_unusable(job, run)
    classifiers = len(augmentation_choice.list_missing_trials(job, run))
    gans = 0
    for number in range(job.compare.splits):
        split = run.locate_split(number)
        folders = [split.locate_model(arm, seed) for arm, seed in arms.list_pairs(job)]
        if arms.needs_teacher(job):
            folders.append(arms.locate_teacher(split))
        classifiers += sum(not folder.has_file(ModelRecord.FILE) for folder in folders)
        if arms.has_gan(job):
            gans += sum(not gan.folder.has_file(GanRecord.FILE) for gan in synthetic_pools.list_gans(job, split))
    return MissingTrainings(classifiers, gans)
