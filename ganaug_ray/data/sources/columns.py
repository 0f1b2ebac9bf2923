"""Finds the columns of a table that have the images, their labels and their split: by a setting, or by usual names."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ganaug_ray.config import ColumnsConfig
from ganaug_ray.data.sources.image_columns import choose_image_column
from ganaug_ray.data.sources.label_text import (
    make_class_name,
    make_label,
    may_be_class_column,
    name_missing_value,
    read_label_cell,
    read_one_hot,
)
from ganaug_ray.data.sources.paths import is_image_name, name_split
from ganaug_ray.data.sources.raw import LABEL_CONFLICT, NO_CLASS, Label
from ganaug_ray.data.sources.split_columns import (
    choose_split_column,
    is_flag,
    is_usual_split,
    make_key,
    read_split_text,
)
from ganaug_ray.errors import UserError

# In order: where a table has several of them, the first is taken.
IMAGE_NAMES = [
    "image", "img", "images", "image_path", "img_path", "image_file", "image_name",
    "img_name", "file_name", "filename", "file", "filepath", "file_path", "path", "image_id", "img_id",
    "filepaths", "filenames", "fname", "image_bytes", "bytes", "id", "name", "image_uri", "image_url", "img_url", "url",
]  # fmt: skip
ENCODED_NAMES = ["content", "jpg", "jpeg", "png", "webp", "img_bytes", "image_data", "image_content", "data"]
LABEL_NAMES = [
    "label", "labels", "label_name", "class_name", "classname", "class", "category", "category_name",
    "fine_label", "class_label", "image_label", "true_label", "label_text", "target", "species", "breed", "label_id",
    "class_id", "category_id",
]  # fmt: skip
NO_CLASS_KEYS = frozenset((
    "id", "imageid", "index", "weight", "weights", "sampleweight", "classweight", "width", "height",
))  # fmt: skip
MAX_NAMED = 4  # columns that are taken for classes
MAX_LISTED = 20  # of a table that has not those that are expected
ROW_NUMBERS = re.compile(r"(Unnamed: \d+)?")  # as pandas calls a column without a name, which it writes for them


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are which.

    Attributes:
        image: the column of paths, or of encoded images.
        labels: the column of labels; of several, each stands for a class and holds a one or a zero; none where no
            labels are needed.
        split: the column of splits, if there is one.
        other_labels: columns that are as usual for labels, where the choice is not the user's.
        other_image: a column that fits images about as well as that of images, where the choice is not the user's.
        is_one_hot_guess: whether columns of no usual name are taken for classes.
        has_named_classes: whether a schema names the classes, so that none of their names stands for a missing value.
        is_split_guess: whether a column of no usual name is read as the split of each row.
        unread_flags: columns such as is_train and is_test, of which there are several, so that none is read.
    """

    image: str
    labels: tuple[str, ...]
    split: str | None = None
    other_labels: tuple[str, ...] = ()
    other_image: str | None = None
    is_one_hot_guess: bool = False
    has_named_classes: bool = False
    is_split_guess: bool = False
    unread_flags: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [self.image, *self.label_and_split_names]

    @property
    def label_and_split_names(self) -> list[str]:
        """All but that of images."""
        return [*self.labels, *([self.split] if self.split else [])]

    def describe_choice(self, table: str) -> list[str]:
        """Say which columns the images, the labels and the splits are taken from, where that is a guess."""
        return [*self._describe_images(table), *self._describe_labels(table), *self._describe_splits(table)]

    def _describe_images(self, table: str) -> list[str]:
        if self.other_image is None:
            return []
        return [
            f"{table}: images are taken from column {self.image}, but column {self.other_image} names images "
            f"too; to use that, set data.columns: {{image: {self.other_image}}}"
        ]

    def _describe_labels(self, table: str) -> list[str]:
        if self.is_one_hot_guess:
            named = ", ".join(self.labels[:MAX_NAMED])
            more = f" and {len(self.labels) - MAX_NAMED} more" if len(self.labels) > MAX_NAMED else ""
            return [f"{table}: columns {named}{more} are taken for classes: an image has a 1 in that of its class"]
        if self.other_labels:
            other = self.other_labels[0]
            return [
                f"{table}: labels are taken from column {self.labels[0]}; for those of column {other}, set "
                f"data.columns: {{label: {other}}}"
            ]
        return []

    def _describe_splits(self, table: str) -> list[str]:
        if self.is_split_guess:
            return [f"{table}: column {self.split} is read as the split of each row"]
        if self.unread_flags:
            named = " and ".join(self.unread_flags)
            return [
                f"{table}: columns {named} seem to mark splits, but are not read; "
                "write the split of each row into one column, called split"
            ]
        return []

    def read_split(self, cell: Any) -> str:
        """Return the text in a cell of the column of splits; empty where there is none."""
        return read_split_text(self.split or "", cell)

    def read_label(self, row: dict[str, Any], where: str) -> Label:
        """Return the label of a row; ``where`` is what to call it.

        Raises:
            UserError: a cell holds several values, or neither zero nor one where there is a column for each class.
        """
        try:
            names = self._read_names(row)
        except ValueError as error:
            write = "write these, or " if len(self.labels) > 1 else ""
            raise UserError(f"{where}: {error}; {write}name other columns with data.columns: {{label: ...}}") from None
        split = name_split(self.read_split(row[self.split])) if self.split else None
        if len(names) > 1:
            return Label(None, (LABEL_CONFLICT, f"{where}: has {len(names)} classes, {', '.join(names)}"), split)
        if not names and len(self.labels) == 1:
            missing = name_missing_value(row[self.labels[0]])
            if missing:
                detail = f"{where}: labelled {missing}, which stands for a missing label"
                return Label(None, (NO_CLASS, detail), split)
        label = make_label(names, where)
        return Label(label.name, label.objection, split)

    def _read_names(self, row: dict[str, Any]) -> list[str]:
        if not self.labels:
            return []
        cells = [row[name] for name in self.labels]
        if len(cells) > 1:
            ones = read_one_hot(self.labels, cells)
            if ones is None:
                pairs = zip(self.labels, cells, strict=True)
                column, cell = next(pair for pair in pairs if read_one_hot(pair[:1], pair[1:]) is None)
                raise ValueError(
                    f"found {cell!r:.40} in {column:.40}, expected a 1 for the class and a 0 for all others"
                )
            return ones
        try:
            name = make_class_name(cells[0]) if self.has_named_classes else read_label_cell(cells[0])
        except ValueError:
            raise ValueError(f"found {cells[0]!r:.60} in {self.labels[0]}, expected text or a number") from None
        return [] if name is None else [name]


def _describe_expected(setting: ColumnsConfig, image: str | None) -> str:
    """Say which columns a table should have had, of which it has the one for ``image``."""
    if setting.image and image and not setting.label:
        return "one called label, or data.columns: {label: ...} to name it"
    if setting.image or setting.label:
        return f"those of data.columns: {', '.join(filter(None, [setting.image, *(setting.label or ())]))}"
    return "image and label, or data.columns: {image: ..., label: ...} to name others"


def choose_columns(
    names: Sequence[str],
    setting: ColumnsConfig,
    table: str,
    with_labels: bool = True,
    sample: Sequence[Mapping[str, Any]] = (),
    list_files: Callable[[], Iterable[str]] | None = None,
    encoded: Sequence[str] = (),
) -> Columns:
    """Choose the columns of a table: those that the setting names, else those that have a usual name.

    Where no column has a usual name of labels, and several others hold ones and zeros in ``sample``, some of the rows,
    all others are taken for classes, each with a one in its rows. Without ``with_labels`` none is chosen for labels.
    Of several columns of images, the one whose cells fit the images of ``list_files`` best is chosen, where that is
    given. Columns of ``encoded`` images go before those of their names.

    Raises:
        UserError: there are no such columns, or two that may be that of images.
    """
    by_key = {make_key(name): name for name in reversed(names)}
    by_exact_name = by_key | {name: name for name in names}  # two may differ in what keys leave out
    image = _choose_named(setting.image, by_exact_name) if setting.image else _choose_column(IMAGE_NAMES, by_key)
    other_image = None
    candidates = list(dict.fromkeys(by_key[key] for key in map(make_key, IMAGE_NAMES) if key in by_key))
    candidates = [name for name in candidates if name not in (setting.label or ())]
    encoded_by_key = {make_key(name): name for name in reversed(encoded) if name not in (setting.label or ())}
    encoded_image = _choose_column([*IMAGE_NAMES, *ENCODED_NAMES], encoded_by_key)
    if not setting.image and encoded_image:
        image = encoded_image
    elif not setting.image and list_files and len(candidates) > 1:
        image, other_image = choose_image_column(candidates, sample, list_files(), table)
    usual_names = {by_key[key] for key in map(make_key, (*IMAGE_NAMES, *LABEL_NAMES)) if key in by_key}
    unused = [name for name in names if name not in {image, *usual_names, *(setting.label or ())}]
    split = choose_split_column(names, unused, sample)
    if not with_labels:
        if image is None:
            raise UserError(f"{table}: {_describe_columns(names)}; expected one called image")
        return Columns(image, (), split, other_image=other_image)
    labels = [_choose_named(label, by_exact_name) for label in setting.label or ()]
    label_names = [name for name in LABEL_NAMES if by_key.get(make_key(name)) != image]
    if not labels and (usual := _choose_column(label_names, by_key)):
        labels = [usual]
    is_one_hot_guess = not labels
    if not labels:
        unnamed = [name for name in names if name not in (image, split) and not _is_no_class(name)]
        may_be_classes = sum(may_be_class_column(row[name] for row in sample if name in row) for name in unnamed) > 1
        are_splits = all(map(name_split, unnamed))  # among others, train may be a class
        labels = list(unnamed) if may_be_classes and not are_splits else [None]
    chosen = tuple(label for label in labels if label is not None)
    if image is None or len(chosen) < len(labels):
        raise UserError(f"{table}: {_describe_columns(names)}; expected {_describe_expected(setting, image)}")
    other_labels = [by_key[key] for key in map(make_key, LABEL_NAMES) if key in by_key]
    other_labels = [name for name in other_labels if name not in (image, *chosen)]
    if setting.label:
        other_labels = []
    flags = tuple(name for name in names if is_flag(name) and name not in chosen)
    split = None if split in chosen else split
    return Columns(
        image,
        chosen,
        split,
        tuple(other_labels),
        other_image,
        is_one_hot_guess,
        is_split_guess=split is not None and not is_usual_split(split),
        unread_flags=flags if split is None else (),
    )


def _describe_columns(names: Sequence[str]) -> str:
    """Say which columns a table has, and the likely cause where an image is among their names."""
    if not names:
        return "found no columns"
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    image = next(filter(is_image_name, names), None)
    cause = f"; {image:.100} seems to be an image; give each image a row, below the columns' names" if image else ""
    return f"found the columns {', '.join(f'{name:.60}' for name in names[:MAX_LISTED])}{more}{cause}"


def refuse_equal_names(columns: Columns, names: Sequence[str], table: str) -> None:
    """Raise an error if several columns of a table are called as one that is read."""
    for name in columns.names:
        if names.count(name) > 1:
            raise UserError(
                f"{table}: {names.count(name)} columns are called {name}; rename all but the one to be used"
            )


def has_usual_columns(names: Iterable[str]) -> bool:
    """Whether a table's first row is one of names, by one of them that is usual for images or labels."""
    usual = set(map(make_key, (*IMAGE_NAMES, *LABEL_NAMES)))
    return any(make_key(name) in usual for name in names)


def has_label(names: Iterable[str]) -> bool:
    """Whether one of these names is usual for a column of labels."""
    return not set(map(make_key, LABEL_NAMES)).isdisjoint(map(make_key, names))


def has_image_and_label(names: Iterable[str], setting: ColumnsConfig) -> bool:
    """Whether columns of images and of labels are among these names, by the setting or by names that are usual."""
    keys = set(map(make_key, names))
    images = [setting.image] if setting.image else IMAGE_NAMES
    labels = setting.label or LABEL_NAMES
    return not (keys.isdisjoint(map(make_key, images)) or keys.isdisjoint(map(make_key, labels)))


def _is_no_class(name: str) -> bool:
    """Whether a column without a usual name of labels is called as what is no class: a number, a weight, a split."""
    key = make_key(name)
    return bool(ROW_NUMBERS.fullmatch(name.strip())) or is_usual_split(name) or key in NO_CLASS_KEYS


def _choose_named(name: str, by_name: dict[str, str]) -> str | None:
    return by_name.get(name, by_name.get(make_key(name)))


def _choose_column(wanted_names: Sequence[str], by_key: dict[str, str]) -> str | None:
    return next((by_key[key] for key in map(make_key, wanted_names) if key in by_key), None)
