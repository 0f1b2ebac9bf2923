"""What is advised where a data set cannot be downloaded as it is named: followed with stand-ins for the servers."""

from __future__ import annotations

import errno
import hashlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torchvision import datasets

from ganaug_ray.data import sources
from ganaug_ray.data.sources import hub, packaged, web
from ganaug_ray.errors import UserError
from tests.helpers import wsgi
from tests.helpers.hub import Files, answer_as_hub, point_to, serve_hub
from tests.helpers.labelled import lay_out, png, read, zip_names
from tests.unit.data.test_followed_refusals import PATHS, assert_kept, refuse, survey

__all__ = ["serve_hub"]  # a fixture


@pytest.fixture
def torchvision_sets(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """torchvision's data sets, which are downloaded while the list is not empty."""
    reachable: list[bool] = []

    class Downloaded:
        classes = ("cat", "dog")

        def __init__(self, root: Path, train: bool, download: bool) -> None:
            if not reachable:
                raise OSError(errno.ENETUNREACH, "Network is unreachable")

        def __len__(self) -> int:
            return 32

        def __getitem__(self, row: int) -> tuple[Image.Image, int]:
            return Image.new("RGB", (16, 16), (row, 0, 0)), row % 2

    packaged._load_torchvision.cache_clear()
    for name in ("CIFAR10", "CIFAR100", "MNIST", "FashionMNIST", "KMNIST"):
        monkeypatch.setattr(datasets, name, Downloaded)
    return reachable


def test_listed_sets_of_torchvision_are_read(torchvision_sets: list[bool]) -> None:
    """Another data set of torchvision is refused, and each that the message names is read."""
    torchvision_sets.append(True)
    for known in refuse("torchvision:STL10", r"expected one of (.*)$")[1].split(", "):
        assert sum(part.images or 0 for part in sources.list_parts([known], None)) == 64
    packaged._load_torchvision.cache_clear()


@pytest.mark.usefixtures("torchvision_sets")
@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_images_take_the_place_of_a_download(kind: str, tmp_path: Path) -> None:
    """Without a network, a folder of the images is read in the place of torchvision's data set, or an archive."""
    refuse("torchvision:CIFAR10", rf"cannot be downloaded \(.*Network is unreachable\); give a .*\b{kind}\b")
    images = lay_out(tmp_path / "cifar", *PATHS) if kind == "folder" else zip_names(tmp_path / "cifar.zip", *PATHS)
    assert_kept(survey(images))


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """Publishes a file at an https address."""

    class Answer:
        length = None

        def __init__(self, file: Path) -> None:
            self._stream = file.open("rb")
            self.read = self._stream.read

        def __enter__(self) -> Answer:
            return self

        def __exit__(self, *_: object) -> None:
            self._stream.close()

    class Opener:
        def open(self, url: str, timeout: float) -> Answer:
            return Answer(tmp_path / "published" / url.rpartition("/")[2])

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(web, "_build_opener", Opener)

    def put(file: Path) -> str:
        (tmp_path / "published").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "published")
        return f"https://host.example/{file.name}"

    return put


def test_address_gets_the_sum_that_sha256sum_prints(tmp_path: Path, publish: Callable[[Path], str]) -> None:
    """An address without a hash is read once it has what `sha256sum` prints of the file, written as advised."""
    archive = zip_names(tmp_path / "pets.zip", *PATHS)
    match = refuse(publish(archive), r"write (\S+#sha256=)<its 64 hex digits>, .* and (sha256sum) prints$")
    printed = subprocess.run([match[2], archive], capture_output=True, text=True, check=True).stdout
    assert_kept(survey(match[1] + printed.split()[0]))


@pytest.mark.parametrize("fault", ["the file was changed", "the sum is that of another file"])
def test_publisher_has_the_right_file_or_sum(fault: str, tmp_path: Path, publish: Callable[[Path], str]) -> None:
    """A file that is not the one of its hash is read with the sum, or in the state, that its publisher gives."""
    archive = zip_names(tmp_path / "pets.zip", *PATHS)
    right = hashlib.sha256(archive.read_bytes()).hexdigest()
    address = publish(archive)
    given = right
    if fault == "the file was changed":
        (tmp_path / "published" / archive.name).write_bytes(archive.read_bytes()[:-1])
    else:
        given = "0" * 64
    match = refuse(f"{address}#sha256={given}", rf"its sha256 is (\w+), .*{fault}.*: ask its publisher$")
    assert match[1] != given
    publish(archive)
    assert_kept(survey(f"{address}#sha256={right}"))


def test_signed_link_is_downloaded_by_hand(tmp_path: Path) -> None:
    """What lies behind a link with credentials is read from the path to which the user has downloaded it."""
    with pytest.raises(UserError, match="or download the file behind a signed link yourself"):
        web.fetch_file(f"https://me:hush@host.example/pets.zip#sha256={'0' * 64}")
    assert_kept(survey(zip_names(tmp_path / "pets.zip", *PATHS)))


def test_one_of_several_sets_is_named(serve_hub: Callable[[dict[str, Files]], Any], tmp_path: Path) -> None:
    """Of a repository with several data sets the one is read that the message names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"image": {"bytes": png(number)}, "label": path[:3]} for number, path in enumerate(PATHS)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "0.parquet")
    file = (tmp_path / "0.parquet").read_bytes()
    context = serve_hub({"main": {"pets.py": b""}, hub.PARQUET_BRANCH: {f"{n}/0.parquet": file for n in ("a", "b")}})
    named = refuse("hf:someone/pets", r"name one, as in (\S+)$")[1]
    assert {raw.label for raw in read(named) if raw.label} == {"cat", "dog"}
    context.__exit__(None, None, None)


@pytest.mark.parametrize("folder", ["", "small"])
def test_set_is_downloaded_by_command(
    folder: str, serve_hub: Callable[[dict[str, Files]], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network the message has the command that fetches a data set, or its folder, and what to give then."""
    from huggingface_hub.cli.hf import app

    monkeypatch.chdir(tmp_path)
    below = f"{folder}/" if folder else ""
    files = {f"{below}{path}": png(number) for number, path in enumerate(PATHS)}
    if folder:
        files |= {f"large/{path}": png(100 + number) for number, path in enumerate(PATHS)}
    advice = r"`(hf download .*)` fetches it; then give (.*)$"
    match = refuse(f"hf:someone/pets/{folder}".rstrip("/"), advice)
    context = serve_hub({"main": files})
    app(shlex.split(match[1])[1:], standalone_mode=False)
    context.__exit__(None, None, None)
    assert_kept(survey(tmp_path / (match[2] if folder else "pets")))
    assert not (tmp_path / "pets" / "large").exists()


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        ("403 Forbidden", "GatedRepo", "accept them on its page on the Hub, and log in with `hf auth login`"),
        ("401 Unauthorized", "RepoNotFound", "or log in with `hf auth login`"),
        ("401 Unauthorized", "RepoNotFound", "correct the name"),
    ],
)
def test_hub_answers_who_is_logged_in(
    status: str, code: str, advice: str, serve_hub: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data set that the Hub keeps from others is read by whoever is logged in, and one under its right name."""
    as_hub = answer_as_hub({"main": {path: png(number) for number, path in enumerate(PATHS)}})
    is_misspelt = advice == "correct the name"

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        if "/someone/pets" in environ["PATH_INFO"] and (is_misspelt or "HTTP_AUTHORIZATION" in environ):
            return as_hub(environ, start)
        start(status, [("X-Error-Code", code), ("Content-Length", "0")])
        return []

    monkeypatch.delenv("HF_TOKEN", raising=False)
    with wsgi.serve(answer) as port:
        point_to(monkeypatch, f"http://127.0.0.1:{port}")
        with pytest.raises(UserError, match=re.escape(advice)):
            read("hf:someone/bets" if is_misspelt else "hf:someone/pets")
        if not is_misspelt:
            monkeypatch.setenv("HF_TOKEN", "hf_x")  # as a log-in keeps it
        assert {raw.label for raw in read("hf:someone/pets") if raw.label} == {"cat", "dog"}
