"""Reads the images of a zip archive in place; see ``archive_entries`` for the limits."""

import functools
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence

from pyarrow import NativeFile

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.sources import zip_directory, zip_names
from ganaug_ray.data.sources.archive_damage import explain_damage
from ganaug_ray.data.sources.archive_entries import (
    READ_AHEAD_BYTES,
    check_path,
    describe_repeated_names,
    list_hidden_parts,
    refuse_many_entries,
)
from ganaug_ray.data.sources.labels import FileLabels
from ganaug_ray.data.sources.paths import is_hidden
from ganaug_ray.data.sources.raw import (
    MAX_IMAGE_BYTES,
    Label,
    RawImage,
    SourcePart,
    collect_classes,
    collect_splits,
    count_images,
    cut_parts,
    make_image,
    make_remarks,
    open_file,
)
from ganaug_ray.errors import UserError

ENCRYPTED_FLAG = 1  # of an entry


def list_parts(source: str, label_from: LabelFrom | None, columns: ColumnsConfig) -> Iterator[SourcePart]:
    """Yield the parts of a zip archive, its files sorted by path."""
    listed = _open_zip(source).infolist()
    names, remarks = zip_names.read_names(listed)
    entries = [(number, name) for number, name in enumerate(names) if not name.endswith("/")]
    files = [(number, name) for number, name in entries if not is_hidden(name)]
    labels = FileLabels(label_from, columns, [name for _, name in files], source, is_archive=True)
    yield from list_hidden_parts(name for _, name in entries)
    if remarks := [
        *remarks,
        *describe_repeated_names([listed[number].filename for number, _ in files]),
        *labels.remarks,
    ]:
        yield SourcePart(functools.partial(make_remarks, source, remarks), frozenset(), 0)
    labelled = [(number, name, labels.find_label(name)) for number, name in sorted(files, key=lambda file: file[1])]
    for part_files in cut_parts(labelled):
        found_labels = [label for _, _, label in part_files]
        images = count_images((name, label) for _, name, label in part_files)
        read = functools.partial(_read_zip, source, part_files)
        yield SourcePart(read, collect_splits(found_labels), images, collect_classes(found_labels))


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
        if not archive.infolist():  # before Python 3.14, reading one failed of itself, at a position before its start
            raise zipfile.BadZipFile("it has no entry")
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        reason = explain_damage(folder, name) or error
        raise UserError(f"data.source {source}: is not a readable zip archive ({reason})") from None
    refuse_many_entries(source, len(archive.infolist()))
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
        refuse_many_entries(source, directory.entry_count)
        if directory.at >= 0:
            entries = stream.read_at(directory.size, directory.at)
            refuse_many_entries(source, entries.count(zip_directory.ENTRY))
    stream.seek(0)


def _read_zip_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes | UnreadableError:
    if problem := check_path(entry.filename):
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
