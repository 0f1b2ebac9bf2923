"""The tracking servers that a job names."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.errors import UserError
from ganaug_ray.tracking.remote import TrackingServer
from ganaug_ray.tracking.sent_log import FOLDER

_PACKAGES = {"mlflow": "mlflow-skinny", "wandb": "wandb"}
"""Module -> what to install."""


def open_servers(job: Job, run: Run) -> list[TrackingServer]:
    """Open the tracking servers that a job names; none of them is asked for anything yet.

    Raises:
        UserError: the package of one of them is not installed.
    """
    tracking = job.tracking
    servers: list[TrackingServer] = []
    if tracking is None:
        return servers
    if tracking.mlflow is not None:
        _require_package("mlflow", tracking.mlflow)
        from ganaug_ray.tracking.mlflow_server import MLflowServer

        servers.append(MLflowServer(tracking.mlflow, run.root.name))
    if tracking.wandb is not None:
        _require_package("wandb", tracking.wandb)
        from ganaug_ray.tracking.wandb_server import WandbServer

        home = run.root.local_path or Path(tempfile.gettempdir())
        servers.append(WandbServer(tracking.wandb, run.root.name, home / FOLDER))
    return servers


def _require_package(module: str, address: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise UserError(
            f"tracking.{module}: {address} needs the package {module}, which is not installed; "
            f"pip install {_PACKAGES[module]}, or leave tracking.{module} out"
        )
