"""Says which file beside images may have their labels, where no folder and no table that is read names their classes.

Labels come in many kinds of files: lists of text, workbooks, COCO's annotations, MATLAB's arrays. None of them is taken
for labels unasked; the refusal names the likeliest one, and what makes it one that is read.
"""

import re
from collections.abc import Collection, Sequence
from contextlib import suppress

from ganaug_ray.core.storage import Folder
from ganaug_ray.data.sources.listing_tables import NO_LABELS, TABLE_SUFFIXES, is_small_file
from ganaug_ray.data.sources.paths import drop_suffix
from ganaug_ray.data.sources.remedies import write_setting

READ_SUFFIXES = (*TABLE_SUFFIXES, ".txt")
TEXT_SUFFIXES = (*READ_SUFFIXES, ".json", ".xml")
BINARY_SUFFIXES = (".xlsx", ".xls", ".ods", ".mat")
MAX_FILES = 32  # that are looked into
MIN_NAMED_SHARE = 0.1  # of the images, that a text of labels must name
PIXEL_COLUMN = re.compile(r"[\"']?(pixels?|px|p|x|v|f)?[ _.-]?\d+(x\d+)?[\"']?", re.IGNORECASE)
MIN_PIXEL_COLUMNS = 64  # of an image of 8 × 8
MAX_HEADER_BYTES = 2**20
BETWEEN_NAMES = re.compile(r"[\s,;:|/\\\"'<>\[\]{}()]+")


def suggest_label_file(source: str, paths: Sequence[str], images: Sequence[str]) -> str:
    """Say how the file is used that may have the labels: the end of a sentence; empty if there is no such file.

    Args:
        source: the folder.
        paths: of all files in it.
        images: of these the images without a class, normalised.
    """
    folder = Folder.from_uri(source.rstrip("/"))
    names = {_get_stem(image) for image in images}
    files = [path for path in paths if path.lower().endswith((*TEXT_SUFFIXES, *BINARY_SUFFIXES))]
    files = [path for path in files if _get_stem(path) not in names and NO_LABELS not in path.lower()]
    files = sorted(files, key=lambda path: (path.count("/"), path))[:MAX_FILES]
    counts = {path: _count_named_images(folder, path, names) for path in files if path.lower().endswith(TEXT_SUFFIXES)}
    lists = [path for path, count in counts.items() if count >= max(1, MIN_NAMED_SHARE * len(names))]
    lists = lists or [path for path, count in counts.items() if count < 0 and path.lower().endswith(TABLE_SUFFIXES)]
    if lists:
        best = max(lists, key=lambda path: (path.lower().endswith(READ_SUFFIXES), counts[path]))
        return _suggest(folder, best, len(lists) - 1)
    beside = [path for path in paths if path.lower().endswith(TEXT_SUFFIXES) and _get_stem(path) in names]
    if beside:
        return (
            f"; if files such as {min(beside)} have the classes, write them as a table with the columns image and "
            "label, and name it in data.label_from: {csv: …}"
        )
    binaries = [path for path in files if path.lower().endswith(BINARY_SUFFIXES)]
    return _suggest(folder, binaries[0], len(binaries) - 1) if binaries else ""


def describe_pixel_tables(source: str, paths: Sequence[str], images: Sequence[str]) -> list[str]:
    """Say which table of a folder without images holds pixels, a column each, as Kaggle has MNIST."""
    folder = Folder.from_uri(source.rstrip("/"))
    tables = [path for path in paths if path.lower().endswith(TABLE_SUFFIXES) and not images]
    for path in tables[:MAX_FILES]:
        with suppress(OSError), folder.fs.open_input_stream(f"{folder.path}/{path}") as file:
            columns = re.split(r"[,;\t]", file.read(MAX_HEADER_BYTES).decode(errors="replace").partition("\n")[0])
            pixels = [column.strip() for column in columns if PIXEL_COLUMN.fullmatch(column.strip())]
            if len(pixels) >= MIN_PIXEL_COLUMNS:
                return [
                    f"{path} holds pixels in {len(pixels)} columns, such as {pixels[0]}, which are not read; save each "
                    "row as a PNG file in the folder of its class"
                ]
    return []


def _suggest(folder: Folder, path: str, others: int) -> str:
    others_too = "" if not others else " or another file beside it" if others == 1 else f" or one of {others} others"
    table = path if path.lower().endswith(READ_SUFFIXES) else f"{drop_suffix(path)}.csv"
    setting = write_setting("data.label_from", csv=str(folder / table))
    if table == path:
        return f"; if {path}{others_too} lists the classes, set {setting}"
    return (
        f"; if {path}{others_too} has the classes, save them as {table}, a table with the columns image and label, "
        f"and set {setting}"
    )


def _count_named_images(folder: Folder, path: str, names: Collection[str]) -> int:
    """Count the names of images, without their suffix, that stand in a text; -1 where it is not looked into."""
    try:
        if not is_small_file(folder, path):
            return -1
        content = folder.read_bytes(path)
    except OSError:  # whoever is told to use it learns of that
        return -1
    words = {drop_suffix(word) for word in BETWEEN_NAMES.split(content.decode(errors="replace").casefold())}
    return len(words.intersection(names))


def _get_stem(path: str) -> str:
    return drop_suffix(path.rpartition("/")[2]).casefold()
