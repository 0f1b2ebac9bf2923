"""Batch norm folded into convolutions when a model is served."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core.model_registry import resolve_model
from ganaug_ray.core.records import ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.serve import fuse_batch_norm
from ganaug_ray.serve.fuse_batch_norm import fuse_classifier
from ganaug_ray.serve.live_model import ModelVersion
from tests.helpers.fake_cuda import fake_cuda, move_to_cuda
from tests.helpers.serving import promote


def classifier(place: Path, arch: str, size: int) -> Classifier:
    experiment = Folder.from_uri(place / "pets")
    promote(experiment, 0, size, arch)
    found = Classifier.load(resolve_model(experiment))
    generator = torch.Generator().manual_seed(1)
    for layer in norms(found):  # as after training: not the identity
        for value, low, high in ((layer.running_mean, -0.3, 0.3), (layer.running_var, 0.5, 2.0)):
            value.uniform_(low, high, generator=generator)
    return found


def norms(found: Classifier) -> list[nn.BatchNorm2d]:
    return [layer for layer in found.network.modules() if isinstance(layer, nn.BatchNorm2d)]


@pytest.mark.parametrize(("arch", "size"), [("cnn", 32), ("torchvision:resnet18", 64)])
def test_fused_model_answers_like_original(tmp_path: Path, arch: str, size: int) -> None:
    """A model with folded batch norm answers like the original, which itself stays as it was."""
    original = classifier(tmp_path, arch, size)
    images = np.random.default_rng(2).integers(0, 256, (5, size, size, 3), np.uint8)
    before, layers = original.predict_probabilities(images), len(norms(original))
    found = fuse_classifier(original)
    assert layers > 0
    assert norms(found) == []
    assert np.abs(found.predict_probabilities(images) - before).max() < 1e-5
    assert len(norms(original)) == layers, "heat maps need them"
    assert np.array_equal(original.predict_probabilities(images), before)


class OnDevice:
    """A classifier whose images have no content."""

    def __init__(self, fused: Classifier, device: torch.device) -> None:
        self.device = device
        self._network = fused.network

    def predict_probabilities(self, images_NHWC: np.ndarray) -> torch.Tensor:
        return self._network(torch.empty(len(images_NHWC), 3, 32, 32, device=self.device))


@pytest.mark.parametrize(("device", "dtype"), [("cuda", torch.bfloat16), ("cpu", torch.float32)])
def test_fused_layers_run_in_bf16_on_gpus(tmp_path: Path, device: str, dtype: torch.dtype) -> None:
    """On a GPU the convolutions of the folded network run in bfloat16, on the CPU in float32; weights stay float32."""
    original = classifier(tmp_path, "cnn", 32)
    fused = fuse_classifier(original)
    assert norms(fused) == []
    with fake_cuda() as mode:
        if device == "cuda":
            move_to_cuda(fused.network)
        fast: Any = OnDevice(fused, torch.device(device))
        record = ModelRecord.read(resolve_model(Folder.from_uri(tmp_path / "pets")))
        version = ModelVersion("pets", "1", record, fast, {}, fast)
        version.predict_probabilities(np.zeros((2, 32, 32, 3), np.uint8))
    assert mode.dtypes["aten.convolution.default"] == {dtype}
    assert {weight.dtype for weight in fused.network.parameters()} == {torch.float32}


def test_unfusable_model_is_served_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that cannot be folded, or would answer otherwise, is served as it is."""
    original = classifier(tmp_path, "cnn", 32)
    with monkeypatch.context() as patch:
        patch.setattr(fuse_batch_norm, "MAX_PROBABILITY_ERROR", -1.0)
        assert fuse_classifier(original) is original

    class Twice(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            convolved = self[0](x)
            return self[1](convolved) + convolved

    conv, norm, *others = original.network.blocks
    original.network.blocks = nn.Sequential(Twice(conv, norm), *others)
    assert fuse_classifier(original) is original


def test_gpu_model_is_compared_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model on a GPU copies on the CPU are compared, since convolutions round there; it is served on the GPU."""
    original = classifier(tmp_path, "cnn", 32)
    original.device = torch.device("cuda")
    asked: list[torch.device] = []
    moved: list[torch.device] = []
    predict = Classifier.predict_probabilities

    def note_device(self: Classifier, images: np.ndarray) -> np.ndarray:
        asked.append(self.device)
        return predict(self, images)

    def note_move(module: nn.Module, *to: Any, **settings: Any) -> nn.Module:
        moved.extend(to)
        return module

    monkeypatch.setattr(Classifier, "predict_probabilities", note_device)
    monkeypatch.setattr(nn.Module, "to", note_move)
    fused = fuse_classifier(original)
    assert fused is not original
    assert {device.type for device in asked} == {"cpu"}
    assert moved[-1] == fused.device == original.device


def test_repeated_layer_is_not_fused(tmp_path: Path) -> None:
    """A layer that runs twice keeps its batch norm, and the others are folded."""
    original = classifier(tmp_path, "cnn", 32)

    class Again(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(super().forward(x))

    conv, norm, *others = original.network.blocks
    again = Again(nn.Conv2d(conv.out_channels, conv.out_channels, 3, padding=1), nn.BatchNorm2d(conv.out_channels))
    original.network.blocks = nn.Sequential(conv, norm, again.eval(), *others)
    images = np.random.default_rng(2).integers(0, 256, (5, 32, 32, 3), np.uint8)
    found = fuse_classifier(original)
    assert len(norms(found)) == 1
    assert np.abs(found.predict_probabilities(images) - original.predict_probabilities(images)).max() < 1e-5


def test_fusing_does_not_disturb_other_model(tmp_path: Path) -> None:
    """As at a promotion: loading the next version must not get in the way of this one."""
    answering = classifier(tmp_path, "cnn", 32)
    images = np.random.default_rng(2).integers(0, 256, (2, 32, 32, 3), np.uint8)
    expected, over = answering.predict_probabilities(images), threading.Event()

    def ask() -> int:
        asked = 0
        while not over.is_set():
            assert np.array_equal(answering.predict_probabilities(images), expected)
            asked += 1
        return asked

    other, often = classifier(tmp_path / "other", "torchvision:resnet18", 32), sys.getswitchinterval()
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(ask)
        sys.setswitchinterval(1e-5)
        try:
            for _ in range(5):
                assert fuse_classifier(other) is not other
        finally:
            sys.setswitchinterval(often)
            over.set()
        assert asked.result() > 5
