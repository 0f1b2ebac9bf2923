"""The section data: where the images come from, how labels are found, and how the images are split."""

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ganaug_ray.config.base import Config, Count, Seed, Share, Texts

ExecutorName = Literal["auto", "processes", "ray_data"]


class SplitConfig(Config):
    """How the images are split: shares of each class for validation and test, or ``given`` for folders as they are."""

    given: bool | None = None
    """Take the folders train, val and test as they are; without a val folder, its share is taken from train. Absent:
    true where the folders train and test hold classes and no other key of this section is set."""
    val: Share = 0.1
    """Share of each class for validation, by which settings, arms and weights are chosen."""
    test: Share = 0.2
    """Share of each class for the test images, which only the verdict uses."""
    seed: Seed = 0
    """Seed of the split: another seed splits the images differently."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Which of ``folds`` splits this is, from 0; set by compare.splits."""
    folds: Count = 1
    """Number of splits of the same images whose test sets share no image; set by compare.splits."""

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if self.val + self.test >= 0.95:
            raise ValueError(f"val {self.val} + test {self.test} leave nothing to train on")
        return self

    @model_validator(mode="after")
    def _check_fold(self) -> Self:
        if self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} of {self.folds}: they count from 0")
        return self


class ImbalanceConfig(Config):
    """Classes made rare on purpose, by leaving out training images; validation and test stay as they are."""

    factor: Annotated[float, Field(gt=1)]
    """Factor by which the rarest classes are thinned."""
    rare: Annotated[list[str], Field(min_length=1)] | None = None
    """Classes that keep one training image in ``factor``; absent: the long tail of Cui et al. 2019 (arXiv 1901.05555),
    in which class i of K, in the order of their names, keeps a share of factor ** (-i / (K - 1))."""


class ColumnsConfig(Config):
    """The columns of a table of images or labels, where they do not have the usual names."""

    image: str | None = None
    """The column of paths, or of encoded images."""
    label: Texts | None = None
    """The column of labels; or a list of columns, one for each class, with a 1 for images of that class."""
    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Character between the columns of a text file; absent: the most frequent one in its first line."""


class LabelFrom(Config):
    """Where an image file's label comes from: its folder (``parent``), its name (``regex``) or a file (``csv``)."""

    regex: str | None = None
    """Searched in the file's name; its group ``label`` is the label."""
    csv: str | None = None
    """A table, CSV or JSON Lines, of images (path or name, with or without suffix) and labels; data.columns names its
    columns."""

    @model_validator(mode="after")
    def _check_label_source(self) -> Self:
        if self.regex is not None and self.csv is not None:
            raise ValueError("give one of regex and csv")
        if self.regex is not None:
            try:
                groups = re.compile(self.regex).groupindex
            except re.error as error:
                raise ValueError(f"{self.regex!r} is not a regular expression ({error})") from None
            if "label" not in groups:
                raise ValueError(f"{self.regex!r} has no group named label, such as '^(?P<label>cat|dog)'")
        return self


def _expand_given(value: Any) -> Any:
    if isinstance(value, str):
        if value != "given":
            raise ValueError(f"found {value!r}, expected given, or a section with val and test")
        return {"given": True}
    return value


def _expand_parent(value: Any) -> Any:
    if isinstance(value, str):
        if value != "parent":
            raise ValueError(f"found {value!r}, expected parent, {{regex: ...}} or {{csv: ...}}")
        return {}
    return value


SplitSetting = Annotated[
    SplitConfig, BeforeValidator(_expand_given, json_schema_input_type=Literal["given"] | SplitConfig)
]
LabelSetting = Annotated[
    LabelFrom, BeforeValidator(_expand_parent, json_schema_input_type=Literal["parent"] | LabelFrom)
]


class DataConfig(Config):
    """The section data: where the images come from, how labels are found, and how the images are stored and split."""

    source: Texts
    """Where the images are. One or a list: folder, archive, table (CSV, TSV, JSON Lines), Parquet, idx:FOLDER,
    hf:OWNER/NAME, sklearn:digits, torchvision:NAME, or an address that begins with https, s3 or gs."""
    unlabelled: Texts | None = None
    """Images without labels: sources as for data.source, whose labels are ignored; or the word unused: the labelled
    images that train_per_class and imbalance leave over."""
    label_from: LabelSetting = LabelFrom()
    """Where labels come from: parent (the folder's name), regex or csv."""
    columns: ColumnsConfig = ColumnsConfig()
    """Names of a table's columns, where they are not the usual ones."""
    extends: str | None = None
    """An earlier experiment's dataset folder: its images stay in their splits, and new images fill up the shares."""
    max_rejected: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Largest share of the images that may be rejected; if more are, the stage stops."""
    smallest: Count = 8
    """Images with a shorter side, in pixels, are rejected."""
    image_size: Annotated[int, Field(ge=16, le=512)] = 32
    """Side of the stored square, in pixels: what the classifier sees."""
    resize: Literal["crop", "pad", "stretch"] = "crop"
    """How images are made square: cut the longer side, fill the shorter one, or distort."""
    value_range: Literal["auto"] | Annotated[list[float], Field(min_length=2, max_length=2)] = "auto"
    """The values of black and white in files with more than 8 bits, signed numbers or floats; auto: one scale for all
    of them, found from their depth and from the range that they use."""
    channels: Literal[1, 3] | None = None
    """1: grey, 3: colour; absent: colour if any image has colour."""
    store: Literal["raw", "encoded"] = "raw"
    """Pixels as they are, or losslessly compressed for large sets: less disk, slower to read."""
    executor: ExecutorName = "auto"
    """What reads, checks and stores the images: processes of one machine, or Ray Data on all nodes of a cluster; the
    stored bytes are the same. auto: Ray Data where there are several nodes."""
    loader: Literal["auto", "resident", "stream"] = "auto"
    """Keep the training images in each worker's memory, or stream them; auto: in memory up to resident_limit."""
    resident_limit: Annotated[float, Field(gt=0)] = 2.0
    """GB of uint8 training images that each worker may keep in memory."""
    metadata: str | None = None
    """A CSV file of facts about the classes, such as artists.csv, for the data set's card."""
    train_per_class: Count | None = None
    """Scarcity made on purpose: at most this many training images a class."""
    val_per_class: Count | None = None
    """At most this many validation images a class; follows train_per_class unless set."""
    imbalance: ImbalanceConfig | None = None
    """Unequal classes made on purpose, by thinning what train_per_class leaves; validation is not thinned."""
    split: Annotated[
        SplitConfig, BeforeValidator(_expand_given, json_schema_input_type=Literal["given"] | SplitConfig)
    ] = SplitConfig()
    """How images are split into training, validation and test; or given: the folders as they are."""

    @model_validator(mode="after")
    def _check_value_range(self) -> Self:
        if self.value_range == "auto":
            return self
        low, high = self.value_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"value_range: found [{low:g}, {high:g}], expected the lower one first, such as [0, 4095]")
        return self

    @model_validator(mode="after")
    def _check_thinning(self) -> Self:
        if self.imbalance and self.extends:
            raise ValueError("give one of imbalance and extends: images that an earlier data set has are not thinned")
        return self

    @model_validator(mode="after")
    def _check_folds(self) -> Self:
        self.refuse_split_count(self.split.folds)
        return self

    def count_possible_splits(self) -> int:
        """Count the splits that can be made of these images without a common test image."""
        if self.split.given or self.extends:
            return 1
        return max(1, math.floor(1 / self.split.test + 1e-9))

    def refuse_split_count(self, n: int) -> None:
        """Raise ValueError if these images cannot be split in n ways whose test sets share no image."""
        if n == 1:
            return
        if self.split.given or self.extends:
            which = "data.split is given" if self.split.given else "data.extends keeps images where they were"
            raise ValueError(f"compare.splits {n}: {which}, so there is one split; leave one of the two out")
        if self.split.test * n > 1 + 1e-9:
            raise ValueError(
                f"compare.splits {n}: their test sets would overlap; data.split.test is {self.split.test:g}, "
                f"at most {math.floor(1e4 / n) / 1e4:g} of the images can be in each"
            )

    def derive_fold(self, fold: int, folds: int) -> Self:
        """Return the same settings for one of several splits. Raises ValueError as ``refuse_split_count`` does."""
        split = self.split.model_copy(update={"fold": fold, "folds": folds})
        return self.model_validate(self.model_dump() | {"split": split.model_dump()})

    @property
    def resident_gb(self) -> float:
        """GB of decoded images up to which a store is kept in a worker's memory; a larger one is streamed."""
        return {"resident": math.inf, "stream": 0.0, "auto": self.resident_limit}[self.loader]

    @property
    def max_val_per_class(self) -> int | None:
        """Validation images a class at most: ``val_per_class``, or a quarter of ``train_per_class`` but at least 5."""
        if self.val_per_class is None and self.train_per_class is not None:
            return max(5, self.train_per_class // 4)
        return self.val_per_class
