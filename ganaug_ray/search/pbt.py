"""Population based training of GANs (Jaderberg et al. 2017, arXiv 1711.09846), each member deciding for itself.

At a look a member that is among the worst of those that have come as far goes on from the networks of one of the best,
with another learning rate. All members start from the same weights and see the same batches, so a member is what its
course says: a training from scratch along it, ``gan.lr`` and ``gan.then`` of a job, gives the same generator.

Tune's own scheduler for this takes no settings from a searcher, and forgets everything with its process. Here whatever
counts is in the members' folders:

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

RATE, THEN = "gan.lr", "gan.then"
COURSE, TOLD, HANDED = "course.json", "told.json", "handed"
WORST = 4  # one in so many of those that have come as far follows one of as many best
TIMES = (1.15, 1.6)  # how much larger or smaller another rate is

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Course:
    """How a member came to be what it is.

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
    def of(cls, folder: Folder) -> Course | None:
        """Read that of a member's folder, if it has begun."""
        return cls.from_record(folder.read_json(COURSE)) if folder.has(COURSE) else None

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Course:
        """Return what ``asdict`` made a record of."""
        then = tuple((at, lr) for at, lr in record["then"])
        return cls(record["lr"], then, tuple(record["decided"]), record["leader"])

    @property
    def rate(self) -> float:
        """The learning rate at its end."""
        return self.then[-1][1] if self.then else self.lr

    def settings(self) -> Settings:
        """Return it as keys of a job."""
        settings: Settings = {RATE: self.lr}
        if self.then:
            settings[THEN] = [{"after": at, "lr": lr} for at, lr in self.then]
        return settings


@dataclass(frozen=True)
class Handover:
    """What a member leaves to those who follow it, beside a checkpoint: never changed once it is written.

    Attributes:
        value: of the objective.
        course: so far.
        rows: of its metrics.
        fingerprint: of the training that the checkpoint is of.
    """

    value: float
    course: Course
    rows: list[dict[str, Any]]
    fingerprint: str

    @classmethod
    def read(cls, folder: Folder) -> Handover:
        """Read what a member left in this folder."""
        record = folder.read_json(TOLD)
        return cls(record["value"], Course.from_record(record["course"]), record["rows"], record["fingerprint"])

    def write(self, folder: Folder) -> None:
        """Write it last: whoever finds it may rely on the checkpoint beside it."""
        folder.write_json(TOLD, asdict(self))


@dataclass
class Member:
    """A trial of a population, which decides for itself whom it follows.

    Attributes:
        root: where all of them have a folder.
        name: of its own.
        dimension: what the rate may be.
        direction: min or max, which way is better.
        seed: of its draws.
        fingerprint: of a training with such settings: a checkpoint serves no other.
        course: so far.
    """

    root: Folder
    name: str
    dimension: Dimension
    direction: str
    seed: int
    fingerprint: Callable[[Settings], str]
    course: Course

    @property
    def folder(self) -> Folder:
        """Where it keeps what it has."""
        return self.root / self.name

    def decide(self, at: int, value: float) -> None:
        """Hand over what it is after so many steps, and follow another if it is among the worst."""
        self._hand_over(at, value)
        leader = self._leader(at)
        decided = (*self.course.decided, at)
        if leader is None:
            self._write(replace(self.course, decided=decided))
            return
        course = Handover.read(self._handed(leader, at)).course
        rate = explored(course.rate, self.dimension, self.seed, self.name, at)
        self._write(Course(course.lr, (*course.then, (at, rate)), decided, leader))
        self.catch_up()

    def catch_up(self) -> None:
        """Take over the networks that it has decided to go on from, if it has not yet."""
        if self.course.leader is not None:
            self._take_over(self.course.leader, self.course.decided[-1])
            self._write(replace(self.course, leader=None))

    def _write(self, course: Course) -> None:
        self.course = course
        self.folder.write_json(COURSE, asdict(course))

    def _handed(self, member: str, at: int) -> Folder:
        return self.root / member / HANDED / str(at)

    def _hand_over(self, at: int, value: float) -> None:
        fingerprint = self.fingerprint(self.course.settings())
        newest = checkpoint.latest(self.folder / "checkpoints", fingerprint, notice=log.warning)
        assert newest is not None, "there is a checkpoint at every look"
        assert newest.step == at, "and nothing was trained since"
        folder = self._handed(self.name, at).make()
        checkpoint.save(folder / "checkpoints", newest, fingerprint)
        rows = [row for row in metrics_log.read_metrics(self.folder) if row["step"] <= at]
        Handover(value, self.course, rows, fingerprint).write(folder)

    def _leader(self, at: int) -> str | None:
        """Return the member to follow after so many steps, among the best; None unless this one is among the worst."""
        values: dict[str, float] = {}
        for name in self.root.folders():
            folder = self._handed(name, at)
            if folder.has(TOLD):
                values[name] = Handover.read(folder).value
        few = len(values) // WORST
        ranked = sorted(values, key=lambda name: (values[name], name), reverse=self.direction == "max")
        if not few or self.name not in ranked[-few:]:
            return None
        return ranked[rng.number(self.seed, "leader", self.name, at) % few]

    def _take_over(self, leader: str, at: int) -> None:
        """Put the leader's figures and networks in the place of its own; done twice it gives the same."""
        folder = self._handed(leader, at)
        handover = Handover.read(folder)
        checkpoints = self.folder / "checkpoints"
        for name in checkpoints.files():
            checkpoints.delete(name)
        for name in self.folder.files():
            if name.startswith(("metrics", "best")):
                self.folder.delete(name)
        metrics = metrics_log.MetricsLog(self.folder, 0)
        for row in handover.rows:
            metrics.add(row)
        metrics.flush()
        newest = checkpoint.latest(folder / "checkpoints", handover.fingerprint, notice=log.warning)
        assert newest is not None, "it was whole when it was handed over"
        checkpoint.save(checkpoints, newest, self.fingerprint(self.course.settings()))


def clear(root: Folder) -> None:
    """Delete what members handed over: when all have ended, nobody follows any more."""
    for name in root.folders():
        if (root / name / HANDED).folders():
            root.fs.delete_dir((root / name / HANDED).path)


def explored(rate: float, dimension: Dimension, *key: rng.Key) -> float:
    """Draw another rate near this one: so many times more or less, within the bounds; of a choice, a neighbour.

    How many times is drawn, so that two that follow the same one part ways.

    >>> explored(1e-3, Dimension("gan.lr", "choice", (1e-4, 5e-4, 1e-3), {}), 0)
    0.0005
    """
    up = rng.number("way", *key) % 2 == 1
    if dimension.distribution == "choice":
        return _draw_neighbour(rate, sorted(dimension.values), up)
    low, high = dimension.values
    times = TIMES[0] + (TIMES[1] - TIMES[0]) * (rng.number("times", *key) % 1000) / 1000
    candidates = [rate * times, rate / times] if up else [rate / times, rate * times]
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
    return float(values[neighbours[-1] if up else neighbours[0]])
