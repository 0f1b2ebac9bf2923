"""Live tracking of a search: TensorBoard event files always, and an MLflow server if the job names one.

Nothing here decides anything, and nothing that goes wrong with a server may stop a search.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from tensorboardX.summary import hparams, text

from ganaug_ray.addresses import refuse_credentials
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.tracking.event_file import EventFile, build_scalars

_MLFLOW_PREFIX = "mlflow:"
_MLFLOW_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}  # in MLflow's words


class Tracker(Protocol):
    """The interface of a tracker, which is called with every event of a search."""

    def start_trial(self, trial: str, settings: Mapping[str, Any]) -> None:
        """Called when a trial begins with these settings; again if it goes on after a crash."""

    def log_result(self, trial: str, at: int, value: float, figures: Mapping[str, float]) -> None:
        """Called with the objective ``value`` of a trial and other figures, at a step or number of trainings."""

    def end_trial(self, trial: str, status: str, reason: str | None) -> None:
        """Called when a trial has ended: finished, stopped or failed, and why."""


def build_trackers(
    tracking: str | None, folder: Folder, experiment: str, say: Callable[[str], None] = print
) -> list[Tracker]:
    """Build the trackers of a search.

    Args:
        tracking: of the job, ``mlflow:URI``; None for TensorBoard's files alone.
        folder: of the event files, a folder a trial in it.
        experiment: what MLflow is to call the search.
        say: prints the note that a server is away.

    Raises:
        UserError: ``tracking`` is not mlflow:URI, holds credentials, or mlflow is not installed.
    """
    if tracking is None:
        return [TensorBoardTracker(folder)]
    uri = tracking.removeprefix(_MLFLOW_PREFIX)
    if uri == tracking or not uri:
        raise UserError(f"search.tracking: found {tracking!r}; expected mlflow:URI, such as mlflow:http://host:5000")
    refuse_credentials(uri)
    if importlib.util.find_spec("mlflow") is None:
        raise UserError(
            f"search.tracking: {tracking} needs the package mlflow, which is not installed; "
            "pip install mlflow-skinny, or leave search.tracking out"
        )
    return [TensorBoardTracker(folder), MLflowTracker(uri, experiment, say)]


class TensorBoardTracker:
    """Writes a TensorBoard event file for each trial: its settings, and its value and figures over steps.

    On an object store it is written to a local disk, and copied when the trial ends.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._files: dict[str, EventFile] = {}

    def start_trial(self, trial: str, settings: Mapping[str, Any]) -> None:
        """Open the trial's event file, and write its settings for TensorBoard's page of hyperparameters."""
        self._files[trial] = EventFile(self._folder / trial)
        experiment, begin, _ = hparams({key: _convert_value(value) for key, value in settings.items()}, {"value": 0})
        self._write_summaries(trial, 0, [experiment, begin])

    def log_result(self, trial: str, at: int, value: float, figures: Mapping[str, float]) -> None:
        """Write the value and the figures, and flush them."""
        self._write_summaries(trial, at, build_scalars({**figures, "value": value}))

    def end_trial(self, trial: str, status: str, reason: str | None) -> None:
        """Write how the trial ended, and close its file."""
        outcome = f"{status}: {reason}" if reason else status
        self._write_summaries(trial, 0, [text("status", outcome)])
        self._files.pop(trial).close()

    def _write_summaries(self, trial: str, step: int, summaries: Sequence[Any]) -> None:
        self._files[trial].write(step, summaries)
        self._files[trial].flush()


class MLflowTracker:
    """Logs a run for each trial to an MLflow server: settings as parameters, measurements as metrics, status as tag.

    While the server is away the search goes on: it is tried again when a trial starts or ends, not at each look.
    """

    def __init__(self, uri: str, experiment: str, say: Callable[[str], None] = print) -> None:
        # As mlflow ships, it waits minutes for a server that is away, and tells its makers what it is used for.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._uri = uri
        self._name = experiment
        self._say = say
        self._client = MlflowClient(uri)
        self._runs: dict[str, str] = {}  # trial -> id of its run
        self._away = False
        self._is_failure_said = False

    def start_trial(self, trial: str, settings: Mapping[str, Any]) -> None:
        """Begin a run, in the search's experiment, with the settings as its parameters."""

        def send() -> None:
            from mlflow.entities import Param

            run = self._client.create_run(self._find_experiment(), run_name=trial, tags={"trial": trial}).info.run_id
            self._runs[trial] = run
            self._client.log_batch(run, params=[Param(key, str(value)) for key, value in settings.items()])

        self._try_send(send)

    def log_result(self, trial: str, at: int, value: float, figures: Mapping[str, float]) -> None:
        """Log the value and the figures as metrics at their step."""

        def send() -> None:
            from mlflow.entities import Metric

            now = round(1000 * time.time())
            numbers = {**figures, "value": value}
            metrics = [Metric(name, number, now, at) for name, number in numbers.items()]
            self._client.log_batch(self._runs[trial], metrics)

        if trial in self._runs and not self._away:
            self._try_send(send)

    def end_trial(self, trial: str, status: str, reason: str | None) -> None:
        """Tag the run with status and reason, and end it."""
        run = self._runs.pop(trial, None)

        def send() -> None:
            assert run is not None
            self._client.set_tag(run, "status", status)
            if reason is not None:
                self._client.set_tag(run, "reason", reason)
            self._client.set_terminated(run, _MLFLOW_STATUS[status])

        if run is not None:
            self._try_send(send)

    def _find_experiment(self) -> str:
        experiment = self._client.get_experiment_by_name(self._name)
        return experiment.experiment_id if experiment else self._client.create_experiment(self._name)

    def _try_send(self, send: Callable[[], None]) -> None:
        try:
            send()
            self._away = False
        except Exception as error:  # of any kind: no figure on a server is worth a search
            self._away = True
            if not self._is_failure_said:
                reason = str(error).partition("\n")[0]
                self._say(f"search.tracking: {self._uri} did not answer; the search goes on without it ({reason})")
            self._is_failure_said = True


def _convert_value(value: Any) -> Any:
    return value if isinstance(value, str | bool | int | float) else str(value)
