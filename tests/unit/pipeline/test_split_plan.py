"""The plan of the splits: folders train and test are kept where a job leaves that open; an experiment keeps its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.pipeline.split_plan import plan_given
from tests.helpers.labelled import lay_out

SPLIT_FOLDERS = [f"{split}/{name}/1.png" for split in ("train", "test") for name in ("cat", "dog")]


def plan(root: Path, out: Path, data: dict[str, Any], **sections: Any) -> bool | None:
    content = {"data": {"source": str(root), **data}, "gan": {"steps": 9}, "classifier": {"steps": 9}, **sections}
    return plan_given(Job.model_validate(content), Run(Folder.from_uri(out))).data.split.given


@pytest.mark.parametrize(
    ("data", "sections", "given"),
    [
        ({}, {}, True),
        ({"split": {"given": False}}, {}, False),
        ({"split": {"val": 0.2}}, {}, False),
        ({"split": {"seed": 3}}, {}, False),
        ({"extends": "runs/old/dataset"}, {}, False),
        ({}, {"compare": {"splits": 5}}, False),
    ],
)
def test_folders_decide_where_job_does_not(
    data: dict[str, Any], sections: dict[str, Any], given: bool, tmp_path: Path
) -> None:
    """Labelled folders train and test are the split, unless the job asks for another or for several."""
    assert plan(lay_out(tmp_path / "pics", *SPLIT_FOLDERS), tmp_path / "out", data, **sections) is given


def test_prepared_experiments_keep_their_split(tmp_path: Path) -> None:
    """An experiment that has a data set keeps its split, also one from before folders decided."""
    root = lay_out(tmp_path / "pics", *SPLIT_FOLDERS)
    (tmp_path / "out" / "dataset").mkdir(parents=True)
    (tmp_path / "out" / "job.yaml").write_text("data: {split: {given: false}}")
    assert plan(root, tmp_path / "out", {}) is True, "nothing is prepared yet"
    (tmp_path / "out" / "dataset" / "dataset.json").write_text("{}")
    assert plan(root, tmp_path / "out", {}) is False
