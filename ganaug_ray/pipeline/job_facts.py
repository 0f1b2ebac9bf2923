"""What a plan rests on: a job's images and this machine. Each fact is found out when it is first asked for, once."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ganaug_ray.config import Job
from ganaug_ray.core.records import DatasetRecord, VerdictRecord
from ganaug_ray.data import sources
from ganaug_ray.data.sources.listing import SourceListing
from ganaug_ray.pipeline.step_timer import StepTimer, select_timed_settings
from ganaug_ray.pipeline.work_left import count_work
from ganaug_ray.runtime import executors

if TYPE_CHECKING:  # they import torch, or read images
    from ganaug_ray.core.experiment_dir import Run
    from ganaug_ray.data.ingest.scan import Survey
    from ganaug_ray.pipeline.stage_times import RunTime, StageTime
    from ganaug_ray.pipeline.training_time import ImageFacts, StepTime, TrainingTime
    from ganaug_ray.runtime.hardware import Hardware

MIN_TESTED_PER_SPLIT = 2


@dataclass(frozen=True)
class SurveyedSource:
    """A survey, and the seconds that it took."""

    survey: Survey
    seconds: float


class JobFacts:
    """The facts of a job, whatever its numbers of splits and seeds.

    Args:
        job: with the data and the networks in question.
        known: facts of a job with the same images, which are not read again; where it has the same networks too, its
             steps are not timed again.
        dataset: of the job, where it is prepared: then no image is read.
        timer: of its steps; absent: that of ``known``, or one that times them anew.
        listing: of the job's sources, where they are listed already.

    Attributes:
        timer: the same.
        listing: the same, or a new one.
    """

    def __init__(
        self,
        job: Job,
        known: JobFacts | None = None,
        dataset: DatasetRecord | None = None,
        timer: StepTimer | None = None,
        listing: SourceListing | None = None,
    ) -> None:
        self._job = job
        self._known = known
        self._dataset = dataset
        self.listing: SourceListing = listing or (known.listing if known else SourceListing(job.data))
        self.timer: StepTimer = timer or (known.timer if known else StepTimer())

    @cached_property
    def _surveyed(self) -> SurveyedSource:
        from ganaug_ray.data.ingest.scan import survey_without_storing

        if self._known is not None:
            return self._known._surveyed
        started = time.monotonic()
        with executors.open_process_pool() as executor:
            survey = survey_without_storing(self._job.data, executor, self.listing)
        return SurveyedSource(survey, self.timer.settle_read_time(self._job, survey, time.monotonic() - started))

    @property
    def is_surveyed(self) -> bool:
        """Whether the images have been read already."""
        return "_surveyed" in vars(self) or (self._known is not None and self._known.is_surveyed)

    @property
    def survey(self) -> Survey:
        """The images of the source, all of them read and judged; nothing is stored."""
        return self._surveyed.survey

    @cached_property
    def images(self) -> ImageFacts:
        """The facts of the images that the time of a run depends on."""
        from ganaug_ray.pipeline.training_time import ImageFacts

        if self._dataset is not None:
            record = self._dataset
            return ImageFacts(len(record.classes), record.channels, record.counts, record.seconds, record.unlabelled)
        survey = self.survey
        counts = survey.count_images()
        unlabelled = survey.unlabelled["reason"].null_count
        return ImageFacts(len(survey.classes), survey.channels, counts, self._surveyed.seconds, unlabelled)

    @property
    def is_timed(self) -> bool:
        """Whether the steps have been timed already."""
        return "step_time" in vars(self)

    @cached_property
    def step_time(self) -> StepTime:
        """The time of a step of each training on this machine."""
        if self._known is not None and select_timed_settings(self._job) == select_timed_settings(self._known._job):
            return self._known.step_time
        return self.timer.time_steps(self._job, self.images)

    @cached_property
    def time(self) -> TrainingTime:
        """The time that trainings take on this machine; the survey comes first."""
        from ganaug_ray.pipeline.training_time import scale_training_time

        return scale_training_time(self._job, self.images, self.step_time)

    def estimate(self, job: Job, run: Run | None = None, share_of_steps: float = 1.0) -> RunTime:
        """Estimate how long a run takes, or what is left of one.

        Args:
            job: the job with its plan.
            run: its folder; what is finished there takes no time.
            share_of_steps: of the job's, as if its trainings were shorter.
        """
        from ganaug_ray.pipeline.run_time import estimate_run_time

        time = _shorten(self.time, share_of_steps)
        extras = []
        if job.compare.sizes:
            extras.append(self._estimate_sizes(job, run, share_of_steps))
        if job.models:
            extras.append(self._estimate_models(job, run, share_of_steps))
        extras = [stage for stage in extras if stage.seconds > 0]
        return estimate_run_time(job, self.images, time, count_work(job, run), self.cluster, extras)

    def _estimate_sizes(self, job: Job, run: Run | None, share_of_steps: float) -> StageTime:
        """Estimate how long the comparisons with other numbers of training images take that are not finished."""
        from ganaug_ray.pipeline import size_experiments
        from ganaug_ray.pipeline.run_time import estimate_run_time
        from ganaug_ray.pipeline.stage_times import StageTime
        from ganaug_ray.pipeline.training_time import scale_training_time

        seconds = 0.0
        processes = 1
        for n, other in size_experiments.derive_jobs(job).items():
            experiment = run and size_experiments.open_folder(run, n)
            if experiment and VerdictRecord.find(experiment.root):
                continue
            images = self.images.limit(job.data, other.data)
            time = _shorten(scale_training_time(other, images, self.step_time), share_of_steps)
            estimate = estimate_run_time(other, images, time, count_work(other, experiment), self.cluster)
            seconds += estimate.unhindered_s
            processes = max(processes, *(stage.processes for stage in estimate.stages))
        numbers = ", ".join(map(str, job.compare.sizes))
        return StageTime("sizes", seconds, f"all of it with {numbers} training images a class", processes=processes)

    def _estimate_models(self, job: Job, run: Run | None, share_of_steps: float) -> StageTime:
        """Estimate how long the trainings of the compared models take that are not finished."""
        from ganaug_ray.classify import compared_models
        from ganaug_ray.pipeline.run_time import estimate_compared_models

        missing = dict.fromkeys(job.models, job.compare.seeds)
        if run is not None and DatasetRecord.find(run.dataset):
            pairs = compared_models.list_pairs(job)
            left = Counter(name for name, seed in pairs if not compared_models.read_marker(job, run, name, seed))
            missing = dict(left)
        times = {name: _shorten(time, share_of_steps) for name, time in self._model_times.items()}
        return estimate_compared_models(job, self.images, times, missing, self.cluster)

    @cached_property
    def cluster(self) -> Hardware | None:
        """The cluster that trainings go to; None: this machine."""
        return self._known.cluster if self._known else self.timer.read_cluster()

    @cached_property
    def _model_times(self) -> dict[str, TrainingTime]:
        """The time of the trainings of each compared model, by steps of its own."""
        times = {}
        gan = self._job.gan.model_copy(update={"conditional": True})  # none is trained for itself
        for name, model in self._job.models.items():
            alone = self._job.leave_out(self._job.all_arms).model_copy(update={"classifier": model, "gan": gan})
            times[name] = JobFacts(alone, known=self).time
        return times

    @cached_property
    def _images(self) -> int:
        return sources.count_images(self.listing.parts)

    def count_tested(self, splits: int) -> int:
        """Count the test images of all splits by the listing of the source; images that come with splits are read.

        Nothing that makes training images scarce makes test images fewer. Images that will be rejected still count.
        """
        if self._job.data.split.given:
            return sum(self.survey.count_images()["test"].values())
        share = min(1.0, splits * self._job.data.split.test)
        return max(MIN_TESTED_PER_SPLIT * splits, round(share * self._images))


def _shorten(time: TrainingTime, share_of_steps: float) -> TrainingTime:
    """Return the time of trainings of a share of the steps."""
    return replace(time, classifier_s=share_of_steps * time.classifier_s, gan_s=share_of_steps * time.gan_s)
