"""Finds the directory of a zip archive, and takes back flags in it that say of a name that it is UTF-8 and are wrong.

Python's zipfile refuses an archive with such a name as a whole.
"""

import bisect
import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pyarrow import NativeFile

END = b"PK\x05\x06"  # of the record that tells the number of entries
END64 = b"PK\x06\x06"  # the same, where they are more than 65,535
END_BYTES = 56 + 20 + 22 + 65_535  # of both, what stands between them, and the longest comment
ENTRY = b"PK\1\2"
HEADER = b"PK\3\4"
ENTRY_BYTES = 46  # of an entry in the directory, before its name
UTF8_BIT = 0x08  # in the second byte of an entry's flags
FLAG_AT = 9  # that byte in an entry of the directory, and in the header before the file itself
HEADER_FLAG_AT = 7


@dataclass(frozen=True)
class Directory:
    """Where the entries of an archive are listed, as a record at its end says.

    Attributes:
        entry_count: which may be a lie.
        at: its first byte.
        size: in bytes.
        shift: bytes in front of the archive, such as those of a program; offsets in the directory leave them out.
    """

    entry_count: int
    at: int
    size: int
    shift: int


def find_directories(file: NativeFile) -> Iterator[Directory]:
    """Yield what the records at the end of an archive say: none, one, or for more than 65,535 entries two."""
    start = max(0, file.size() - END_BYTES)
    tail = file.read_at(END_BYTES, start)
    for mark, number, width in ((END64, 32, 8), (END, 10, 2)):
        at = tail.rfind(mark)
        if at >= 0:
            offset_width = max(4, width)
            entry_count = _read_number(tail, at + number, width)
            size = _read_number(tail, at + number + width, offset_width)
            offset = _read_number(tail, at + number + width + offset_width, offset_width)
            yield Directory(entry_count, start + at - size, size, start + at - size - offset)


def _read_number(content: bytes, start: int, width: int) -> int:
    return int.from_bytes(content[start : start + width], "little")


class UnflaggedFile(io.RawIOBase):
    """The bytes of an archive without the flag of UTF-8 in some places.

    Args:
        file: the archive.
        positions: of the bytes with the flag, sorted.
    """

    def __init__(self, file: NativeFile, positions: Sequence[int]) -> None:
        super().__init__()
        self._file = file
        self._positions = positions

    def readable(self) -> bool:
        """Return True: it can be read."""
        return True

    def seekable(self) -> bool:
        """Return True: it can be read in any order."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, and return it."""
        self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        """Return the position."""
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        """Read what fits into a buffer, without the flags."""
        start = self.tell()
        target = memoryview(buffer).cast("B")
        content = bytearray(self._file.read(len(target)))
        first = bisect.bisect_left(self._positions, start)
        last = bisect.bisect_left(self._positions, start + len(content))
        for position in self._positions[first:last]:
            content[position - start] &= ~UTF8_BIT
        target[: len(content)] = content
        return len(content)


def find_wrong_flags(file: NativeFile) -> list[int]:
    """Return the positions of flags in an archive that say of a name that it is UTF-8 and are wrong, sorted."""
    positions = set()
    for directory in find_directories(file):
        if directory.at < 0:
            continue
        for at, offset in _list_wrong_entries(file.read_at(directory.size, directory.at)):
            positions.add(directory.at + at + FLAG_AT)
            header_at = offset + directory.shift
            if 0 <= header_at < file.size() and file.read_at(len(HEADER), header_at) == HEADER:
                positions.add(header_at + HEADER_FLAG_AT)
    return sorted(positions)


def _list_wrong_entries(directory: bytes) -> Iterator[tuple[int, int]]:
    """Yield where an entry begins in the directory, and the offset of its file in the archive."""
    entry_start = 0
    while directory[entry_start : entry_start + len(ENTRY)] == ENTRY and entry_start + ENTRY_BYTES <= len(directory):
        name_size, extra_size, comment_size = struct.unpack_from("<HHH", directory, entry_start + 28)
        name = directory[entry_start + ENTRY_BYTES : entry_start + ENTRY_BYTES + name_size]
        if directory[entry_start + FLAG_AT] & UTF8_BIT and not _is_utf8(name):
            yield entry_start, struct.unpack_from("<I", directory, entry_start + 42)[0]
        entry_start += ENTRY_BYTES + name_size + extra_size + comment_size


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
