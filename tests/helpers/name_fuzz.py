"""Names of files and folders as people, systems and attackers give them, and what becomes of images that have them."""

from __future__ import annotations

import random
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from ganaug_ray.data.ingest.scan import Survey
from ganaug_ray.data.sources.paths import normalize_path
from ganaug_ray.data.sources.raw import HIDDEN, SIDECAR
from tests.helpers.image_fuzz import FuzzedFile

FILES_PER_CLASS = 40  # of which about half are kept
MAX_NAME_BYTES = 255  # of most filesystems
# With a number in the place of {}, so that no two files have one name.
FILE_NAMES = (
    "{}.png", "{} (copy).jpg", " {}.png", "{}.png ", "{} .png", "\t{}.png", "{}\n.png", "line\nbreak {}.jpg",
    "#{}.png", "what? {}.png", "%41{}.png", "100% {}.png", "a&b={}.png", "{}*.png", "$(id) {}.png", "<b>{}.png",
    "'{}'.png", '"{}".png', "`{}`.png", "{},1.png", "{};.png", "{}:.png", "{}|.png", "~{}.png", "[{}].png",
    "\U0001f600 {}.png", "Dürer {}.png", "Du\u0308rer {}.png", "小狗 {}.png", "\u202e{}.png", "\u200b{}.png",
    "\u00a0{}.png", "{}", "{}.", "{}..png", "{}.PNG", "{}.JpEg", "{}.jpg.png", "{}.png.bak", "{}.tar.gz", "{}.docx",
    "{}.exe", "{}.txt", "{}.XML", "{}.csv", "readme {}.md", "-{}.png", "--help {}.png", "NUL {}.png",
    "{}" + "x" * 400 + ".png", "{}" + "犬" * 200 + ".png",
)  # fmt: skip
HIDDEN_NAMES = (".{}.png", "..{}.png", "...{}.jpg", ". {}.PNG")
CLASS_NAMES = (
    "cat", " cat", "cat ", "Cat", "polar bear", "Dürer", "Du\u0308rer", "小狗", "\U0001f600", "#1", "what?", "%41",
    "100%", "it's", '"quoted"', "line\nbreak", "-rf", "a.png", "a.zip", "7", "1.0", "nan", "<i>", "x" * MAX_NAME_BYTES,
)  # fmt: skip
HIDDEN_FOLDER = ".thumbnails"


@dataclass(frozen=True)
class NamedFile:
    """A file with a path below a source; its class is None where it is hidden."""

    path: str
    label: str | None
    content: bytes


def name_files(seed: int, files: Sequence[FuzzedFile]) -> list[NamedFile]:
    """Give files paths: each the name of a file in the name of a class; some of both are hidden."""
    draw = random.Random(seed)
    classes = draw.sample(CLASS_NAMES, min(len(CLASS_NAMES), max(2, len(files) // FILES_PER_CLASS)))
    return [_name_file(draw, classes, number, file) for number, file in enumerate(files)]


def write_folder(root: Path, files: Sequence[NamedFile]) -> None:
    """Write files below a folder."""
    for file in files:
        (root / file.path).parent.mkdir(parents=True, exist_ok=True)
        (root / file.path).write_bytes(file.content)


def write_zip(path: Path, files: Sequence[NamedFile]) -> None:
    """Write files into a zip archive, their names as they are."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            entry = zipfile.ZipInfo("x")
            entry.filename = file.path
            archive.writestr(entry, file.content)


def count_files(files: Sequence[NamedFile], survey: Survey) -> Counter[str]:
    """Count what became of each file, and raise where one is missing, counted twice or in another's class."""
    # Archives are read as if their names had no spaces at their ends and one form of umlauts; the numbers stay.
    label_by_path = {normalize_path(file.path): file.label for file in files}
    kept_paths = map(normalize_path, survey.usable["path"].to_pylist())
    kept = dict(zip(kept_paths, survey.usable["label"].to_pylist(), strict=True))
    rejected = Counter(map(normalize_path, survey.rejected["path"].to_pylist()))
    assert len(label_by_path) == len(files), "each file has a path of its own"
    assert len(kept) == len(survey.usable), "no path is kept twice"
    assert max(rejected.values(), default=1) == 1, "none is rejected twice"
    assert not kept.keys() & rejected.keys()
    assert not pc.any(pc.is_null(survey.rejected["reason"])).as_py()
    for path, label in kept.items():
        assert label == label_by_path[path], f"{path!r} is kept as {label!r}"
    unnamed = label_by_path.keys() - kept.keys() - rejected.keys()
    assert len(label_by_path) == len(kept) + len(rejected) + len(unnamed), "no path is of no file"
    hidden = {path for path in unnamed if label_by_path[path] is None}
    hidden_folders = {path.partition("/")[0] for path in hidden if path.startswith(HIDDEN_FOLDER)}
    single_files = {path for path in hidden if not path.startswith(HIDDEN_FOLDER)}
    assert len(unnamed - hidden) == survey.passed_over.get(SIDECAR, 0), sorted(unnamed - hidden)
    assert len(single_files) + len(hidden_folders) == survey.passed_over.get(HIDDEN, 0)
    assert survey.passed_over.keys() <= {SIDECAR, HIDDEN}
    outcomes = Counter(survey.rejected["reason"].to_pylist())
    return outcomes + Counter({"kept": len(kept), SIDECAR: len(unnamed - hidden), HIDDEN: len(hidden)})


def _name_file(draw: random.Random, classes: Sequence[str], number: int, file: FuzzedFile) -> NamedFile:
    folder = draw.choice(classes)
    is_hidden = draw.random() < 0.05
    name = draw.choice(HIDDEN_NAMES if is_hidden else FILE_NAMES).format(number)
    if draw.random() < 0.02:
        folder = HIDDEN_FOLDER
        is_hidden = True
    label = None if is_hidden else _expect_class(folder)
    return NamedFile(f"{folder}/{_shorten(name)}", label, file.content)


def _shorten(name: str) -> str:
    """Take so much out of a name that a filesystem accepts it, and leave its suffix."""
    stem, dot, suffix = name.rpartition(".")
    while len(f"{stem}{dot}{suffix}".encode()) > MAX_NAME_BYTES:
        stem = stem[:-1]
    return f"{stem}{dot}{suffix}"


def _expect_class(folder: str) -> str:
    """Return the class that is meant by a folder: one however its umlauts are encoded, and spaces around it."""
    return unicodedata.normalize("NFC", folder).strip()
