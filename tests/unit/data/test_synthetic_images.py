"""Images from elsewhere are read, judged and stored as the data set's own are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganaug_ray.config import ImagesConfig, Job
from ganaug_ray.core.records import DatasetRecord, ImagesRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest.synthetic_images import import_images
from ganaug_ray.data.loading import image_store
from ganaug_ray.errors import UserError


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Colour noise of 48 × 40 pixels under two classes, and a file that is no image."""
    draw = np.random.default_rng(0)
    for number, name in enumerate(["three", "three", "7", "7", "7"]):
        path = tmp_path / "made" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (40, 48, 3), np.uint8)).save(path)
    (tmp_path / "made" / "7" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path / "made"


def read(job: Job, digits: Folder, out: Path, **source: object) -> ImagesRecord:
    config = ImagesConfig.model_validate(source)
    return import_images(job.data, config, DatasetRecord.read(digits), Folder.from_uri(out))


def test_images_are_stored_like_real_ones(made: Path, tiny_job: Job, digits: Folder, tmp_path: Path) -> None:
    """They get the size, the colours and the class numbers of the data set, and keep where they came from."""
    record = read(tiny_job, digits, tmp_path / "out", source=str(made), classes={"three": "3"})
    assert record.counts == {"3": 2, "7": 3}
    assert sum(record.rejected.values()) == 1
    folder = Folder.from_uri(tmp_path / "out")
    (rejected,) = folder.read_table("rejected.parquet").to_pylist()
    assert rejected["path"].endswith("broken.png")
    rows = image_store.read_images(folder)
    assert rows.images.shape == (5, 32, 32, 1)
    assert sorted(rows.labels.tolist()) == [3, 3, 7, 7, 7]
    assert set(rows.provenance) == {str(made)}
    assert not [name for name in (tmp_path / "out").iterdir() if name.name == ".staged"]


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ({}, r"augment\.images .*made: the data set has no class three, only 0, 1, 2"),
        ({"three": "3", "owl": "4"}, r"classes names 'owl', which is not there; there are 7, three"),
        ({"three": "owl"}, r"classes maps 'three' to 'owl'; classes of the data set are 0, 1"),
    ],
)
def test_unknown_class_is_named(
    classes: dict[str, str], words: str, made: Path, tiny_job: Job, digits: Folder, tmp_path: Path
) -> None:
    """A class that one of both sides does not have is refused by its name."""
    with pytest.raises(UserError, match=words):
        read(tiny_job, digits, tmp_path / "out", source=str(made), classes=classes)


def test_arrays_get_their_advice(tiny_job: Job, digits: Folder, tmp_path: Path) -> None:
    """A folder of arrays is refused with what to do about them, as it is as data.source."""
    (tmp_path / "arrays" / "1").mkdir(parents=True)
    np.save(tmp_path / "arrays" / "1" / "a.npy", np.zeros((8, 8)))
    with pytest.raises(
        UserError, match=r"augment\.images .*1/a\.npy: holds arrays, which are not read; save each image"
    ):
        read(tiny_job, digits, tmp_path / "out", source=str(tmp_path / "arrays"))


def test_missing_source_names_the_setting(tiny_job: Job, digits: Folder, tmp_path: Path) -> None:
    """A source that is not there is refused under the name of its own setting."""
    with pytest.raises(UserError, match=r"augment\.images .*nowhere"):
        read(tiny_job, digits, tmp_path / "out", source=str(tmp_path / "nowhere"))
