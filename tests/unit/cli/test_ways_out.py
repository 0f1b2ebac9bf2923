"""What is written goes where it was meant to, or the command says why not, and the same command continues."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from ganaug_ray import cli
from ganaug_ray.cli import predict
from ganaug_ray.config import examples
from ganaug_ray.config.loader import load_job
from ganaug_ray.core import full_disk
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import DiskFull, UserError
from tests.conftest import DIGITS, ROOT, environment
from tests.helpers.refusals import refuse


def run_in_shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which $GANAUG is the command line."""
    variables = environment(PYTHONPATH=str(ROOT), GANAUG=f"{sys.executable} -m ganaug_ray")
    return subprocess.run(["bash", "-c", command], cwd=folder, env=variables, capture_output=True, text=True)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_reader_may_go(tmp_path: Path, unbuffered: str) -> None:
    """Where whoever reads the output has gone, as head, the command ends without a word."""
    ended = run_in_shell(f"PYTHONUNBUFFERED={unbuffered} $GANAUG schema job | true", tmp_path)
    assert ended.stderr == ""
    ended = run_in_shell(f"PYTHONUNBUFFERED={unbuffered} $GANAUG examples | head -n 1", tmp_path)
    assert (ended.stderr, len(ended.stdout.splitlines())) == ("", 1)


@pytest.mark.parametrize("command", ["--version", "schema job"])
def test_full_output_is_told(tmp_path: Path, command: str) -> None:
    """Output that cannot be written is an error with exit code 2, in one line; another file takes it."""
    ended = run_in_shell(f"$GANAUG {command} > /dev/full", tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith("standard output")
    assert len(ended.stderr.splitlines()) == 1
    assert run_in_shell(f"$GANAUG {command} > there", tmp_path).returncode == 0
    assert (tmp_path / "there").stat().st_size > 0


def test_closed_streams_write_into_no_file(tmp_path: Path) -> None:
    """With standard streams closed a command does its work, and nothing that is printed gets into its files."""
    for name, streams in (("open", ""), ("closed", ">&- 2>&- <&-")):
        ended = run_in_shell(f"$GANAUG examples copy digits --out {name}.yaml {streams}", tmp_path)
        assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "closed.yaml").read_bytes() == (tmp_path / "open.yaml").read_bytes()
    assert run_in_shell("$GANAUG run no.yaml >&- 2>&-", tmp_path).returncode == 2


def test_undecodable_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """A name that is no UTF-8 is refused with its bytes, as an argument and as a file in a folder that is listed."""
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / name).mkdir()
    for arguments in (["run", name], ["predict", "model", f"{name}.png"], ["ls", name]):
        monkeypatch.setattr(sys, "argv", ["ganaug", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        assert "caf\\xe9" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"caf\\xe9: is not a UTF-8 name; rename it"):
        Folder.from_uri(tmp_path).list_files()
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(UserError, match="is not a UTF-8 name"):
        Folder.from_uri("runs")


@pytest.mark.parametrize("out", ["t.csv", "./t.csv", "link.csv", "{folder}/t.csv"])
def test_answers_never_overwrite_the_table(tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table that names the images is not overwritten by the answers, by whatever name; another one is written."""
    (tmp_path / "t.csv").write_text("image,label\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "t.csv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is the table that names the images, and would be overwritten; give another"):
        predict._open_output(out.format(folder=tmp_path), [str(tmp_path / "t.csv")])
    assert predict._open_output("answers.csv", [str(tmp_path / "t.csv")])[1:] == ("answers.csv", ".csv")


@pytest.mark.parametrize("out", ["-", "answers.csv.gz", "answers.csv ", "answers.tsv", "answers.", "csv", ".csv"])
def test_unknown_ends_are_refused(tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not exactly one of the suffixes is refused, and no file of another kind is written under the name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="expected a name that ends in"):
        predict._open_output(out)
    assert not list(tmp_path.iterdir())


def test_unwritable_folder_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file cannot be written, or its folder not made, that is said at the beginning, and again at the end."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.csv: cannot be written"):
        predict._open_output(str(tmp_path / "file" / "a.csv"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=r"cannot be written \(no permission to write in"):
        predict._open_output(str(tmp_path / "a.csv"))
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(UserError, match=r"--out b\.csv: cannot be written"):
        predict._write_file("b.csv", Folder.from_uri(tmp_path), "b.csv", b"x")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: predict._open_output(f"{path}.csv"),
        lambda path: predict._write_file(f"{path}.csv", Folder.from_uri(path.parent), f"{path.name}.csv", b"x"),
        lambda path: examples.copy_example("digits", path),
        lambda path: Run(Folder.from_uri(path)).claim_folder(load_job(DIGITS)),
        lambda path: Run(Folder.from_uri(path)).hold_lock().__enter__(),
    ],
)
def test_another_out_is_written(write: Callable[[Path], object], tmp_path: Path) -> None:
    """Where nothing can be written another --out is advised, and is written."""
    (tmp_path / "file").touch()
    refuse(r"cannot be written \(.*\); give another --out$", write, tmp_path / "file" / "new")
    write(tmp_path / "new")


def test_half_a_file_is_not_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file that the disk had no room for is removed, so that the same command writes it later."""
    real_open = Path.open

    def open_full(path: Path, *arguments, **options):
        real_open(path, "w").close()
        raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / "job.yaml"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_full)
        with pytest.raises(UserError, match=r"job\.yaml: cannot be written \(No space left"):
            examples.write_new_file(target, "text")
    examples.write_new_file(target, "text")
    assert target.read_text() == "text"
    with pytest.raises(UserError, match="already exists"):
        examples.write_new_file(target, "other")
    assert target.read_text() == "text"


def test_missing_temporary_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no temporary folder can be written, as on a full disk, that is said with what to set."""
    error = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/var/tmp']")
    found = full_disk.find_disk_full(error)
    assert isinstance(found, DiskFull)
    assert "'/tmp'" in str(found)
    assert "set TMPDIR to a folder on another disk" in str(found)
    assert full_disk.find_disk_full(FileNotFoundError(errno.ENOENT, "No such file", "/x")) is None


def test_error_without_a_path_names_none() -> None:
    """Of a full disk whose file is not known no path and no free space is made up."""
    words = str(full_disk.find_disk_full(OSError(errno.ENOSPC, "No space left on device")))
    assert words.startswith("standard output or a temporary file: the disk is full")
    assert "free" not in words


def test_answers_name_their_images_in_any_format() -> None:
    """Names with separators, quotes, line ends and any letters come back as they were, in each text format."""
    names = ["a,b.png", 'a"b.png', "a\nb.png", "=1+1.png", "猫.png", " a .png", "a\tb.png", "NA.png"]
    table = pa.table({"path": names, "label": ["a"] * len(names)})
    for suffix, read in ((".json", json.loads), (".jsonl", lambda text: list(map(json.loads, text.splitlines())))):
        assert [row["path"] for row in read(predict.file_formats.encode_table(table, suffix).decode())] == names
    read_back = pa.csv.read_csv(
        pa.BufferReader(predict.file_formats.encode_table(table, ".csv")),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(column_types={"path": pa.string()}, strings_can_be_null=False),
    )
    assert read_back["path"].to_pylist() == names
