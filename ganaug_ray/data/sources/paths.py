"""Understands paths: of files in folders and archives, and as tables write them. All other code sees one form."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

# Beside images: what they are labelled with, or a text on them. A file of such a name that is an image is one.
SIDECAR_SUFFIXES = frozenset((
    ".txt", ".xml", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".yaml", ".yml", ".toml", ".ini", ".cfg",
    ".md", ".rst", ".html", ".htm", ".log", ".xmp", ".aae", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".py",
    ".ipynb", ".sh", ".mat", ".npy", ".npz", ".pkl", ".pickle", ".pt", ".pth", ".h5", ".hdf5", ".db", ".lock",
    ".sha256", ".md5", ".names", ".data", ".cache", ".url", ".bib", ".tex",
    ".mov", ".mp4", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv", ".3gp", ".wav", ".mp3",
    ".m4a", ".aac", ".ogg", ".flac",
))  # fmt: skip
SIDECAR_NAMES = frozenset({
    "readme", "license", "licence", "makefile", "checksums", "sha256sums", "md5sums", "_success", "_metadata",
    "_common_metadata",
})  # fmt: skip
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm",
    ".jp2", ".j2k", ".avif",
))  # fmt: skip
RAW_SUFFIXES = frozenset((
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mrw", ".nef", ".nrw", ".orf",
    ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
))  # fmt: skip
REDUCED_SUFFIXES = (".ovr", ".msk", ".thm")  # smaller copies and masks of the image beside them: images, and not meant
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
OTHER_SUFFIX = re.compile(r"[^/]\.[A-Za-z][A-Za-z0-9_-]{0,11}$")  # a number at the end of a name is none
AWKWARD = re.compile(r"[^!-\[\]-~]|//|(^|/)\.(/|$)")  # what may have to be changed in a path: a space, an umlaut, a \
UNWRITABLE = re.compile("[\\0\ud800-\udfff]")  # no path has the one, and no text the others: halves of characters
HIDDEN = re.compile(
    r"(?:^|[/\\])(?:\.(?!\.?(?:[/\\]|$))|(?:Thumbs\.db|desktop\.ini|Icon\r|__MACOSX"
    r"|@eaDir|#recycle|@Recycle|\$RECYCLE\.BIN|System Volume Information|lost\+found)(?:[/\\]|$))"
)
# Hidden folders of programs that never hold images that are meant.
PROGRAM_FOLDERS = frozenset((
    "__MACOSX", ".git", ".svn", ".hg", ".dvc", ".idea", ".vscode", ".Trashes", ".Spotlight-V100", ".fseventsd",
    ".TemporaryItems", ".DocumentRevisions-V100",
    "@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found",
))  # fmt: skip
SPLIT_NAMES = re.compile(  # of Kaggle's two tests one is for validation
    r"(?P<train>train(ing)?([ _-]?val(id(ation)?)?)?|)(?P<val>val(id(ation|ate)?)?|dev|eval(uation)?|public[ _-]?test|)"
    r"(?P<test>test(ing)?|t10k|private[ _-]?test|)([ _-]?(set|data|images?))?([ _-]?\d+)?"
)
OUTSIDE = re.compile(r"/|\.\./|[A-Za-z]:/|\w+://")  # a path that leads out of the folder of its table
SPLIT_SUFFIXES = ("parquet", "csv", "tsv", "jsonl", "ndjson", "zip", "tar")  # of a file that may be a split
HIVE_SPLIT = re.compile(r"(data_?|dataset_?)?(split|subset|partition|set)=")  # a folder such as Spark writes
SHARD_NUMBER = re.compile(r"([-_.]\d+)+(-of-\d+)?$")


def normalize_path(path: str) -> str:
    r"""Bring a path to one form: / between folders, NFC, no . or empty part, no spaces at the ends of a part.

    >>> normalize_path(" .\\pets\\cat \\1.jpg "), normalize_path("/a//b.jpg"), normalize_path("https://host/b.jpg")
    ('pets/cat/1.jpg', '/a/b.jpg', 'https://host/b.jpg')
    >>> normalize_path("file:///a%20b/1.jpg")
    '/a b/1.jpg'
    """
    path = path.strip()
    if path.startswith("file:///"):
        path = unquote(path.removeprefix("file://"))
    if not AWKWARD.search(path):
        return path
    path = UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", path)
    if "://" in path:
        return path
    parts = (part.strip() for part in unicodedata.normalize("NFC", path).replace("\\", "/").split("/"))
    root = "/" if path.startswith(("/", "\\")) else ""
    return root + "/".join(part for part in parts if part not in ("", "."))


def read_path_cell(cell: Any) -> str:
    """Return the path in a cell of a table in one form, of a whole number its digits; empty in any other cell.

    >>> read_path_cell("cat\\\\1.png"), read_path_cell(7), read_path_cell(7.0), read_path_cell(None)
    ('cat/1.png', '7', '7', '')
    """
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else ""
    return normalize_path(str(cell)) if isinstance(cell, str | int) and not isinstance(cell, bool) else ""


def is_hidden(path: str) -> bool:
    """Whether a file is hidden or left behind by a system, such as thumbnails and resource forks.

    >>> [is_hidden(path) for path in ("cat/1.jpg", "cat/.DS_Store", "__MACOSX/cat/1.jpg", "cat/Thumbs.db")]
    [False, True, True, True]
    """
    return HIDDEN.search(path) is not None


def find_hiding_place(path: str) -> str:
    """Return the outermost hidden folder that a hidden file lies in, with a slash at its end; else the file itself.

    >>> [find_hiding_place(path) for path in ("cat/.1.jpg", "cat/.new/1.jpg")]
    ['cat/.1.jpg', 'cat/.new/']
    """
    *folders, _ = path.split("/")
    for depth, folder in enumerate(folders):
        if is_hidden(folder):
            return "/".join(folders[: depth + 1]) + "/"
    return path


def is_hidden_image(path: str) -> bool:
    """Whether a hidden file may be an image that is meant: not what programs and systems leave behind, or no image.

    >>> [is_hidden_image(path) for path in ("cat/.1.jpg", "cat/.new/1.jpg", "cat/._1.jpg", "cat/.DS_Store")]
    [True, True, False, False]
    """
    *folders, name = path.split("/")
    return is_image_name(name) and not name.startswith("._") and PROGRAM_FOLDERS.isdisjoint(folders)


def is_sidecar(path: str) -> bool:
    """Whether a file's name says that it stands beside images and is none.

    >>> [is_sidecar(path) for path in ("cat/1.txt", "README", "cat/1.jpg", "cat/1")]
    [True, True, False, False]
    """
    name = path.rsplit("/", 1)[-1].lower()
    _, dot, suffix = name.rpartition(".")
    return dot + suffix in SIDECAR_SUFFIXES if dot else name in SIDECAR_NAMES


def find_files_beside(paths: Iterable[str]) -> set[str]:
    """Find files of unknown kinds that are called as an image of their folder, such as world files, clips and raws.

    >>> sorted(find_files_beside(["cat/1.jpg", "cat/1.JGW", "cat/1.jpg.pp3", "cat/2.mov", "cat/1.png", "cat/1.5"]))
    ['cat/1.JGW', 'cat/1.jpg.pp3']
    """
    images = set()
    other_files = []
    for path in paths:
        if is_image_name(path):
            images |= {path.lower(), drop_suffix(path).lower()}
        elif OTHER_SUFFIX.search(path) and not path.lower().endswith(ARCHIVE_SUFFIXES):  # which may hold images
            other_files.append(path)
    beside = set()
    for path in other_files:
        stem = drop_suffix(path)
        if not images.isdisjoint({stem.lower(), drop_suffix(stem).lower()}):  # also 1.tags.bin beside 1.png
            beside.add(path)
    return beside


def is_image_name(path: str) -> bool:
    """Whether a text is the path of an image file, by its suffix."""
    return _read_suffix(path) in IMAGE_SUFFIXES


def may_be_image(path: str) -> bool:
    """Whether a file's name is that of an image, or has no suffix that says what the file is.

    >>> [may_be_image(path) for path in ("cat/1.JPG", "cat/1", "cat/1.5", "src/x.pyc", "fig/plot.svg")]
    [True, True, True, False, False]
    """
    return is_image_name(path) or OTHER_SUFFIX.search(path) is None


def is_raw_name(path: str) -> bool:
    """Whether a path is that of a camera's raw file, by its suffix."""
    return _read_suffix(path) in RAW_SUFFIXES


def _read_suffix(path: str) -> str:
    return "." + path.rpartition(".")[2].strip().lower()


def name_split(folder: str) -> str | None:
    """Return the split that a folder's name means: train, val or test; None for any other name.

    >>> [name_split(name) for name in ("Train", "valid", "test_set", "t10k", "trainer")]
    ['train', 'val', 'test', 'test', None]
    >>> [name_split(name) for name in ("trainval", "dev", "validate", "test1", "val2017", "seg_test", "tester")]
    ['train', 'val', 'val', 'test', 'val', 'test', None]
    >>> name_split("split=train"), name_split("label=train")
    ('train', None)
    """
    match = SPLIT_NAMES.fullmatch(HIVE_SPLIT.sub("", folder.strip().lower().removeprefix("seg_"), count=1))
    splits = [name for name in ("train", "val", "test") if match and match[name]]
    return splits[0] if len(splits) == 1 else None


def find_split(path: str) -> str | None:
    """Return the split of the outermost folder that names one, or that a table's own name means; else None.

    >>> [find_split(path) for path in ("pets/test/cat/1.jpg", "data/train-00000-of-00002.parquet", "cat/train.jpg")]
    ['test', 'train', None]
    """
    *folders, name = path.split("/")
    for folder in folders:
        if split := name_split(folder):
            return split
    stem, _, suffix = name.rpartition(".")
    return name_split(SHARD_NUMBER.sub("", stem)) if suffix.lower() in SPLIT_SUFFIXES else None


def find_outer_folder(paths: Iterable[str], table_folder: str) -> str:
    """Return what stands in front of a table's paths that lead out of its folder and means no split, such as /home/dev.

    It is all that these paths have in common, or the table's own folder if that is deeper. A common folder train in
    which no path has a split means one.

    Args:
        paths: as a table has them, normalised; relative ones count only if they lead upwards.
        table_folder: where the table lies, absolute.

    Returns:
        The folder with a slash at its end, or nothing.

    >>> find_outer_folder(["/home/dev/pets/train/1.png", "/home/dev/pets/test/2.png", "3.png"], "/tables")
    '/home/dev/pets/'
    >>> find_outer_folder(["/pets/train/cat/1.png", "/pets/train/dog/1.png"], "/tables")
    '/pets/'
    """
    outside = [path for path in paths if OUTSIDE.match(path)]
    if not outside:
        return ""
    common = find_common_folders([path.split("/")[:-1] for path in outside])
    below = ("/".join(path.split("/")[len(common) :]) for path in outside)
    if common and name_split(common[-1]) and not any(map(find_split, below)):
        common = common[:-1]
    own_folder = table_folder.rstrip("/") + "/"
    candidates = ["/".join([*common, ""])]
    if all(path.startswith(own_folder) for path in outside):
        candidates.append(own_folder)
    return max(candidates, key=len)


def find_common_folders(paths: list[list[str]]) -> list[str]:
    """Return the folders with which all of these paths begin."""
    first, last = min(paths), max(paths)
    depth = next(
        (number for number, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first)
    )
    return first[:depth]


def is_address(path: str) -> bool:
    """Whether a path in a table is an address, say on the web; nothing is fetched for a table.

    >>> is_address("https://host/1.jpg"), is_address("cat/1.jpg")
    (True, False)
    """
    return "://" in path


def strip_query(source: str) -> str:
    """Return an address without its query and fragment; in a path, ? and # mean nothing.

    >>> strip_query("https://host/a.zip#sha256=0"), strip_query("photos #2.zip")
    ('https://host/a.zip', 'photos #2.zip')
    """
    return source.split("?")[0].split("#")[0] if "://" in source else source


def drop_suffix(path: str) -> str:
    """Return a path without its last suffix.

    >>> drop_suffix("cat.d/1.2.jpg"), drop_suffix("cat.d/1")
    ('cat.d/1.2', 'cat.d/1')
    """
    folder, slash, name = path.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    return folder + slash + (stem if dot and stem else name)


def repair_encoding(text: str) -> str:
    """Undo UTF-8 taken for code page 437, as often as it was done; other text does not decode, and stays.

    >>> [repair_encoding(text) for text in ("caf├⌐", "café", "cat")]
    ['café', 'café', 'cat']
    """
    while not text.isascii():
        try:
            text = text.encode("cp437").decode("utf-8")
        except UnicodeError:
            break
    return text
