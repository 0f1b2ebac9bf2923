"""One answer: the same sentence wherever an experiment is shown."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from ganaug_ray.config import Job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.serve import app
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.live_model import LiveModel
from ganaug_ray.serve.service import Service


def test_answer_is_same_sentence_everywhere(
    experiment: Run, tiny_job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The terminal says the sentence of verdict.json and what to do; champion.json and the server have the sentence."""
    shutil.copytree(str(experiment.root), tmp_path / "run", symlinks=True)
    run = Run(Folder.from_uri(tmp_path / "run"))
    shutil.rmtree(str(run.registry))
    run.root.delete_file("verdict.json")
    pipeline = Pipeline(tiny_job, run, Terminal())
    pipeline.compare_arms()
    said = " ".join(capsys.readouterr().out.split())
    pipeline.promote_champion()

    verdict = run.root.read_json("verdict.json")
    sentence = verdict["sentence"]
    assert f"compare done {sentence} {verdict['action']}" in said
    assert run.registry.read_json("champion.json")["lineage"]["sentence"] == sentence
    service = Service(LiveModel(str(run.root)), RequestLimits())
    try:
        with TestClient(app.build_application(service, []), "http://localhost") as client:
            assert client.get("/v1/model").json()["sentence"] == sentence
    finally:
        service.shut_down()
