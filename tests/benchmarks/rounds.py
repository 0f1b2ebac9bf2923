"""Measures the sides of a benchmark in turn, round by round, and sums the rounds up."""

from __future__ import annotations

import statistics
import time
import traceback
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.pairs import Benchmark, NotInstalled, Pair


@dataclass(frozen=True)
class Spread:
    """The least, the middle and the largest of the values of all rounds."""

    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return that of at least one value.

        >>> Spread.of([3.0, 1.0, 2.5])
        Spread(least=1.0, median=2.5, most=3.0)
        """
        return cls(min(values), statistics.median(values), max(values))


@dataclass(frozen=True)
class Result:
    """What was measured of a pair.

    Attributes:
        pair: that was measured.
        ours: our figure of each round.
        peer: the peer's figure of each round.
        round_s: seconds of an average round of the whole benchmark, all of its sides together.
        failure: why there are no figures, or not of all rounds; None where all is well.
        not_installed: whether that is because something is not installed.
    """

    pair: Pair
    ours: list[float]
    peer: list[float]
    round_s: float = 0.0
    failure: str | None = None
    not_installed: bool = False

    @property
    def ratios(self) -> list[float]:
        """Our figure over the peer's of the same round."""
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=False)]

    def to_json(self) -> dict[str, Any]:
        """Return the pair, the figures of all rounds, and what they come to."""
        record = {**asdict(self), "ratios": self.ratios}
        if self.ratios and not self.failure:
            sides = {"ours": self.ours, "peer": self.peer, "ratio": self.ratios}
            record["summary"] = {name: asdict(Spread.of(values)) for name, values in sides.items()}
        return record


@dataclass
class _Sides:
    """Figures and failures of the sides so far, by name."""

    figures: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)


def measure_benchmark(benchmark: Benchmark, pairs: Collection[str], rounds: int, folder: Path) -> list[Result]:
    """Measure the sides of some of a benchmark's pairs in turn.

    A side that fails is left out from then on, and so are its pairs; the others go on.

    Args:
        benchmark: that is measured.
        pairs: names of its pairs that are wanted; others are left out.
        rounds: times that each side is measured.
        folder: for its files.

    Returns:
        The results of these pairs.
    """
    wanted = [pair for pair in benchmark.pairs if pair.name in pairs]
    names = {side for pair in wanted for side in (pair.ours, pair.peer)}
    state, seconds = _Sides(), 0.0
    try:
        with benchmark.open_sides(folder) as sides:
            assert names <= sides.keys(), "a pair names the sides as they are called"
            started = time.monotonic()
            for _ in range(rounds):
                for name in (name for name in sides if name in names):
                    if name not in state.failures:
                        _measure_side(name, sides[name], state)
            seconds = (time.monotonic() - started) / rounds
    except Exception as error:
        _note_failure(error)
        state.failures.update(dict.fromkeys(names, error))
    return [_build_result(pair, state, seconds) for pair in wanted]


def _measure_side(name: str, side: Any, state: _Sides) -> None:
    try:
        state.figures.setdefault(name, []).append(side())
    except Exception as error:
        _note_failure(error)
        state.failures[name] = error


def _note_failure(error: Exception) -> None:
    if not isinstance(error, NotInstalled):
        traceback.print_exception(error)


def _build_result(pair: Pair, state: _Sides, seconds: float) -> Result:
    errors = [state.failures[side] for side in (pair.ours, pair.peer) if side in state.failures]
    missing = bool(errors) and all(isinstance(error, NotInstalled) for error in errors)
    failure = str(errors[0]) if missing else f"{type(errors[0]).__name__}: {errors[0]}" if errors else None
    figures = (state.figures.get(side, []) for side in (pair.ours, pair.peer))
    return Result(pair, *figures, round_s=seconds, failure=failure, not_installed=missing)
