"""Times the steps of a job's trainings where they would run, unless a dry run has just timed the same."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ganaug_ray.config import Job
from ganaug_ray.pipeline.kept_times import KeptTimes
from ganaug_ray.runtime import executors, hardware

if TYPE_CHECKING:  # they import torch, or read images
    from ganaug_ray.data.ingest.scan import Survey
    from ganaug_ray.pipeline.training_time import ImageFacts, StepTime
    from ganaug_ray.runtime.hardware import Hardware


@dataclass(frozen=True)
class StepTimer:
    """Times what a plan rests on.

    Attributes:
        cpu_only: whether GPUs are left alone, also where there are some.
        kept: the times of dry runs; None: everything is timed.
    """

    cpu_only: bool = False
    kept: KeptTimes | None = None

    def time_steps(self, job: Job, images: ImageFacts) -> StepTime:
        """Return the time of a step of each training on this machine.

        A GPU is reserved for it, with a Ray of this machine that ends then.
        """
        from ganaug_ray.pipeline.training_time import StepTime

        counted = asdict(replace(images, read_s=0.0))
        where = [self.cpu_only, os.environ.get("RAY_ADDRESS"), os.environ.get("CUDA_VISIBLE_DEVICES")]
        measured = {"steps": select_timed_settings(job), "images": counted, "where": where}
        figures = self.kept and self.kept.find(measured)
        if figures:
            seconds = {name: figures[name] for name in ("classifier_s", "image_s", "gan_s", "other_processes")}
            return StepTime(**seconds, gpus=int(figures["gpus"]))
        step_time = self._measure(job, images)
        if self.kept is not None:
            self.kept.keep(measured, asdict(step_time))
        return step_time

    def read_cluster(self) -> Hardware | None:
        """Return the hardware of the cluster that trainings go to; None where that is this machine.

        Raises:
            UserError: RAY_ADDRESS names a cluster that does not answer.
        """
        if "RAY_ADDRESS" not in os.environ:
            return None
        from ganaug_ray.runtime import cluster

        return cluster.read_cluster(self.cpu_only)

    def _measure(self, job: Job, images: ImageFacts) -> StepTime:
        from ganaug_ray.pipeline.training_time import measure_step_time
        from ganaug_ray.runtime import resources

        if self.cpu_only or "RAY_ADDRESS" in os.environ or not hardware.read_local_hardware().has_gpus:
            return measure_step_time(job, images)
        from ganaug_ray.runtime import cluster

        try:
            machine = cluster.connect()
            reserved = resources.plan_stage("measure", machine)
            step_time = executors.call_on_device(measure_step_time, (job, images), reserved)
            return replace(step_time, gpus=int(machine.gpus))
        finally:
            cluster.disconnect()

    def settle_read_time(self, job: Job, survey: Survey, seconds: float) -> float:
        """Return the seconds that reading a job's images took in a dry run, or else those that it took now."""
        if self.kept is None:
            return seconds
        measured = {"read": job.data.source, "images": survey.count_images()}
        figures = self.kept.find(measured)
        if figures:
            return figures["seconds"]
        self.kept.keep(measured, {"seconds": seconds})
        return seconds


def select_timed_settings(job: Job) -> dict[str, Any]:
    """Return the settings that the time of a step depends on: those of the networks, not of their number of steps."""
    length = {"steps", "epochs", "cas_steps", "snapshot_every"}
    return {
        "gan": job.gan.model_dump(mode="json", exclude=length),
        "classifier": job.classifier.model_dump(mode="json", exclude=length),
        "image_size": job.data.image_size,
        "arms": {name: arm.model_dump(mode="json") for name, arm in job.compared_arms.items()},
    }
