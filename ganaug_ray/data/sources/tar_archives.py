"""Reads the images of a tar archive in place and in its order; see ``archive_entries`` for the limits."""

import functools
import gzip
import io
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from tarfile import HeaderError  # the method that raises it calls its archive tarfile
from typing import Self

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.sources import zip_names
from ganaug_ray.data.sources.archive_damage import explain_damage
from ganaug_ray.data.sources.archive_entries import (
    READ_AHEAD_BYTES,
    check_path,
    describe_repeated_names,
    list_hidden_parts,
    refuse_many_entries,
)
from ganaug_ray.data.sources.labels import FileLabels
from ganaug_ray.data.sources.paths import is_hidden, normalize_path
from ganaug_ray.data.sources.raw import (
    MAX_IMAGE_BYTES,
    Label,
    RawImage,
    SourcePart,
    collect_classes,
    collect_splits,
    make_image,
    make_remarks,
    open_file,
)
from ganaug_ray.data.sources.tar_links import HardLinks
from ganaug_ray.errors import UserError

_NO_HEADER = tarfile.EmptyHeaderError  # type: ignore[attr-defined]  # typeshed lacks both
_END_OF_ARCHIVE = tarfile.EOFHeaderError  # type: ignore[attr-defined]  # likewise


def list_parts(source: str, label_from: LabelFrom | None, columns: ColumnsConfig) -> Iterator[SourcePart]:
    """Yield a tar archive as one part, as it can only be read in its own order; its names are read beforehand."""
    names: list[str] = []
    written_names: list[str] = []
    foreign_names: list[str] = []
    remarks: list[str] = []
    links = HardLinks()
    with suppress(UserError):  # of an archive that breaks off: whoever reads it says so
        for number, (archive, entry, name) in enumerate(_list_tar_entries(source)):
            listed = archive
            if entry.isfile():
                links.add_file(number, name)
            elif entry.islnk() and check_path(entry.name) is None:
                links.add_link(name, _normalize_name(entry.linkname))
            if not entry.isdir():
                names.append(name)
                written_names.append(entry.name)
                if not entry.name.isascii() and _has_foreign_bytes(entry.name):
                    foreign_names.append(name)
        if names and not _has_end_mark(listed):
            remarks.append(
                f"{source} ends after {len(names)} files without the mark of an archive's end; if it had more "
                "files, copy or pack it again"
            )
    yield from list_hidden_parts(names)
    names = [name for name in names if not is_hidden(name)]
    labels = FileLabels(label_from, columns, names, source, is_archive=True)
    remarks += [*_describe_foreign_names(foreign_names), *describe_repeated_names(written_names)]
    if remarks := [*remarks, *labels.remarks]:
        yield SourcePart(functools.partial(make_remarks, source, remarks), frozenset(), 0)
    labels_by_name = {name: labels.find_label(name) for name in names}
    found_labels = labels_by_name.values()
    read = functools.partial(_read_tar, source, labels_by_name, links.names_by_target)
    yield SourcePart(read, collect_splits(found_labels), None, collect_classes(found_labels))


def _read_tar(source: str, labels: Mapping[str, Label], links: Mapping[int, Sequence[str]]) -> Iterator[RawImage]:
    """Yield the images of a tar archive; a hard link where its content is, since it can only be read in its order."""
    read_links: Counter[str] = Counter()
    for number, (archive, entry, name) in enumerate(_list_tar_entries(source)):
        if entry.islnk() and read_links[name]:
            read_links[name] -= 1
            continue
        names = [name] if not entry.isdir() and name in labels else []
        link_names = [link for link in links.get(number, ()) if link in labels]
        if not names and not link_names:
            continue
        with _refuse_unreadable_tar(source):
            content = _read_tar_entry(archive, entry)
        read_links.update(link_names)
        for image_name in (*names, *link_names):
            yield make_image(image_name, labels[image_name], content)


def _list_tar_entries(source: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo, str]]:
    """Yield the entries of a tar archive in its order, each with its path in one form."""
    folder, name = open_file(source)
    with folder.fs.open_input_stream(f"{folder.path}/{name}", compression=None) as file:
        # tarfile's own way inflates ten kilobytes of a compressed stream at once, to however much they are.
        stream = io.BufferedReader(file, READ_AHEAD_BYTES)
        plain = gzip.GzipFile(fileobj=stream) if stream.peek(2)[:2] == b"\x1f\x8b" else stream
        with _refuse_unreadable_tar(source):
            archive = tarfile.open(  # noqa: SIM115  # closed with its stream
                fileobj=plain, mode="r|", bufsize=READ_AHEAD_BYTES, tarinfo=_StrictEntry
            )
            for number, entry in enumerate(archive):
                refuse_many_entries(source, number + 1)
                yield archive, entry, _normalize_name(entry.name)
            _refuse_more_content(archive)


def _normalize_name(name: str) -> str:
    """Return the path of an entry in one form, without a slash in front, as other programs unpack it."""
    return normalize_path(_decode_name(name.encode(errors="surrogateescape"))).lstrip("/")


class _StrictEntry(tarfile.TarInfo):
    """An entry whose header must be whole: at a damaged one tarfile ends as at the archive's end, without a word."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:
            is_end = isinstance(
                error, _END_OF_ARCHIVE | _NO_HEADER
            )  # marked, or where the file ends after a whole entry
            if is_end or tarfile.offset == 0:  # of no archive at all tarfile itself tells
                raise
            raise _make_damage_error(error, tarfile.offset) from None


def _make_damage_error(error: HeaderError, offset: int) -> tarfile.ReadError:
    return tarfile.ReadError(f"the entry at byte {offset} is damaged: {error}; pack or copy it again")


def _has_end_mark(archive: tarfile.TarFile) -> bool:
    """Whether an archive that was read through has a block of zeros at its end: tarfile reads it, and stays before."""
    assert archive.fileobj is not None, "it was open"
    return archive.fileobj.tell() > archive.offset


def _refuse_more_content(archive: tarfile.TarFile) -> None:
    """Raise an error if more than padding follows an archive's end, which tarfile does not look at."""
    assert archive.fileobj is not None, "it is open"
    while content := archive.fileobj.read(READ_AHEAD_BYTES):  # of what tarfile has read ahead, and then of the file
        if content.strip(b"\0"):
            raise tarfile.ReadError(
                "more data follow its end, as if archives were joined; give each as a file of its own"
            )


@contextmanager
def _refuse_unreadable_tar(source: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        reason = explain_damage(*open_file(source)) or error
        raise UserError(f"data.source {source}: is not a readable tar archive ({reason})") from None


def _has_foreign_bytes(name: str) -> bool:
    """Whether tarfile found bytes in a name that are no UTF-8, and put surrogates in their place."""
    return any("\ud800" <= letter <= "\udfff" for letter in name)


def _describe_foreign_names(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [
        f"{zip_names.count_names(names)} not UTF-8 but read as Latin-1, so classes may be misnamed; "
        "pack the archive again with UTF-8 names"
    ]


def _decode_name(name: bytes) -> str:
    """Decode the name of an entry; one that is no UTF-8 stays different from all others."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _read_tar_entry(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes | UnreadableError:
    if problem := check_path(entry.name):
        return problem
    if entry.issym():
        return UnreadableError(
            "link", "a symbolic link, which is not followed in an archive; pack the files with tar --dereference"
        )
    if entry.islnk():
        return UnreadableError(
            "link", f"a hard link to {entry.linkname:.200}, which is not a file before it in the archive"
        )
    if not entry.isfile():
        return UnreadableError("not a file", "a pipe, a device or another special file")
    if entry.size > MAX_IMAGE_BYTES:
        return UnreadableError("too large", f"{entry.size} bytes")
    stream = archive.extractfile(entry)
    assert stream is not None, "a regular file"
    return stream.read()
