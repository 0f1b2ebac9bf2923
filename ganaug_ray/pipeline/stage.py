"""The context of every stage: the job, the experiment's folder and the terminal. A finished stage is not run again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ganaug_ray.config import Job
from ganaug_ray.core import interrupts
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import RunRecord
from ganaug_ray.errors import StageFailed, TooManySplits, UserError
from ganaug_ray.runtime import executors, gpu_probe, hardware
from ganaug_ray.runtime.executors import DeviceExecutor, Executor

if TYPE_CHECKING:
    from ganaug_ray.runtime.hardware import Hardware
    from ganaug_ray.runtime.resources import Stage

Result = TypeVar("Result")
"""What a stage leaves, as its marker."""

T = TypeVar("T")


class PlanTooLarge(Exception):
    """The images do not allow as many splits as were planned before they were read.

    Args:
        cause: says how many they allow, one at least.
    """

    def __init__(self, cause: TooManySplits) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass(frozen=True)
class Split:
    """One split of the images: its number, its prefix on the terminal, its job and its folder."""

    number: int
    name: str
    job: Job
    run: Run


@dataclass(frozen=True)
class StageContext:
    """What a stage works with.

    Attributes:
        job: as run.
        run: the folder of its experiment.
        terminal: where it is shown.
        cpu_only: whether GPUs are left alone, also where there are some.
        arguments: those of the command line that name the job and its folder, for commands in advice.
    """

    job: Job
    run: Run
    terminal: Terminal
    cpu_only: bool = False
    arguments: str = "JOB.yaml"

    @property
    def settled_job(self) -> Job:
        """The job, with the augmentation that was chosen for it where it left that open and the choice is made."""
        from ganaug_ray.classify import augmentation_choice

        return augmentation_choice.apply_choice(self.job, self.run)

    @property
    def splits(self) -> list[Split]:
        """All splits of the settled job; the folders of the first are the experiment's."""
        job = self.settled_job
        splits = []
        for number in range(self.job.compare.splits):
            name = f"split {number}: " if self.job.compare.splits > 1 else ""
            splits.append(Split(number, name, job.derive_split(number), self.run.locate_split(number)))
        return splits

    def run_stage(
        self, name: str, marker: Result | None, work: Callable[[], Result], outcome: Callable[[Result], str]
    ) -> None:
        """Run a stage unless it is finished, and print its line: kept, done, failed or interrupted.

        A bar shows that it works from its first moment on; ``work`` may have it show how far it is.

        Args:
            name: the stage's name on the terminal.
            marker: the marker of a stage that is done; None where there is work to do.
            work: does the stage and returns its marker.
            outcome: says in words what a marker holds.
        """
        if marker is not None:
            self.terminal.print_stage_line(name, "kept", outcome(marker))
            return
        started = time.monotonic()
        self.run.clear_failure()
        self.terminal.clock.begin(name)
        try:
            with self.terminal.show_progress(name, lambda: (0.0, "starting")):
                record = work()
        except PlanTooLarge:  # the stage begins anew with a smaller one
            raise
        except BaseException as error:
            if isinstance(error, StageFailed):
                self.run.note_failure(name, str(error))
            is_stopped = isinstance(error, KeyboardInterrupt) or interrupts.is_interrupted()
            status = "interrupted" if is_stopped else "failed"
            self.terminal.print_stage_line(name, status, "", time.monotonic() - started)
            raise
        self.terminal.clock.end()
        RunRecord.write(self.run)
        self.terminal.print_stage_line(name, "done", outcome(record), time.monotonic() - started)

    def require_record(self, verb: str, record: Result | None) -> Result:
        """Return the record of an earlier stage; raise UserError if it is None, naming the verb to run first."""
        if record is None:
            raise UserError(
                f"{self.run.root}: `ganaug {verb} {self.arguments}` has not been run there yet; run it first"
            )
        return record

    def connect_cluster(self) -> Hardware:
        """Connect to the cluster, or start Ray on this machine; return the hardware to use."""
        words = "connecting to the cluster" if "RAY_ADDRESS" in os.environ else "starting Ray"
        with self.terminal.show_activity(words):
            from ganaug_ray.runtime import cluster

            return cluster.connect(self.job, self.run.root, cpu_only=self.cpu_only)

    def may_have_gpus(self) -> bool:
        """Whether there may be GPUs to use: those of this machine, or of a cluster, which alone knows.

        Raises:
            UserError: this machine has GPUs, and torch does not see them.
        """
        if self.cpu_only or "RAY_ADDRESS" in os.environ:
            return not self.cpu_only
        found = hardware.read_local_hardware()
        gpu_probe.refuse_unseen_gpus(found)
        return found.has_gpus

    def call_on_device(self, stage: Stage, function: Callable[..., T], *arguments: Any) -> T:
        """Call ``function(*arguments, device)``: in a process that has reserved a GPU, or on the CPU in this one.

        Args:
            stage: by whose rule a GPU is reserved.
            function: picklable, like its arguments and its result.
            arguments: all but the last one.
        """
        from ganaug_ray.runtime import resources

        if self.may_have_gpus():
            reserved = resources.plan_stage(stage, self.connect_cluster())
            if reserved.gpus:
                return executors.call_on_device(function, arguments, reserved)
        return function(*arguments, "cpu")

    def open_executor(self) -> AbstractContextManager[Executor]:
        """Open an executor for light work on CPUs: processes of this machine, or Ray Data on a cluster."""
        from ganaug_ray.runtime import resources

        configured = self.job.data.executor
        if configured == "ray_data" or "RAY_ADDRESS" in os.environ:
            hardware = self.connect_cluster()
            if resources.choose_executor(configured, hardware) == "ray_data":
                from ganaug_ray.runtime.ray_data import RayDataExecutor

                return nullcontext(RayDataExecutor(resources.plan_stage("prepare", hardware)))
        return executors.open_process_pool()

    def choose_device_executor(self, stage: Stage) -> DeviceExecutor:
        """Choose who calls a model on many images: Ray Data's actors on GPUs or several nodes, else this process.

        Args:
            stage: by whose rule each actor reserves.
        """
        from ganaug_ray.runtime import resources

        if "RAY_ADDRESS" in os.environ or self.may_have_gpus():
            hardware = self.connect_cluster()
            reserved = resources.plan_stage(stage, hardware)
            if reserved.gpus or hardware.has_several_nodes:
                from ganaug_ray.runtime.ray_data import RayDataDeviceExecutor

                return RayDataDeviceExecutor(reserved)
        return executors.map_on_cpu
