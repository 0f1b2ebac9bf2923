"""Apple's GPU, which torch calls mps: a stand-in says that it is there. No Mac is needed, and none has been tried."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ganaug_ray.classify import networks as classifier_networks
from ganaug_ray.config import GanConfig
from ganaug_ray.core.distributed import Place
from ganaug_ray.gan import training_loop
from ganaug_ray.runtime import cluster, gpu_probe, hardware, preflight
from tests.helpers import fake_cuda

MPS = torch.device("mps")


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


def test_no_float64_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass of each network and the sums of an evaluation need no float64, which Apple's GPUs lack."""
    monkeypatch.setattr(fake_cuda, "CUDA", MPS)
    place = Place(device=MPS)
    assert place.sum_dtype == torch.float32
    assert Place().sum_dtype == torch.float64
    config = GanConfig(steps=1, preset="scarce", filters=4, latent=8)
    pair = training_loop.build_networks(config, training_loop.ImageShape(3, 3, 32), 0, Place())
    network = classifier_networks.CNN(3, 5, 0.3, 8)
    with fake_cuda.fake_cuda() as gpu:
        for module in (*pair, network):
            fake_cuda.move_to_cuda(module)
        labels_B = place.move_to_device(torch.from_numpy(np.arange(2)))
        with place.autocast("auto"):
            x_BCHW = pair[0](torch.empty(2, 8, device=MPS), labels_B)
            pair[1](x_BCHW, labels_B).mean().backward()
            logits_BK = network(torch.empty(2, 3, 32, 32, device=MPS))
        F.cross_entropy(logits_BK, labels_B).backward()
    assert logits_BK.device == MPS
    assert set().union(*gpu.dtypes.values()) <= {torch.float32, torch.int64, torch.bool}
