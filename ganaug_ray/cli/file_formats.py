"""The formats of the files that a command is asked to write: the suffix decides."""

import json
from collections.abc import Callable, Collection
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ganaug_ray.errors import UserError


def check_suffix(option: str, file: str, suffixes: Collection[str]) -> str:
    """Return the suffix of a file's name, in small letters. Raises UserError: it is none of these.

    >>> check_suffix("--out", "answers.CSV", [".csv", ".parquet"])
    '.csv'
    """
    suffix = PurePosixPath(file).suffix.lower()
    if suffix not in suffixes:
        *first_suffixes, last = suffixes
        expected = f"{', '.join(first_suffixes)} or {last}" if first_suffixes else last
        raise UserError(f"{option} {file}: found {suffix or 'no suffix'}, expected a name that ends in {expected}")
    return suffix


def encode_table(table: pa.Table, suffix: str) -> bytes:
    """Encode a table in the format of a suffix of ``TABLE_ENCODERS``."""
    return TABLE_ENCODERS[suffix](table)


def _encode_parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink, compression="lz4")
    return sink.getvalue().to_pybytes()


def _encode_csv(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table.flatten(), sink)  # a field in a column gets a column of its own, as probabilities.cat
    return sink.getvalue().to_pybytes()


def _encode_jsonl(table: pa.Table) -> bytes:
    lines = [json.dumps(row, ensure_ascii=False) for row in table.to_pylist()]
    return "".join(f"{line}\n" for line in lines).encode()


def _encode_json(table: pa.Table) -> bytes:
    return (json.dumps(table.to_pylist(), indent=2, ensure_ascii=False) + "\n").encode()


TABLE_ENCODERS: dict[str, Callable[[pa.Table], bytes]] = {
    ".parquet": _encode_parquet,
    ".csv": _encode_csv,
    ".jsonl": _encode_jsonl,
    ".json": _encode_json,
}
"""Suffix -> what encodes a table in that format."""
