"""Reads archives of image files in place: nothing is ever unpacked to disk, so no entry can write anywhere.

Hostile archives are met with limits: on the number of entries, and on what one entry may inflate to.
"""

import functools
import gzip
import io
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from tarfile import HeaderError  # the method that raises it calls its archive tarfile
from typing import Self

from pyarrow import NativeFile

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.sources import zip_directory, zip_names
from ganaug_ray.data.sources.archive_damage import explain_damage
from ganaug_ray.data.sources.labels import FileLabels
from ganaug_ray.data.sources.paths import is_hidden, normalize_path
from ganaug_ray.data.sources.raw import (
    MAX_IMAGE_BYTES,
    Label,
    RawImage,
    SourcePart,
    collect_classes,
    collect_splits,
    count_images,
    cut_parts,
    explain_hidden,
    make_image,
    make_remarks,
    open_file,
)
from ganaug_ray.data.sources.tar_links import HardLinks
from ganaug_ray.errors import UserError

MAX_ENTRIES = 500_000
ENCRYPTED_FLAG = 1  # of an entry of a zip archive
READ_AHEAD_BYTES = 1024**2  # bytes: on an object store each read is a request
_NO_HEADER = tarfile.EmptyHeaderError  # type: ignore[attr-defined]  # typeshed lacks both
_END_OF_ARCHIVE = tarfile.EOFHeaderError  # type: ignore[attr-defined]  # likewise


def list_zip_parts(source: str, label_from: LabelFrom | None, columns: ColumnsConfig) -> Iterator[SourcePart]:
    """Yield the parts of a zip archive, its files sorted by path."""
    listed = _open_zip(source).infolist()
    names, remarks = zip_names.read_names(listed)
    entries = [(number, name) for number, name in enumerate(names) if not name.endswith("/")]
    files = [(number, name) for number, name in entries if not is_hidden(name)]
    labels = FileLabels(label_from, columns, [name for _, name in files], source, is_archive=True)
    yield from _list_hidden_parts(name for _, name in entries)
    if remarks := [
        *remarks,
        *_describe_repeated_names([listed[number].filename for number, _ in files]),
        *labels.remarks,
    ]:
        yield SourcePart(functools.partial(make_remarks, source, remarks), frozenset(), 0)
    labelled = [(number, name, labels.find_label(name)) for number, name in sorted(files, key=lambda file: file[1])]
    for part_files in cut_parts(labelled):
        found_labels = [label for _, _, label in part_files]
        images = count_images((name, label) for _, name, label in part_files)
        read = functools.partial(_read_zip, source, part_files)
        yield SourcePart(read, collect_splits(found_labels), images, collect_classes(found_labels))


def _describe_repeated_names(names: Sequence[str]) -> list[str]:
    """Say which files are more than once in an archive: whoever unpacks it is left with the last of each."""
    repeated = [name for name, n in Counter(names).items() if n > 1]
    if not repeated:
        return []
    return [
        f"{zip_names.count_names(repeated)} more than once in the archive, and all files of that name are read; if "
        "only the last is meant, unpack the archive and give the folder"
    ]


def _list_hidden_parts(names: Iterable[str]) -> Iterator[SourcePart]:
    """Yield a part that names what is hidden, if anything is."""
    if hidden := explain_hidden(filter(is_hidden, names)):
        yield SourcePart(functools.partial(_name_hidden, hidden), frozenset(), 0)


def _name_hidden(hidden: Mapping[str, UnreadableError]) -> Iterator[RawImage]:
    for name, problem in hidden.items():
        yield RawImage(name, None, problem)


def _read_zip(source: str, files: Sequence[tuple[int, str, Label]]) -> Iterator[RawImage]:
    archive = _open_zip(source)
    entries = archive.infolist()
    for number, name, label in files:
        yield make_image(name, label, _read_zip_entry(archive, entries[number]))


def _open_zip(source: str) -> zipfile.ZipFile:
    folder, name = open_file(source)
    info = folder.fs.get_file_info(f"{folder.path}/{name}")
    return _open_zip_version(source, info.mtime_ns, info.size)


@functools.lru_cache(maxsize=2)  # a process reads many parts of an archive, and its list may be long
def _open_zip_version(source: str, mtime_ns: int, size: int) -> zipfile.ZipFile:
    folder, name = open_file(source)
    file = folder.fs.open_input_file(f"{folder.path}/{name}")
    try:
        _refuse_many_zip_entries(source, file)
        archive = _parse_zip(file)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        reason = explain_damage(folder, name) or error
        raise UserError(f"data.source {source}: is no readable zip archive ({reason})") from None
    _refuse_many_entries(source, len(archive.infolist()))
    return archive


def _parse_zip(file: NativeFile) -> zipfile.ZipFile:
    stream = io.BufferedReader(file, READ_AHEAD_BYTES)
    try:
        return zipfile.ZipFile(stream)
    except UnicodeDecodeError:  # a name that its flag calls UTF-8
        stream.detach()  # or it would close the file at its end
        unflagged = zip_directory.UnflaggedFile(file, zip_directory.find_wrong_flags(file))
        return zipfile.ZipFile(io.BufferedReader(unflagged, READ_AHEAD_BYTES))


def _refuse_many_zip_entries(source: str, stream: NativeFile) -> None:
    """Count the entries where they are listed, for the number at the archive's end may be a lie.

    The list of a million, as objects, would itself fill the memory.
    """
    for directory in zip_directory.find_directories(stream):
        _refuse_many_entries(source, directory.entry_count)
        if directory.at >= 0:
            entries = stream.read_at(directory.size, directory.at)
            _refuse_many_entries(source, entries.count(zip_directory.ENTRY))
    stream.seek(0)


def _refuse_many_entries(source: str, entries: int) -> None:
    if entries > MAX_ENTRIES:
        raise UserError(f"data.source {source}: has {entries} entries or more; at most {MAX_ENTRIES} are read")


def _read_zip_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes | UnreadableError:
    if problem := _check_path(entry.filename):
        return problem
    if entry.external_attr >> 28 == 0xA:
        return UnreadableError("link", "an archive's links are not followed")
    if entry.flag_bits & ENCRYPTED_FLAG:
        return UnreadableError("encrypted", "is encrypted; unpack the archive with its password, and give the folder")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others zipfile can only inflate whole
        detail = f"method {entry.compress_type}; pack the archive again with Deflate, or unpack it and give the folder"
        return UnreadableError("unsupported compression", detail)
    try:
        with archive.open(entry) as stream:
            content = stream.read(MAX_IMAGE_BYTES + 1)  # the size an entry declares may be a lie
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError, EOFError, zlib.error) as error:
        return UnreadableError("damaged in the archive", str(error))
    return (
        content
        if len(content) <= MAX_IMAGE_BYTES
        else UnreadableError("too large", f"more than {MAX_IMAGE_BYTES} bytes")
    )


def list_tar_parts(source: str, label_from: LabelFrom | None, columns: ColumnsConfig) -> Iterator[SourcePart]:
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
            elif entry.islnk() and _check_path(entry.name) is None:
                links.add_link(name, _normalize_name(entry.linkname))
            if not entry.isdir():
                names.append(name)
                written_names.append(entry.name)
                if not entry.name.isascii() and _has_foreign_bytes(entry.name):
                    foreign_names.append(name)
        if names and not _has_end_mark(listed):
            remarks.append(
                f"{source} ends without the mark of an archive's end, after {len(names)} files; if it had more, "
                "copy or pack it again"
            )
    yield from _list_hidden_parts(names)
    names = [name for name in names if not is_hidden(name)]
    labels = FileLabels(label_from, columns, names, source, is_archive=True)
    remarks += [*_describe_foreign_names(foreign_names), *_describe_repeated_names(written_names)]
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
                _refuse_many_entries(source, number + 1)
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
    return tarfile.ReadError(f"at byte {offset} a damaged entry: {error}; pack or copy it again")


def _has_end_mark(archive: tarfile.TarFile) -> bool:
    """Whether an archive that was read through has a block of zeros at its end: tarfile reads it, and stays before."""
    assert archive.fileobj is not None, "it was open"
    return archive.fileobj.tell() > archive.offset


def _refuse_more_content(archive: tarfile.TarFile) -> None:
    """Raise an error if more than padding follows an archive's end, which tarfile does not look at."""
    assert archive.fileobj is not None, "it is open"
    while content := archive.fileobj.read(READ_AHEAD_BYTES):  # of what tarfile has read ahead, and then of the file
        if content.strip(b"\0"):
            raise tarfile.ReadError("more follows its end, as where archives are joined; give each as its own file")


@contextmanager
def _refuse_unreadable_tar(source: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        reason = explain_damage(*open_file(source)) or error
        raise UserError(f"data.source {source}: is no readable tar archive ({reason})") from None


def _has_foreign_bytes(name: str) -> bool:
    """Whether tarfile found bytes in a name that are no UTF-8, and put surrogates in their place."""
    return any("\ud800" <= letter <= "\udfff" for letter in name)


def _describe_foreign_names(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [
        f"{zip_names.count_names(names)} no UTF-8 but read as Latin-1, so classes may be misnamed; "
        "pack the archive again with UTF-8 names"
    ]


def _decode_name(name: bytes) -> str:
    """Decode the name of an entry; one that is no UTF-8 stays different from all others."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _read_tar_entry(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes | UnreadableError:
    if problem := _check_path(entry.name):
        return problem
    if entry.issym():
        return UnreadableError(
            "link", "an archive's symbolic links are not followed; tar --dereference packs the files"
        )
    if entry.islnk():
        return UnreadableError(
            "link", f"a hard link to {entry.linkname:.200}, which is no file before it in the archive"
        )
    if not entry.isfile():
        return UnreadableError("not a file", "a pipe, a device or another special file")
    if entry.size > MAX_IMAGE_BYTES:
        return UnreadableError("too large", f"{entry.size} bytes")
    stream = archive.extractfile(entry)
    assert stream is not None, "a regular file"
    return stream.read()


def _check_path(path: str) -> UnreadableError | None:
    if ".." in path.replace("\\", "/").split("/"):
        return UnreadableError("unsafe path", "leads out of the archive")
    return None
