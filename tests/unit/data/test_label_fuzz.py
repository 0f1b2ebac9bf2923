"""Random folder layouts and label tables whose truth is known: every label is right, or is refused."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.data.sources.labels import FileLabels
from ganaug_ray.errors import UserError

CLASSES = ("cat", "Dürer", "no", "7", "polar bear", "mask", "data", "b_1", "n02085620", "Über-Hund", "true", "train")
SPLITS = ("train", "val", "test", "Training", "valid", "test_set")
TRIALS = 200  # of each seed


def draw_files(rng: random.Random, classes: Sequence[str]) -> dict[str, str]:
    """Draw the paths of a source's images, each with its class."""
    front = rng.choice(["", "", "pets/", "archive/pets/"])
    inner = rng.choice(["", "", "/images", "/img"])
    splits = rng.choice([None, None, ("train", "test"), rng.sample(SPLITS, 3)])
    split_is_inside = rng.random() < 0.3
    files = {}
    for name in classes:
        for number in range(rng.randint(2, 6)):
            folder = name
            if splits:
                split = rng.choice(splits)
                folder = f"{name}/{split}" if split_is_inside else f"{split}/{name}"
            suffix = rng.choice([".jpg", ".JPG", ".png", ""])
            stem = rng.choice([f"{number}", f"{name} {number}", f"IMG.{number}", f"é{number}"])
            files[f"{front}{folder}{inner}/{stem}{suffix}"] = name
    return files


@pytest.mark.parametrize("seed", range(6))
def test_random_layouts_keep_labels(seed: int) -> None:
    """Of random folder layouts every image has its label, or none."""
    rng = random.Random(seed)
    right = refused = 0
    for _ in range(TRIALS):
        truth = draw_files(rng, rng.sample(CLASSES, rng.randint(2, 4)))
        labels = FileLabels(LabelFrom(), ColumnsConfig(), list(truth))
        for path, name in truth.items():
            found = labels.find_label(path).name
            assert found in (name, None), (path, found, list(truth))
            right += found == name
            refused += found is None and name != "train"
    assert right > 20 * refused, "what is usual is understood"


def disguise(rng: random.Random, path: str, style: str) -> str:
    """Write a path as a table might."""
    match style:
        case "front":
            path = f"images/{path}"
        case "windows":
            path = "D:\\data\\" + path.replace("/", "\\")
        case "bare":
            path = path.rpartition("/")[2]
        case "stem":
            path = path.rpartition(".")[0] if "." in path.rpartition("/")[2] else path
        case "case":
            path = path.upper()
        case "dotted":
            path = f"./{path} "
    return unicodedata.normalize(rng.choice(["NFC", "NFD"]), path)


def write_table(rng: random.Random, truth: dict[str, str], rows: list[tuple[str, str]]) -> str:
    """Write rows of (path, class) as the text of a table, in one of the usual forms."""
    names = sorted(set(truth.values()))
    separator = rng.choice([",", ";", "\t", "|"])
    gap = rng.choice(["", " "])
    form = rng.choice(["plain", "swapped", "one-hot"])
    if form == "one-hot" and len(names) > 1:
        lines = [["image", *names]]
        lines += [
            [path, *(rng.choice(["1", "1.0"]) if name == other else "0" for other in names)] for path, name in rows
        ]
    else:
        image, label = rng.choice(
            [("image", "label"), ("Filename", "Class"), ("image_id", "species"), ("path", "target")]
        )
        lines = [[image, label], *([path, name] for path, name in rows)]
        if form == "swapped":
            lines = [[second, first] for first, second in lines]
    mark = rng.choice(["", "\ufeff"])
    return mark + rng.choice(["\n", "\r\n"]).join((separator + gap).join(line) for line in lines) + "\n"


@pytest.mark.parametrize("seed", range(6))
def test_random_tables_keep_labels(seed: int, tmp_path: Path) -> None:
    """Of random tables every image has its label or none, and contradicting rows give none."""
    rng = random.Random(1000 + seed)
    right = refused = 0
    table = tmp_path / "labels.csv"
    for trial in range(TRIALS):
        truth = draw_files(rng, rng.sample(CLASSES, rng.randint(2, 4)))
        style = rng.choice(["plain", "front", "windows", "bare", "stem", "case", "dotted"])
        rows = [(disguise(rng, path, style), name) for path, name in truth.items()]
        spoiled = set()
        if rng.random() < 0.3:
            path, name = rng.choice(list(truth.items()))
            other = next(other for other in truth.values() if other != name)
            rows.append((path, other))
            spoiled.add(path)
        rng.shuffle(rows)
        table.write_text(write_table(rng, truth, rows), newline="")
        try:
            labels = FileLabels(LabelFrom(csv=str(table)), ColumnsConfig(), list(truth))
        except UserError:
            refused += len(truth)
            continue
        for path, name in truth.items():
            found = labels.find_label(path)
            allowed = (None,) if path in spoiled and style != "bare" else (name, None)
            if path in spoiled and style == "bare":
                continue  # the row with the whole path is the only one that names this file for sure
            assert found.name in allowed, (trial, style, path, found, table.read_text())
            right += found.name == name
            refused += found.name is None
    assert right > 2 * refused, "what is usual is understood"
