"""The axes of a search's plots: numbers on a linear or logarithmic scale, choices side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.ticker import MaxNLocator

_MAX_LABEL_LETTERS = 14  # letters of a tick's label
_LOG_SCALE_FACTOR = 30  # values that differ by this factor are drawn by their logarithm


@dataclass(frozen=True)
class NumberScale:
    """An axis for numbers, linear or logarithmic.

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

    def locate_value(self, value: Any) -> float | None:
        """Return the position of a value on the axis, from 0 to 1; None if it has none, such as the log of zero."""
        if not isinstance(value, int | float) or (self.log and value <= 0):
            return None
        transform = math.log if self.log else float
        low = transform(self.low)
        return (transform(value) - low) / (transform(self.high) - low)

    def list_ticks(self) -> list[tuple[float, str]]:
        """Return (position, label) of a few round numbers."""
        if self.log:
            tick_values = self._list_log_ticks()
        else:
            tick_values = self._select_within(MaxNLocator(4, integer=self.whole).tick_values(self.low, self.high))
        return [(self.locate_value(x) or 0.0, format_setting(x)) for x in tick_values]

    def _list_log_ticks(self) -> list[float]:
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        powers = [10.0**exponent for exponent in exponents]
        tick_values = self._select_within(m * power for power in powers for m in (1, 2, 5))
        if len(tick_values) > 5:
            tick_values = self._select_within(powers)[:: len(powers) // 6 + 1]
        if len(tick_values) < 2:
            return [self.low, self.high]
        return tick_values

    def _select_within(self, values: Iterable[float]) -> list[float]:
        lowest = self.low * (1 - 1e-9)
        highest = self.high * (1 + 1e-9)
        return [value for value in values if lowest <= value <= highest]


@dataclass(frozen=True)
class ChoiceScale:
    """An axis for values of any type, evenly spaced: numbers in rising order, others in the order of the space."""

    values: Sequence[Any]

    def locate_value(self, value: Any) -> float | None:
        """Return the position of a value on the axis, from 0 to 1; None if it is not among the choices."""
        keys = [_make_key(choice) for choice in self.values]
        key = _make_key(value)
        if key not in keys:
            return None
        return (keys.index(key) + 0.5) / len(keys)

    def list_ticks(self) -> list[tuple[float, str]]:
        """Return (position, label) of the choices, or of some if there are many."""
        choice_ticks = [((i + 0.5) / len(self.values), format_setting(value)) for i, value in enumerate(self.values)]
        return choice_ticks[:: len(choice_ticks) // 12 + 1]


Scale = NumberScale | ChoiceScale


def build_setting_scale(rule: Mapping[str, Any], values: Sequence[Any]) -> Scale:
    """Build the axis of a setting, by its rule in the search space and the values that were tried.

    Args:
        rule: its entry in the space: one of choice, uniform, log_uniform and integers, with its values.
        values: what trials had, which may be beyond the rule: a search may begin with settings of the user's own.
    """
    if "choice" in rule:
        choice_values = list({_make_key(value): value for value in (*rule["choice"], *values)}.values())
        if all(_is_number(value) for value in choice_values):
            choice_values.sort()
        return ChoiceScale(choice_values)
    log = "log_uniform" in rule
    ends = next(rule[name] for name in ("uniform", "log_uniform", "integers") if name in rule)
    return _build_number_scale([*ends, *values], log, whole="integers" in rule)


def build_value_scale(values: Sequence[float]) -> NumberScale:
    """Build the axis of an objective: logarithmic if its values differ widely."""
    differ_widely = min(values) > 0 and max(values) > _LOG_SCALE_FACTOR * min(values)
    return _build_number_scale(values, log=differ_widely, whole=False)


def _build_number_scale(values: Sequence[Any], log: bool, whole: bool) -> NumberScale:
    numbers = [x for x in values if isinstance(x, int | float) and (x > 0 or not log)]
    low = min(numbers)
    high = max(numbers)
    if low == high and log:  # a range all the same, with the value in its middle
        low /= 2
        high *= 2
    elif low == high:
        margin = abs(low) / 10 or 1
        low -= margin
        high += margin
    return NumberScale(low, high, log, whole)


def format_setting(value: Any) -> str:
    """Format the value of a setting in short.

    >>> [format_setting(value) for value in (2e-4, 80, 80.0, True, None, ["a", 1])]
    ['0.0002', '80', '80', 'yes', 'none', 'a, 1']
    """
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):  # a later learning rate
        return f"{format_setting(value['lr'])} after {format_setting(value['after'])}"
    if isinstance(value, list):
        return ", ".join(format_setting(part) for part in value)
    return str(value)


def shorten_label(text: str) -> str:
    """Cut a label that would overlap the next one."""
    return text if len(text) <= _MAX_LABEL_LETTERS else f"{text[: _MAX_LABEL_LETTERS - 1]}…"


def _make_key(value: Any) -> str:
    if _is_number(value):
        value = float(value)
    return json.dumps(value, sort_keys=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
