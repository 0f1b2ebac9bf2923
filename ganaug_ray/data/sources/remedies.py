"""Says what to give in the place of a file that is not read, by its name: arrays, videos, tables of other programs."""

import math
import re

import yaml

ARRAYS = (
    "holds arrays, which are not read; save each image as a PNG file in the folder of its class, or write the files' "
    "bytes into a Parquet table with the columns image and label"
)
CONTENT_REMEDIES = {
    (".npy", ".npz", ".pt", ".pth", ".pkl", ".pickle", ".h5", ".hdf5", ".mat", ".tfrecord", ".lmdb"): ARRAYS,
    ("data.mdb",): ARRAYS,  # of LMDB
    (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"): (
        "is a video, which is not read; save its frames as images"
    ),
}
IDX_FILE = re.compile(r"(^|/)[^/]*idx[13]-ubyte(\.gz)?$")
CIFAR_FILE = re.compile(r"(^|/)(data_batch_\d|test_batch)(\.bin)?$|(^|/)batches\.meta$")
SOURCE_REMEDIES = {
    (".xlsx", ".xls", ".ods", ".txt"): "save the table as .csv",
    (".json",): "write one object on each line, with the suffix .jsonl",
    (".csv.gz", ".tsv.gz", ".jsonl.gz", ".parquet.gz"): "unpack it",
    (".7z", ".rar", ".bz2", ".xz", ".zst", ".tbz2", ".txz"): "unpack it, or pack it as .zip or .tar.gz",
}
ARCHIVE_REMEDIES = {
    (".zip", ".tar", ".tar.gz", ".tgz"): (
        "is an archive: name each archive in data.source, in a list, if it has a folder for each class; if each is a "
        "class, pack one archive with a folder for each of them"
    ),
    (".7z", ".rar", ".tar.bz2", ".tar.xz", ".tar.zst", ".tbz2", ".txz"): (
        "is an archive: unpack it, or pack it as .zip or .tar.gz and name it in data.source, in a list"
    ),
}


_CONTENTS = {
    b"PK\3\4": "an Excel workbook or an archive, whatever its name; save the table as .csv",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook, whatever its name; save the table as .csv",
    b"PAR1": "a Parquet file; rename it with the suffix .parquet",
    b"\x1f\x8b": "gzip data; unpack it",
}  # of what is called as a table of text: the first bytes


def find_other_content(content: bytes) -> str | None:
    """Say what a file is that has the name of a table of text, and is none, by its first bytes; None of any other.

    >>> find_other_content(b"PAR1"), find_other_content(b"image,label")
    ('a Parquet file; rename it with the suffix .parquet', None)
    """
    return next((words for start, words in _CONTENTS.items() if content.startswith(start)), None)


def find_content_remedy(path: str) -> str | None:
    """Say what to do about a file that holds images in a way that is not read; None of any other.

    >>> find_content_remedy("clips/1.MP4"), find_content_remedy("cat/1.png")
    ('is a video, which is not read; save its frames as images', None)
    """
    if IDX_FILE.search(path):
        return "is in the file format of MNIST; give idx: and its folder, such as idx:FOLDER, as data.source"
    if CIFAR_FILE.search(path):
        return "is in the file format of CIFAR; give torchvision:CIFAR10, or save its images as PNG files"
    return _find_by_suffix(path, CONTENT_REMEDIES)


def find_archive_remedy(path: str) -> str | None:
    """Say what to do about an archive that lies among images, where it is not read; None of any other file.

    >>> find_archive_remedy("pets/bird.rar"), find_archive_remedy("cat/1.png")
    ('is an archive: unpack it, or pack it as .zip or .tar.gz and name it in data.source, in a list', None)
    """
    return _find_by_suffix(path, ARCHIVE_REMEDIES)


def find_source_remedy(path: str) -> str | None:
    """Say what to do about a file that is given as a source and is none; None where nothing is known.

    >>> find_source_remedy("list.XLSX"), find_source_remedy("pets.bin")
    ('save the table as .csv', None)
    """
    return find_content_remedy(path) or _find_by_suffix(path, SOURCE_REMEDIES)


def write_setting(section: str, **keys: str) -> str:
    """Return these keys of a section as a job's line, to be copied.

    >>> write_setting("data.label_from", csv="labels.csv")
    'data.label_from: {csv: labels.csv}'
    """
    text = yaml.safe_dump(keys, default_flow_style=True, allow_unicode=True, width=math.inf, sort_keys=False)
    return f"{section}: {text.strip()}"


def _find_by_suffix(path: str, remedies: dict[tuple[str, ...], str]) -> str | None:
    name = path.lower()
    return next((words for suffixes, words in remedies.items() if name.endswith(suffixes)), None)
