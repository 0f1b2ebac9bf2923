"""A model as an ONNX file gives what the model gives, or there is no file."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save

from ganaug_ray import cli
from ganaug_ray.classify import networks, onnx_export
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import Job
from ganaug_ray.core import model_registry
from ganaug_ray.core.checkpoint import pack_states
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import tensors
from ganaug_ray.errors import StageFailed
from ganaug_ray.pipeline.pipeline import Pipeline
from tests.helpers import records


def model_in(folder: Path, arch: str, image_size: int, input_size: int, channels: int) -> Folder:
    """An untrained model whose batch norms have seen something."""
    torch.manual_seed(0)
    wanted = networks.choose_input(arch, image_size, input_size, pretrained=False)
    network = networks.build_network(arch, channels, 3, 0.0, wanted).train()
    network(torch.rand(8, channels, image_size, image_size) * 2 - 1)
    facts = {"channels": channels, "image_size": image_size, "hash": "f00d"}
    out = Folder.from_uri(folder / "model").create()
    out.write_bytes("model.safetensors", save(pack_states({"network": network})))
    records.write_model(out, arch=arch, classes=["ant", "bee", "Käfer"], **facts, **wanted.spec)
    return out


@pytest.mark.parametrize(
    ("arch", "image_size", "input_size", "channels"),
    [
        ("cnn", 32, 32, 1),
        ("cnn", 48, 48, 3),  # maps of 6 pixels, averaged down to 4
        ("timm:test_resnet", 48, 32, 1),  # grey, smaller, and another mean and deviation
        ("torchvision:squeezenet1_0", 32, 64, 3),  # larger
    ],
)
def test_onnx_logits_equal_the_model(
    arch: str, image_size: int, input_size: int, channels: int, tmp_path: Path
) -> None:
    """The ONNX file gives the model's logits for any number of images."""
    folder = model_in(tmp_path, arch, image_size, input_size, channels)
    path = tmp_path / "out" / "model.onnx"
    assert onnx_export.export_onnx(folder, str(path)) <= 1e-4
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    classifier = Classifier.load(folder)
    for rows in (1, 5):
        images = np.random.default_rng(rows).integers(0, 256, (rows, image_size, image_size, channels), np.uint8)
        x_NCHW = tensors.to_network(torch.from_numpy(images)).contiguous()
        (logits,) = session.run(None, {"images": x_NCHW.numpy()})
        assert np.abs(logits - classifier.network(x_NCHW).detach().numpy()).max() <= 1e-4
    described = session.get_modelmeta().custom_metadata_map
    assert json.loads(described["classes"]) == ["ant", "bee", "Käfer"]
    assert json.loads(described["input_range"]) == [-1, 1]
    assert (described["resize"], described["image_size"]) == ("crop", str(image_size))


def test_deviating_onnx_file_is_discarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ONNX file whose logits differ from the model's is not written."""
    folder = model_in(tmp_path, "cnn", 32, 32, 1)
    traced = onnx_export._trace_network

    def spoilt(network: networks.Network, *rest: Any) -> bytes:
        with torch.no_grad():
            network.head[1].bias += 0.01
            content = traced(network, *rest)
            network.head[1].bias -= 0.01
        return content

    monkeypatch.setattr(onnx_export, "_trace_network", spoilt)
    with pytest.raises(StageFailed, match=r"differ from the model's by 0\.01"):
        onnx_export.export_onnx(folder, str(tmp_path / "model.onnx"))
    assert not (tmp_path / "model.onnx").exists()


def test_export_command_writes_beside_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    """The command writes model.onnx next to the weights, and says what to install where a package is missing."""
    folder = model_in(tmp_path, "cnn", 32, 32, 1)
    assert model_registry.find_model(folder) is not None
    monkeypatch.setattr(sys, "argv", ["ganaug", "export", str(folder)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    assert folder.has_file("model.onnx")
    assert "model.onnx" in capfd.readouterr().out
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert "pip install onnx onnxruntime" in capfd.readouterr().err


def test_promoted_version_has_onnx_file(experiment: Run) -> None:
    """A promoted version has its ONNX file next to the weights."""
    version = model_registry.find_champion_model(experiment.registry)
    session = onnxruntime.InferenceSession(version.read_bytes("model.onnx"), providers=["CPUExecutionProvider"])
    classifier = Classifier.load(version)
    x_NCHW = torch.rand(4, 1, 32, 32) * 2 - 1
    (logits,) = session.run(None, {"images": x_NCHW.numpy()})
    assert np.abs(logits - classifier.network(x_NCHW).detach().numpy()).max() <= 1e-4
    assert session.get_modelmeta().custom_metadata_map["hash"] == classifier.spec.hash


@pytest.mark.parametrize("why", ["pip install onnx", "cannot be exported"])
def test_promotion_works_without_onnx_file(
    why: str, experiment: Run, tiny_job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    """A model that cannot be exported to ONNX is still promoted, with a note that says why."""
    shutil.copytree(str(experiment.root), tmp_path / "copied", symlinks=True)
    run = Run(Folder.from_uri(tmp_path / "copied"))
    shutil.rmtree(str(run.registry))

    def fail(*arguments: Any) -> bytes:
        raise StageFailed("cnn cannot be exported: no such operator")

    if "install" in why:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    else:
        monkeypatch.setattr(onnx_export, "_trace_network", fail)
    Pipeline(tiny_job, run, Terminal()).promote_champion()
    printed = capfd.readouterr().out.splitlines()
    (note,) = [line for line in printed if "note" in line]
    assert "model.onnx is left out" in note
    assert why in note
    version = model_registry.find_champion_model(run.registry)
    assert {"model.json", "model.safetensors", "version.json"} <= set(version.list_files())
    assert "model.onnx" not in version.list_files()
    assert Classifier.load(version).classes
