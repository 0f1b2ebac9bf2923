"""Opens a file that holds a table with images: Parquet, or an Arrow stream as Hugging Face's datasets saves it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ganaug_ray.core.storage import Folder

ARROW_SUFFIX = ".arrow"
BATCH_ROWS = 256  # of a Parquet file in memory at a time


class TableFile(Protocol):
    """A table in groups of rows, which are read one by one."""

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""

    @property
    def group_rows(self) -> list[int]:
        """Number of rows of each group."""

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read columns of all rows; of a struct ``image`` one field is ``image.path``."""

    def iterate_batches(self, group: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read columns of a group, some rows at a time."""

    def is_empty_field(self, column: str, name: str) -> bool:
        """Whether a field of a struct is null in every row, as far as that can be known without reading it."""


class ParquetTable:
    """A Parquet file; its groups are its row groups.

    Args:
        file: the opened file.
    """

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        self.schema = file.schema_arrow
        self.group_rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read columns of all rows; of a struct ``image`` one field is ``image.path``."""
        return self._file.read(list(columns))

    def iterate_batches(self, group: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read columns of a group, some rows at a time."""
        yield from self._file.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(columns))

    def is_empty_field(self, column: str, name: str) -> bool:
        """Whether a field of a struct is null in every row, by the file's statistics."""
        for group in range(len(self.group_rows)):
            row_group = self._file.metadata.row_group(group)
            for number in range(row_group.num_columns):
                chunk = row_group.column(number)
                if chunk.path_in_schema == f"{column}.{name}":
                    counts = chunk.statistics
                    if counts is None or counts.null_count != chunk.num_values:
                        return False
        return True


class ArrowTable:
    """An Arrow stream; its groups are its record batches.

    Args:
        stream: an open file, whose batches are read only as far as they are asked for where it is mapped.
    """

    def __init__(self, stream: IO[bytes] | pa.NativeFile) -> None:
        with pa.ipc.open_stream(stream) as reader:
            self.schema = reader.schema
            self._batches = list(reader)
        self.group_rows = [batch.num_rows for batch in self._batches]

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read columns of all rows; of a struct ``image`` one field is ``image.path``."""
        table = pa.Table.from_batches(self._batches, self.schema)
        chosen = {}
        for name in columns:
            column, _, field = name.partition(".")
            if name not in self.schema.names and field:
                parts = [pc.struct_field(chunk, field) for chunk in table[column].chunks]
                structs = [pa.StructArray.from_arrays([part], [field]) for part in parts]
                chosen[column] = pa.chunked_array(structs, pa.struct([self.schema.field(column).type.field(field)]))
            else:
                chosen[name] = table[name]
        return pa.table(chosen)

    def iterate_batches(self, group: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Read columns of a group, some rows at a time."""
        batch = self._batches[group].select(list(columns))
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)

    def is_empty_field(self, column: str, name: str) -> bool:
        """Whether a field of a struct is null in every row."""
        return all(pc.struct_field(batch.column(column), name).null_count == batch.num_rows for batch in self._batches)


@contextmanager
def open_table_file(folder: Folder, name: str) -> Iterator[TableFile]:
    """Open a table in a folder, by its suffix.

    Raises:
        pyarrow.ArrowException, OSError: it is none, or cannot be read.
    """
    if name.lower().endswith(ARROW_SUFFIX) and folder.local_path is not None:
        with pa.memory_map(str(folder.local_path / name)) as mapped:
            yield ArrowTable(mapped)
        return
    with folder.fs.open_input_file(f"{folder.path}/{name}") as stream:
        if name.lower().endswith(ARROW_SUFFIX):
            yield ArrowTable(stream)
        else:
            with pq.ParquetFile(stream) as file:
                yield ParquetTable(file)
