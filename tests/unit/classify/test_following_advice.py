"""The advice in a message on the weights that a classifier starts from, followed in the same folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ganaug_ray.classify import backbones, compared_models, initial_weights
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from tests.conftest import DIGITS, TINY
from tests.helpers import records

ARCH = "timm:test_resnet"


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_file_replaces_published_weights(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no network, the path of a file of the same weights is taken."""
    run = Run(Folder.from_uri(tmp_path / "run"))

    def fetch(arch: str) -> None:
        raise OSError("Name or service not known")

    def prepare(weights: str) -> object:
        settings = [f"classifier.arch={ARCH}", "classifier.input_size=32", f"classifier.weights={weights}"]
        job = load_job(DIGITS, [*TINY, *settings])
        run.claim_folder(job)
        records.write_dataset(run.dataset.create())
        return initial_weights.prepare_weights(job, run)

    monkeypatch.setattr(backbones, "fetch_weights", fetch)
    with pytest.raises(UserError, match="with no network, give the path of a file"):
        prepare("pretrained")
    weights = backbones.build_trunk(ARCH).network.state_dict()
    if name.endswith(".pth"):
        torch.save(weights, tmp_path / name)
    else:
        save_file(weights, tmp_path / name)
    assert prepare(str(tmp_path / name))


def test_models_are_compared_as_exemplified() -> None:
    """A job without models to compare takes those of the example."""
    with pytest.raises(UserError, match="models: the job has no such section; name two or more, such as") as caught:
        compared_models.list_pairs(load_job(DIGITS, TINY))
    example = str(caught.value).partition("such as ")[2]
    job = load_job(DIGITS, [*TINY, f"models={example}"])
    assert {name for name, _ in compared_models.list_pairs(job)} == {"cnn", "resnet"}
