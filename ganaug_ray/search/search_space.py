"""Reads and checks search spaces; mistakes are named before any work starts.

A space names fields of the job by their dotted keys, each with one distribution:

    about: "Learning rate and epochs of the GAN"
    space:
      gan.lr: {log_uniform: [5.0e-5, 1.0e-3]}
      gan.epochs: {choice: [80, 100, 200]}
      augment.weight: {uniform: [0.2, 1.0], when: {augment.strategy: [mix, anneal]}}
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ganaug_ray.classify.network_check import check_network
from ganaug_ray.config import Job
from ganaug_ray.config.loader import apply_settings, read_mapping
from ganaug_ray.errors import UserError

SearchKind = Literal["gan", "mix", "classifier"]
SECTION_BY_KIND: dict[str, str] = {"gan": "gan", "mix": "augment", "classifier": "classifier"}
"""Kind of a search -> the section of the job whose keys it may search."""
DISTRIBUTIONS = ("choice", "uniform", "log_uniform", "integers")
LENGTH_FIELDS = ("steps", "epochs")
MAX_BUDGETS = 8  # lengths that a range of them is read off at
MAX_COMBINATIONS_CHECKED = 4096
# These say where or how the work is done, or name files that are found before any trial starts.
UNSEARCHABLE_FIELDS = ("workers", "gpu_share", "allow_copies", "pseudo_confidence", "inception", "weights", "init_from")

Settings = dict[str, Any]
"""Dotted key of the job -> value."""


@dataclass(frozen=True)
class Dimension:
    """One setting of a search space, and the values that it may have.

    Attributes:
        key: of the job, dotted.
        distribution: a name in ``DISTRIBUTIONS``.
        values: of a choice all that there are; else the two ends, both included.
        when: other keys -> values of theirs with which alone this one has a meaning.
    """

    key: str
    distribution: str
    values: tuple[Any, ...]
    when: Mapping[str, tuple[Any, ...]]

    def is_applicable(self, settings: Settings) -> bool:
        """Return whether the setting has a meaning together with these, which must hold the keys of ``when``."""
        return all(settings.get(key) in values for key, values in self.when.items())

    def build_record(self) -> dict[str, Any]:
        """Return the dimension as it is written in a space file."""
        record: dict[str, Any] = {self.distribution: list(self.values)}
        if self.when:
            record["when"] = {key: list(values) for key, values in self.when.items()}
        return record


@dataclass(frozen=True)
class SearchSpace:
    """The settings that a search tries, and the values that each may have.

    Attributes:
        kind: of the search.
        dimensions: in the order of the file.
        length: ``gan.steps`` or ``gan.epochs``, where it is searched: it is read off each trial's curve.
        budgets: the lengths that are read off, rising.
    """

    kind: SearchKind
    dimensions: tuple[Dimension, ...]
    length: str | None = None
    budgets: tuple[int, ...] = ()

    def build_record(self) -> dict[str, Any]:
        """Return the space as it is written in a space file, with the lengths that are measured on the way."""
        record = {dimension.key: dimension.build_record() for dimension in self.dimensions}
        if self.length:
            record[self.length] = {"choice": list(self.budgets)}
        return record

    def iterate_combinations(self) -> Iterator[Settings]:
        """Yield every combination of choices and of the ends of ranges that the conditions allow."""
        yield from _iterate_combinations(self.dimensions, {})


def _iterate_combinations(dimensions: tuple[Dimension, ...], settings: Settings) -> Iterator[Settings]:
    if not dimensions:
        yield settings
        return
    first, *rest = dimensions
    if not first.is_applicable(settings):
        yield from _iterate_combinations(tuple(rest), settings)
        return
    for value in first.values:
        yield from _iterate_combinations(tuple(rest), settings | {first.key: value})


def load_space(path: Path, kind: SearchKind, job: Job) -> SearchSpace:
    """Read a search space file, and check it against the job that it is for.

    Raises:
        UserError: the file is malformed; a key is not one that such a search may set; a distribution is unknown or
            its range impossible; or the job refuses one of the values, or some of them together.
    """
    content = read_mapping(path, "space file")
    if unknown := content.keys() - {"about", "space"}:
        raise UserError(f"{path}: found the key {min(unknown)}, expected about and space")
    distributions = content.get("space")
    if not isinstance(distributions, dict) or not distributions:
        raise UserError(f"{path}: space: expected keys of the job, each with a distribution")
    dimensions: list[Dimension] = []
    for key, distribution in distributions.items():
        dimensions.append(_read_dimension(f"{path}: {key}", str(key), distribution, kind, job, dimensions))
    space = _build_space(path, kind, job, dimensions)
    _check_combinations(path, space, job)
    return space


def _read_dimension(
    where: str, key: str, content: Any, kind: SearchKind, job: Job, before: list[Dimension]
) -> Dimension:
    section, _, field = key.partition(".")
    if section != SECTION_BY_KIND[kind] or not field:
        such = {"gan": "gan.lr", "mix": "augment.ratio", "classifier": "classifier.lr"}[kind]
        raise UserError(
            f"{where}: a search for the {kind} sets keys of the section {SECTION_BY_KIND[kind]}, such as {such}"
        )
    if field in UNSEARCHABLE_FIELDS:
        raise UserError(f"{where}: cannot be searched; set it in the job")
    if kind == "classifier" and field in LENGTH_FIELDS:
        raise UserError(
            f"{where}: cannot be searched: schedule {job.classifier.schedule} makes the learning rate depend on the "
            "length, so no training shows a shorter one; set it in the job"
        )
    if not isinstance(content, Mapping):
        raise UserError(f"{where}: expected a distribution, such as {{choice: [...]}} or {{uniform: [0, 1]}}")
    names = [name for name in content if name != "when"]
    if len(names) != 1 or names[0] not in DISTRIBUTIONS:
        close = difflib.get_close_matches(str(names[0]), DISTRIBUTIONS, 1) if names else []
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(
            f"{where}: found {', '.join(map(str, names)) or 'no distribution'}, expected one of "
            f"{', '.join(DISTRIBUTIONS)}{hint}"
        )
    distribution = names[0]
    values = _read_values(where, distribution, content[distribution])
    if key == "augment.classes" and "gaining" in values:
        raise UserError(f"{where}: gaining compares other arms, and a trial has none; give it to an arm of the job")
    file = where.rpartition(":")[0]
    for value in values:  # alone, so that the message is clear
        apply_settings(job, {key: value}, file, check_network)
    return Dimension(key, distribution, values, _read_condition(where, content.get("when", {}), before))


def _read_values(where: str, distribution: str, content: Any) -> tuple[Any, ...]:
    if not isinstance(content, list):
        raise UserError(f"{where}: {distribution}: expected a list")
    if distribution == "choice":
        if not content or any(content.count(value) > 1 for value in content):
            raise UserError(f"{where}: choice {content}: expected one value or more, each once")
        return tuple(content)
    numbers = [value for value in content if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(content) != 2 or len(numbers) != 2 or not all(map(math.isfinite, numbers)) or numbers[0] >= numbers[1]:
        raise UserError(f"{where}: {distribution} {content}: expected two numbers, the lower one first")
    if distribution == "integers" and not all(isinstance(value, int) for value in numbers):
        raise UserError(f"{where}: integers {content}: expected two whole numbers")
    if distribution == "log_uniform" and numbers[0] <= 0:
        raise UserError(f"{where}: log_uniform {content}: expected two numbers above 0")
    return tuple(numbers)


def _read_condition(where: str, condition_content: Any, before: list[Dimension]) -> dict[str, tuple[Any, ...]]:
    if not isinstance(condition_content, Mapping):
        raise UserError(f"{where}: when: expected keys with lists of values")
    condition = {}
    for key, values in condition_content.items():
        condition_dimension = next((dimension for dimension in before if dimension.key == key), None)
        if condition_dimension is None:
            raise UserError(f"{where}: when: {key} is not a key above this one")
        values = tuple(values) if isinstance(values, list) else (values,)
        for value in values:
            if condition_dimension.distribution != "choice" or value not in condition_dimension.values:
                raise UserError(
                    f"{where}: when: {key} is never {value!r}; name a key that has a choice, and values of it"
                )
        condition[str(key)] = values
    return condition


def _build_space(path: Path, kind: SearchKind, job: Job, dimensions: list[Dimension]) -> SearchSpace:
    """Build the space, with gan.steps or gan.epochs apart: lengths are read off each trial's curve.

    A GAN's rate is constant, so shorter trainings are the beginnings of longer ones.
    """
    lengths: list[Dimension] = []
    if kind == "gan":
        lengths = [dimension for dimension in dimensions if dimension.key.partition(".")[2] in LENGTH_FIELDS]
    other_dimensions = tuple(dimension for dimension in dimensions if dimension not in lengths)
    if not lengths:
        return SearchSpace(kind, other_dimensions)
    if len(lengths) > 1:
        raise UserError(f"{path}: give one of gan.steps and gan.epochs")
    (length,) = lengths
    if length.when or length.distribution not in ("choice", "integers"):
        raise UserError(
            f"{path}: {length.key}: is read off every trial's curve; give a choice or integers, without when"
        )
    if any(length.key in dimension.when for dimension in other_dimensions):
        raise UserError(f"{path}: {length.key}: is read off every trial's curve; leave it out of `when`")
    budgets = sorted(length.values) if length.distribution == "choice" else _spread_evenly(*length.values)
    return SearchSpace(kind, other_dimensions, length.key, tuple(budgets))


def _spread_evenly(low: int, high: int) -> list[int]:
    """Return whole numbers from low to high, both included, evenly, at most ``MAX_BUDGETS``.

    >>> _spread_evenly(50, 200)
    [50, 71, 93, 114, 136, 157, 179, 200]
    """
    n = min(MAX_BUDGETS, high - low + 1)
    return [low + round(k * (high - low) / (n - 1)) for k in range(n)]


def _check_combinations(path: Path, space: SearchSpace, job: Job) -> None:
    ends: list[Settings] = [{}]
    if space.length:
        ends = [{space.length: n} for n in (space.budgets[0], space.budgets[-1])]
    combinations = itertools.product(space.iterate_combinations(), ends)
    for settings, length in itertools.islice(combinations, MAX_COMBINATIONS_CHECKED):
        try:
            apply_settings(job, settings | length, str(path), check_network)
        except UserError as error:
            chosen = ", ".join(f"{key} {value}" for key, value in settings.items())
            hint = "do not go together; leave one out, or give it a `when`"
            raise UserError(f"{error}\n{path}: {chosen} {hint}") from None
