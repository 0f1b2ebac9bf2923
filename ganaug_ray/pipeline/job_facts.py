"""What a plan rests on: a job's images and this machine. Each fact is found out when it is first asked for, once."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from ganaug_ray.config import Job
from ganaug_ray.data import sources
from ganaug_ray.runtime import executors

if TYPE_CHECKING:  # they import torch, or read images
    from ganaug_ray.data.ingest.scan import Survey
    from ganaug_ray.pipeline.training_time import TrainingTime

MIN_TESTED_PER_SPLIT = 2


class JobFacts:
    """The facts of a job, whatever its numbers of splits and seeds.

    Args:
        job: with the data and the networks in question.
        cpu_only: whether GPUs are left alone, also where there are some.
    """

    def __init__(self, job: Job, cpu_only: bool = False) -> None:
        self._job = job
        self._cpu_only = cpu_only

    @cached_property
    def survey(self) -> Survey:
        """The images of the source, all of them read and judged; nothing is stored."""
        from ganaug_ray.data.ingest.scan import survey_without_storing

        with executors.open_process_pool() as executor:
            return survey_without_storing(self._job.data, executor)

    @cached_property
    def time(self) -> TrainingTime:
        """The time that trainings take on this machine; the survey comes first.

        A GPU is reserved for it, with a Ray of this machine that ends then.
        """
        from ganaug_ray.pipeline.training_time import measure_training_time
        from ganaug_ray.runtime import resources

        if self._cpu_only or "RAY_ADDRESS" in os.environ or not resources.read_local_hardware().has_gpus:
            return measure_training_time(self._job, self.survey)
        from ganaug_ray.runtime import cluster

        survey = self.survey
        try:
            hardware = cluster.connect()
            reserved = resources.plan_stage("measure", hardware)
            measured = executors.call_on_device(measure_training_time, (self._job, survey), reserved)
            return replace(measured, gpus=int(hardware.gpus))
        finally:
            cluster.disconnect()

    @cached_property
    def _images(self) -> int:
        data = self._job.data
        return sources.count_images(data.source, data.label_from, data.columns)

    def count_tested(self, splits: int) -> int:
        """Count the test images of so many splits by the listing of the source; images that come with splits are read.

        Nothing that makes training images scarce makes test images fewer. Images that will be rejected still count.
        """
        if self._job.data.split.given:
            return sum(self.survey.count_images()["test"].values())
        share = min(1.0, splits * self._job.data.split.test)
        return max(MIN_TESTED_PER_SPLIT * splits, round(share * self._images))
