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

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from ganaug_ray.core import checkpoint, metrics_log, rng
from ganaug_ray.core.storage import Folder
from ganaug_ray.search.search_space import Dimension, Settings

RATE, THEN = "gan.lr", "gan.then"
COURSE, TOLD, HANDED = "course.json", "told.json", "handed"
WORST = 4  # one in so many of those that have come as far follows one of as many best
TIMES = (1.15, 1.6)  # how much larger or smaller another rate is


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
        """That of a member's folder, if it has begun."""
        if not folder.has(COURSE):
            return None
        record = folder.read_json(COURSE)
        then = tuple((at, lr) for at, lr in record["then"])
        return cls(record["lr"], then, tuple(record["decided"]), record["leader"])

    def settings(self) -> Settings:
        """As keys of a job."""
        then = [{"after": at, "lr": lr} for at, lr in self.then]
        return {RATE: self.lr, **({THEN: then} if then else {})}


@dataclass
class Member:
    """One of a population.

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
        """Its own."""
        return self.root / self.name

    def decide(self, at: int, value: float) -> None:
        """Hand over what it is after so many steps, and follow another if it is among the worst."""
        self._hand_over(at, value)
        leader, decided = self._leader(at), (*self.course.decided, at)
        if leader is None:
            self._write(replace(self.course, decided=decided))
            return
        told = self._handed(leader, at).read_json(TOLD)
        first, rest = told["course"]["lr"], [(step, lr) for step, lr in told["course"]["then"]]
        rate = explored(rest[-1][1] if rest else first, self.dimension, self.seed, self.name, at)
        self._write(Course(first, (*rest, (at, rate)), decided, leader))
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
        mine = self.fingerprint(self.course.settings())
        found = checkpoint.latest(self.folder / "checkpoints", mine, notice=print)
        assert found is not None, "there is a checkpoint at every look"
        assert found.step == at, "and nothing was trained since"
        to = self._handed(self.name, at).make()
        checkpoint.save(to / "checkpoints", found, mine)
        rows = [row for row in metrics_log.read_metrics(self.folder) if row["step"] <= at]
        told = {"value": value, "course": asdict(self.course), "rows": rows, "fingerprint": mine}
        to.write_json(TOLD, told)

    def _leader(self, at: int) -> str | None:
        """The one to follow after so many steps, one of the best; None where this one is not among the worst."""
        there = [name for name in self.root.folders() if self._handed(name, at).has(TOLD)]
        values = {name: self._handed(name, at).read_json(TOLD)["value"] for name in there}
        few = len(values) // WORST
        ranked = sorted(values, key=lambda name: (values[name], name), reverse=self.direction == "max")
        if not few or self.name not in ranked[-few:]:
            return None
        return ranked[rng.number(self.seed, "leader", self.name, at) % few]

    def _take_over(self, leader: str, at: int) -> None:
        """Put the leader's figures and networks in the place of its own; done twice it gives the same."""
        told = self._handed(leader, at).read_json(TOLD)
        networks = self.folder / "checkpoints"
        for name in networks.files():
            networks.delete(name)
        for name in self.folder.files():
            if name.startswith(("metrics", "best")):
                self.folder.delete(name)
        log = metrics_log.MetricsLog(self.folder, 0)
        for row in told["rows"]:
            log.add(row)
        log.flush()
        handed = self._handed(leader, at) / "checkpoints"
        found = checkpoint.latest(handed, told["fingerprint"], notice=print)
        assert found is not None, "it was whole when it was told of"
        checkpoint.save(networks, found, self.fingerprint(self.course.settings()))


def clear(root: Folder) -> None:
    """Delete what members handed over: when all have ended, nobody follows any more."""
    for name in root.folders():
        if (root / name / HANDED).folders():
            root.fs.delete_dir((root / name / HANDED).path)


def explored(rate: float, dimension: Dimension, *key: rng.Key) -> float:
    """Another rate near this one: so many times more or less, within the bounds; of a choice, a neighbour.

    How many times is drawn, so that two that follow the same one part ways.

    >>> explored(1e-3, Dimension("gan.lr", "choice", (1e-4, 5e-4, 1e-3), {}), 0)
    0.0005
    """
    up = rng.number("way", *key) % 2 == 1
    if dimension.distribution == "choice":
        values = sorted(dimension.values)
        nearest = min(range(len(values)), key=lambda i: abs(values[i] - rate))
        steps = [i for i in (nearest - 1, nearest + 1) if 0 <= i < len(values)] or [nearest]
        return float(values[steps[-1] if up else steps[0]])
    low, high = dimension.values
    times = TIMES[0] + (TIMES[1] - TIMES[0]) * (rng.number("times", *key) % 1000) / 1000
    other = [rate * times, rate / times] if up else [rate / times, rate * times]
    return float(f"{next((one for one in other if low <= one <= high), rate):.6g}")
