"""Reads what the trainings of an experiment have logged so far: figures, and pictures of samples."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from pyarrow.fs import FileInfo, FileType

from ganaug_ray.core import metrics_log
from ganaug_ray.core.experiment_dir import Record
from ganaug_ray.core.storage import Folder

_METRICS_FILE = re.compile(r"metrics[-\d]*\.jsonl")
_SAMPLES_FILE = re.compile(r"samples/step-(\d+)\.png")
_OTHER_FOLDERS = ("search", "tensorboard")  # a search writes event files of its own


@dataclass(frozen=True)
class TrainingLog:
    """What a training has logged.

    Attributes:
        name: its folder's path in the experiment, such as gan or models/real+classic/seed-0.
        folder: the folder.
        rows: lines of metrics.jsonl, in order; each has a step.
        pictures: step -> path of the PNG with samples, in the folder; in the order of the steps.
        changed: when one of its files changed last, in nanoseconds.
    """

    name: str
    folder: Folder
    rows: list[Record]
    pictures: dict[int, str]
    changed: int

    def extract_figures(self, first: int = 0) -> list[tuple[int, dict[str, float]]]:
        """Return step and figures of each row, from the row ``first`` on."""
        return [(row["step"], select_figures(row)) for row in self.rows[first:]]

    def read_picture(self, step: int) -> bytes:
        """Return a PNG of samples."""
        return self.folder.read_bytes(self.pictures[step])


@dataclass
class ExperimentLogs:
    """The logs of all trainings of an experiment; a file is read again only when it has changed.

    Args:
        root: the experiment's folder.
    """

    root: Folder
    _logs: dict[str, TrainingLog] = field(default_factory=dict)
    _signatures: dict[str, Any] = field(default_factory=dict)

    def read(self) -> list[TrainingLog]:
        """Return the logs of all trainings that have logged something, by their names.

        Raises:
            OSError: a file was being replaced, or the store does not answer.
        """
        files: dict[str, list[FileInfo]] = {}
        for info in self.root.list_entries(recursive=True):
            path = info.path.removeprefix(f"{self.root.path}/")
            if info.type == FileType.File and not path.startswith(tuple(f"{name}/" for name in _OTHER_FOLDERS)):
                name = path.rpartition("/")[0].removesuffix("/samples")
                files.setdefault(name, []).append(info)
        logs = {}
        for name in sorted(files):
            if name and any(_METRICS_FILE.fullmatch(info.base_name) for info in files[name]):
                logs[name] = self._read_training(name, files[name])
        self._logs = logs
        self._signatures = {name: self._signatures[name] for name in logs}
        return [log for log in logs.values() if log.rows]

    def _read_training(self, name: str, files: list[FileInfo]) -> TrainingLog:
        folder = self.root / name
        metrics = []
        pictures = {}
        times = [0]
        for info in files:
            path = info.path.removeprefix(f"{folder.path}/")
            sample = _SAMPLES_FILE.fullmatch(path)
            if sample:
                pictures[int(sample[1])] = path
            elif _METRICS_FILE.fullmatch(path):
                metrics.append((path, info.size, info.mtime_ns))
            else:
                continue
            times.append(info.mtime_ns or 0)
        signature = sorted(metrics)
        is_known = self._signatures.get(name) == signature
        rows = self._logs[name].rows if is_known else metrics_log.read_metrics(folder)
        self._signatures[name] = signature
        return TrainingLog(name, folder, rows, dict(sorted(pictures.items())), max(times))


def select_figures(row: Record) -> dict[str, float]:
    """Return the figures of a row that make a curve.

    >>> select_figures({"step": 50, "images_seen": 800, "loss": 0.5, "note": "x"})
    {'loss': 0.5}
    """
    figures = {}
    for name, value in row.items():
        if name not in ("step", "images_seen") and isinstance(value, int | float):
            figures[name] = float(value)
    return figures
