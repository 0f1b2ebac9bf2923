"""Arrow arrays from Python values, made of buffers: ``pyarrow.array`` imports pandas, a quarter of a second."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa


def build_text_array(values: Sequence[str | None]) -> pa.Array:
    """Build an array of strings.

    >>> build_text_array(["cat", None, "köttur"]).to_pylist()
    ['cat', None, 'köttur']
    """
    return _join_bytes(pa.string(), [None if value is None else value.encode() for value in values])


def build_binary_array(values: Sequence[bytes | None]) -> pa.Array:
    """Build an array of byte strings of 2 GB in all at most, which is what Arrow's offsets reach.

    >>> build_binary_array([b"ab", None, b""]).to_pylist()
    [b'ab', None, b'']
    """
    return _join_bytes(pa.binary(), values)


def build_float_array(values_N: np.ndarray, present_N: np.ndarray) -> pa.Array:
    """Build an array of float32 [N], null where ``present_N`` is false.

    >>> build_float_array(np.array([0.5, 0.25]), np.array([True, False])).to_pylist()
    [0.5, None]
    """
    values = pa.py_buffer(np.ascontiguousarray(values_N, np.float32))
    return pa.Array.from_buffers(pa.float32(), len(values_N), [_pack_bits(present_N), values])


def build_struct_array(names: Sequence[str], values_NK: np.ndarray, present_N: np.ndarray) -> pa.Array:
    """Build an array of structs of float32 from a matrix [N, K] with a column a name; null where it is not present.

    >>> build_struct_array(["cat", "dog"], np.array([[0.5, 0.5], [0, 0]]), np.array([True, False])).to_pylist()
    [{'cat': 0.5, 'dog': 0.5}, None]
    """
    kind = pa.struct([(name, pa.float32()) for name in names])
    columns = [build_float_array(column_N, present_N) for column_N in values_NK.T]
    return pa.Array.from_buffers(kind, len(values_NK), [_pack_bits(present_N)], children=columns)


def _join_bytes(kind: pa.DataType, values: Sequence[bytes | None]) -> pa.Array:
    filled = [value or b"" for value in values]
    offsets = np.cumsum([0, *map(len, filled)])
    if offsets[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"{offsets[-1]} bytes are too many for one array")
    present = _pack_bits(np.array([value is not None for value in values], bool))
    buffers: list[Any] = [present, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(b"".join(filled))]
    return pa.Array.from_buffers(kind, len(values), buffers)


def _pack_bits(present_N: np.ndarray) -> pa.Buffer:
    return pa.py_buffer(np.packbits(present_N, bitorder="little"))
