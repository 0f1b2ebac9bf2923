"""Jobs on a cluster of two nodes with token authentication, submitted over HTTP; images and results on an S3 server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import fs as pafs

import ganaug_ray
from ganaug_ray.core import metrics_log
from ganaug_ray.core.storage import Folder
from tests.conftest import ROOT, TINY
from tests.e2e.test_run import STAGES
from tests.helpers.cluster import BIN, Nodes
from tests.helpers.s3_server import CREDENTIALS, Store, make_pngs, serve_digits

GANAUG = [sys.executable, "-m", "ganaug_ray"]
JOB = "ganaug_ray/examples/jobs/digits_alone.yaml"
TOKEN = "0123456789abcdef" * 4
SPREAD = ("gan.workers=auto", "gan.batch_size=32", "gan.placement=spread")  # 16 rows for each of two workers


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with serve_digits() as found:
        yield found


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head and another node, of one CPU each, which have the credentials of the store."""
    found = Nodes({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, **CREDENTIALS})
    try:
        found.start(cpus=1)
        found.start(cpus=1)
        yield found
    finally:
        found.end()


def settings(*more: str) -> list[str]:
    return [f"--set={one}" for one in (*TINY, "compare.seeds=1", *more)]


def submit(nodes: Nodes, out: Path | str, *more: str) -> list[str]:
    return [*GANAUG, "submit", JOB, "--address", nodes.dashboard, "--out", str(out), *settings(*more)]


def ganaug(nodes: Nodes, verb: str, out: str, *more: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command beside the cluster, not on it."""
    return nodes.run(*GANAUG, verb, JOB, "--out", out, *settings(*more), **extra)


@pytest.fixture(scope="module")
def finished(nodes: Nodes, store: Store) -> tuple[str, str]:
    """A submitted job that ran to its end: the address of its folder on S3, and what was printed."""
    out = store.uri("runs/digits")
    with subprocess.Popen(
        [*submit(nodes, out, f"data.source={store.uri('pictures')}", *SPREAD), "--follow"],
        cwd=ROOT, env=nodes.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        printed = ""
        for line in child.stdout:
            printed += line
            if line.startswith("prepare"):
                assert not Folder.from_uri(out).has_file("verdict.json"), "the line comes when it is written"
    assert child.returncode == 0, printed
    return out, printed


def test_submitted_job_runs_and_streams_log(finished: tuple[str, str]) -> None:
    """Two ranks on two nodes of one CPU each train the GAN of a submitted job, and every stage is told."""
    out, printed = finished
    assert re.findall(r"^(\S+)\s+done", printed, re.MULTILINE) == STAGES
    assert b"world_size=2" in Folder.from_uri(out).read_bytes("log.txt"), "auto is a rank on each of the two"


def test_s3_run_stores_all_results(finished: tuple[str, str]) -> None:
    """A run from S3 to S3 stores all its results there, and no temporary files."""
    root = Folder.from_uri(finished[0])
    infos = root.fs.get_file_info(pafs.FileSelector(root.path, recursive=True))
    names = {info.path.removeprefix(f"{root.path}/") for info in infos}
    promised = """
        job.yaml run.json verdict.json report.html report.json registry/champion.json log.txt
        dataset/dataset.json dataset/split.parquet dataset/train/part-00000.parquet
        gan/gan.json gan/gan.safetensors gan/samples/step-00000006.png gan/checkpoints/step-00000006.json
        synthetic/synthetic.json models/real+classic/seed-0/predictions.parquet registry/versions/1/version.json
    """
    assert set(promised.split()) <= names
    assert not [name for name in names if "/." in name or name.startswith(".")]
    assert [row["step"] for row in metrics_log.read_metrics(root / "gan") if "loss_g" in row] == [2, 4, 6]


def test_finished_s3_run_starts_no_ray(nodes: Nodes, store: Store, finished: tuple[str, str]) -> None:
    """A finished run on S3 keeps all its stages when it is run again, and starts no Ray."""
    again = ganaug(
        nodes, "run", finished[0], f"data.source={store.uri('pictures')}", *SPREAD, RAY_ADDRESS="127.0.0.1:1"
    )
    assert re.findall(r"^(\S+)\s+kept", again.stdout, re.MULTILINE) == STAGES
    assert again.stderr == ""


def test_champion_loads_from_s3(finished: tuple[str, str]) -> None:
    """The champion is loaded from S3 and predicts."""
    model = ganaug_ray.load(finished[0])
    assert model.predict([next(iter(make_pngs().values()))])[0].label in model.classes


def test_s3_folder_refuses_other_job(nodes: Nodes, finished: tuple[str, str]) -> None:
    """The folder of a run on S3 refuses another job."""
    other = ganaug(nodes, "run", finished[0])
    assert other.returncode == 2
    assert "belongs to another job" in other.stderr


def test_zip_on_s3_gives_same_dataset(nodes: Nodes, store: Store, finished: tuple[str, str]) -> None:
    """A zip on S3 is read in place, here where the environment says where the server is, to the same data set."""
    out = "s3://bucket/runs/zipped"
    done = ganaug(nodes, "prepare", out, "data.source=s3://bucket/pictures.zip", AWS_ENDPOINT_URL=store.endpoint)
    assert done.returncode == 0, done.stdout + done.stderr
    folders = (finished[0], store.uri("runs/zipped"))
    first, second = (Folder.from_uri(folder).read_json("dataset/dataset.json")["hash"] for folder in folders)
    assert first == second


def test_missing_bucket_is_user_error(nodes: Nodes, store: Store) -> None:
    """A missing bucket or source on S3 ends with exit code 2 and names it."""
    wrong_out = ganaug(nodes, "run", store.uri("").replace("bucket", "nowhere"))
    assert (wrong_out.returncode, "cannot be written" in wrong_out.stderr) == (2, True), wrong_out.stderr
    for source in (store.uri("gone"), store.uri("gone.zip")):
        wrong_source = ganaug(nodes, "prepare", store.uri("runs/wrong"), f"data.source={source}")
        assert wrong_source.returncode == 2, wrong_source.stderr
        assert wrong_source.stderr.startswith(f"data.source {source}: ")
        assert "no such" in wrong_source.stderr


def test_failed_job_returns_exit_code(nodes: Nodes, tmp_path: Path) -> None:
    """The exit code and the reason of a job that fails reach the user."""
    done = nodes.run(*submit(nodes, tmp_path / "out", "gan.workers=8"), "--gpus=8", "--follow")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "--gpus (GANAUG_GPUS) 8: the cluster has 0" in done.stdout
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


@pytest.mark.parametrize("verb", ["jobs", "prepare"])
def test_token_is_taken_as_advised(verb: str, nodes: Nodes, tmp_path: Path) -> None:
    """A cluster that refuses a machine without its token takes that from where the message says to put it."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    command = [*GANAUG, verb, "--address", nodes.dashboard]
    if verb == "prepare":
        command = [*GANAUG, verb, JOB, "--out", str(tmp_path / "out"), *settings()]
    bare = nodes.environment(RAY_ADDRESS=nodes.address, HOME=str(tmp_path))  # where Ray would find a token, too
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        del bare[name]

    def ask(**extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=bare | extra, cwd=ROOT, capture_output=True, text=True, check=False)

    refused = ask(RAY_AUTH_MODE="token")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN" in refused.stderr
    for place in ({"RAY_AUTH_TOKEN_PATH": str(file)}, {"RAY_AUTH_TOKEN": TOKEN}):
        taken = ask(RAY_AUTH_MODE="token", **place)
        assert taken.returncode == 0, taken.stdout + taken.stderr
