"""What a benchmark is: sides that are measured in turn, and the pairs of them whose ratio is of interest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

Side = Callable[[], float]
"""Does its work once, and returns the figure of it in the unit of its pairs."""


class NotInstalled(Exception):
    """A program or package that a side needs is not there; the message says which."""


@dataclass(frozen=True)
class Pair:
    """Two sides of a benchmark; the ratio is our figure over the peer's.

    Attributes:
        name: in the options, the tables and the JSON.
        question: what is compared, in words.
        ours: name of our side.
        peer: name of the side that a user would take instead, or of the limit.
        unit: of both figures.
        least: the ratio that is asked at least; for rates, of which more is better.
        most: the ratio that is asked at most; for times and sizes.
    """

    name: str
    question: str
    ours: str
    peer: str
    unit: str
    least: float | None = None
    most: float | None = None

    @property
    def asked(self) -> str:
        """What is asked of the ratio, in words.

        >>> Pair("help", "", "ganaug", "typer", "s", most=1.5).asked
        'at most 1.5'
        """
        if self.least is not None:
            return f"at least {self.least:g}"
        return "" if self.most is None else f"at most {self.most:g}"


@dataclass(frozen=True)
class Benchmark:
    """Sides that are set up together, and measured one after another in each round.

    Attributes:
        pairs: of the sides.
        open_sides: is given a folder for its files, which may hold those of an earlier time; sets up, and yields the
            sides by name in the order in which they are measured.
        slow: a round takes minutes; it is left out unless it is asked for.
    """

    pairs: tuple[Pair, ...]
    open_sides: Callable[[Path], AbstractContextManager[Mapping[str, Side]]]
    slow: bool = False
