"""Remembers what a tracking server was sent, in the experiment's folder: the next command goes on from there."""

from __future__ import annotations

from typing import Any

from ganaug_ray.core import experiment_dir
from ganaug_ray.core.storage import Folder
from ganaug_ray.tracking.training_log import TrainingLog

FOLDER = "tracking"


class SentLog:
    """What a server was sent of a run.

    Args:
        root: the experiment's folder.
        server: its name, which names the file.
        address: of the server; what was sent to another one is not counted.

    Attributes:
        run_id: the server's name for the run; None before there is one.
        results: fingerprint of the results that were sent.
        model: hash of the champion that was registered.
    """

    def __init__(self, root: Folder, server: str, address: str) -> None:
        self._folder = root / FOLDER
        self._file = f"{server}.json"
        self._address = address
        stored = experiment_dir.read_marker(self._folder, self._file) or {}
        if stored.get("address") != address:
            stored = {}
        self.run_id: str | None = stored.get("run")
        self.results: str | None = stored.get("results")
        self.model: str | None = stored.get("model")
        self._trainings: dict[str, dict[str, Any]] = stored.get("trainings", {})

    def count_rows(self, log: TrainingLog) -> int:
        """Return how many rows of a training's log were sent; none of a training that began anew with other rows."""
        sent = self._find_sent(log)
        return sent["rows"] if sent else 0

    def list_new_pictures(self, log: TrainingLog) -> list[int]:
        """Return the steps whose pictures were not sent."""
        sent = self._find_sent(log)
        last = sent["picture"] if sent else -1
        return [step for step in log.pictures if step > last]

    def note_training(self, log: TrainingLog) -> None:
        """Note that all of a log was sent. A training that was set back logs rows again that were sent."""
        rows = max(len(log.rows), self.count_rows(log))
        self._trainings[log.name] = {"first": _hash_begin(log), "rows": rows, "picture": max(log.pictures, default=-1)}

    def save(self) -> None:
        """Write all to the file."""
        self._folder.write_json(
            self._file,
            {
                "address": self._address,
                "run": self.run_id,
                "results": self.results,
                "model": self.model,
                "trainings": self._trainings,
            },
        )

    def _find_sent(self, log: TrainingLog) -> dict[str, Any] | None:
        sent = self._trainings.get(log.name)
        return sent if sent and sent["first"] == _hash_begin(log) else None


def _hash_begin(log: TrainingLog) -> str:
    return experiment_dir.compute_fingerprint(log.rows[0])
