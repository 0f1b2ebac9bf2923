"""A worker, a node and the command itself are killed while a job trains on two nodes: the same weights to the bit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest

from ganaug_ray.core import metrics_log
from ganaug_ray.core.storage import Folder
from tests.helpers import killing
from tests.helpers.killing import Cluster, Killer

GAN_KILLS = [("worker", "gan", 45), ("node", "gan", 100)]  # what, stage, step
COMMAND_KILL_STEP = 150
CLASSIFIER_KILLS = [("worker", "train", 10)]
SEED = 9  # of the draws which worker or node it is


@pytest.fixture
def taught(undisturbed: Path, tmp_path: Path) -> Path:
    return killing.taught(undisturbed, tmp_path / "taught")


def test_killed_job_leaves_weights_identical(killable: Cluster, undisturbed: Path, taught: Path) -> None:
    """A job ends with the same weights whatever is killed, and no more is done twice than since a checkpoint."""
    killer = Killer(killable, SEED)
    child = killing.start(killable.nodes, "run", taught)
    kills = list(killer.watch(child, taught, GAN_KILLS))
    reached = kill_command(child, killable, taught)
    child = killing.start(killable.nodes, "run", taught)
    kills += killer.watch(child, taught, CLASSIFIER_KILLS)
    assert child.wait() == 0, taught.with_suffix(".txt").read_text()

    print("\n".join([killing.HEADER, *(kill.row(SEED, number) for number, kill in enumerate(kills, 1))]))
    killing.assert_undisturbed(taught, undisturbed, kills)
    first, *_, last = killing.attempts(taught)
    assert first == 0
    assert reached - last <= killing.KEPT_EVERY
    assert f"resuming at step {last}" in taught.with_suffix(".txt").read_text()
    assert (taught / "log.txt").read_text().count(f"resuming at step {last}\n") == 1, "each line once"
    logged = [row["step"] for row in metrics_log.read_metrics(Folder.from_uri(taught / "gan")) if "loss_g" in row]
    assert logged == list(range(1, killing.STEPS + 1))


def kill_command(child: subprocess.Popen, cluster: Cluster, out: Path) -> int:
    """Kill the command once two ranks have trained the GAN so far, see them end, and return the last logged step."""
    killing.until(lambda: killing.reached(out, "gan") >= COMMAND_KILL_STEP, child)
    ranks = [process for _, process in killing.trainers(cluster.workers, "gan")]
    assert len(ranks) == 2
    child.kill()
    child.wait()
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert not alive, "the ranks end with the command that started them"
    assert not (out / "gan" / "gan.json").exists()
    return killing.reached(out, "gan")
