"""A killer: ends training processes and nodes while a command trains, by a seed and by the steps that are logged."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open

from ganaug_ray.augment import arms
from ganaug_ray.core import experiment_dir, metrics_log
from ganaug_ray.core.storage import Folder
from tests.conftest import DIGITS, PATIENCE, ROOT, TINY
from tests.helpers.cluster import Nodes, end, kill_if_alive

STEPS, KEPT_EVERY, CLASSIFIER_STEPS = 240, 30, 60
SETTINGS = [
    *TINY,
    "arms={real+classic+synthetic: {}, real+classic+live: {}}",
    "gan.lr=2e-4",
    f"gan.steps={STEPS}",
    f"gan.checkpoint_every={KEPT_EVERY}",
    "gan.snapshot_every=120",
    "gan.log_every=1",
    "gan.early_end=false",
    "gan.workers=2",
    "gan.placement=spread",
    f"classifier.steps={CLASSIFIER_STEPS}",
    "classifier.log_every=1",
    "classifier.evaluate_every=30",
    "compare.seeds=1",
]
# A node that is gone is found out in seconds, not in half a minute.
PROMPT = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3", "RAY_AUTH_MODE": "disabled"}


def command(verb: str, out: Path, *more: str) -> list[str]:
    settings = [f"--set={one}" for one in (*SETTINGS, *more)]
    return [sys.executable, "-m", "ganaug_ray", verb, str(DIGITS), "--out", str(out), *settings]


@dataclass(frozen=True)
class Kill:
    """One that was made.

    Attributes:
        what: "worker" or "node".
        stage: what was training: "gan" or "train".
        step: the last logged one.
        victims: pids of the training processes that it ended.
        ranks: of these, where they were ranks of one training.
    """

    what: str
    stage: str
    step: int
    victims: list[int]
    ranks: list[int]

    def row(self, run: int, number: int) -> str:
        ended = ", ".join(
            f"pid {pid}" + (f" (rank {rank})" if rank is not None else "")
            for pid, rank in zip(self.victims, self.ranks or [None] * len(self.victims), strict=True)
        )
        return f"| {run} | {number} | {self.what} | {self.stage} | {self.step} | {ended or 'none'} |"


HEADER = "| run | kill | what | training | at logged step | training processes ended |\n|---|---|---|---|---|---|"


def plan(seed: int) -> list[tuple[str, str, int]]:
    """(what, stage, step) of each kill: two or three while the GAN trains, and in half of the runs one later.

    >>> plan(0) == plan(0) != plan(1)
    True
    """
    draw = random.Random(seed)
    n = draw.choice([2, 2, 3])
    slots = range(15, STEPS - 15, (STEPS - 30) // n)  # apart from each other: after each, the training goes on
    steps = [draw.randrange(slot, slot + 45) for slot in list(slots)[:n]]
    kills = [(draw.choice(["worker", "node"]), "gan", step) for step in steps]
    if draw.random() < 0.5:
        kills.append((draw.choice(["worker", "node"]), "train", draw.randrange(10, CLASSIFIER_STEPS // 2)))
    return kills


@dataclass
class Cluster:
    """A head without CPUs, and two nodes that train."""

    nodes: Nodes
    cpus: int
    workers: list[subprocess.Popen] = field(default_factory=list)

    def replace(self, number: int) -> None:
        """Switch a node off, and start another one in its place."""
        end(self.workers[number])
        self.workers[number] = self.nodes.start(self.cpus)


@contextmanager
def cluster(cpus: int) -> Iterator[Cluster]:
    """Start one whose nodes declare so many CPUs, and where a node that is gone is found out in seconds."""
    found = Cluster(Nodes(PROMPT, has_dashboard=False), cpus)
    try:
        found.nodes.start(cpus=0)
        with ThreadPoolExecutor() as both:
            found.workers += both.map(found.nodes.start, [cpus, cpus])
        yield found
    finally:
        found.nodes.end()


@pytest.fixture(scope="module")
def killable() -> Iterator[Cluster]:
    """A head and two nodes, of two CPUs each."""
    with cluster(cpus=2) as found:
        yield found


@pytest.fixture(scope="module")
def undisturbed(killable: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The job's experiment as it is when nobody is killed."""
    out = tmp_path_factory.mktemp("killing") / "undisturbed"
    assert start(killable.nodes, "run", out).wait() == 0, out.with_suffix(".txt").read_text()
    return out


class Killer:
    """Ends what trains on a cluster's worker nodes; the head survives."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._draw = random.Random(seed)
        self._gone: set[int] = set()  # pids that have trained before a kill

    def watch(self, child: subprocess.Popen, out: Path, kills: list[tuple[str, str, int]]) -> Iterator[Kill]:
        """Make these kills while the child runs its command."""
        for what, stage, step in kills:
            deadline = time.monotonic() + PATIENCE
            while True:
                assert child.poll() is None, f"it ended before step {step} of {stage}"
                assert time.monotonic() < deadline, f"step {step} of {stage} was not reached"
                training = trainers(self._cluster.workers, stage)
                now = reached(out, stage)
                if now >= step and training and not self._gone & {p.pid for _, p in training}:
                    break
                time.sleep(0.02)
            yield self._kill(what, stage, now, training, out)

    def _kill(self, what: str, stage: str, step: int, training: list[tuple[int, psutil.Process]], out: Path) -> Kill:
        number, process = self._draw.choice(training)
        victims = [process] if what == "worker" else [p for n, p in training if n == number]
        ranks = ranks_of(out) if stage == "gan" else {}
        alive = [p for p in victims if lives(p)]
        if what == "worker":
            kill_if_alive(process)
            psutil.wait_procs([process], timeout=PATIENCE)
        else:
            self._cluster.replace(number)
        self._gone |= {p.pid for _, p in training} if stage == "gan" else {p.pid for p in victims}
        pids = [p.pid for p in alive if not lives(p)]
        return Kill(what, stage, step, pids, [ranks[pid] for pid in pids if pid in ranks])


def trainers(nodes: list[subprocess.Popen], stage: str) -> list[tuple[int, psutil.Process]]:
    """The number of its node, and the process, of all that train now."""
    name = "RayTrainWorker" if stage == "gan" else "_task"
    found = []
    for number, node in enumerate(nodes):
        for process in psutil.Process(node.pid).children(recursive=True):
            with suppress(psutil.Error):
                title = " ".join(process.cmdline())
                if title.startswith("ray::") and name in title:
                    found.append((number, process))
    return found


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def reached(out: Path, stage: str) -> int:
    """The last step that is logged of the GAN, or the furthest of a classifier that is being trained."""
    if stage == "gan":
        return max((row["step"] for row in rows(out / "gan") if "loss_g" in row), default=0)
    fits = [path for path in (out / "models").glob("*/seed-*") if not (path / "model.json").exists()]
    return max((row["step"] for fit in fits for row in rows(fit)), default=0)


def rows(folder: Path) -> list[dict]:
    try:
        return metrics_log.read_metrics(Folder.from_uri(folder))
    except OSError:  # just being replaced
        return []


def ranks_of(out: Path) -> dict[int, int]:
    """Rank by pid, of the group of workers that the log says was started last."""
    found = re.findall(r"pid=(\d+)\) world_rank=(\d+)", (out / "log.txt").read_text(errors="replace"))
    return {int(pid): int(rank) for pid, rank in found}


def start(nodes: Nodes, verb: str, out: Path, *more: str) -> subprocess.Popen:
    """Start the command on the cluster; what it prints goes to a file beside its folder."""
    with out.with_suffix(".txt").open("w") as stream:
        return subprocess.Popen(
            command(verb, out, *more),
            cwd=ROOT,
            env=nodes.environment(RAY_ADDRESS=nodes.address),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )


def run_and_kill(cluster: Cluster, out: Path, seed: int) -> list[Kill]:
    """Run the job to its end, and kill by the plan of the seed."""
    child = start(cluster.nodes, "run", out)
    kills = list(Killer(cluster, seed).watch(child, out, plan(seed)))
    assert child.wait() == 0, out.with_suffix(".txt").read_text()
    return kills


def assert_undisturbed(out: Path, undisturbed: Path, kills: list[Kill]) -> None:
    """The same weights and figures to the bit, nothing half-written; and it was disturbed."""
    assert sum(bool(kill.victims) for kill in kills) >= 2
    assert weights(out) == weights(undisturbed)
    log = "gan/metrics.jsonl"
    assert (out / log).read_bytes() == (undisturbed / log).read_bytes()
    assert_whole(out)


def taught(done: Path, out: Path) -> Path:
    """Copy of a finished experiment what its GAN is trained from: that is the next step then."""
    for part in ("dataset", Path("models", arms.TEACHER, "seed-0")):
        shutil.copytree(done / part, out / part)
    shutil.copy(done / "job.yaml", out)
    return out


def weights(out: Path) -> dict[str, bytes]:
    """The weights of every finished GAN and model."""
    files = [out / "gan" / "gan.safetensors", out / "gan" / "discriminator.safetensors"]
    files += sorted((out / "models").glob("*/seed-*/model.safetensors"))
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def assert_whole(out: Path) -> None:
    """Every file is whole, and nothing is left that was written aside or for one attempt."""
    strays = [path for path in out.rglob(".*") if path.name != ".lock"]
    assert not strays, strays
    for path in out.rglob("*.json"):
        json.loads(path.read_text())
    for path in out.rglob("*.jsonl"):
        steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
        assert steps == sorted(steps)
    for path in out.rglob("*.safetensors"):
        with safe_open(path, "pt") as tensors:
            assert tensors.keys()
    for path in out.rglob("*.parquet"):
        pq.read_table(path)


def attempts(out: Path) -> list[int]:
    return (experiment_dir.read_marker(Folder.from_uri(out / "gan"), "attempts.json") or {"from_step": []})["from_step"]


def until(happened: Callable[[], bool], child: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
