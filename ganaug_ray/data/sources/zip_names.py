"""Understands the names in a zip archive, which old programs wrote in the encoding of their own country."""

import re
import struct
import zipfile
import zlib
from collections.abc import Sequence

from ganaug_ray.data.sources.paths import normalize_path, repair_encoding

UTF8_FLAG = 0x800  # the name is UTF-8; without it, whoever reads can only guess
UNICODE_PATH = 0x7075  # an extra field with the name in UTF-8, and a checksum of the other one

# In Shift-JIS, Big5 and GBK the second byte of a character may be that of a backslash.
_SECOND_BYTE = re.compile(r"(?<=[^\x00-\x7f])\\")


def read_names(entries: Sequence[zipfile.ZipInfo]) -> tuple[list[str], list[str]]:
    """Return the path of each entry in one form, those of folders with a / at the end, and remarks on them."""
    names = []
    garbled = []
    has_slashes = any("/" in entry.filename for entry in entries)
    is_utf8 = all(map(_has_known_name, entries))
    for entry in entries:
        name, is_sure = _read_name(entry, is_utf8)
        if not is_sure and has_slashes:
            name = _SECOND_BYTE.sub("\N{FULLWIDTH REVERSE SOLIDUS}", name)
        path = name if ".." in name else normalize_path(name).lstrip("/")  # one that leads out is named as it is
        names.append(f"{path}/" if entry.is_dir() or name.endswith("\\") else path)
        if not is_sure:
            garbled.append(path)
    remarks = []
    if garbled:
        remarks.append(
            f"{count_names(garbled)} in an unknown encoding, so classes may be misnamed; pack the archive "
            "again with UTF-8 names"
        )
    return names, remarks


def count_names(names: Sequence[str]) -> str:
    """Return the beginning of a sentence on names of which one is shown.

    >>> count_names(["a.png"]), count_names(["a.png", "b.png"])
    ('1 name, a.png, is', '2 names, such as a.png, are')
    """
    if len(names) == 1:
        return f"1 name, {names[0]}, is"
    return f"{len(names)} names, such as {names[0]}, are"


def _has_known_name(entry: zipfile.ZipInfo) -> bool:
    """Whether the encoding of an entry's name is told, or it decodes as UTF-8."""
    return _read_stated_name(entry) is not None or repair_encoding(entry.filename) != entry.filename


def _read_name(entry: zipfile.ZipInfo, is_utf8: bool) -> tuple[str, bool]:
    """Return the name of an entry, and whether its encoding is known.

    Args:
        entry: of an archive.
        is_utf8: whether all names without a known encoding are UTF-8; where one is not, none is, for the same program
            wrote them, and a name of a few letters in GBK may be UTF-8 by chance.
    """
    stated_name = _read_stated_name(entry)
    if stated_name is not None:
        return stated_name, True
    return (repair_encoding(entry.filename), True) if is_utf8 else (entry.filename, False)


def _read_stated_name(entry: zipfile.ZipInfo) -> str | None:
    if entry.flag_bits & UTF8_FLAG or entry.filename.isascii():
        return entry.filename
    return _read_unicode_path(entry)


def _read_unicode_path(entry: zipfile.ZipInfo) -> str | None:
    """Return the name in an extra field that Info-ZIP and others write, if it is of this entry's name."""
    unread = entry.extra
    while len(unread) >= 4:
        kind, size = struct.unpack_from("<HH", unread)
        field, unread = unread[4 : 4 + size], unread[4 + size :]
        if kind == UNICODE_PATH and len(field) > 5:
            if struct.unpack_from("<I", field, 1)[0] != zlib.crc32(entry.orig_filename.encode("cp437", "replace")):
                return None
            return field[5:].decode(errors="replace")
    return None
