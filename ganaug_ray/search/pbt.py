"""Population based training of GANs (Jaderberg et al. 2017, arXiv 1711.09846); each member decides for itself.

At a look a member that is among the worst of those that have come as far goes on from the networks of one of the best,
with another learning rate. All members start from the same weights and see the same batches, so a member is what its
course says: a training from scratch along it, ``gan.lr`` and ``gan.then`` of a job, gives the same generator.

Tune's own scheduler for this (``PopulationBasedTraining``) is not used: it takes no settings from a searcher, and what
it knows of the members is in its process alone, from where it comes back by unpickling at best. Here whatever counts is
in the members' folders:

    course.json    the rates so far, and at which looks it was decided
    handed/<step>/ what others need to follow: value, course, figures and a checkpoint; never changed
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from ganaug_ray.core import checkpoint, metrics_log, rng
from ganaug_ray.core.storage import Folder
from ganaug_ray.search.search_space import Dimension, Settings

LR_KEY = "gan.lr"
LATER_LR_KEY = "gan.then"
SCHEDULE_FILE = "course.json"
HANDOVER_FILE = "told.json"
HANDOVER_FOLDER = "handed"
MEMBERS_PER_FOLLOWER = 4  # one in this many of those that have come as far follows one of as many best
LR_FACTOR_RANGE = (1.15, 1.6)  # how much larger or smaller another rate is

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LrSchedule:
    """The learning rates that a member of the population has been trained with so far.

    Attributes:
        lr: that it all began with.
        then: (steps after which, the rate from there on), in order.
        decided: looks after which it has gone on, alone or behind another.
        leader: the member whose networks are still to be taken over; None: that is done, or it followed nobody.
    """

    lr: float
    then: tuple[tuple[int, float], ...] = ()
    decided: tuple[int, ...] = ()
    leader: str | None = None

    @classmethod
    def from_folder(cls, folder: Folder) -> LrSchedule | None:
        """Read the schedule in a member's folder; None if there is none yet."""
        return cls.from_record(folder.read_json(SCHEDULE_FILE)) if folder.has_file(SCHEDULE_FILE) else None

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> LrSchedule:
        """Restore a schedule from the dict that ``asdict`` made of it."""
        then = tuple((at, lr) for at, lr in record["then"])
        return cls(record["lr"], then, tuple(record["decided"]), record["leader"])

    @property
    def rate(self) -> float:
        """The learning rate at the end of the schedule."""
        return self.then[-1][1] if self.then else self.lr

    def build_settings(self) -> Settings:
        """Return the schedule as settings of a job, ``gan.lr`` and ``gan.then``."""
        settings: Settings = {LR_KEY: self.lr}
        if self.then:
            settings[LATER_LR_KEY] = [{"after": at, "lr": lr} for at, lr in self.then]
        return settings


@dataclass(frozen=True)
class Handover:
    """What a member leaves for members that copy it, beside a checkpoint; it is never changed once it is written.

    Attributes:
        value: of the objective.
        course: so far.
        rows: of its metrics.
        fingerprint: of the training that the checkpoint is of.
    """

    value: float
    course: LrSchedule
    rows: list[dict[str, Any]]
    fingerprint: str

    @classmethod
    def read(cls, folder: Folder) -> Handover:
        """Read the handover in a folder."""
        record = folder.read_json(HANDOVER_FILE)
        return cls(record["value"], LrSchedule.from_record(record["course"]), record["rows"], record["fingerprint"])

    def write(self, folder: Folder) -> None:
        """Write the handover to a folder, after the checkpoint beside it, so that whoever finds it can rely on that."""
        folder.write_json(HANDOVER_FILE, asdict(self))


@dataclass
class Member:
    """A trial of a population, which decides for itself whether to copy a better one.

    Attributes:
        root: where all of them have a folder.
        name: of its own.
        dimension: what the rate may be.
        direction: min or max, which way is better.
        seed: of its draws.
        fingerprint: of a training with such settings: a checkpoint serves no other.
        schedule: so far.
    """

    root: Folder
    name: str
    dimension: Dimension
    direction: str
    seed: int
    fingerprint: Callable[[Settings], str]
    schedule: LrSchedule

    @property
    def folder(self) -> Folder:
        """The member's folder."""
        return self.root / self.name

    def exploit_and_explore(self, at: int, value: float) -> None:
        """Write a handover after ``at`` steps and, if among the worst, copy a better member at another rate."""
        self._hand_over(at, value)
        leader = self._choose_leader(at)
        decided = (*self.schedule.decided, at)
        if leader is None:
            self._write_schedule(replace(self.schedule, decided=decided))
            return
        course = Handover.read(self._locate_handover(leader, at)).course
        rate = explore_lr(course.rate, self.dimension, self.seed, self.name, at)
        self._write_schedule(LrSchedule(course.lr, (*course.then, (at, rate)), decided, leader))
        self.catch_up()

    def catch_up(self) -> None:
        """Finish copying the networks of the member that it decided to copy, if it has not yet."""
        if self.schedule.leader is not None:
            self._take_over_leader(self.schedule.leader, self.schedule.decided[-1])
            self._write_schedule(replace(self.schedule, leader=None))

    def _write_schedule(self, schedule: LrSchedule) -> None:
        self.schedule = schedule
        self.folder.write_json(SCHEDULE_FILE, asdict(schedule))

    def _locate_handover(self, member: str, at: int) -> Folder:
        return self.root / member / HANDOVER_FOLDER / str(at)

    def _hand_over(self, at: int, value: float) -> None:
        fingerprint = self.fingerprint(self.schedule.build_settings())
        newest = checkpoint.load_newest(self.folder / "checkpoints", fingerprint, warn=logger.warning)
        assert newest is not None, "there is a checkpoint at every look"
        assert newest.step == at, "and nothing was trained since"
        folder = self._locate_handover(self.name, at).create()
        checkpoint.save(folder / "checkpoints", newest, fingerprint)
        rows = [row for row in metrics_log.read_metrics(self.folder) if row["step"] <= at]
        Handover(value, self.schedule, rows, fingerprint).write(folder)

    def _choose_leader(self, at: int) -> str | None:
        """Return the member to follow at a step, among the best; None unless this one is among the worst."""
        values: dict[str, float] = {}
        for name in self.root.list_folders():
            folder = self._locate_handover(name, at)
            if folder.has_file(HANDOVER_FILE):
                values[name] = Handover.read(folder).value
        group_size = len(values) // MEMBERS_PER_FOLLOWER
        ranked = sorted(values, key=lambda name: (values[name], name), reverse=self.direction == "max")
        if not group_size or self.name not in ranked[-group_size:]:
            return None
        return ranked[rng.hash_to_number(self.seed, "leader", self.name, at) % group_size]

    def _take_over_leader(self, leader: str, at: int) -> None:
        """Put the leader's figures and networks in the place of its own; done twice it gives the same."""
        folder = self._locate_handover(leader, at)
        handover = Handover.read(folder)
        checkpoints = self.folder / "checkpoints"
        for name in checkpoints.list_files():
            checkpoints.delete_file(name)
        for name in self.folder.list_files():
            if name.startswith(("metrics", "best")):
                self.folder.delete_file(name)
        metrics = metrics_log.MetricsLog(self.folder, 0)
        for row in handover.rows:
            metrics.append_line(row)
        metrics.flush()
        newest = checkpoint.load_newest(folder / "checkpoints", handover.fingerprint, warn=logger.warning)
        assert newest is not None, "it was whole when it was handed over"
        checkpoint.save(checkpoints, newest, self.fingerprint(self.schedule.build_settings()))


def delete_handovers(root: Folder) -> None:
    """Delete all handovers of a population, when all members have ended."""
    for name in root.list_folders():
        if (root / name / HANDOVER_FOLDER).list_folders():
            root.fs.delete_dir((root / name / HANDOVER_FOLDER).path)


def explore_lr(rate: float, dimension: Dimension, *key: rng.Key) -> float:
    """Draw another learning rate near this one, within the bounds; of a choice, the next value up or down.

    How many times is drawn, so that two that follow the same one part ways.

    >>> explore_lr(1e-3, Dimension("gan.lr", "choice", (1e-4, 5e-4, 1e-3), {}), 0)
    0.0005
    """
    up = rng.hash_to_number("way", *key) % 2 == 1
    if dimension.distribution == "choice":
        return _draw_neighbour(rate, sorted(dimension.values), up)
    low, high = dimension.values
    smallest, largest = LR_FACTOR_RANGE
    factor = smallest + (largest - smallest) * (rng.hash_to_number("times", *key) % 1000) / 1000
    candidates = [rate / factor, rate * factor]
    if up:
        candidates.reverse()
    for candidate in candidates:
        if low <= candidate <= high:
            return float(f"{candidate:.6g}")
    return float(f"{rate:.6g}")


def _draw_neighbour(rate: float, values: list[float], up: bool) -> float:
    """Return the value beside the nearest to a rate, on the other side where there is none; alone it stays."""
    nearest = min(range(len(values)), key=lambda i: abs(values[i] - rate))
    neighbours = [i for i in (nearest - 1, nearest + 1) if 0 <= i < len(values)]
    if not neighbours:
        return float(values[nearest])
    chosen = neighbours[-1] if up else neighbours[0]
    return float(values[chosen])
