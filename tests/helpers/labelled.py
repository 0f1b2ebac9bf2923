"""Small sources with labels of all kinds, and what is read from them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.data import sources
from ganaug_ray.data.sources.raw import REMARK, RawImage


def png(seed: int) -> bytes:
    """Return a small picture of noise; another seed gives another one."""
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def lay_out(root: Path, *paths: str) -> Path:
    """Write a picture of its own at each path; return the folder."""
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(png(number))
    return root


def zip_names(path: Path, *names: str) -> Path:
    """Write a zip archive with a picture under each name, exactly as it is spelled."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            entry = zipfile.ZipInfo("x")
            entry.filename = name
            archive.writestr(entry, png(number))
    return path


def read(source: Path | str, label_from: LabelFrom | None = None, **columns: object) -> list[RawImage]:
    """Read all images of a source."""
    parts = sources.list_parts([str(source)], label_from or LabelFrom(), ColumnsConfig.model_validate(columns))
    return [raw for part in parts for raw in part()]


def read_labels(source: Path | str, label_from: LabelFrom | None = None, **columns: object) -> Mapping[str, str | None]:
    """Read the label of each image of a source: path -> its class, or the reason why it has none in angle brackets."""
    labels = {}
    for raw in read(source, label_from, **columns):
        reason = raw.objection[0] if raw.objection else getattr(raw.content, "reason", None)
        if reason == REMARK:  # of the source, and no image
            continue
        labels[raw.path] = raw.label if raw.objection is None and reason is None else f"<{reason}>"
    return labels
