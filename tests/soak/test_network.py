"""A node whose network is cut for half a minute while it trains: a network namespace stands for the machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganaug_ray.core import experiment_dir
from ganaug_ray.core.storage import Folder
from tests.conftest import PATIENCE
from tests.helpers import killing
from tests.helpers.cluster import Nodes

NAME, DEVICE = f"ganaug-{os.getpid()}", "ganaug0"
HEAD, WORKER = "10.231.77.1", "10.231.77.2"
CUT = 30  # seconds
INSIDE = ("ip", "netns", "exec", NAME)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def namespace() -> Iterator[None]:
    """A namespace, joined to this one by a pair of devices that are called alike on both sides."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and Debian's iproute2")
    try:
        ip("netns", "add", NAME)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace can be made here: {error.stderr.strip()}")
    try:
        ip("link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", NAME)
        ip("addr", "add", f"{HEAD}/24", "dev", DEVICE)
        ip("link", "set", DEVICE, "up")
        ip("-n", NAME, "addr", "add", f"{WORKER}/24", "dev", DEVICE)
        ip("-n", NAME, "link", "set", DEVICE, "up")
        ip("-n", NAME, "link", "set", "lo", "up")
        yield
    finally:
        ip("netns", "delete", NAME)  # and with it both devices


@pytest.mark.parametrize("patient", [True, False], ids=["ray-s-own-patience", "an-impatient-cluster"])
def test_training_survives_network_cut(namespace: None, tmp_path: Path, patient: bool) -> None:
    """The run goes on where it was if Ray waits long enough, else it resumes; and the weights are the undisturbed ones.

    A node that Ray has given up ends itself when it learns of it. Who runs a cluster starts another one.
    """
    impatience = {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "1000"}
    nodes = Nodes({"RAY_AUTH_MODE": "disabled", "GLOO_SOCKET_IFNAME": DEVICE, **({} if patient else impatience)})
    out, undisturbed = tmp_path / "cut", tmp_path / "undisturbed"
    try:
        nodes.start(1, HEAD)
        worker = nodes.start(1, WORKER, INSIDE)
        for verb in ("prepare", "train-gan"):
            done = killing.start(nodes, verb, undisturbed).wait()
            assert done == 0, undisturbed.with_suffix(".txt").read_text()
        for part in ("dataset", "models"):
            shutil.copytree(undisturbed / part, out / part)
        shutil.copy(undisturbed / "job.yaml", out)
        child = killing.start(nodes, "train-gan", out)
        deadline = time.monotonic() + PATIENCE
        while killing.reached(out, "gan") < killing.STEPS // 3:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        ip("link", "set", DEVICE, "down")
        reached, until = killing.reached(out, "gan"), time.monotonic() + CUT
        while time.monotonic() < until:
            time.sleep(0.1)
        held = killing.reached(out, "gan")
        ip("link", "set", DEVICE, "up")
        while child.poll() is None:
            if worker.poll() is not None:
                worker = nodes.start(1, WORKER, INSIDE)
            time.sleep(0.2)
        assert child.returncode == 0, out.with_suffix(".txt").read_text()
    finally:
        nodes.end()
    assert reached <= held <= reached + 2, "while the network was cut, nobody trained"
    log = (out / "log.txt").read_text()
    attempts = experiment_dir.read_marker(Folder.from_uri(out / "gan"), "attempts.json")
    assert attempts is not None
    print(f"cut at step {reached}, attempts from steps {attempts['from_step']}")
    print("\n".join(line for line in log.splitlines() if re.search("was lost|from step|stood still", line)))
    if len(attempts["from_step"]) == 1:
        assert re.search(rf"step \d+ took {CUT // 10}\d s, usually .*: a worker or the network stalled", log)
    else:
        assert "all ranks start again from the newest checkpoint" in log
        assert f"at step {attempts['from_step'][-1]}" in log
    for name in ("metrics.jsonl", "gan.safetensors"):
        assert (out / "gan" / name).read_bytes() == (undisturbed / "gan" / name).read_bytes()
