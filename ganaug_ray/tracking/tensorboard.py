"""Writes a TensorBoard event file for each training: its figures over steps, and its samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyarrow.fs import FileType

from ganaug_ray.core.experiment_dir import Record
from ganaug_ray.core.storage import Folder
from ganaug_ray.tracking.training_log import TrainingLog

if TYPE_CHECKING:
    from ganaug_ray.tracking.event_file import EventFile

# Event files are imported where one is written: they bring torch, which a command that trains nothing has no use for.

SAMPLES_TAG = "samples"


@dataclass
class _WrittenLog:
    """How much of a training's log is in its event file."""

    file: EventFile
    rows: int = 0
    last_row: Record | None = None
    last_picture: int = -1

    def is_continued_by(self, log: TrainingLog) -> bool:
        """Whether the log begins with what is written; a restarted training drops rows after its checkpoint."""
        return self.rows <= len(log.rows) and (not self.rows or log.rows[self.rows - 1] == self.last_row)


class TensorBoardTracker:
    """Keeps an event file a training, each a copy of what the training has logged.

    Args:
        folder: of the event files; each training has a folder of its name in it.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._written: dict[str, _WrittenLog] = {}

    def update(self, logs: list[TrainingLog]) -> None:
        """Write what is new."""
        for log in logs:
            written = self._written.get(log.name)
            if written is None and _read_newest_time(self._folder / log.name) > log.changed:
                continue  # an earlier command wrote all of it; of the same time, a row may have come after it
            if written is None or not written.is_continued_by(log):
                written = self._begin(log.name)
            _write_news(written, log)

    def close(self, status: str = "done") -> None:
        """End the files."""
        for written in self._written.values():
            written.file.close()
        self._written = {}

    def _begin(self, name: str) -> _WrittenLog:
        """Begin the event file of a training anew: two files would show a step twice."""
        from ganaug_ray.tracking.event_file import NAME_PREFIX, EventFile

        if name in self._written:
            self._written[name].file.close()
        folder = self._folder / name
        for file in folder.list_files():
            if file.startswith(f"{NAME_PREFIX}."):
                folder.delete_file(file)
        self._written[name] = _WrittenLog(EventFile(folder))
        return self._written[name]


def _write_news(written: _WrittenLog, log: TrainingLog) -> None:
    from ganaug_ray.tracking.event_file import build_picture, build_scalars

    pictures = [step for step in log.pictures if step > written.last_picture]
    if written.rows == len(log.rows) and not pictures:
        return
    for step, figures in log.extract_figures(written.rows):
        written.file.write(step, build_scalars(figures))
    for step in pictures:
        written.file.write(step, [build_picture(SAMPLES_TAG, log.read_picture(step))])
        written.last_picture = step
    written.rows = len(log.rows)
    written.last_row = log.rows[-1]
    written.file.copy()


def _read_newest_time(folder: Folder) -> int:
    """Return when a folder's newest file changed, in nanoseconds; -1 where it has none."""
    times = [info.mtime_ns or 0 for info in folder.list_entries() if info.type == FileType.File]
    return max(times, default=-1)
