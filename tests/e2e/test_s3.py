"""The whole way on an object store: images from S3, the experiment on S3, against a server that speaks its protocol."""

from __future__ import annotations

import io
import re
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image
from pyarrow import fs as pafs
from sklearn.datasets import load_digits

import ganaug_ray
from ganaug_ray.core import metrics_log
from ganaug_ray.core.storage import Folder
from tests.conftest import DIGITS, TINY, environment
from tests.e2e.test_run import STAGES

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
CLASSES, IMAGES = 4, 30  # a class


@dataclass(frozen=True)
class Store:
    """An S3 server with one bucket."""

    endpoint: str

    def uri(self, path: str, *settings: str) -> str:
        """The address of something in the bucket that also says where the server is."""
        return f"s3://bucket/{path}?" + "&".join([f"endpoint_override={self.endpoint}", "scheme=http", *settings])


def pngs() -> dict[str, bytes]:
    """Handwritten digits as files, a folder a class."""
    digits = load_digits()
    files = {}
    for label in range(CLASSES):
        for index in np.flatnonzero(digits.target == label)[:IMAGES]:
            sink = io.BytesIO()
            Image.fromarray((digits.images[index] * 15).astype(np.uint8)).save(sink, "PNG")
            files[f"{label}/{index}.png"] = sink.getvalue()
    return files


def zipped(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return sink.getvalue()


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """A server with the images in its bucket, as files and as a zip."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not answers(port):
            assert server.poll() is None, "the server ended; is moto[server] installed?"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in CREDENTIALS.items():
                patch.setenv(name, value)
            found = Store(f"http://127.0.0.1:{port}")
            bucket = Folder.from_uri(found.uri("", "allow_bucket_creation=true")).create()
            files = pngs()
            for name, content in files.items():
                bucket.write_bytes(f"pictures/{name}", content)
            bucket.write_bytes("pictures.zip", zipped(files))
            yield found
    finally:
        server.kill()
        server.wait()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def ganaug(verb: str, out: str, *settings: str, **extra: str) -> subprocess.CompletedProcess[str]:
    arguments = [f"--set={one}" for one in (*TINY, "gan.workers=2", "compare.seeds=1", *settings)]
    return subprocess.run(
        [sys.executable, "-m", "ganaug_ray", verb, str(DIGITS), "--out", out, *arguments],
        env=environment(**CREDENTIALS, **extra), capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(store: Store) -> tuple[str, str]:
    """A run to its end: the address of its folder, and what was printed."""
    out = store.uri("runs/digits")
    done = ganaug("run", out, f"data.source={store.uri('pictures')}")
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout


def test_s3_run_stores_all_results(finished: tuple[str, str]) -> None:
    """A run from S3 to S3 stores all its results there, and no temporary files."""
    out, printed = finished
    assert re.findall(r"^(\S+)\s+done", printed, re.MULTILINE) == STAGES
    root = Folder.from_uri(out)
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
    assert b"Started a local Ray instance" in root.read_bytes("log.txt")
    assert [row["step"] for row in metrics_log.read_metrics(root / "gan") if "loss_g" in row] == [2, 4, 6]


def test_finished_s3_run_starts_no_ray(store: Store, finished: tuple[str, str]) -> None:
    """A finished run on S3 keeps all its stages when it is run again, and starts no Ray."""
    out, _ = finished
    again = ganaug("run", out, f"data.source={store.uri('pictures')}", RAY_ADDRESS="127.0.0.1:1")
    assert re.findall(r"^(\S+)\s+kept", again.stdout, re.MULTILINE) == STAGES
    assert again.stderr == ""


def test_champion_loads_from_s3(finished: tuple[str, str]) -> None:
    """The champion is loaded from S3 and predicts."""
    out, _ = finished
    model = ganaug_ray.load(out)
    assert model.predict([next(iter(pngs().values()))])[0].label in model.classes


def test_s3_folder_refuses_other_job(finished: tuple[str, str]) -> None:
    """The folder of a run on S3 refuses another job."""
    out, _ = finished
    other = ganaug("run", out)
    assert other.returncode == 2
    assert "belongs to another job" in other.stderr


def test_zip_on_s3_gives_same_dataset(store: Store, finished: tuple[str, str]) -> None:
    """Read in place; here the environment says where the server is."""
    out = "s3://bucket/runs/zipped"
    done = ganaug("prepare", out, "data.source=s3://bucket/pictures.zip", AWS_ENDPOINT_URL=store.endpoint)
    assert done.returncode == 0, done.stdout + done.stderr
    datasets = (
        Folder.from_uri(store.uri(f"runs/{name}/dataset")).read_json("dataset.json") for name in ("digits", "zipped")
    )
    first, second = (dataset["hash"] for dataset in datasets)
    assert first == second


def test_missing_bucket_is_user_error(store: Store) -> None:
    """A missing bucket or source on S3 ends with exit code 2 and names it."""
    wrong_out = ganaug("run", store.uri("").replace("bucket", "nowhere"))
    assert (wrong_out.returncode, "cannot be written" in wrong_out.stderr) == (2, True), wrong_out.stderr
    for source in (store.uri("gone"), store.uri("gone.zip")):
        wrong_source = ganaug("prepare", store.uri("runs/wrong"), f"data.source={source}")
        assert wrong_source.returncode == 2, wrong_source.stderr
        assert wrong_source.stderr.startswith(f"data.source {source}: ")
        assert "no such" in wrong_source.stderr
