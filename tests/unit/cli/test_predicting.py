"""``ganaug predict`` on the terminal: where it is done without Ray, and how far it is."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ganaug_ray.cli import predict
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.progress import Progress
from ganaug_ray.errors import StageFailed
from ganaug_ray.runtime import cluster
from tests.helpers.labelled import png


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the terminal was shown of the work; a cluster that is asked for is not to be had."""
    seen: list[float] = []

    class SeenProgress(Progress):
        def update(self, share: float, words: str) -> None:
            super().update(share, words)
            seen.append(share)

    def refuse(**options: object) -> None:
        raise StageFailed("no cluster")

    monkeypatch.setattr(predict, "Progress", SeenProgress)
    monkeypatch.setattr(cluster, "connect", refuse)
    return seen


def write_images(folder: Path, count: int, kind: str) -> Path:
    """Write pictures into a folder, whose images are counted by their names, or an archive, which is read for that."""
    content = png(0)
    if kind == "folder":
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:03d}.png").write_bytes(content)
        return folder
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for number in range(count):
            archive.writestr(f"{number:03d}.png", content)
    return folder.with_suffix(".zip")


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_ray_is_started_beyond_500_images(experiment: Run, tmp_path: Path, shares: list[float], kind: str) -> None:
    """500 images are classified in this process, with a bar that moves; for one more Ray is started."""
    few = write_images(tmp_path / "few", 500, kind)
    predict.write_predictions(str(experiment.root), [str(few)], str(tmp_path / "few.parquet"), verbose=False)
    assert len(pq.read_table(tmp_path / "few.parquet")) == 500
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len({share for share in shares if 0 < share < 1}) >= 3, "it moves on the way"
    many = write_images(tmp_path / "many", 501, kind)
    with pytest.raises(StageFailed, match="no cluster"):
        predict.write_predictions(str(experiment.root), [str(many)], str(tmp_path / "many.parquet"), verbose=False)
    assert not (tmp_path / "many.parquet").exists()


def test_log_of_failed_work_has_the_reason(
    experiment: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What Ray printed before it gave up is in the file of the message; with --verbose it is on the terminal."""

    def fail(**options: object) -> None:
        os.write(2, b"the reason\n")  # as Ray's processes print
        raise StageFailed("a worker failed")

    monkeypatch.setattr(cluster, "connect", fail)
    monkeypatch.setattr(predict, "MAX_IMAGES_IN_PROCESS", 1)
    images = [str(write_images(tmp_path / "images", 2, "folder"))]

    def classify(verbose: bool) -> str:
        with pytest.raises(StageFailed) as caught:
            predict.write_predictions(str(experiment.root), images, str(tmp_path / "answers.csv"), verbose)
        return str(caught.value)

    match = re.fullmatch("a worker failed; see (.+)", classify(verbose=False))
    assert match
    assert "the reason" in Path(match[1]).read_text()
    Path(match[1]).unlink()
    assert "the reason" not in capfd.readouterr().err
    assert classify(verbose=True) == "a worker failed"
    assert "the reason" in capfd.readouterr().err
