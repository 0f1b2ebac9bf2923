"""Jobs on a cluster of two nodes, submitted over HTTP with Ray's token authentication on; and one with it off."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, TINY
from tests.e2e.test_run import STAGES
from tests.helpers.cluster import BIN, Nodes

GANAUG = [sys.executable, "-m", "ganaug_ray"]
JOB = "jobs/digits.yaml"
TOKEN = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    found = Nodes({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN})
    try:
        found.start(cpus=1)
        found.start(cpus=1)
        yield found
    finally:
        found.end()


def settings(*more: str) -> list[str]:
    return [f"--set={one}" for one in (*TINY, "compare.seeds=1", *more)]


def submit(nodes: Nodes, out: Path, *more: str) -> list[str]:
    return [*GANAUG, "submit", JOB, "--address", nodes.dashboard, "--out", str(out), *settings(*more)]


def test_submitted_job_runs_and_streams_log(nodes: Nodes, tmp_path: Path) -> None:
    """Two ranks on two nodes of one CPU each."""
    out = tmp_path / "digits"
    command = [*submit(nodes, out, "gan.workers=auto", "gan.placement=spread"), "--follow"]
    with subprocess.Popen(
        command, cwd=ROOT, env=nodes.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        assert child.stdout is not None
        printed = ""
        for line in child.stdout:
            printed += line
            if line.startswith("prepare"):
                assert not (out / "verdict.json").exists(), "the line comes when it is written, not at the end"
    assert child.returncode == 0, printed
    assert re.findall(r"^(\S+)\s+done", printed, re.MULTILINE) == STAGES
    assert (out / "report.html").exists()
    assert not list(out.glob(".seen-by-*")), "the preflight leaves nothing"
    assert "world_size=2" in (out / "log.txt").read_text(), "auto is a rank on each of the two"


def test_failed_job_returns_exit_code(nodes: Nodes, tmp_path: Path) -> None:
    """The exit code and the reason of a job that fails reach the user."""
    done = nodes.run(*submit(nodes, tmp_path / "out", "gan.workers=8"), "--gpus=8", "--follow")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "--gpus (GANAUG_GPUS) 8: the cluster has 0" in done.stdout
    assert "gan.workers 8: the cluster has 2 CPUs" in done.stdout
    number = done.stdout.partition(":")[0]
    assert re.fullmatch(rf"{number}: .*exit code 2\n", done.stderr), "no chatter of Ray's"


def test_ray_job_submit_works_from_clone(nodes: Nodes, tmp_path: Path) -> None:
    """Ray's own command can submit a job from a clone, and refuses a folder where results would be lost."""
    ray = [str(BIN / "ray"), "job", "submit", "--address", nodes.dashboard]
    ray += ["--runtime-env", "cluster/runtime_env.yaml", "--working-dir", ".", "--"]
    prepare = ["python", "-m", "ganaug_ray", "prepare", JOB, *settings()]
    done = nodes.run(*ray, *prepare, "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "dataset" / "dataset.json").exists()
    lost = nodes.run(*ray, *prepare, "--out", "runs/out")
    assert lost.returncode != 0
    assert re.search(r"--out \S*runs/out: .*would be lost", lost.stdout + lost.stderr)


def test_job_can_be_listed_and_stopped(nodes: Nodes, tmp_path: Path) -> None:
    """A submitted job can be listed and stopped, and an unknown one is a clear error."""
    started = nodes.run(*submit(nodes, tmp_path / "long", "classifier.steps=1000000"))
    number = started.stdout.partition(":")[0]
    address = ["--address", nodes.dashboard]
    stopped = nodes.run(*GANAUG, "stop", number, *address)
    assert f"{number}: is being stopped" in stopped.stdout, stopped.stdout + stopped.stderr
    listed = nodes.run(*GANAUG, "jobs", *address)
    assert re.search(rf"^{number} .*{tmp_path}/long$", listed.stdout, re.MULTILINE), listed.stdout + listed.stderr
    unknown = nodes.run(*GANAUG, "stop", "raysubmit_none", *address)
    assert (unknown.returncode, "has no such job" in unknown.stderr) == (2, True)


def test_wrong_token_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    """Without the right token the cluster answers nothing, and the error says how to give one."""
    for extra in ({"RAY_AUTH_TOKEN": "f" * 64}, {"RAY_AUTH_MODE": "disabled"}):
        refused = nodes.run(*GANAUG, "jobs", "--address", nodes.dashboard, **extra)
        assert refused.returncode == 2, refused.stdout + refused.stderr
        assert "RAY_AUTH_TOKEN_PATH" in refused.stderr


def test_cluster_without_token_authentication_works(tmp_path: Path) -> None:
    """Jobs run and can be listed on a cluster without token authentication."""
    trusting = Nodes({"RAY_AUTH_MODE": "disabled"})
    try:
        trusting.start(cpus=1)
        command = [*GANAUG, "prepare", JOB, "--out", str(tmp_path / "out"), *settings()]
        done = trusting.run(*command, RAY_ADDRESS=trusting.address)
        assert done.returncode == 0, done.stdout + done.stderr
        listed = trusting.run(*GANAUG, "jobs", "--address", trusting.dashboard)
        assert (listed.returncode, listed.stdout) == (0, ""), listed.stderr
    finally:
        trusting.end()
