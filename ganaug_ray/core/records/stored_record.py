"""A JSON file as a frozen object: checked once, when it is read, and written with its version.

A field without a default must be in the file. Keys that no field names are kept: a newer file of the same version may
have more. A change after which an older reader would misread the file takes a higher ``VERSION``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ganaug_ray.core import experiment_dir
from ganaug_ray.core.storage import Folder, encode_json
from ganaug_ray.errors import UserError

REMEDY = "restore the file, or delete it and run its stage again"


class Part(BaseModel):
    """An object inside a record."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, defer_build=True)

    def to_json(self) -> dict[str, Any]:
        """Return the object as it is in the file."""
        return self.model_dump(exclude_unset=True)


class Occupied(Part):
    """What a training occupied while it ran, all its processes together; one of the two."""

    cores: float | None = None
    """Of processors."""
    gpus: float | None = None
    """GPUs, or a share of one."""


class StoredRecord(Part):
    """The content of one JSON file."""

    FILE: ClassVar[str]
    """Its name, the same in every folder."""
    VERSION: ClassVar[int] = 1
    """The newest version that is understood, and the one that is written."""

    version: int = Field(default=1, ge=1)
    """Of the file's form; files from before there was one are of version 1."""
    versions: dict[str, str]
    """Of the packages that decide the figures, by name."""

    @classmethod
    def read(cls, folder: Folder) -> Self:
        """Read a folder's file.

        Raises:
            FileNotFoundError: there is none.
            UserError: it is of a newer version, lacks a field, or holds something else in one.
        """
        try:
            content = folder.read_json(cls.FILE)
        except ValueError as error:
            raise UserError(f"{folder / cls.FILE}: is not JSON ({error}); {REMEDY}") from None
        return cls.check_content(content, str(folder / cls.FILE))

    @classmethod
    def find(cls, folder: Folder) -> Self | None:
        """Read a folder's file, or return None where it was never written. Raises UserError as ``read``."""
        try:
            return cls.read(folder)
        except FileNotFoundError:
            return None

    @classmethod
    def check_content(cls, content: Mapping[str, Any], path: str) -> Self:
        """Make a record of the content of the file at a path. Raises UserError as ``read``."""
        version = content.get("version", 1) if isinstance(content, Mapping) else 1
        if isinstance(version, int) and version > cls.VERSION:
            raise UserError(f"{path} is version {version}; this ganaug reads up to {cls.VERSION}: install a newer one")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UserError(f"{path}: {_describe_mistake(error)}; {REMEDY}") from None


class StageRecord(StoredRecord):
    """The marker of a finished stage."""

    stage: str
    """Which stage wrote it."""
    status: Literal["done"]
    seconds: float
    """What the stage took."""
    hash: str
    """Of what the stage made: 16 hex digits."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Hashes of what it was made from, by name."""

    @classmethod
    def write(cls, folder: Folder, stage: str, started: float, content: Mapping[str, Any]) -> Self:
        """Write the marker that says a stage is done.

        Args:
            folder: of the stage.
            stage: its name.
            started: the time.monotonic() at its beginning.
            content: every other field, JSON-like.

        Returns:
            The record, as ``read`` gives it.
        """
        stamped = experiment_dir.stamp_marker(stage, started, {**content, "version": cls.VERSION})
        # Checked before it is written: what cannot be read again is never left behind as done.
        record = cls.check_content(json.loads(encode_json(stamped)), str(folder / cls.FILE))
        experiment_dir.store_marker(folder, cls.FILE, stamped)
        return record


def _describe_mistake(error: ValidationError) -> str:
    """The first thing that is wrong with a file's content."""
    mistake = error.errors()[0]
    key = ".".join(map(str, mistake["loc"]))
    if not key:
        return "holds no JSON object"
    if mistake["type"] == "missing":
        return f"lacks {key}"
    return f"found {mistake['input']!r:.80} for {key} ({mistake['msg'].lower()})"
