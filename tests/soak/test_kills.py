"""Ten runs of a job whose workers and nodes are killed; a cluster that is lost as a whole; workers that come and go."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ganaug_ray.augment import arms
from ganaug_ray.core import checkpoint
from ganaug_ray.core.storage import Folder
from tests.helpers import killing
from tests.helpers.cluster import end
from tests.helpers.killing import Cluster


@pytest.mark.parametrize("seed", range(10, 20))
def test_killed_nodes_leave_weights_identical(killable: Cluster, undisturbed: Path, tmp_path: Path, seed: int) -> None:
    """Ten runs whose workers and nodes are killed end with the same weights, to the bit."""
    out = killing.taught(undisturbed, tmp_path / "killed")
    kills = killing.run_and_kill(killable, out, seed)
    print("\n".join([killing.HEADER, *(kill.row(seed, number) for number, kill in enumerate(kills, 1))]))
    for folder in (undisturbed, out):
        print(folder.name, [hashlib.sha256(own).hexdigest()[:12] for own in killing.weights(folder).values()])
    killing.assert_undisturbed(out, undisturbed, kills)


def test_new_cluster_resumes_lost_run(undisturbed: Path, tmp_path: Path) -> None:
    """All at once: the head, the other nodes, and the command that ran on the head."""
    out = killing.taught(undisturbed, tmp_path / "lost")
    with killing.cluster(cpus=1) as first:
        child = killing.start(first.nodes, "run", out)
        killing.until(lambda: killing.reached(out, "gan") >= killing.STEPS // 2, child)
        child.kill()
        child.wait()
    with killing.cluster(cpus=1) as second:
        assert killing.start(second.nodes, "run", out).wait() == 0, out.with_suffix(".txt").read_text()
    assert killing.attempts(out)[1] >= killing.STEPS // 2 - killing.KEPT_EVERY
    assert killing.weights(out) == killing.weights(undisturbed)
    killing.assert_whole(out)


@pytest.mark.parametrize("stage", ["gan", "train"])
def test_worker_count_follows_node_count(undisturbed: Path, tmp_path: Path, stage: str) -> None:
    """One rank of two goes on when its peer's node has gone, and there are two again when another node has come."""
    out = killing.taught(undisturbed, tmp_path / "elastic")
    folder, section = out / "gan", "gan"
    if stage == "train":  # the GAN's teacher, which is a classifier as any other
        folder, section = out / "models" / arms.TEACHER / "seed-0", "classifier"
        shutil.rmtree(out / "models")
    endless = [f"{section}.{setting}" for setting in ("steps=1000000", "workers=2", "min_workers=1")]
    with killing.cluster(cpus=1) as cluster:
        child = killing.start(cluster.nodes, "train-gan", out, *endless)

        def gets_on_with(workers: int) -> None:
            killing.until(lambda: len(killing.trainers(cluster.workers, "gan")) == workers, child)
            before = kept()
            killing.until(lambda: kept() > before, child)

        def kept() -> int:
            return checkpoint.read_newest_step(Folder.from_uri(folder / "checkpoints"))

        gets_on_with(2)
        gone: subprocess.Popen = cluster.workers.pop()
        end(gone)
        gets_on_with(1)
        cluster.workers.append(cluster.nodes.start(cluster.cpus))
        gets_on_with(2)
        child.terminate()
        assert child.wait() == 143, "as Ctrl-C"
    starts = list(map(int, re.findall(r"from step (\d+)", (out / "log.txt").read_text())))
    assert len(starts) == 2
    assert starts == sorted(starts), "each goes on where the one before it was"
    assert starts[0] > 0
