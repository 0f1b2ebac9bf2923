"""Folders on any filesystem that pyarrow knows: local paths, s3://, gs://. A file is never half-written."""

import io
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from ganaug_ray.addresses import expand_home, refuse_credentials, refuse_undecodable
from ganaug_ray.core.full_disk import explain_full_disk
from ganaug_ray.errors import UserError

# Arrow's own allocator keeps what it once had: of 17,000 images prepared, 110 MB more in this process alone.
pa.set_memory_pool(pa.system_memory_pool())

PARTIAL_SUFFIX = ".part"  # of a file on a local disk that is not whole yet


@dataclass(frozen=True)
class Folder:
    """A folder on a local disk or an object store. ``folder / "name"`` is a folder in it; file names are relative.

    Its ``str`` is a path or URI that ``Folder.from_uri`` takes back: stages in other processes are handed that.

    Attributes:
        fs: the filesystem.
        path: as the filesystem calls it.
        uri: of an object store, percent-encoded and without its query; empty on a local disk.
        query: of the URI, with its question mark.
    """

    fs: pafs.FileSystem
    path: str
    uri: str = ""
    query: str = ""

    @classmethod
    def from_uri(cls, uri: str | Path) -> "Folder":
        """Open a path (relative ones from the working directory) or a URI.

        Raises:
            UserError: the URI's scheme is unknown, its filesystem cannot be set up, it holds credentials, or is no
                UTF-8.
        """
        text = str(uri)
        if "://" not in text:
            path = str(expand_home(text).absolute())
            refuse_undecodable(path)
            return cls(pafs.LocalFileSystem(), path)
        refuse_credentials(text)
        try:
            fs, path = pafs.FileSystem.from_uri(text)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(f"{text}: not a folder this machine can open ({error})") from error
        if isinstance(fs, pafs.LocalFileSystem):
            return cls(fs, path)
        if not path:
            raise UserError(f"{text}: not a folder this machine can open (it names no bucket)")
        base, mark, query = text.partition("?")
        return cls(fs, path, base.rstrip("/"), mark + query)

    def __truediv__(self, name: str) -> "Folder":
        uri = self.uri and f"{self.uri}/{quote(name, safe='/+')}"
        return replace(self, path=f"{self.path}/{name}", uri=uri)

    def __str__(self) -> str:
        return self.uri + self.query if self.uri else self.path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rsplit("/", 1)[-1]

    @property
    def parent(self) -> "Folder | None":
        """The folder that this one lies in; None of a whole disk or bucket.

        >>> str(Folder.from_uri("/runs/cats").parent)
        '/runs'
        """
        path, _, name = self.path.rstrip("/").rpartition("/")
        if not path or not name:
            return None
        return replace(self, path=path, uri=self.uri.rpartition("/")[0])

    @property
    def local_path(self) -> Path | None:
        """The local path, or None on an object store."""
        return None if self.uri else Path(self.path)

    def create(self) -> "Folder":
        """Create the folder, on filesystems that have folders, and return it."""
        self.fs.create_dir(self.path, recursive=True)
        return self

    def list_entries(self, recursive: bool = False) -> list[pafs.FileInfo]:
        """List what is in this folder, in no order; empty if there is no such folder.

        Raises:
            UserError: a name in it is no UTF-8.
        """
        selector = pafs.FileSelector(self.path, allow_not_found=True, recursive=recursive)
        try:
            infos = list(self.fs.get_file_info(selector))
        except FileNotFoundError:  # Arrow found no folder, looked whether there is one, and then it had been made
            infos = list(self.fs.get_file_info(selector))
        for info in infos:
            _check_name(info)
        return infos

    def list_files(self, suffix: str = "") -> list[str]:
        """List the names of the files in this folder that end in suffix, sorted, without hidden ones (``.name``).

        It is empty if there is no such folder.
        """
        names = (info.base_name for info in self.list_entries() if info.type == pafs.FileType.File)
        return sorted(name for name in names if name.endswith(suffix) and not name.startswith("."))

    def list_folders(self) -> list[str]:
        """List the names of the folders in this folder, sorted, without hidden ones (``.name``).

        It is empty if there is no such folder.
        """
        # Google's store tells of the folders that were made, not of those that are there since files are in them.
        deep = self.fs.type_name == "gcs"
        names = set()
        for info in self.list_entries(recursive=deep):
            name, _, below = info.path.removeprefix(f"{self.path}/").partition("/")
            if below or info.type == pafs.FileType.Directory:
                names.add(name)
        return sorted(name for name in names if not name.startswith("."))

    def has_file(self, name: str) -> bool:
        """Whether the file exists."""
        return self.fs.get_file_info(f"{self.path}/{name}").type == pafs.FileType.File

    def find_write_time(self, name: str) -> datetime:
        """Return when a file that exists was last written, in this machine's time zone."""
        written: datetime = self.fs.get_file_info(f"{self.path}/{name}").mtime
        return written.astimezone()

    def is_stream(self, name: str) -> bool:
        """Whether it is a pipe or a device, or where standard output goes: such as /dev/stdout, redirected or not."""
        if self.local_path is None:
            return False
        try:
            info = (self.local_path / name).stat()
        except OSError:
            return False
        return not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)) or _is_standard_output(info)

    def read_bytes(self, name: str) -> bytes:
        """Return the content of a file; a .gz is not unpacked. Raises FileNotFoundError."""
        with self.fs.open_input_stream(f"{self.path}/{name}", compression=None) as stream:
            return stream.read()

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file at once: a reader, or a crash at any moment, sees the old file, the new one, or none.

        What is no file is written to as it is, see ``is_stream``.
        """
        with explain_full_disk(self / name, len(content)), self._open_atomically(name) as stream:
            stream.write(content)

    @contextmanager
    def _open_atomically(self, name: str) -> Iterator[IO[bytes]]:
        if self.local_path is None:  # an object shows when its stream is closed, which also an error does: all at once
            content = io.BytesIO()
            yield content
            with self.fs.open_output_stream(f"{self.path}/{name}", compression=None) as stream:
                stream.write(content.getbuffer())
            return
        target = self.local_path / name
        if self.is_stream(name):  # a file renamed to /dev/stdout would take its place
            with target.open("ab") as stream:
                yield stream
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}{PARTIAL_SUFFIX}")
        try:
            with partial.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(target)
        except BaseException:  # an interrupt too: in a folder of the user's own nothing of it is to stay
            partial.unlink(missing_ok=True)
            raise

    def delete_file(self, name: str) -> None:
        """Delete a file, if it is there."""
        if self.has_file(name):
            self.fs.delete_file(f"{self.path}/{name}")

    def delete_partial_files(self, below: bool) -> None:
        """Delete half-written files of killed processes here or, with ``below``, in all folders below too."""
        if self.local_path is not None:
            pattern = f".*{PARTIAL_SUFFIX}"
            for partial in self.local_path.rglob(pattern) if below else self.local_path.glob(pattern):
                partial.unlink(missing_ok=True)

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the object in a JSON file."""
        return json.loads(self.read_bytes(name))

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write an object as an indented JSON file, at once; NaN and infinity become null, as JSON has none."""
        self.write_bytes(name, encode_json(content))

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Return the table in a Parquet file, or some of its columns."""
        return pq.read_table(pa.BufferReader(self.read_bytes(name)), columns=columns)

    def write_table(self, name: str, table: pa.Table, bulky: str | None = None) -> None:
        """Write a table as a Parquet file, at once; the column ``bulky`` gets neither dictionary nor statistics."""
        plain_columns = [column for column in table.column_names if column != bulky]
        with explain_full_disk(self / name, table.nbytes), self._open_atomically(name) as stream:
            pq.write_table(
                table, stream, compression="lz4", use_dictionary=plain_columns, write_statistics=plain_columns
            )


def encode_json(content: dict[str, Any]) -> bytes:
    """Encode an object as indented JSON; NaN and infinity become null, as JSON has none."""
    return (json.dumps(_replace_nonfinite(content), indent=2, ensure_ascii=False) + "\n").encode()


def _check_name(info: pafs.FileInfo) -> str:
    """Return the path of an entry, which Arrow decodes only now. Raises UserError: it is no UTF-8."""
    try:
        return str(info.path)
    except UnicodeDecodeError as error:
        name = error.object.decode("utf-8", "backslashreplace")
        raise UserError(f"{name}: is not a UTF-8 name; rename it, for instance with convmv") from None


def _is_standard_output(info: os.stat_result) -> bool:
    try:
        return os.path.samestat(info, os.fstat(1))
    except OSError:  # it is closed
        return False


def split_address(address: str) -> tuple[Folder, str]:
    """Split the address of one file, a path or URI, into its folder and its name there.

    >>> folder, name = split_address("/pictures/cats.zip")
    >>> str(folder), name
    ('/pictures', 'cats.zip')

    Raises:
        UserError: as ``Folder.from_uri``.
    """
    address_folder = Folder.from_uri(address)
    path, _, name = address_folder.path.rpartition("/")
    return replace(address_folder, path=path, uri=address_folder.uri.rpartition("/")[0]), name


def _replace_nonfinite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: _replace_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_nonfinite(item) for item in value]
    return value
