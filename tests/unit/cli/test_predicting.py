"""``ganaug predict`` on the terminal: where it is done without Ray, and how far it is."""

from __future__ import annotations

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
