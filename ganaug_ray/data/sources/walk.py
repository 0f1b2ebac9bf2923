"""Walks the files of a folder, links included, and comes to an end whatever the links do."""

import os
import queue
import stat
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs as pafs

from ganaug_ray.addresses import is_utf8
from ganaug_ray.core.storage import Folder, split_address
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.sources.archive_damage import explain_damage
from ganaug_ray.data.sources.paths import is_hidden, is_image_name
from ganaug_ray.data.sources.raw import LINK_BACK, describe_unreadable, explain_hidden
from ganaug_ray.data.sources.remedies import find_source_remedy
from ganaug_ray.errors import UserError

MAX_NAMED_LINKS = 3  # each in a sentence
LISTING_POLL_S = 0.2  # seconds between looks at Arrow's listing, in which an interrupt is heard


@dataclass(frozen=True)
class WalkedFile:
    """A file below a folder.

    Attributes:
        name: relative to the folder, as the filesystem calls it.
        size: in bytes.
        problem: why it cannot be read, or is skipped.
        target: of a link that is not followed, the other folder of the source that it leads to; empty where it lies in
            that folder.
    """

    name: str
    size: int = 0
    problem: UnreadableError | None = None
    target: str = ""


def describe_links(files: Iterable[WalkedFile]) -> list[str]:
    """Say which links lead to other folders of the source, so that no class is called as the link."""
    links = sorted((file for file in files if file.target), key=lambda file: file.name)
    return [
        f"{file.name} is a link to {file.target}, so its images are used once, as those of {file.target}; "
        f"if some of them belong to {file.name}, put a folder in the place of the link, and move them into it"
        for file in links[:MAX_NAMED_LINKS]
    ]


def walk_folder(source: str, folder: Folder) -> list[WalkedFile]:
    """List all files below a folder sorted by name; hidden ones, a folder of them once, with that as their problem.

    Links are followed, but to no folder that is walked anyway or that this one lies in.

    Raises:
        UserError: there is no such folder, it cannot be read, or a name in it is no UTF-8.
    """
    files = list(_walk_local(source, folder.local_path) if folder.local_path else _list_objects(source, folder))
    for file in files:
        if not (file.name.isascii() or is_utf8(file.name)):
            name = os.fsencode(file.name).decode("utf-8", "backslashreplace")
            raise UserError(f"data.source {source}: {name} is not a UTF-8 name; rename it, for instance with convmv")
    return sorted(files, key=lambda file: file.name)


_Inode = tuple[int, int]


def _walk_local(source: str, root: Path) -> Iterator[WalkedFile]:
    try:
        if not root.is_dir():
            raise _make_no_folder(source) if not root.exists() else _make_unknown_kind(source)
        real_root = root.resolve()
        visited = {_read_inode(folder) for folder in (real_root, *real_root.parents)}
        links: list[str] = []
        yield from _walk_tree(root, "", visited, links)
        # What a link leads to outside is walked once for each link: if two labels lead to one picture, that shows.
        for link in links:
            yield from _follow_link(root, link, visited)
    except OSError as error:
        raise UserError(f"data.source {source}: {error.filename or 'it'} {describe_unreadable(error)}") from None


def _follow_link(root: Path, link: str, visited: set[_Inode]) -> Iterator[WalkedFile]:
    seen = set(visited)
    links = [link]
    while links:
        name = links.pop()
        inode = _read_inode(root / name)
        if inode in seen:
            problem = UnreadableError(LINK_BACK, "leads to a folder that is read anyway")
            yield WalkedFile(name, problem=problem, target=_find_other_folder(root, name))
            continue
        seen.add(inode)
        seen |= {_read_inode(parent) for parent in (root / name).resolve().parents}  # a link up would lead here again
        yield from _walk_tree(root, f"{name}/", seen, links)


def _find_other_folder(root: Path, link: str) -> str:
    """Return the folder below the root that a link leads to; empty where that is none or the link lies in it."""
    target = (root / link).resolve()
    place = (root / link).parent.resolve()
    is_other = root.resolve() in target.parents and target not in (place, *place.parents)
    return target.relative_to(root.resolve()).as_posix() if is_other else ""


def _walk_tree(root: Path, start: str, visited: set[_Inode], links: list[str]) -> Iterator[WalkedFile]:
    """Yield the files below a folder; add its folders to ``visited``, and to ``links`` the links to folders."""
    folders = [start]
    while folders:
        prefix = folders.pop()
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                name = prefix + entry.name
                if is_hidden(entry.name):
                    yield from _list_hidden(_look_at_hidden(entry, name))
                elif entry.is_symlink():
                    yield from _look_at_link(entry, name, links)
                elif entry.is_dir():
                    visited.add(_read_inode(entry.path))
                    folders.append(f"{name}/")
                else:
                    yield _look_at_file(name, entry.stat())


def _look_at_hidden(entry: os.DirEntry, name: str) -> list[str]:
    """Return a hidden file, or of a hidden folder an example: an image if it may hold some, else any of its files.

    Such a folder is not entered: a filer keeps snapshots in one.
    """
    if not entry.is_dir(follow_symlinks=False):
        return [name]
    image = f"{name}/hidden.png"
    try:
        with os.scandir(entry.path) as below:
            children = list(below)
    except OSError:
        return [image]  # it may
    if any(is_image_name(child.name) or child.is_dir(follow_symlinks=False) for child in children):
        return [image]
    return [f"{name}/{child.name}" for child in children[:1]]


def _look_at_link(entry: os.DirEntry, name: str, links: list[str]) -> Iterator[WalkedFile]:
    try:
        info = entry.stat()
    except OSError as error:
        detail = f"leads to {os.readlink(entry.path)} ({error.strerror})"  # noqa: PTH115  # as it is written
        yield WalkedFile(name, problem=UnreadableError("link to nothing", detail))
        return
    if stat.S_ISDIR(info.st_mode):
        links.append(name)
    else:
        yield _look_at_file(name, info)


def _look_at_file(name: str, info: os.stat_result) -> WalkedFile:
    if stat.S_ISREG(info.st_mode):
        return WalkedFile(name, info.st_size)
    return WalkedFile(name, problem=UnreadableError("not a file", "is a pipe, a socket or a device"))


def _read_inode(folder: Path | str) -> _Inode:
    info = os.stat(folder)  # noqa: PTH116  # a path or a name
    return info.st_dev, info.st_ino


def _list_objects(source: str, folder: Folder) -> Iterator[WalkedFile]:
    """List an object store, in one call into Arrow that hears no interrupt: so in a thread that is waited for."""
    answers: queue.SimpleQueue[list[pafs.FileInfo] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            selector = pafs.FileSelector(folder.path, recursive=True, allow_not_found=True)
            answers.put([folder.fs.get_file_info(folder.path), *folder.fs.get_file_info(selector)])
        except OSError as error:
            answers.put(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LISTING_POLL_S)
    answer = answers.get_nowait()
    if isinstance(answer, OSError):
        raise UserError(f"data.source {source}: cannot be read ({answer.strerror or answer})")
    root, *infos = answer
    if root.type == pafs.FileType.NotFound:
        raise _make_no_folder(source)
    if root.type == pafs.FileType.File:
        raise _make_unknown_kind(source)
    hidden_names = []
    for info in infos:
        name = info.path[len(folder.path) :].lstrip("/")
        if info.type == pafs.FileType.File and is_hidden(name):
            hidden_names.append(name)
        elif info.type == pafs.FileType.File:
            yield WalkedFile(name, info.size)
    yield from _list_hidden(hidden_names)


def _list_hidden(names: Iterable[str]) -> Iterator[WalkedFile]:
    for name, problem in explain_hidden(names).items():
        yield WalkedFile(name, problem=problem)


def _make_no_folder(source: str) -> UserError:
    return UserError(f"data.source {source}: there is no such folder")


def _make_unknown_kind(source: str) -> UserError:
    remedy = (
        find_source_remedy(source)
        or explain_damage(*split_address(source))
        or "`ganaug explain data.source` lists what is read"
    )
    if is_image_name(source):
        remedy = "give the folder that it lies in"
    return UserError(f"data.source {source}: is a file of a kind that is not read; {remedy}")
