"""A folder without images beside those of the classes is told: somebody may have meant a class."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganaug_ray.data.sources.raw import REMARK
from ganaug_ray.data.unreadable import UnreadableError
from tests.helpers.labelled import lay_out, read


def read_remarks(root: Path) -> list[str]:
    found = [raw.content for raw in read(root) if isinstance(raw.content, UnreadableError)]
    return [content.detail for content in found if content.reason == REMARK]


@pytest.mark.parametrize("parent", ["", "train/"])
@pytest.mark.parametrize("content", [None, "readme.txt"])
def test_class_without_images_is_told(parent: str, content: str | None, tmp_path: Path) -> None:
    """A class folder that is empty, or has a note alone, is named with what it means."""
    root = lay_out(tmp_path, f"{parent}cat/1.png", f"{parent}dog/images/2.png")
    (root / parent / "bird").mkdir()
    if content:
        (root / parent / "bird" / content).write_text("to be photographed")
    (remark,) = read_remarks(root)
    assert remark == f"{parent}bird holds no images, so it is not a class; if it is one, its images are missing"


def test_other_folders_are_not_told(tmp_path: Path) -> None:
    """Hidden folders, splits and folders of masks could not be classes, and neither could what lies further up."""
    root = lay_out(tmp_path, "pets/cat/1.png", "pets/dog/2.png")
    for name in (".cache", "masks", "val", "notes"):
        (root / "pets" / name).mkdir()
    (root / "scripts").mkdir()
    (remark,) = read_remarks(root)
    assert remark.startswith("pets/notes holds no images")
    lay_out(root, "pets/notes/3.png")
    assert read_remarks(root) == []


def test_many_folders_are_one_remark(tmp_path: Path) -> None:
    """Several are counted, with one of them."""
    root = lay_out(tmp_path, "cat/1.png", "dog/2.png")
    for name in ("bird", "fish"):
        (root / name).mkdir()
    (remark,) = read_remarks(root)
    assert remark.startswith("2 folders beside those of the classes, such as bird, hold no images")
