"""Reads data sets of the Hugging Face Hub: their files are downloaded once, and read as a folder is.

No code of a data set is run: what is read is its Parquet files, or its images with their tables of labels. The Hub
itself converts most other data sets to Parquet, in a branch of its own.
"""

from __future__ import annotations

import functools
import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.data.sources import folders
from ganaug_ray.data.sources.paths import IMAGE_SUFFIXES
from ganaug_ray.data.sources.raw import PartReader, RawImage, SourcePart
from ganaug_ray.data.sources.web import MAX_DOWNLOAD_BYTES
from ganaug_ray.errors import UserError

PARQUET_BRANCH = "refs/convert/parquet"
ANSWER_TIMEOUT_S = 20.0  # seconds
PARQUET_PATTERNS = ("*.parquet",)
IMAGE_PATTERNS = (
    *(f"*{suffix}" for suffix in sorted(IMAGE_SUFFIXES)),
    "*metadata.csv",
    "*metadata.jsonl",
)
_ADDRESS = re.compile(r"hf:(?://datasets/)?(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<folder>[\w./-]+?))?/?")


@dataclass(frozen=True)
class _Snapshot:
    """The files of a data set that are read: the branch, None for the main one, and patterns of their paths."""

    revision: str | None
    patterns: tuple[str, ...]


def list_parts(source: str, label_from: LabelFrom | None, columns: ColumnsConfig) -> Iterator[SourcePart]:
    """Yield the parts of ``hf:OWNER/NAME`` or, of one folder in it, ``hf:OWNER/NAME/FOLDER``.

    Raises:
        UserError: there is no such data set, it cannot be fetched, or it has nothing that is read.
    """
    folder = fetch_dataset(source)
    for part in folders.list_parts(str(folder), label_from, columns):
        yield SourcePart(functools.partial(_read_part, source, part.read), part.labelled_splits, part.images)


def _read_part(source: str, read: PartReader) -> Iterator[RawImage]:
    """Read a part on any machine, which fetches the data set first unless it has it."""
    fetch_dataset(source)
    yield from read()


@functools.lru_cache(maxsize=8)  # a process reads many parts of it
def fetch_dataset(source: str) -> Path:
    """Return the local folder of a data set of the Hub; what is in the cache already is not fetched again.

    Without a network it is what was fetched before.

    Raises:
        UserError: as ``list_parts``.
    """
    from huggingface_hub import snapshot_download

    parts = _ADDRESS.fullmatch(source)
    if parts is None or ".." in source:
        raise UserError(f"data.source {source}: expected hf:OWNER/NAME, or hf:OWNER/NAME/FOLDER for one folder of it")
    repo, folder = parts["repo"], parts["folder"]
    try:
        snapshot = _choose_snapshot(source, repo, folder)
    except UserError:
        raise
    except Exception as error:  # of its own and of its HTTP client's, which have no base in common
        return _find_fetched(source, repo, folder, error)
    try:
        root = snapshot_download(
            repo, repo_type="dataset", revision=snapshot.revision, allow_patterns=list(snapshot.patterns)
        )
    except Exception as error:
        raise _make_fetch_error(source, repo, folder, error) from None
    return Path(root, folder) if folder else Path(root)


def _choose_snapshot(source: str, repo: str, folder: str | None) -> _Snapshot:
    """Choose what to download: Parquet files, or images and their tables, or the Hub's own conversion to Parquet."""
    revision: str | None = None
    sizes = _list_files(repo, revision, folder)
    patterns = choose_patterns(list(sizes))
    if patterns is None:
        revision = PARQUET_BRANCH
        try:
            sizes = _list_files(repo, revision, folder)
        except OSError:  # there is no such branch
            sizes = {}
        patterns = choose_patterns(list(sizes))
        configs = sorted({name.partition("/")[0] for name in sizes if name.endswith(".parquet")})
        if folder is None and len(configs) > 1:
            raise UserError(
                f"data.source {source}: has several data sets, {', '.join(configs[:8])}; name one, as in "
                f"{source.rstrip('/')}/{configs[0]}"
            )
    if patterns is None:
        raise UserError(
            f"data.source {source}: has neither Parquet files nor images, but code or archives, which are not read "
            "from the Hub; download it yourself, and give an archive or a folder"
        )
    total = sum(size for name, size in sizes.items() if Path(name).suffix.lower() in _suffixes(patterns))
    if total > MAX_DOWNLOAD_BYTES:
        raise UserError(
            f"data.source {source}: has {total / 1000**3:.0f} GB, and at most {MAX_DOWNLOAD_BYTES / 1000**3:g} GB are "
            "downloaded; name one folder of it, as in hf:OWNER/NAME/FOLDER"
        )
    return _Snapshot(revision, _place_patterns(patterns, folder))


def choose_patterns(names: list[str]) -> tuple[str, ...] | None:
    """Return the patterns of the files to read, of a data set with these files; None where none of them is read.

    >>> choose_patterns(["README.md", "data/train-0.parquet", "example.png"])
    ('*.parquet',)
    """
    if any(name.lower().endswith(".parquet") for name in names):
        return PARQUET_PATTERNS
    pictures = [name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    return IMAGE_PATTERNS if len(pictures) > 1 else None  # one is that of its card


def _place_patterns(patterns: tuple[str, ...], folder: str | None) -> tuple[str, ...]:
    """Return the patterns of paths in a folder, where names are meant in any case; the Hub's client tells cases apart.

    >>> _place_patterns(("*.jpg",), "pets")
    ('pets/*.[jJ][pP][gG]',)
    """
    names = (re.sub("[a-z]", lambda letter: f"[{letter[0]}{letter[0].upper()}]", pattern) for pattern in patterns)
    return tuple(f"{folder}/{name}" if folder else name for name in names)


def _suffixes(patterns: tuple[str, ...]) -> set[str]:
    return {Path(pattern).suffix.lower() for pattern in patterns}


def _list_files(repo: str, revision: str | None, folder: str | None) -> dict[str, int]:
    """Return name -> bytes of a branch's files in a folder."""
    from huggingface_hub import HfApi

    info: Any = HfApi().dataset_info(repo, revision=revision, files_metadata=True, timeout=ANSWER_TIMEOUT_S)
    prefix = f"{folder}/" if folder else ""
    return {file.rfilename: file.size or 0 for file in info.siblings or [] if file.rfilename.startswith(prefix)}


def _find_fetched(source: str, repo: str, folder: str | None, error: Exception) -> Path:
    """Return what was fetched of a data set before; raise the error in words where that is nothing."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    choices = itertools.product((None, PARQUET_BRANCH), (PARQUET_PATTERNS, IMAGE_PATTERNS))
    for revision, patterns in choices if not isinstance(error, RepositoryNotFoundError) else ():
        try:
            root = snapshot_download(
                repo,
                repo_type="dataset",
                revision=revision,
                allow_patterns=list(_place_patterns(patterns, folder)),
                local_files_only=True,
            )
        except OSError:  # not there, or not all of it
            continue
        place = Path(root, folder) if folder else Path(root)
        if choose_patterns([str(path) for path in place.rglob("*")]) == patterns:
            return place
    raise _make_fetch_error(source, repo, folder, error)


def _make_fetch_error(source: str, repo: str, folder: str | None, error: Exception) -> UserError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return UserError(
            f"data.source {source}: its owner asks users to accept terms; accept them on its page on the Hub, and log "
            "in with `hf auth login`"
        )
    if isinstance(error, RepositoryNotFoundError):
        return UserError(
            f"data.source {source}: the Hub has no such data set, or it is private; correct the name, or log in with "
            "`hf auth login`"
        )
    reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
    here = repo.rpartition("/")[2]
    command = f"hf download {repo} --repo-type dataset --local-dir {here}"
    given = "that folder"
    if folder:
        command = f"{command} --include {shlex.quote(f'{folder}/*')}"
        given = f"{here}/{folder}"
    return UserError(
        f"data.source {source}: cannot be fetched ({reason:.150}); with network access, `{command}` fetches it; then "
        f"give {given}"
    )
