"""The advice in a message on a command's options, followed on the command line."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from ganaug_ray import cli
from ganaug_ray.cli import file_formats, predict, submit
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from tests.conftest import DIGITS, TINY
from tests.helpers import job_client, sites
from tests.helpers.refusals import refuse
from tests.helpers.serving import encoded, promote

ADDRESS = "http://127.0.0.1:1"
LARGE = 600 * 2**20  # bytes; more than Ray uploads


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was handed to Ray's client; the current folder has a job file, and is uploaded."""
    (tmp_path / "clone" / "jobs").mkdir(parents=True)
    (tmp_path / "clone" / "jobs" / "mine.yaml").write_text("about: anything")
    monkeypatch.chdir(tmp_path / "clone")
    monkeypatch.delenv("GANAUG_HOME", raising=False)
    return job_client.replace_client(monkeypatch)


def submit_job(job: str = "jobs/mine.yaml", out: str | None = "/shared/x") -> None:
    submit.submit(Path(job), ADDRESS, out, None)


@pytest.mark.parametrize("followed", ["give this user the right to read it", "move it out of "])
def test_upload_is_readable_once_followed(
    sent: list[dict[str, Any]], followed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that may not be read is uploaded with the right to read it, or moved elsewhere.

    Ray looks into it also where .rayignore names it.
    """
    Path("secret").mkdir()
    is_file = Path.is_file
    has_right = False

    def look_or_refuse(path: Path, **options: Any) -> bool:
        if path.parent.name == "secret" and not has_right:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_file(path, **options)

    monkeypatch.setattr(Path, "is_file", look_or_refuse)
    refuse(rf"secret: cannot be read for the upload \(Permission denied\).*{re.escape(followed)}", submit_job)
    assert not sent
    if followed.startswith("move"):
        Path("secret").rename(Path("..") / "secret-elsewhere")
    else:
        has_right = True
    submit_job()
    assert len(sent) == 1


@pytest.mark.parametrize("followed", ["give this user the right to read it", "list it in .rayignore", "move it out of"])
def test_file_is_uploaded_once_followed(
    sent: list[dict[str, Any]], followed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that may not be read is told before anything is sent."""
    Path("secret.png").write_bytes(encoded())
    open_file = Path.open
    has_right = False

    def open_or_refuse(path: Path, *mode: Any, **options: Any) -> Any:
        if path.name == "secret.png" and not has_right:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open_file(path, *mode, **options)

    monkeypatch.setattr(Path, "open", open_or_refuse)
    refuse(rf"secret.png: cannot be read for the upload \(Permission denied\).*{re.escape(followed)}", submit_job)
    assert not sent
    if followed.startswith("move"):
        Path("secret.png").rename(Path("..") / "secret.png")
    elif followed.startswith("list"):
        Path(".rayignore").write_text("secret.png\n")
    else:
        has_right = True
    submit_job()
    assert len(sent) == 1


@pytest.mark.parametrize("followed", ["keep images on storage", "list in .rayignore what need not be uploaded"])
def test_upload_is_small_once_followed(sent: list[dict[str, Any]], followed: str) -> None:
    """A folder that is too large is uploaded without what is large in it, moved away or named in .rayignore."""
    large = Path("pictures") / "cats.zip"
    large.parent.mkdir()
    with large.open("wb") as file:
        file.truncate(LARGE)  # which takes no space
    with pytest.raises(UserError, match=re.escape(followed)) as caught:
        submit_job()
    if followed.startswith("keep"):
        large.rename(Path.cwd().parent / "cats.zip")
    else:
        match = re.search(r"\((\S+) 600 MiB", str(caught.value))
        assert match, caught.value
        Path(".rayignore").write_text(f"{match[1]}\n")
    submit_job()
    assert len(sent) == 1


@pytest.mark.parametrize("out", [None, "runs/x"])
def test_advised_folders_are_submitted(
    sent: list[dict[str, Any]], out: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example of a folder is taken, as --out and as GANAUG_HOME."""
    with pytest.raises(UserError, match="--out") as caught:
        submit_job(out=out)
    match = re.search(r"such as (\S+) or ([^\s;]+)", str(caught.value))
    assert match, caught.value
    for example in match.groups():
        submit_job(out=example)
    if "set GANAUG_HOME" in str(caught.value):
        monkeypatch.setenv("GANAUG_HOME", match[1])
        submit_job(out=None)
    assert len(sent) == (3 if out is None else 2)


def test_job_is_submitted_from_its_folder(sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A job elsewhere is submitted from a folder that it is in."""
    other = Path.cwd().parent / "other"
    other.mkdir()
    (other / "job.yaml").write_text("about: anything")
    with pytest.raises(UserError, match="run submit in a folder that holds it"):
        submit_job(str(other / "job.yaml"))
    monkeypatch.chdir(other)
    submit_job(str(other / "job.yaml"))
    assert "run job.yaml" in sent[0]["entrypoint"]


def test_dashboard_address_is_as_exemplified(sent: list[dict[str, Any]]) -> None:
    """The address in the message has the form that is taken."""
    with pytest.raises(UserError, match="such as http://") as caught:
        submit.jobs("head:8265")
    submit.jobs(str(caught.value).partition("such as ")[2].replace("HEAD", "head"))


@pytest.mark.parametrize("folder", ["answers", "answers/", "."])
def test_predictions_go_to_advised_file(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where --out is a folder, the example of a file in it is written to."""
    (tmp_path / "answers").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is a folder; name a file") as caught:
        predict._open_output(folder)
    target, name, suffix = predict._open_output(str(caught.value).partition("such as ")[2])
    assert (str(target), suffix) == (str((tmp_path / folder).resolve()), ".parquet")
    target.write_bytes(name, file_formats.encode_table(pa.table({"label": ["cat"]}), suffix))


def test_every_advised_suffix_is_written() -> None:
    """Each suffix in the message is one that a table is encoded for."""
    with pytest.raises(UserError, match="expected a name that ends in") as caught:
        predict._open_output("answers.xlsx")
    suffixes = re.findall(r"\.\w+", str(caught.value).partition("expected")[2])
    assert len(suffixes) == len(file_formats.TABLE_ENCODERS)
    for suffix in suffixes:
        assert file_formats.check_suffix("--out", f"answers{suffix}", file_formats.TABLE_ENCODERS) == suffix
        assert file_formats.encode_table(pa.table({"label": ["cat"]}), suffix)


def test_images_are_written_to_a_folder(tmp_path: Path) -> None:
    """Without the folder that the message asks for no image is drawn, and with it they are in it."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    run.claim_folder(load_job(DIGITS, TINY))
    sites.write_gan(run.gan)
    words = ["generate", str(run.root), "--count", "a=2"]
    with pytest.raises(UserError, match="--png: give the folder to write the images to"):
        CliRunner().invoke(cli.app, words, catch_exceptions=False)
    result = CliRunner().invoke(cli.app, [*words, "--png", str(tmp_path / "drawn")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "drawn").rglob("*.png"))) == 2


def test_temporary_files_go_to_another_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no temporary folder can be written the same command goes on once TMPDIR names one on another disk."""
    promote(Folder.from_uri(tmp_path / "pets"), 0)
    (tmp_path / "cat.png").write_bytes(encoded())
    out = tmp_path / "answers.csv"
    words = ["ganaug", "predict", str(tmp_path / "pets"), str(tmp_path / "cat.png"), "--out", str(out)]
    monkeypatch.setattr("sys.argv", words)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [os.environ.get("TMPDIR", "/dev/null")])
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv("TMPDIR", raising=False)

    def call() -> int:
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    assert call() != 0
    match = re.search(
        r"or set (\w+) to a folder on another disk, and the same command continues", capsys.readouterr().err
    )
    assert match
    monkeypatch.setenv(match[1], str(tmp_path))
    assert call() == 0
    assert out.exists()
