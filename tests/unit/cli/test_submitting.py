"""What is sent to a cluster, what is not, and what is refused before anything is sent."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import ray.job_submission
import yaml
from ray.exceptions import AuthenticationError

from ganaug_ray.cli import submit
from ganaug_ray.core import output_dir
from ganaug_ray.errors import Interrupted, StageFailed, UserError
from tests.conftest import ROOT

ADDRESS = "http://127.0.0.1:1"
LARGE = 600 * 2**20  # bytes; more than Ray uploads


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a job file to submit, which is the current one."""
    here = tmp_path / "clone"
    (here / "jobs").mkdir(parents=True)
    (here / "jobs" / "mine.yaml").write_text("about: anything")
    monkeypatch.chdir(here)
    monkeypatch.delenv("GANAUG_HOME", raising=False)
    return here


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was handed to Ray's client."""
    kept: dict[str, Any] = {}

    class Client:
        def __init__(self, address: str) -> None:
            kept["address"] = address

        def submit_job(self, **request: Any) -> str:
            kept.update(request)
            return "raysubmit_1"

    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", Client)
    return kept


def large(path: Path) -> None:
    """A file that is large and takes no space."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(LARGE)


def test_submitted_command_equals_typed_command(folder: Path, sent: dict[str, Any]) -> None:
    """The submitted command is the one that a user would type on the cluster."""
    submit.submit(Path("jobs/mine.yaml"), ADDRESS, "s3://bucket/runs/a b", ["gan.lr=1e-4", "data.source=a b"], 8)
    assert shlex.split(sent["entrypoint"]) == [
        *["python", "-m", "ganaug_ray", "run", "jobs/mine.yaml", "--out", "s3://bucket/runs/a b"],
        *["--set", "gan.workers=8", "--set", "gan.lr=1e-4", "--set", "data.source=a b"],
    ]
    assert sent["runtime_env"]["env_vars"] == {"GANAUG_GPUS": "8"}
    submit.submit(Path("jobs/mine.yaml"), ADDRESS, "/shared/x", cpu=True)
    assert shlex.split(sent["entrypoint"])[-1] == "--cpu"
    with pytest.raises(UserError, match="--gpus 8 and --cpu: give one"):
        submit.submit(Path("jobs/mine.yaml"), ADDRESS, "/shared/x", gpus=8, cpu=True)


def test_environment_secrets_are_not_sent(folder: Path, sent: dict[str, Any], monkeypatch) -> None:
    """No secret of the environment is sent to the cluster, and credentials in an address are refused."""
    secrets = {"AWS_SECRET_ACCESS_KEY": "hush1", "RAY_AUTH_TOKEN": "hush2", "GANAUG_API_KEY": "hush3"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GANAUG_HOME", "s3://bucket/runs?scheme=http")
    submit.submit(Path("jobs/mine.yaml"), ADDRESS, None, None)
    assert "s3://bucket/runs/mine?scheme=http" in sent["entrypoint"]
    assert "hush" not in json.dumps(sent)
    with pytest.raises(UserError, match="found credentials"):
        submit.submit(Path("jobs/mine.yaml"), ADDRESS, "/shared/x", ["data.source=s3://key:hush@bucket/x"])


def test_uploads_exclude_data_and_runs(folder: Path, sent: dict[str, Any]) -> None:
    """Data, runs, virtual environments and files that git ignores are not uploaded."""
    for name in (
        "data/cats.zip",
        "runs/x/gan.safetensors",
        ".git/pack",
        ".venv/lib.so",
        "of my own/lib.so",
        "a.parquet",
    ):
        large(folder / name)
    (folder / "of my own" / "pyvenv.cfg").touch()
    large(folder / "ignored" / "film.mp4")
    (folder / ".gitignore").write_text("ignored/\n")
    submit.submit(Path("jobs/mine.yaml"), ADDRESS, "/shared/x", None)
    assert sent["runtime_env"]["excludes"] == [*submit.EXCLUDED_PATTERNS, "/of my own"]


def test_oversized_upload_names_large_files(folder: Path, sent: dict[str, Any]) -> None:
    """An upload larger than Ray takes is refused with the names of what is large."""
    large(folder / "pictures" / "cats.zip")
    (folder / "notes.txt").write_bytes(b"x" * 2**21)
    with pytest.raises(UserError, match=r"602 MiB to upload.*less than 512 \(pictures 600 MiB, notes.txt 2 MiB"):
        submit.submit(Path("jobs/mine.yaml"), ADDRESS, "/shared/x", None)
    assert not sent


def test_runtime_file_has_same_exclusions() -> None:
    """The file for ray job submit leaves out the same files as ganaug submit."""
    content = yaml.safe_load((ROOT / "cluster" / "runtime_env.yaml").read_text())
    assert content == {"excludes": submit.EXCLUDED_PATTERNS}


@pytest.mark.parametrize(
    ("job", "out", "words"),
    [
        ("jobs/mine.yaml", None, "--out: name a folder that all nodes of the cluster see"),
        ("jobs/mine.yaml", "runs/x", "--out .*/runs/x: .*would be lost"),
        ("jobs/none.yaml", "/shared/x", "no such job file"),
        ("../other.yaml", "/shared/x", "is not in"),
    ],
)
def test_impossible_submissions_are_refused(
    job: str, out: str | None, words: str, folder: Path, sent: dict[str, Any], tmp_path: Path
) -> None:
    """A submission that cannot work is refused before anything is sent."""
    (tmp_path / "other.yaml").touch()
    with pytest.raises(UserError, match=words):
        submit.submit(Path(job), ADDRESS, out, None)
    assert not sent


def of_ray(working_dir: str | None) -> dict[str, str]:
    return {output_dir.RAY_JOB_ENV: json.dumps({"runtime_env": {"working_dir": working_dir} if working_dir else {}})}


def test_ray_job_needs_lasting_output(folder: Path) -> None:
    """A Ray job needs a folder for its results that outlives it, and the error says how to name one."""
    path, uploaded = Path("jobs/mine.yaml"), of_ray("gcs://_ray_pkg_1.zip")
    with pytest.raises(UserError, match="--out: a Ray job needs it, or GANAUG_HOME"):
        output_dir.open_experiment(path, None, uploaded)
    for environment, out in ((uploaded, "runs/x"), ({**uploaded, "GANAUG_HOME": "."}, None)):
        with pytest.raises(UserError, match="where results would be lost"):
            output_dir.open_experiment(path, out, environment)
    assert output_dir.open_experiment(path, "/shared/x", uploaded).path == "/shared/x"
    assert output_dir.open_experiment(path, "runs/x", of_ray(None)).path == str(folder / "runs" / "x")
    assert output_dir.open_experiment(path, None, {}).path == str(folder / "runs" / "mine")


@pytest.mark.parametrize(
    ("address", "error", "kind", "words"),
    [
        ("127.0.0.1:8265", None, UserError, "expected that of the dashboard, such as http://HEAD:8265"),
        (ADDRESS, None, UserError, "no Ray cluster answers there"),
        (ADDRESS, AuthenticationError("no"), UserError, "RAY_AUTH_TOKEN_PATH"),
        (ADDRESS, RuntimeError("Request failed with status code 500: full"), StageFailed, "status code 500: full"),
    ],
)
def test_cluster_failures_are_explained(
    address: str, error: Exception | None, kind: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong address, no answer, a missing token and a server error each have a clear message."""

    def fail(address: str) -> None:
        raise error

    if error:
        monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", fail)
    with pytest.raises(kind, match=words):
        submit.jobs(address)


@pytest.mark.parametrize(
    ("status", "code", "ends", "words"),
    [
        ("SUCCEEDED", 0, 0, ""),
        ("FAILED", 2, 2, "failed with exit code 2"),
        ("FAILED", -9, 137, "failed with exit code -9"),
        ("FAILED", None, 1, "the node was lost"),
        ("STOPPED", None, 130, "was stopped"),
    ],
)
def test_follow_returns_job_exit_code(status: str, code: int | None, ends: int, words: str, capsys) -> None:
    """Following a job ends with the exit code of that job."""
    found = ray.job_submission.JobDetails(
        type="SUBMISSION", status=status, entrypoint="", driver_exit_code=code, message="the node was lost"
    )
    assert submit._report_failure("raysubmit_1", found) == ends
    assert words in capsys.readouterr().err


def test_interrupt_leaves_job_running(folder: Path, sent: dict[str, Any], monkeypatch) -> None:
    """Ctrl-C while following leaves the job running and says how to stop it."""

    async def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(submit, "_follow_log", interrupt)
    with pytest.raises(Interrupted, match="ganaug stop raysubmit_1"):
        submit.submit(Path("jobs/mine.yaml"), ADDRESS, "/shared/x", None, follow=True)
