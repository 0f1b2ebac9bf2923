"""The commands that advice names: any verb finds the same job, folder and hardware with their arguments."""

import shlex
from pathlib import Path

import pytest

from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.pipeline.run_job import RunOptions, _quote_arguments


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        (RunOptions("my job.yaml"), ["my job.yaml"]),
        (RunOptions("a.yml", "far", ("seed=1",)), ["a.yml", "--set", "seed=1", "--out", "far"]),
        (RunOptions("a.yaml", minutes=7.5, cpu_only=True), ["a.yaml", "--set", "compare.budget_minutes=7.5", "--cpu"]),
        (RunOptions("pets", minutes=10), ["{root}/job.yaml", "--out", "{root}"]),
        (RunOptions("runs/pets", cpu_only=True), ["{root}/job.yaml", "--out", "{root}", "--cpu"]),
    ],
)
def test_advice_names_job_and_folder(options: RunOptions, arguments: list[str], tmp_path: Path) -> None:
    """A job file is named as it was given; of images, and of an experiment's folder, the job that the folder holds."""
    run = Run(Folder.from_uri(tmp_path))
    found = shlex.split(_quote_arguments(options, run))
    assert found == [argument.format(root=run.root) for argument in arguments]
