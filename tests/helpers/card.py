"""A dataset folder made by hand in the layout of the prepare stage, and its card as a reader gets it."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from ganaug_ray.core.storage import Folder
from ganaug_ray.data.card import dataset_card
from ganaug_ray.data.loading import image_store

SPLITS = ("train", "val", "test", "unused")
Rows = list[dict[str, Any]]
REJECTED = dict.fromkeys(("path", "provenance", "reason", "detail"), "string") | {"thumbnail": "binary"}
TWINS = {"group": "int32", **dict.fromkeys(("id", "path", "class", "split"), "string"), "distance": "float"}
KINDS = {"rejected": REJECTED, "near_duplicates": TWINS | {"thumbnail": "binary"}}


def png(level: int) -> bytes:
    sink = io.BytesIO()
    Image.new("L", (96, 96), level).save(sink, "PNG")
    return sink.getvalue()


class Dataset:
    """A dataset folder as the prepare stage leaves it, but for its marker; to be changed before the card is made."""

    def __init__(self, path: Path, per_class: Mapping[str, tuple[int, int, int, int]], channels: int = 3) -> None:
        """``per_class`` has the images in train, val, test and unused. All pixels of an image are of one level."""
        self.path, self.folder = path, Folder.from_uri(path)
        self.classes = sorted(per_class)
        self.counts = {split: {name: per_class[name][k] for name in self.classes} for k, split in enumerate(SPLITS)}
        self.rejected: Rows = []
        self.twins: Rows = []
        self.rows: Rows = [
            {"id": f"{split} {name} {i}", "split": split, "class": name, "path": f"{name}/{split}{i}.jpg",
             "provenance": "pictures", "width": 40 + i, "height": 30, "format": "JPEG", "note": ""}
            for split in SPLITS for name in self.classes for i in range(self.counts[split][name])
        ]  # fmt: skip
        for split in SPLITS[:3]:
            own = [row for row in self.rows if row["split"] == split]
            labels = np.array([self.classes.index(row["class"]) for row in own], np.int64)
            images = np.empty((len(own), 32, 32, channels), np.uint8)
            for number, row in enumerate(own):
                images[number] = level(self.classes.index(row["class"]), row["width"] - 40)
            names = [row["id"] for row in own]
            image_store.write_images(
                self.folder / split, image_store.LabelledImages(images, labels, names, names, names), "real"
            )
        self.record: dict[str, Any] = {
            "source": ["pictures"], "classes": self.classes, "image_size": 32, "resize": "crop", "channels": channels,
            "counts": self.counts, "unlabelled": 0,
        }  # fmt: skip

    def reject(self, reason: str, path: str, thumbnail: bytes | None = None, detail: str = "") -> None:
        row = {"path": path, "provenance": "pictures", "reason": reason, "detail": detail, "thumbnail": thumbnail}
        self.rejected.append(row)

    def twin(self, *rows: tuple[str, str, str]) -> None:
        """Add a group of near-duplicates: (path, class, split)."""
        group = len({row["group"] for row in self.twins})
        for number, (path, name, split) in enumerate(rows):
            self.twins.append({"group": group, "id": path, "path": path, "class": name, "split": split,
                               "distance": 1.5 * number, "thumbnail": png(90)})  # fmt: skip

    def card(self, metadata: str | None = None) -> Page:
        self.folder.write_table("split.parquet", pa.Table.from_pylist(self.rows))
        for name, rows in (("rejected", self.rejected), ("near_duplicates", self.twins)):
            schema = pa.schema([(column, kind) for column, kind in KINDS[name].items()])
            self.folder.write_table(f"{name}.parquet", pa.Table.from_pylist(rows, schema))
        groups = {row["group"] for row in self.twins}
        self.record["rejected"] = dict(Counter(row["reason"] for row in self.rejected))
        self.record["near_duplicates"] = {"groups": len(groups), "images": len(self.twins)}
        train = image_store.read_images(self.folder / "train")
        dataset_card.write_card(self.folder, self.record, metadata, (train.images, train.labels))
        return Page((self.path / "card.html").read_text(encoding="utf-8"))


def level(label: int, number: int) -> int:
    return (60 * label + 2 * number) % 256


class Page(HTMLParser):
    """Words and pictures of a page, by section: the id of the heading they stand under."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.section, self.skip = "top", False
        self.words: dict[str, str] = {}
        self.pictures: dict[str, list[tuple[str, Image.Image]]] = {}
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = {name: value or "" for name, value in attrs}
        self.tags[tag] += 1
        self.skip = tag == "style"
        if tag == "h2":
            self.section = own["id"]
        self.links += [own[name] for name in ("src", "href", "srcset", "action", "data") if name in own]
        assert not any(name.startswith("on") for name in own), "no scripts"
        if tag == "img":
            content = base64.b64decode(own["src"].partition(",")[2])
            self.pictures.setdefault(self.section, []).append((own["alt"], Image.open(io.BytesIO(content))))
        if tag != "wbr":
            self.words[self.section] = self.words.get(self.section, "") + " "

    def handle_data(self, data: str) -> None:
        if not self.skip:
            self.words[self.section] = self.words.get(self.section, "") + data

    def text(self, section: str) -> str:
        return " ".join(self.words.get(section, "").split())
