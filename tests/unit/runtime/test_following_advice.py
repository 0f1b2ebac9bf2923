"""The advice in a message on a cluster, followed there: with stand-ins for its nodes."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from ganaug_ray.config.loader import load_job
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.runtime import cluster, gpu_probe, hardware, preflight
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.runtime.preflight import Node, NodeReport
from tests.conftest import DIGITS, TINY
from tests.helpers.refusals import refuse

HERE = {"ray": "2.60.0", "torch": "2.14.1"}
WELL = NodeReport(HERE)


@pytest.mark.parametrize(
    ("report", "advice", "followed"),
    [
        (NodeReport(HERE | {"torch": "2.13.0"}), "install the same on all nodes", {"versions": HERE}),
        (replace(WELL, memory=0.97), "stop other programs there", {"memory": 0.5}),
        (replace(WELL, disk=0.99), "free some space", {"disk": 0.9}),
    ],
)
def test_ill_node_is_well_once_followed(report: NodeReport, advice: str, followed: dict[str, Any]) -> None:
    """A node has no fault left once what the message asks for is done on it."""
    (fault,) = preflight.find_node_faults([Node("10.0.0.2", report, {"CPU": 4.0})], HERE)
    assert fault.endswith(advice)
    mended = replace(report, **followed)
    assert not preflight.find_node_faults([Node("10.0.0.2", mended, {"CPU": 4.0})], HERE)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    """The nodes of a cluster, which report what is in the list."""
    found: list[Node] = []
    monkeypatch.setattr(preflight, "collect_reports", lambda out, with_gpus: found)
    return found


def check(out: Folder | None = None, gpus: str | None = None, cpus: float = 4, gpu_count: float = 0) -> None:
    preflight.check_cluster(load_job(DIGITS, TINY), out, Hardware.of_one_machine(cpus, gpu_count), gpus)


def test_folder_is_one_that_all_nodes_see(nodes: list[Node], tmp_path: Path) -> None:
    """A folder that a node does not share is refused, and one that it sees is taken."""
    here, there = Folder.from_uri(tmp_path / "here").create(), Folder.from_uri(tmp_path / "there").create()

    def open_on_node(out: Folder) -> None:
        """Have the node look at a folder of this name, where it has one of its own for here."""
        out.write_bytes("mark", b"mark")
        fault = preflight.find_folder_fault(Folder.from_uri(tmp_path / "elsewhere") if out is here else out, "mark")
        nodes[:] = [Node("10.0.0.2", NodeReport(preflight.collect_versions(), output=fault), {"CPU": 4.0})]
        check(out)

    with pytest.raises(UserError, match=r"give --out a folder that all nodes see$"):
        open_on_node(here)
    open_on_node(there)


@pytest.mark.parametrize("way", ["free some", "give another --out"])
def test_full_disk_gets_room(way: str, nodes: list[Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment on a nearly full disk begins once there is room, or in a folder on another disk."""
    full, other = Folder.from_uri(tmp_path / "full").create(), Folder.from_uri(tmp_path / "other").create()
    free = {str(full): 3e8, str(other): 3e9}
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: SimpleNamespace(free=free[str(path)]))
    with pytest.raises(UserError, match=way):
        check(full)
    if way == "free some":
        free[str(full)] = 2e9
        check(full)
    else:
        check(other)


@pytest.mark.parametrize(
    ("gpu_count", "way", "followed"),
    [
        (0, "add nodes with GPUs", {"gpus": "4", "gpu_count": 4}),
        (0, "or leave it out", {}),
        (2, "add nodes with GPUs", {"gpus": "4", "gpu_count": 4}),
        (2, "or ask for fewer", {"gpus": "2", "gpu_count": 2}),
    ],
)
def test_cluster_has_the_gpus_asked_for(nodes: list[Node], gpu_count: int, way: str, followed: dict[str, Any]) -> None:
    """A cluster with too few GPUs is taken with more, for fewer, or without asking for any."""
    with pytest.raises(UserError, match=f"the cluster has {gpu_count}; .*{way}"):
        check(gpus="4", cpus=8, gpu_count=gpu_count)
    check(cpus=8, **followed)


@pytest.mark.parametrize("gpu_count", [0, 1])
def test_nodes_declare_a_whole_cpu(nodes: list[Node], gpu_count: int) -> None:
    """Nodes on which nothing could run are taken once they are started with the option of the message."""
    with pytest.raises(UserError, match="start nodes with --num-cpus 1 or more") as caught:
        check(cpus=0, gpu_count=gpu_count)
    match = re.search(r"--num-cpus (\d+)", str(caught.value))
    assert match
    check(cpus=float(match[1]), gpu_count=gpu_count)


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hardware:
    """A machine with two GPUs, and no driver with which torch would see them."""

    def fail() -> None:
        raise RuntimeError("Found no NVIDIA driver on your system")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(hardware, "DEVICES", tmp_path)
    monkeypatch.setattr(torch.cuda, "init", fail)
    for number in range(2):
        (tmp_path / f"nvidia{number}").touch()
    return Hardware.of_one_machine(8)


def test_gpus_are_seen_or_left_alone(two_gpus: Hardware, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs without a driver are refused, used once it is installed, and left alone with the option of the message."""
    with pytest.raises(UserError, match=r"install it \(nvidia-smi then lists the GPUs\); or give --cpu$") as caught:
        gpu_probe.refuse_unseen_gpus(two_gpus)
    assert str(caught.value).endswith("--cpu")
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(gpu_probe, "_run_kernel", lambda device: None)
    gpu_probe.refuse_unseen_gpus(two_gpus)


BROKEN = [
    ("Torch not compiled with CUDA enabled", None, "install the build for CUDA (https://"),
    ("CUDA error: no kernel image is available", "13.2", "does not support this kind of GPU; install one that does"),
    ("The NVIDIA driver on your system is too old", "13.2", "update the driver, or install torch for an older CUDA"),
    ("CUDA error: unknown error", "13.2", "see whether nvidia-smi lists them"),
]
"""Torch's error, the CUDA that it is built for, and the advice."""


@pytest.mark.parametrize(("error", "cuda", "advice"), BROKEN)
@pytest.mark.parametrize("way", ["as advised", "--cpu"])
def test_broken_gpus_are_mended_or_left_alone(
    error: str, cuda: str | None, advice: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine whose GPUs run no kernel is refused; it is taken once they do, and with the option of the message."""
    run_kernel = Mock(side_effect=RuntimeError(error))

    def read_reports(out: object, with_gpus: bool) -> list[Node]:
        fault = gpu_probe.find_gpu_fault(2) if with_gpus else ""
        return [Node("127.0.0.1", replace(WELL, gpus=fault), {"CPU": 8.0, "GPU": 2.0})]

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(gpu_probe, "_run_kernel", run_kernel)
    monkeypatch.setattr(preflight, "collect_reports", read_reports)
    monkeypatch.setattr(cluster, "_init_ray", lambda **options: None)
    monkeypatch.setattr(cluster, "read_hardware", lambda cpu_only: Hardware.of_one_machine(8, 0 if cpu_only else 2))
    match = refuse(rf"{re.escape(advice)}.*; or give (--cpu)$", cluster.connect)
    if way == match[1]:
        assert not cluster.connect(cpu_only=True).has_gpus
    else:
        run_kernel.side_effect = None
        assert cluster.connect().has_gpus
        assert [call.args[0] for call in run_kernel.call_args_list[-2:]] == ["cuda:0", "cuda:1"]


def test_ray_declares_the_gpus_that_torch_sees(two_gpus: Hardware, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray declares more GPUs than torch sees, the number in the message has no fault."""
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(gpu_probe, "_run_kernel", lambda device: None)
    match = re.search(r"start Ray with --num-gpus (\d+)", gpu_probe.find_gpu_fault(2))
    assert match
    assert gpu_probe.find_gpu_fault(int(match[1])) == ""


def test_cluster_answers_at_the_right_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where nobody listens is refused at once; where somebody does, it is gone to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        cluster._probe_address(f"127.0.0.1:{port}")
    with pytest.raises(UserError, match=rf"RAY_ADDRESS=127\.0\.0\.1:{port}: no Ray cluster answers there"):
        cluster._probe_address(f"127.0.0.1:{port}")


def test_ray_starts_once_there_is_less_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray's node does not come up in time, the next try finds it once the machine is less busy."""
    is_busy = True

    def get_node(*_: object) -> str:
        if is_busy:
            raise RuntimeError("the node is not known yet")
        return "node"

    monkeypatch.setattr(cluster.services, "get_node", get_node)
    monkeypatch.setattr(cluster, "NODE_PATIENCE_S", 0.0)
    with (
        cluster.wait_for_node(),
        pytest.raises(UserError, match=r"try again when there is less of it$"),
    ):
        cluster.services.get_node()
    is_busy = False
    with cluster.wait_for_node():
        assert cluster.services.get_node() == "node"
