"""Where the settings of a search lie on an axis: numbers evenly or by their logarithm, choices one beside another."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.ticker import MaxNLocator

_LONGEST = 14  # letters of a tick's label
_WIDE = 30  # values that differ by this factor are drawn by their logarithm


@dataclass(frozen=True)
class Numbers:
    """A range of numbers.

    Attributes:
        low: the left or lower end.
        high: the other end, above it.
        log: whether equal factors are equally far apart; both ends are above zero then.
        whole: whether only whole numbers occur.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def place(self, value: Any) -> float | None:
        """Return where a value lies, from 0 to 1; None for what has no place, such as zero by its logarithm."""
        if not isinstance(value, int | float) or (self.log and value <= 0):
            return None
        low, high, own = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return (own - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """Return places and labels of a few round numbers."""
        if self.log:
            tens = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [m * 10.0**e for e in tens for m in (1, 2, 5) if self._within(m * 10.0**e)]
            if len(found) > 5:
                found = [10.0**e for e in tens if self._within(10.0**e)][:: len(tens) // 6 + 1]
            if len(found) < 2:
                found = [self.low, self.high]
        else:
            found = [x for x in MaxNLocator(4, integer=self.whole).tick_values(self.low, self.high) if self._within(x)]
        return [(self.place(x) or 0.0, words(x)) for x in found]

    def _within(self, x: float) -> bool:
        return self.low * (1 - 1e-9) <= x <= self.high * (1 + 1e-9)


@dataclass(frozen=True)
class Choices:
    """Values of any type, evenly spaced: numbers as they rise, others in the order of the space."""

    values: Sequence[Any]

    def place(self, value: Any) -> float | None:
        """Return where a value lies, from 0 to 1; None for one that is not among the choices."""
        keys = [_key(own) for own in self.values]
        return (keys.index(_key(value)) + 0.5) / len(keys) if _key(value) in keys else None

    def ticks(self) -> list[tuple[float, str]]:
        """Return places and labels: of many choices some."""
        every = [((i + 0.5) / len(self.values), words(value)) for i, value in enumerate(self.values)]
        return every[:: len(every) // 12 + 1]


Scale = Numbers | Choices


def of_setting(rule: Mapping[str, Any], values: Sequence[Any]) -> Scale:
    """Return a setting's scale.

    Args:
        rule: its entry in the space: one of choice, uniform, log_uniform and integers, with its values.
        values: what trials had, which may be beyond the rule: a search may begin with settings of the user's own.
    """
    if "choice" in rule:
        every = list({_key(value): value for value in (*rule["choice"], *values)}.values())
        return Choices(sorted(every) if all(_is_number(value) for value in every) else every)
    log = "log_uniform" in rule
    ends = next(rule[name] for name in ("uniform", "log_uniform", "integers") if name in rule)
    return _over([*ends, *values], log, whole="integers" in rule)


def of_values(values: Sequence[float]) -> Numbers:
    """Return the scale of an objective: by its logarithm where its values differ widely."""
    return _over(values, min(values) > 0 and max(values) > _WIDE * min(values), whole=False)


def _over(values: Sequence[Any], log: bool, whole: bool) -> Numbers:
    numbers = [x for x in values if isinstance(x, int | float) and (x > 0 or not log)]
    low, high = min(numbers), max(numbers)
    if low == high:  # a range all the same, with the value in its middle
        low, high = (low / 2, high * 2) if log else (low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1))
    return Numbers(low, high, log, whole)


def words(value: Any) -> str:
    """Say a setting shortly.

    >>> [words(value) for value in (2e-4, 80, 80.0, True, None, ["a", 1])]
    ['0.0002', '80', '80', 'yes', 'none', 'a, 1']
    """
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
    if isinstance(value, dict):  # a later learning rate
        return f"{words(value['lr'])} after {words(value['after'])}"
    return ", ".join(words(own) for own in value) if isinstance(value, list) else str(value)


def short(text: str) -> str:
    """Cut a label that would run into the next."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _key(value: Any) -> str:
    return json.dumps(float(value) if _is_number(value) else value, sort_keys=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
