"""Synthetic images that a job does not make itself: files of any origin, and a generator that another site shares."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from ganaug_ray.config.base import Config
from ganaug_ray.config.data import ColumnsConfig, LabelFrom, LabelSetting, Texts

OWN_GAN = "gan"
GENERATOR = "generator"
IMAGES = "images"
_ARM_PREFIX = "real+classic+"

ClassNames = dict[str, str]
"""Class of a source -> class of the data set; a class that is not in it keeps its name."""


def _shorten(address: str) -> str:
    return address.rstrip("/").rpartition("/")[2]


class ImagesConfig(Config):
    """Synthetic images of any origin: of a diffusion model, another GAN, a renderer."""

    source: Texts
    """One source or a list, as for data.source: a folder of class folders, an archive, a manifest, Parquet."""
    label_from: LabelSetting = LabelFrom()
    """Where labels come from, as data.label_from."""
    columns: ColumnsConfig = ColumnsConfig()
    """Names of a table's columns, as data.columns."""
    classes: ClassNames = Field(default={})
    """Class there -> class of the data set, where the two have other names."""

    @property
    def address(self) -> str:
        """Where the images are, in words."""
        return ", ".join(self.source)

    @property
    def short_name(self) -> str:
        """The same, without the folders that it lies in."""
        return ", ".join(_shorten(source) for source in self.source)


class GeneratorConfig(Config):
    """A generator that another site trained and shares: what ``ganaug share`` wrote."""

    source: str
    """Folder of the pack that `ganaug share` wrote."""
    classes: ClassNames = Field(default={})
    """Class there -> class of the data set, where the two have other names."""

    @property
    def address(self) -> str:
        """Where the pack is."""
        return self.source

    @property
    def short_name(self) -> str:
        """The same, without the folders that it lies in."""
        return _shorten(self.source)


SourceConfig = ImagesConfig | GeneratorConfig


def name_images(value: Any) -> Any:
    """Give a single source of images the name IMAGES; several come with names of their own."""
    if isinstance(value, str | list) or (isinstance(value, Mapping) and "source" in value):
        value = {IMAGES: value}
    if not isinstance(value, Mapping):
        return value
    return {name: expand_source(source) for name, source in value.items()}


def expand_source(value: Any) -> Any:
    """Make a section of a source that is given by its address alone; any other value is returned as it is."""
    return {"source": value} if isinstance(value, str | list) else value


def _refuse_reserved_names(value: dict[str, ImagesConfig]) -> dict[str, ImagesConfig]:
    for name in (OWN_GAN, GENERATOR):
        if name in value:
            raise ValueError(f"{name}: is the name of another source; give these images another name")
    return value


SourceName = Annotated[str, Field(pattern=r"^\w[\w-]*$")]  # also part of the name of a folder
NamedImages = Annotated[
    dict[SourceName, ImagesConfig],
    BeforeValidator(name_images, json_schema_input_type=Texts | ImagesConfig | dict[SourceName, Texts | ImagesConfig]),
    AfterValidator(_refuse_reserved_names),
]
SharedGenerator = Annotated[
    GeneratorConfig, BeforeValidator(expand_source, json_schema_input_type=str | GeneratorConfig)
]


def name_arm(source: str) -> str:
    """Return the name of the arm that a source gets by itself.

    >>> name_arm("images")
    'real+classic+images'
    """
    return _ARM_PREFIX + source


def find_source_of_arm(augment: Mapping[str, Any], arm: str) -> str | None:
    """Return the source of an augment section, not yet validated, that an arm is named after; None if there is none."""
    names = [GENERATOR] if augment.get(GENERATOR) else []
    if augment.get(IMAGES):
        named = name_images(augment[IMAGES])
        names += [str(name) for name in named] if isinstance(named, Mapping) else []
    return next((name for name in names if arm in (name, name_arm(name))), None)
