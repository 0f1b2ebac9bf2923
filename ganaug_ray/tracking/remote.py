"""Sends whole runs to a tracking server, which may be away, and come back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.tracking.results import Results, find_own_champion, flatten_settings, read_results
from ganaug_ray.tracking.sent_log import SentLog
from ganaug_ray.tracking.training_log import TrainingLog

logger = logging.getLogger(__name__)

RETRY_S = 60.0  # seconds until a server that was away is tried again

Figures = list[tuple[int, dict[str, float]]]
"""Step and figures of rows of a log."""


class TrackingServer(Protocol):
    """A tracking server; each of its calls may raise anything."""

    name: str
    """In sentences, and of the file that remembers what it was sent."""
    address: str
    """Where it is."""

    def open_run(self, run_id: str | None, settings: dict[str, str]) -> str:
        """Open a run with these settings as its parameters, or go on with one; return its id."""

    def log_figures(self, training: str, figures: Figures) -> None:
        """Log figures of a training."""

    def log_picture(self, training: str, step: int, png: bytes) -> None:
        """Log a picture of a training's samples."""

    def log_results(self, results: Results) -> None:
        """Log what came out, in place of what was logged before."""

    def register_champion(self, version: Folder) -> None:
        """Register a version of the registry as a model, as its champion."""

    def end_run(self, status: str) -> None:
        """End the run for now: done, failed or interrupted."""


class RemoteTracker:
    """Sends a run to a tracking server: its settings, curves and pictures while it runs, and what came out.

    While the server is away a sentence says so, once, and the run goes on; what it missed it is sent later.

    Args:
        server: the server.
        run: the experiment.
        job: its settings.
        say: prints a sentence.
    """

    def __init__(self, server: TrackingServer, run: Run, job: Job, say: Callable[[str], None]) -> None:
        self._server = server
        self._run = run
        self._job = job
        self._say = say
        self._sent = SentLog(run.root, server.name, server.address)
        self._logs: list[TrainingLog] = []
        self._is_open = False
        self._is_failure_said = False
        self._retry_at = 0.0

    def update(self, logs: list[TrainingLog]) -> None:
        """Send what is new, unless the server was away a moment ago."""
        self._logs = logs
        if time.monotonic() >= self._retry_at:
            self._attempt(self._send_logs)

    def close(self, status: str) -> None:
        """Send what is left and what came out, and end the run there."""
        if self._logs:
            self._attempt(lambda: self._send_all(status))

    def _send_all(self, status: str) -> None:
        self._send_logs()
        self._send_results()
        if self._is_open:
            self._server.end_run(status)

    def _open(self) -> None:
        if not self._is_open:
            self._sent.run_id = self._server.open_run(self._sent.run_id, flatten_settings(self._job))
            self._is_open = True
            self._sent.save()

    def _send_logs(self) -> None:
        for log in self._logs:
            first = self._sent.count_rows(log)
            pictures = self._sent.list_new_pictures(log)
            if first >= len(log.rows) and not pictures:
                continue
            self._open()
            if first < len(log.rows):
                self._server.log_figures(log.name, log.extract_figures(first))
            for step in pictures:
                self._server.log_picture(log.name, step, log.read_picture(step))
            self._sent.note_training(log)
            self._sent.save()

    def _send_results(self) -> None:
        results = read_results(self._run)
        fingerprint = results.compute_fingerprint()
        if fingerprint != self._sent.results:
            self._open()
            self._server.log_results(results)
            self._sent.results = fingerprint
            self._sent.save()
        version = find_own_champion(self._run)
        if version is not None and (model := ModelRecord.read(version).hash) != self._sent.model:
            self._open()
            self._server.register_champion(version)
            self._sent.model = model
            self._sent.save()

    def _attempt(self, send: Callable[[], None]) -> None:
        """Send something; a sentence says, once, where that did not work."""
        try:
            send()
        except Exception as error:  # of any kind: no figure on a server is worth a run
            logger.warning("%s failed", self._server.name, exc_info=True)
            self._retry_at = time.monotonic() + RETRY_S
            if not self._is_failure_said:
                reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
                self._say(
                    f"tracking.{self._server.name} {self._server.address} did not accept what was sent; the run goes "
                    f"on, and the same command sends it again ({reason:.200})"
                )
            self._is_failure_said = True
