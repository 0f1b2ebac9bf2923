"""Addresses of folders and files, on a disk and on object stores. No network: opening an address asks nobody."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs as pafs

from ganaug_ray.config.loader import load_job
from ganaug_ray.core.output_dir import open_default_folder
from ganaug_ray.core.storage import Folder, split_address
from ganaug_ray.errors import UserError
from tests.conftest import DIGITS

QUERY = "?endpoint_override=http://127.0.0.1:9/&scheme=http&region=here"
PLACES = ["/pictures", f"s3://bucket{QUERY}", f"s3://bucket/a%20b/c+d{QUERY}", "gs://anonymous@bucket/pictures"]


@pytest.mark.parametrize("address", PLACES)
@pytest.mark.parametrize("below", ["", "models/real+classic", "a b?c#d%20é"])
def test_folder_address_round_trip(address: str, below: str) -> None:
    """The text of a folder's address leads back to the same folder."""
    folder = Folder.from_uri(address) / below if below else Folder.from_uri(address)
    again = Folder.from_uri(str(folder))
    assert (again.fs, again.path, str(again)) == (folder.fs, folder.path, str(folder))
    assert again.path.endswith(below)
    assert (again.local_path is None) == ("://" in address)


@pytest.mark.parametrize("address", PLACES)
def test_file_address_splits_into_parts(address: str) -> None:
    """The address of a file is split into its folder and its name."""
    base, mark, query = address.partition("?")
    folder, name = split_address(f"{base}/cats%20and+dogs.zip{mark}{query}")
    assert name == "cats and+dogs.zip" if "://" in address else "cats%20and+dogs.zip"
    assert str(folder) == address
    assert folder.path == Folder.from_uri(address).path


def test_name_with_tilde_is_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose name begins with a tilde is that file; the tilde alone is the home folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Folder.from_uri("~nobody-is-called-so.zip").path == str(tmp_path / "~nobody-is-called-so.zip")
    assert Folder.from_uri("~/pictures").path == "/home/somebody/pictures"
    job = tmp_path / "job.yaml"
    job.write_text(
        "data: {source: ~nobody-is-called-so.zip, image_size: 32}\ngan: {steps: 5}\nclassifier: {steps: 5}\n"
    )
    assert load_job(job).data.source == [str(tmp_path / "~nobody-is-called-so.zip")]


def test_relative_file_uses_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative file lies in the working directory."""
    monkeypatch.chdir(tmp_path)
    folder, name = split_address("cats.zip")
    assert (str(folder), name) == (str(tmp_path), "cats.zip")


@pytest.mark.parametrize(
    "address",
    [
        "s3://me:hush@bucket/pictures",
        "s3://me:hu/sh?hush@bucket/pictures",
        "s3://bucket/pictures?region=here&secret_key=hush",
        "abfs://container@account.dfs.core.windows.net/pictures?client_id=me&client_secret=hush",
        "abfs://account.blob.core.windows.net/pictures?sv=2026&sig=hush",
    ],
)
def test_credentials_in_addresses_are_refused(address: str) -> None:
    """Credentials in an address are refused, and the message does not repeat them."""
    for use in (Folder.from_uri, lambda text: load_job(DIGITS, [f"data.source={text}"])):
        with pytest.raises(UserError, match=r"pictures: found credentials.*environment") as caught:
            use(address)
        assert "hu" not in str(caught.value)


@pytest.mark.parametrize("address", ["nowhere://bucket", "s3://bucket?nonsense=1", "s3://"])
def test_invalid_address_is_user_error(address: str) -> None:
    """An address that cannot be opened is a user error."""
    with pytest.raises(UserError, match="not a folder this machine can open"):
        Folder.from_uri(address)


def test_default_folder_may_be_remote() -> None:
    """The default folder of experiments may be on an object store."""
    assert str(open_default_folder(Path("jobs/mine.yaml"), None)) == str(Path.cwd() / "runs" / "mine")
    assert str(open_default_folder(Path("mine.yaml"), f"s3://bucket/runs{QUERY}")) == f"s3://bucket/runs/mine{QUERY}"


def test_failed_write_leaves_no_object(tmp_path: Path) -> None:
    """A file whose writing fails does not appear on an object store."""
    store = Folder(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "bucket", "s3://bucket").create()
    with pytest.raises(pa.ArrowException):
        store.write_table("half.parquet", pa.table({"n": pa.array([1], pa.month_day_nano_interval())}))
    assert store.list_files() == []
    store.write_table("whole.parquet", pa.table({"n": [1]}))
    assert store.read_table("whole.parquet").to_pydict() == {"n": [1]}


def test_interrupted_write_preserves_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted write leaves the old file and nothing next to it."""

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    (tmp_path / "picture.png").write_bytes(b"old")
    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Folder.from_uri(tmp_path).write_bytes("picture.png", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("picture.png", b"old")]


def test_stream_is_written_not_replaced(tmp_path: Path) -> None:
    """A pipe, or a link to where standard output goes, is written to and stays what it is."""
    pipe, link = tmp_path / "pipe", tmp_path / "out.yaml"
    os.mkfifo(pipe)
    folder = Folder.from_uri(tmp_path)
    with os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        folder.write_bytes("pipe", b"to the pipe")
        assert reader.read() == b"to the pipe"
    log = tmp_path / "log"
    log.write_bytes(b"before ")
    link.symlink_to("/dev/stdout")
    saved = os.dup(1)
    try:
        os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), 1)
        folder.write_bytes("out.yaml", b"after")
    finally:
        os.dup2(saved, 1)
    assert (pipe.is_fifo(), link.is_symlink(), log.read_bytes()) == (True, True, b"before after")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "out.yaml", "pipe"]


class _FolderAppears:
    """A filesystem on which a folder is made while it is listed for the first time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get_file_info(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        if self.folder.exists():
            return pafs.LocalFileSystem().get_file_info(selector)
        self.folder.mkdir()
        (self.folder / "metrics-00001.jsonl").touch()
        raise FileNotFoundError(f"Cannot list directory '{self.folder}'")


def test_folder_made_while_listed_is_listed(tmp_path: Path) -> None:
    """A folder that another process makes while it is listed is listed, and no error."""
    folder = Folder(fs=_FolderAppears(tmp_path / "trial"), path=str(tmp_path / "trial"))  # type: ignore[arg-type]
    assert folder.list_files() == ["metrics-00001.jsonl"]
