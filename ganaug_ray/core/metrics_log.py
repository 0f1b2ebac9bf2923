"""The training log ``metrics.jsonl``, on a local disk or an object store."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from ganaug_ray.core.full_disk import explain_full_disk
from ganaug_ray.core.storage import Folder

Record = dict[str, Any]

TAIL_BYTES = 16_384  # bytes, which hold several lines


class MetricsLog:
    """Writes ``metrics.jsonl``: one line a logged step, in order, none twice, even if processes are killed in between.

    On a local disk each line is flushed as it comes. An object store has no append, so there the lines are written
    in numbered parts, one at each ``flush``.
    """

    def __init__(self, folder: Folder, steps_done: int) -> None:
        """Open for appending after ``steps_done`` steps; lines of later steps, from a killed attempt, are dropped."""
        self._folder = folder
        self._waiting: list[str] = []
        self._part = 0
        if folder.local_path is not None:
            folder.write_bytes("metrics.jsonl", _encode_lines_until(steps_done, read_metrics(folder)))
            return
        for part in _list_parts(folder):  # one after another: a kill in between loses no line and doubles none
            if lines_before := _encode_lines_until(steps_done, _read_lines(folder, part)):
                folder.write_bytes(part, lines_before)
                self._part += 1
            else:
                folder.delete_file(part)

    def append_line(self, line: Record) -> None:
        """Append a line; it has the key ``step``, the number of steps done."""
        text = json.dumps({key: _round_float(value) for key, value in line.items()}) + "\n"
        if self._folder.local_path is None:
            self._waiting.append(text)
            return
        file = self._folder.local_path / "metrics.jsonl"
        with explain_full_disk(file, len(text)), file.open("a") as stream:
            stream.write(text)

    def flush(self) -> None:
        """Make sure that all lines so far outlive this process; called with each checkpoint and at the end."""
        if self._waiting:
            self._folder.write_bytes(f"metrics-{self._part:05d}.jsonl", "".join(self._waiting).encode())
            self._waiting = []
            self._part += 1


def read_metrics(folder: Folder) -> list[Record]:
    """Return all logged lines, in order; a last line that a crash cut off is left out."""
    lines: list[Record] = []
    for part in _list_parts(folder):
        lines += _read_lines(folder, part)
    return lines


def read_newest_lines(folder: Folder) -> list[Record]:
    """Return the last few logged lines, in order, without reading the whole log."""
    parts = _list_parts(folder)
    if not parts:
        return []
    with folder.fs.open_input_file(f"{folder.path}/{parts[-1]}") as stream:
        text = stream.read_at(TAIL_BYTES, max(0, stream.size() - TAIL_BYTES))
    return _parse_lines(text.decode(errors="replace"))  # of the first line the beginning may be missing


def _list_parts(folder: Folder) -> list[str]:
    return [name for name in folder.list_files(".jsonl") if name.startswith("metrics")]


def _read_lines(folder: Folder, part: str) -> list[Record]:
    return _parse_lines(folder.read_bytes(part).decode())


def _parse_lines(text: str) -> list[Record]:
    lines: list[Record] = []
    for line in text.splitlines():
        with suppress(json.JSONDecodeError):
            lines.append(json.loads(line))
    return lines


def _encode_lines_until(steps_done: int, lines: list[Record]) -> bytes:
    text = ""
    for line in lines:
        if line["step"] <= steps_done:
            text += json.dumps(line) + "\n"
    return text.encode()


def _round_float(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
