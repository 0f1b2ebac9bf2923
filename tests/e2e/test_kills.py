"""A node, the command and a worker are killed while a job trains on two nodes: the same weights to the bit.

What kills are survived in a training of several ranks, by chance and often, is in tests/soak/test_kills.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil

from ganaug_ray.core import metrics_log
from ganaug_ray.core.storage import Folder
from tests.conftest import PATIENCE
from tests.helpers import killing
from tests.helpers.killing import Cluster, Killer

GAN_KILLS = [("node", "gan", 60)]  # what, stage, step
COMMAND_KILL_STEP = 150
CLASSIFIER_KILLS = [("worker", "train", 10)]
SEED = 9  # of the draws which worker or node it is


def test_killed_job_leaves_weights_identical(finished: tuple[Path, str], killable: Cluster, tmp_path: Path) -> None:
    """A job ends with the same weights whatever is killed, and no more is done twice than since a checkpoint."""
    taught = killing.taught(finished[0], tmp_path / "taught")
    killer = Killer(killable, SEED)
    child = killing.start(killable.nodes, "run", taught)
    kills = list(killer.watch(child, taught, GAN_KILLS))
    reached = kill_command(child, killable, taught)
    child = killing.start(killable.nodes, "run", taught)
    kills += killer.watch(child, taught, CLASSIFIER_KILLS)
    assert child.wait() == 0, taught.with_suffix(".txt").read_text()

    print("\n".join([killing.HEADER, *(kill.row(SEED, number) for number, kill in enumerate(kills, 1))]))
    killing.assert_undisturbed(taught, finished[0], kills)
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
    _, alive = psutil.wait_procs(ranks, timeout=PATIENCE)
    assert not alive, "the ranks end with the command that started them"
    assert not (out / "gan" / "gan.json").exists()
    return killing.reached(out, "gan")
