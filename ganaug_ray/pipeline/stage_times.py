"""The expected time of a run and of its stages, in words and as a clock."""

from __future__ import annotations

from dataclasses import dataclass

from ganaug_ray.core.run_clock import RunClock
from ganaug_ray.core.wording import format_count, format_time
from ganaug_ray.runtime.hardware import Hardware

NOTABLE_SLOWDOWN = 1.25


@dataclass(frozen=True)
class StageTime:
    """The expected time of a stage.

    Attributes:
        name: on the terminal.
        seconds: of all its calls together.
        words: what is in it.
        calls: that it is made of, one a split or one for all.
        processes: at work at a time.
    """

    name: str
    seconds: float
    words: str = ""
    calls: int = 1
    processes: int = 1


@dataclass(frozen=True)
class RunTime:
    """The expected time of a run, or of what is left of one.

    Attributes:
        stages: in order, without those in which nothing is left to do.
        unhindered_s: the seconds of all stages if the machine did nothing else.
        cluster: on which it goes on; None: on this machine.
    """

    stages: tuple[StageTime, ...]
    unhindered_s: float
    cluster: Hardware | None = None

    @property
    def total_s(self) -> float:
        """The seconds of all stages."""
        return sum(stage.seconds for stage in self.stages)

    def describe(self) -> str:
        """Say how long the run takes, and what takes most of it."""
        longest = sorted(self.stages, key=lambda stage: -stage.seconds)[:2]
        named = ", ".join(f"{stage.name} {format_time(stage.seconds)}" for stage in longest)
        return f"about {format_time(self.total_s)} {self.describe_place()} ({named}){self.describe_slowdown()}"

    def describe_place(self) -> str:
        """Say where the run goes on and, where that is a cluster, that its machines are not those that were timed."""
        if self.cluster is None:
            return "on this machine"
        slots = format_count(self.cluster.worker_slots, self.cluster.kind)
        return f"on {slots} of the cluster, by steps timed on a core of this machine"

    def start_clock(self) -> RunClock:
        """Return a clock that counts this time down."""
        seconds = {stage.name: stage.seconds for stage in self.stages}
        return RunClock(seconds, {stage.name: stage.calls for stage in self.stages})

    def describe_slowdown(self) -> str:
        """Say that the machine is busy, where it is; else nothing."""
        slowdown = self.total_s / self.unhindered_s
        if slowdown < NOTABLE_SLOWDOWN:
            return ""
        return f"; other work makes it {slowdown:.1f} times as slow, if it goes on"
