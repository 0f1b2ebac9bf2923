"""Chooses the folder of an experiment: --out, or one named after the job. Files of a Ray job must outlive the job."""

import json
from collections.abc import Mapping
from pathlib import Path

from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError

RAY_JOB_ENV = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it for the command of a submitted job, and for nothing else
FOLDER_EXAMPLES = "such as /shared/runs/NAME or s3://bucket/runs/NAME"


def open_experiment(job_path: Path, out: str | None, environment: Mapping[str, str]) -> Folder:
    """Open the folder of an experiment: ``out``, or one named after the job file in $GANAUG_HOME or ``runs``.

    Raises:
        UserError: it cannot be opened; or this is a Ray job, and the folder is not given or would go with the job.
    """
    home = environment.get("GANAUG_HOME")
    in_job = RAY_JOB_ENV in environment
    if in_job and out is None and not home:
        raise UserError(
            f"--out: a Ray job needs it, or GANAUG_HOME, to name a folder that all nodes see, {FOLDER_EXAMPLES}"
        )
    folder = Folder.from_uri(out) if out is not None else open_default_folder(job_path, home)
    if in_job and folder.local_path is not None and _has_working_dir(environment[RAY_JOB_ENV]):
        refuse_inside(folder.local_path, Path.cwd())
    return folder


def open_default_folder(job_path: Path, home: str | None) -> Folder:
    """Return the folder of a job's experiment without --out: named after the job file, in $GANAUG_HOME or ``runs``."""
    return Folder.from_uri(home or "runs") / job_path.stem


def refuse_inside(out: Path, working_dir: Path) -> None:
    """Refuse an output folder inside a working directory that is uploaded for a job. Raises UserError."""
    if out.resolve().is_relative_to(working_dir.resolve()):
        raise UserError(
            f"--out {out}: lies in the working directory that is uploaded for the job, where results would be lost; "
            f"give a folder that all nodes see, {FOLDER_EXAMPLES}"
        )


def _has_working_dir(job_config: str) -> bool:
    """Whether the job came with a working directory: then this process stands in a copy of it."""
    return bool((json.loads(job_config).get("runtime_env") or {}).get("working_dir"))
