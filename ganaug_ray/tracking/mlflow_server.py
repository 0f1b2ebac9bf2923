"""An MLflow server or store: an experiment is one run there, and its champion a registered model."""

from __future__ import annotations

import io
import os
import re
import tempfile
import time
from pathlib import Path

from PIL import Image

from ganaug_ray.core.storage import Folder
from ganaug_ray.tracking.remote import Figures
from ganaug_ray.tracking.results import Results, list_model_files
from ganaug_ray.version import __version__

DEFAULT_EXPERIMENT = "ganaug"  # where MLFLOW_EXPERIMENT_NAME names no other
ALIAS = "champion"
MODEL_PATH = "model"  # of the run's artifacts
MAX_METRICS = 1000  # of a batch, as MLflow takes
MAX_PARAMS = 100
MAX_PARAM_LENGTH = 6000  # characters
STATUS = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MLflowServer:
    """An MLflow server or store.

    Args:
        address: its URI.
        run_name: what to call the run, and the registered model.
    """

    name = "mlflow"

    def __init__(self, address: str, run_name: str) -> None:
        # As mlflow ships, it waits minutes for a server that is away, and tells its makers what it is used for.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self.address = address
        self._run_name = run_name
        self._client = MlflowClient(address)
        self._run = ""

    def open_run(self, run_id: str | None, settings: dict[str, str]) -> str:
        """Create a run, or go on with one: settings that have changed keep their first value, as MLflow has it."""
        from mlflow.entities import Param

        if run_id is None:
            experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", DEFAULT_EXPERIMENT)
            run_id = self._client.create_run(self._find_experiment(experiment), run_name=self._run_name).info.run_id
        else:
            self._client.update_run(run_id, status="RUNNING")
        self._run = run_id
        known = self._client.get_run(run_id).data.params
        params = [
            Param(clean_key(key), text[:MAX_PARAM_LENGTH])
            for key, text in settings.items()
            if clean_key(key) not in known
        ]
        for start in range(0, len(params), MAX_PARAMS):
            self._client.log_batch(run_id, params=params[start : start + MAX_PARAMS])
        return run_id

    def log_figures(self, training: str, figures: Figures) -> None:
        """Log figures as metrics, named after the training's folder."""
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        metrics = []
        for step, row in figures:
            metrics += [Metric(clean_key(f"{training}/{name}"), value, now, step) for name, value in row.items()]
        for start in range(0, len(metrics), MAX_METRICS):
            self._client.log_batch(self._run, metrics[start : start + MAX_METRICS])

    def log_picture(self, training: str, step: int, png: bytes) -> None:
        """Log samples as an image of their step."""
        with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
            self._client.log_image(
                self._run, picture.convert("RGB"), key=clean_key(f"{training}/samples"), step=step, synchronous=True
            )

    def log_results(self, results: Results) -> None:
        """Log figures on test images as metrics, the verdict as tags, and the files as artifacts."""
        for name, value in results.figures.items():
            self._client.log_metric(self._run, clean_key(name), value)
        for key, words in results.tags.items():
            self._client.set_tag(self._run, key, words)
        with tempfile.TemporaryDirectory(prefix="ganaug-mlflow-") as folder:
            for path, content in results.files.items():
                file = Path(folder) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            self._client.log_artifacts(self._run, folder)

    def register_champion(self, version: Folder) -> None:
        """Log a version as a model that mlflow.pyfunc loads, and register it under the alias champion."""
        from mlflow.exceptions import MlflowException

        with tempfile.TemporaryDirectory(prefix="ganaug-mlflow-") as folder:
            write_model(version, Path(folder) / MODEL_PATH)
            self._client.log_artifacts(self._run, str(Path(folder) / MODEL_PATH), MODEL_PATH)
        try:
            self._client.get_registered_model(self._run_name)
        except MlflowException:
            self._client.create_registered_model(self._run_name)
        source = f"{self._client.get_run(self._run).info.artifact_uri}/{MODEL_PATH}"
        number = self._client.create_model_version(self._run_name, source, self._run).version
        self._client.set_registered_model_alias(self._run_name, ALIAS, number)

    def end_run(self, status: str) -> None:
        """Set the run's status; the next command goes on with it."""
        if self._run:
            self._client.set_terminated(self._run, STATUS[status])

    def _find_experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        return experiment.experiment_id if experiment else self._client.create_experiment(name)


def write_model(version: Folder, out: Path) -> None:
    """Write a version of the registry as an MLflow model; nothing in it is pickled.

    ``mlflow.pyfunc.load_model`` loads it where ganaug-ray is installed.
    """
    import mlflow.pyfunc

    with tempfile.TemporaryDirectory(prefix="ganaug-mlflow-") as folder:
        for name in list_model_files(version):
            (Path(folder) / name).write_bytes(version.read_bytes(name))
        mlflow.pyfunc.save_model(
            out,
            loader_module="ganaug_ray.tracking.mlflow_model",
            data_path=folder,
            pip_requirements=[f"ganaug-ray=={__version__}"],
        )


def clean_key(key: str) -> str:
    """Return a name as MLflow takes it.

    >>> clean_key("models/real+classic/seed-0/loss")
    'models/real_classic/seed-0/loss'
    """
    return re.sub(r"[^\w\-. :/]", "_", key)
