"""Ranks that move, and a node that is taken away, while a GAN trains on a cluster of three nodes."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from ganaug_ray.core import checkpoint
from ganaug_ray.core.storage import Folder
from tests.conftest import ROOT
from tests.helpers import killing
from tests.helpers.cluster import ray_s_name
from tests.helpers.killing import Cluster


@pytest.fixture
def taught(undisturbed: Path, tmp_path: Path) -> Path:
    return killing.taught(undisturbed, tmp_path / "taught")


def test_worker_placement_keeps_weights_identical(killable: Cluster, undisturbed: Path, taught: Path) -> None:
    """To the last digit that is logged, six behind the point; the weights to the bit."""
    child = killing.start(killable.nodes, "train-gan", taught, "gan.placement=pack")
    places: set[tuple[int, ...]] = set()
    while child.poll() is None:
        places.add(tuple(node for node, _ in killing.trainers(killable.workers, "gan")))
        time.sleep(0.05)
    assert child.returncode == 0, taught.with_suffix(".txt").read_text()
    assert {(0, 0), (1, 1)} & places, "both at once on one node"
    assert not {(0, 1), (1, 0)} & places
    for name in ("metrics.jsonl", "gan.safetensors"):
        assert (taught / "gan" / name).read_bytes() == (undisturbed / "gan" / name).read_bytes()


def test_drained_node_writes_checkpoint(killable: Cluster, taught: Path) -> None:
    """No other checkpoint is ever due: where the second attempt begins, the notice had one written."""
    child = killing.start(killable.nodes, "train-gan", taught, "gan.steps=1000000", "gan.checkpoint_every=1000000")
    killing.until(lambda: killing.reached(taught, "gan") >= 20, child)
    ((number, _), _) = killing.trainers(killable.workers, "gan")
    drain = ["sh", str(ROOT / "cluster" / "drain.sh"), ray_s_name(killable.workers[number])]
    environment = killable.nodes.environment(RAY_ADDRESS=killable.nodes.address)
    with subprocess.Popen(drain, env=environment, stderr=subprocess.PIPE, text=True) as hook:
        kept = Folder.from_uri(taught / "gan" / "checkpoints")
        killing.until(lambda: checkpoint.read_newest_step(kept) > 0, child)
        killing.until(lambda: "will be removed soon" in (taught / "log.txt").read_text(), child)
        assert hook.poll() is None, "it holds the machine back"
        step = checkpoint.read_newest_step(kept)
        killable.replace(number)
        hook.kill()
    killing.until(lambda: killing.reached(taught, "gan") > step and killing.attempts(taught) == [0, step], child)
    child.terminate()
    assert child.wait() == 143, "SIGTERM ends it as Ctrl-C does"
