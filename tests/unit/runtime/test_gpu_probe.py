"""GPUs that torch cannot use are refused before any work, with what to install."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from ganaug_ray.errors import UserError
from ganaug_ray.runtime import cluster, gpu_probe, hardware, preflight
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.runtime.preflight import Node, NodeReport

OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver"


@pytest.mark.parametrize(
    ("message", "cuda", "words"),
    [
        ("Torch not compiled with CUDA enabled", None, ["built without CUDA", "install the build for CUDA"]),
        (OLD_DRIVER, "13.2", ["CUDA 13.2", "driver is too old", "update the driver, or install torch for an older"]),
        ("Found no NVIDIA driver on your system. Please check", "13.2", ["no NVIDIA driver", "install it"]),
        (
            "CUDA error: no kernel image is available\nCompile with",
            "13.2",
            ["does not support this kind of GPU", "install one"],
        ),
        ("CUDA error: unknown error\nMore", "13.2", ["(CUDA error: unknown error)", "nvidia-smi"]),
    ],
)
def test_cuda_errors_say_what_to_install(message: str, cuda: str | None, words: list[str]) -> None:
    """Each cause is one sentence with what to do."""
    sentence = gpu_probe.explain_cuda_error(message, "2.14.1", cuda)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence


def test_every_gpu_runs_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """All GPUs are tried; too few, a failing one and an error at the start are faults, a full one is not."""
    tried: list[str] = []
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(gpu_probe, "_run_kernel", tried.append)
    assert gpu_probe.find_gpu_fault(2) == ""
    assert tried == ["cuda:0", "cuda:1"]
    assert "declares 4 GPUs there, but torch sees 2" in gpu_probe.find_gpu_fault(4)

    def raise_error(error: Exception) -> Any:
        def fail(*_: Any) -> None:
            raise error

        return fail

    monkeypatch.setattr(gpu_probe, "_run_kernel", raise_error(torch.OutOfMemoryError("CUDA out of memory")))
    assert gpu_probe.find_gpu_fault(2) == "", "others fill it, and it works"
    monkeypatch.setattr(gpu_probe, "_run_kernel", raise_error(RuntimeError("all devices are busy or unavailable")))
    assert gpu_probe.find_gpu_fault(2) == "", "others have it for themselves"
    monkeypatch.setattr(gpu_probe, "_run_kernel", raise_error(RuntimeError("CUDA error: no kernel image")))
    assert "does not support" in gpu_probe.find_gpu_fault(2)
    monkeypatch.setattr(torch.cuda, "init", raise_error(AssertionError("Torch not compiled with CUDA enabled")))
    assert gpu_probe.find_gpu_fault(2)


@pytest.mark.parametrize("address", [None, "auto"])
def test_unusable_gpus_are_refused(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded Ray and a cluster are refused where torch cannot use the GPUs; with --cpu nobody tries them."""
    fault = Node("10.0.0.2", NodeReport(preflight.collect_versions(), gpus="torch cannot use the GPUs"), {"GPU": 1})
    asked: list[dict[str, Any]] = []
    tries: list[bool] = []

    def collect(out: object, with_gpus: bool) -> list[Node]:
        tries.append(with_gpus)
        return [fault] if with_gpus else []

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(cluster, "_init_ray", lambda **options: asked.append(options))
    monkeypatch.setattr(cluster.ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}])
    monkeypatch.setattr(cluster, "read_max_resources", lambda: {"CPU": 4.0, "GPU": 1.0})
    monkeypatch.setattr(preflight, "collect_reports", collect)
    with pytest.raises(UserError, match=r"node 10\.0\.0\.2: torch cannot use the GPUs; or give --cpu"):
        cluster.connect()
    hardware = cluster.connect(cpu_only=True)
    assert not hardware.has_gpus
    assert not any(tries[1:])
    if not address:
        assert asked[1]["num_gpus"] == 0


def test_job_that_insists_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded Ray is refused too where min_workers is more than its GPUs."""
    training = SimpleNamespace(min_workers=2)
    job: Any = SimpleNamespace(gan=training, classifier=SimpleNamespace(min_workers=None), models={})
    monkeypatch.setattr(preflight, "collect_reports", lambda out, with_gpus: [])
    with pytest.raises(
        UserError, match=r"gan\.min_workers 2: the cluster has room for 1 worker, each with a CPU and a GPU"
    ) as caught:
        preflight.check_embedded(job, Hardware.of_one_machine(8, 1))
    advised = re.search(r"give gan\.min_workers (\d+) or fewer", str(caught.value))
    assert advised
    training.min_workers = int(advised[1])
    preflight.check_embedded(job, Hardware.of_one_machine(8, 1))


def test_unseen_gpus_are_not_left_unused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs that torch does not see are told with what to install, unless they are hidden on purpose."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(hardware, "DEVICES", tmp_path)
    monkeypatch.setattr(torch.cuda, "init", Mock(side_effect=RuntimeError("Found no NVIDIA driver on your system")))
    for name in ("nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    without = Hardware.of_one_machine(8)
    gpu_probe.refuse_unseen_gpus(without)
    for number in range(2):
        (tmp_path / f"nvidia{number}").touch()
    with pytest.raises(
        UserError, match=r"^this machine has 2 GPUs, but torch .* since there is no NVIDIA driver; .*; or give --cpu$"
    ):
        gpu_probe.refuse_unseen_gpus(without)
    gpu_probe.refuse_unseen_gpus(Hardware.of_one_machine(8, 2))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    gpu_probe.refuse_unseen_gpus(without)
