"""Weights & Biases: an experiment is one run there, and its champion a model artifact with an alias."""

from __future__ import annotations

import io
import tempfile
import uuid
from pathlib import Path
from typing import Any

from PIL import Image

from ganaug_ray.core.storage import Folder
from ganaug_ray.tracking.remote import Figures
from ganaug_ray.tracking.results import Results, list_model_files

ALIAS = "champion"
INIT_TIMEOUT_S = 30  # seconds, of W&B's 90; the follower waits, the run does not


class WandbServer:
    """A project of Weights & Biases.

    Args:
        address: NAME or ENTITY/NAME of the project.
        run_name: what to call the run.
        folder: where W&B keeps its own files.
    """

    name = "wandb"

    def __init__(self, address: str, run_name: str, folder: Path) -> None:
        self.address = address
        self._run_name = run_name
        self._folder = folder
        self._run: Any = None

    def open_run(self, run_id: str | None, settings: dict[str, str]) -> str:
        """Create a run, or go on with one."""
        import wandb

        entity, _, project = self.address.rpartition("/")
        self._folder.mkdir(parents=True, exist_ok=True)
        quiet = wandb.Settings(
            console="off",  # the log is the experiment's
            silent=True,
            init_timeout=INIT_TIMEOUT_S,
            login_timeout=1,  # nobody is asked for a key in the middle of a run
            x_disable_stats=True,
            disable_git=True,
            disable_code=True,
        )
        self._run = wandb.init(
            entity=entity or None,
            project=project,
            id=run_id or uuid.uuid4().hex[:12],
            name=self._run_name,
            config=settings,
            allow_val_change=True,
            resume="allow",
            dir=str(self._folder),
            settings=quiet,
        )
        return self._run.id

    def log_figures(self, training: str, figures: Figures) -> None:
        """Log figures over the training's own steps: W&B's step counts what all trainings log."""
        step_name = f"{training}/step"
        self._run.define_metric(f"{training}/*", step_metric=step_name)
        for step, row in figures:
            self._run.log({step_name: step, **{f"{training}/{name}": value for name, value in row.items()}})

    def log_picture(self, training: str, step: int, png: bytes) -> None:
        """Log samples as an image of their step."""
        import wandb

        with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
            image = wandb.Image(picture.convert("RGB"))
            self._run.log({f"{training}/step": step, f"{training}/samples": image})

    def log_results(self, results: Results) -> None:
        """Log figures and words as the run's summary, and the files as an artifact."""
        self._run.summary.update({**results.figures, **results.tags})
        self._log_artifact("results", "results", results.files, [])

    def register_champion(self, version: Folder) -> None:
        """Log a version as a model artifact with the alias champion."""
        files = {name: version.read_bytes(name) for name in list_model_files(version)}
        self._log_artifact("model", "model", files, [ALIAS])

    def end_run(self, status: str) -> None:
        """End the run; the next command goes on with it."""
        if self._run is not None:
            self._run.finish(exit_code=0 if status == "done" else 1)

    def _log_artifact(self, name: str, kind: str, files: dict[str, bytes], aliases: list[str]) -> None:
        import wandb

        with tempfile.TemporaryDirectory(prefix="ganaug-wandb-") as folder:
            for path, content in files.items():
                file = Path(folder) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            artifact = wandb.Artifact(f"{self._run_name}-{name}".replace("+", "_"), type=kind)
            artifact.add_dir(folder)  # copied to W&B's own folder
            self._run.log_artifact(artifact, aliases=["latest", *aliases])
