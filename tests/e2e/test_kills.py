"""Ranks, nodes and the command itself are killed while a GAN trains on two nodes: the same weights to the bit."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from ganaug_ray.core import metrics_log
from ganaug_ray.core.storage import Folder
from tests.helpers import killing
from tests.helpers.killing import Cluster

KILL_AFTER = 100  # steps
SEED = 9  # its plan has every kind of kill: of a node and of a worker of the GAN, and of a worker of a classifier


@pytest.fixture
def taught(undisturbed: Path, tmp_path: Path) -> Path:
    return killing.taught(undisturbed, tmp_path / "taught")


def test_killed_nodes_leave_weights_identical(killable: Cluster, undisturbed: Path, taught: Path) -> None:
    """A GAN whose workers and nodes are killed while it trains ends with the same weights, to the bit."""
    kills = killing.run_and_kill(killable, taught, SEED)
    print("\n".join([killing.HEADER, *(kill.row(SEED, number) for number, kill in enumerate(kills, 1))]))
    killing.assert_undisturbed(taught, undisturbed, kills)


def test_killed_command_resumes_from_checkpoint(killable: Cluster, undisturbed: Path, taught: Path) -> None:
    """A killed command ends its ranks, and the same command goes on from the checkpoint to the same weights."""
    child = killing.start(killable.nodes, "train-gan", taught)
    killing.until(lambda: killing.reached(taught, "gan") >= KILL_AFTER, child)
    ranks = [process for _, process in killing.trainers(killable.workers, "gan")]
    assert len(ranks) == 2
    child.kill()
    child.wait()
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert not alive, "the ranks end with the command that started them"
    reached = killing.reached(taught, "gan")
    assert not (taught / "gan" / "gan.json").exists()

    assert killing.start(killable.nodes, "train-gan", taught).wait() == 0, taught.with_suffix(".txt").read_text()
    first, second = killing.attempts(taught)
    assert first == 0
    assert reached - second <= killing.KEPT_EVERY, "no more is done twice than was done since a checkpoint"
    assert f"resuming at step {second}" in taught.with_suffix(".txt").read_text()
    assert (taught / "log.txt").read_text().count(f" from step {second}\n") == 1, "each line once"
    for name in ("metrics.jsonl", "gan.safetensors", "discriminator.safetensors"):
        assert (taught / "gan" / name).read_bytes() == (undisturbed / "gan" / name).read_bytes()
    logged = [row["step"] for row in metrics_log.read_metrics(Folder.from_uri(taught / "gan")) if "loss_g" in row]
    assert logged == list(range(1, killing.STEPS + 1))
