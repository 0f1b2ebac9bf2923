"""Apple's GPU, which torch calls mps: a stand-in says that it is there. No Mac is needed, and none has been tried."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ganaug_ray.classify import networks
from ganaug_ray.classify import training_loop as classifier_loop
from ganaug_ray.config import GanConfig
from ganaug_ray.core.distributed import Place
from ganaug_ray.data.loading.image_store import LabelledImages
from ganaug_ray.data.loading.resident_loader import ResidentImages
from ganaug_ray.gan import training_loop as gan_loop
from ganaug_ray.runtime import cluster, gpu_probe, hardware, preflight
from tests.helpers.refusals import refuse


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A Mac, as far as the code asks."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield monkeypatch
    os.environ.pop("PYTORCH_ENABLE_MPS_FALLBACK", None)


def test_mac_has_one_gpu(mac: pytest.MonkeyPatch) -> None:
    """A Mac's GPU counts as one; a Mac without one that torch can use has none."""
    assert hardware.read_local_hardware().gpus == 1
    mac.setattr(torch.backends.mps, "is_available", lambda: False)
    assert not hardware.read_local_hardware().has_gpus


def test_ray_is_told_of_the_gpu(mac: pytest.MonkeyPatch) -> None:
    """Ray looks for none on a Mac, so an embedded Ray is told; with --cpu it declares none."""
    asked: list[dict[str, Any]] = []
    mac.setattr(cluster, "_init_ray", lambda **options: asked.append(options))
    mac.setattr(cluster.ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}}])
    mac.setattr(cluster, "read_max_resources", lambda: {"CPU": 8.0, "GPU": 1.0})
    mac.setattr(preflight, "collect_reports", lambda out, with_gpus: [])
    assert cluster.connect().has_gpus
    assert os.environ["PYTORCH_ENABLE_MPS_FALLBACK"] == "1"
    assert not cluster.connect(cpu_only=True).has_gpus
    assert [options["num_gpus"] for options in asked] == [1, 0]


@pytest.mark.parametrize(("reserved", "device"), [([0], "mps"), ([], "cpu")])
def test_reserved_device(mac: pytest.MonkeyPatch, reserved: list[int], device: str) -> None:
    """Only a process that has reserved the GPU computes on it."""
    mac.setattr(cluster.ray, "get_gpu_ids", lambda: reserved)
    assert cluster.get_reserved_device() == device


def test_gpu_is_tried_before_work(mac: pytest.MonkeyPatch) -> None:
    """A GPU that fails is a fault with what to do; the CUDA of other machines is not asked for."""
    tried: list[str] = []
    mac.setattr(gpu_probe, "_run_kernel", tried.append)
    assert gpu_probe.find_gpu_fault(1) == ""
    assert tried == ["mps"]

    def fail(device: str) -> None:
        raise RuntimeError("MPS backend out of date")

    mac.setattr(gpu_probe, "_run_kernel", fail)
    assert "cannot use Apple's GPU (MPS backend out of date); update macOS" in gpu_probe.find_gpu_fault(1)


@pytest.mark.parametrize("way", ["update macOS or torch", "--cpu"])
def test_failing_gpu_is_mended_or_left_alone(way: str, mac: pytest.MonkeyPatch) -> None:
    """A Mac whose GPU fails is refused; it is taken once the GPU computes, and with the option of the message."""
    run_kernel = Mock(side_effect=RuntimeError("MPS backend out of date"))

    def read_reports(out: object, with_gpus: bool) -> list[preflight.Node]:
        fault = gpu_probe.find_gpu_fault(1) if with_gpus else ""
        report = preflight.NodeReport(preflight.collect_versions(), gpus=fault)
        return [preflight.Node("127.0.0.1", report, {"CPU": 8.0, "GPU": 1.0})]

    mac.setattr(gpu_probe, "_run_kernel", run_kernel)
    mac.setattr(preflight, "collect_reports", read_reports)
    mac.setattr(cluster, "_init_ray", lambda **options: None)
    mac.setattr(cluster, "read_hardware", lambda cpu_only: hardware.Hardware.of_one_machine(8, 0 if cpu_only else 1))
    match = refuse(r"; (update macOS or torch); or give (--cpu)$", cluster.connect)
    assert way in match.groups()
    if way == "--cpu":
        assert not cluster.connect(cpu_only=True).has_gpus
    else:
        run_kernel.side_effect = None
        assert cluster.connect().has_gpus


class NoteDtypes(TorchDispatchMode):
    """Notes the types of all that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.dtypes |= {value.dtype for value in pytree.tree_leaves(result) if isinstance(value, torch.Tensor)}
        return result


def test_no_float64_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass of each network and an evaluation compute nothing in float64, which Apple's GPUs lack."""
    assert Place(device=torch.device("mps")).sum_dtype == torch.float32
    assert Place().sum_dtype == torch.float64
    monkeypatch.setattr(Place, "sum_dtype", torch.float32)
    config = GanConfig(steps=1, preset="scarce", filters=4, latent=8)
    generator, discriminator = gan_loop.build_networks(config, gan_loop.ImageShape(3, 3, 32), 0, Place())
    classifier = networks.CNN(3, 3, 0.3, 8)
    texts = [""] * 6
    pixels = np.zeros((6, 32, 32, 3), np.uint8)
    rows = ResidentImages(LabelledImages(pixels, np.arange(6) % 3, texts, texts, texts), Place().device)
    with NoteDtypes() as noted:
        x_BCHW, y_B = rows.take_rows(slice(0, 6))
        discriminator(generator(torch.zeros(6, 8), y_B), y_B).mean().backward()
        F.cross_entropy(classifier(x_BCHW), y_B).backward()
        classifier_loop.evaluate_network(classifier, rows, Place())
    assert torch.float32 in noted.dtypes
    assert torch.float64 not in noted.dtypes
