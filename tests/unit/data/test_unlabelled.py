"""Images without labels: judged like the others, and none of them is one that is labelled, or like one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganaug_ray.config import DataConfig, ImbalanceConfig, SplitConfig
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.errors import UserError
from tests.conftest import DIGITS


def picture(seed: int) -> Image.Image:
    """A smooth picture, which a hash knows again when it is saved in another way."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Twenty pictures of each of two classes."""
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "labelled" / name).mkdir(parents=True)
        for i in range(20):
            picture(100 * number + i).save(tmp_path / "labelled" / name / f"{i}.png")
    return tmp_path / "labelled"


def prepared(out: Path, labelled: Path, **settings: object) -> tuple[DatasetRecord, Folder]:
    config = DataConfig.model_validate(
        {"source": str(labelled), "image_size": 64, "split": SplitConfig(val=0.2, test=0.3)} | settings
    )
    return prepare_dataset(config, Folder.from_uri(out)), Folder.from_uri(out)


def reasons(dataset: Folder) -> dict[str, str | None]:
    return {row["path"]: row["reason"] for row in dataset.read_table("unlabelled.parquet").to_pylist()}


def test_unlabelled_duplicates_are_left_out(labelled: Path, tmp_path: Path) -> None:
    """Unlabelled images that equal or resemble a labelled one are left out, and the rest is stored."""
    _, without = prepared(tmp_path / "without", labelled)
    paths = {part: image_store.read_images(without / part).paths[0] for part in ("train", "val", "test")}
    source = tmp_path / "more"
    (source / "whatever").mkdir(parents=True)
    (source / "other").mkdir()
    for i in range(10):
        picture(900 + i).save(source / "whatever" / f"new{i}.png")
    picture(900).save(source / "other" / "again.png")
    (source / "page.jpg").write_text("<html>")
    picture(950).save(source / "flat.png")
    for part, path in paths.items():
        image = Image.open(labelled / path)
        image.save(source / f"is {part}.png")
        image.save(source / f"near {part}.jpg", quality=60)
    record, dataset = prepared(tmp_path / "with", labelled, unlabelled=str(source))
    found = reasons(dataset)
    new = {f"whatever/new{i}.png" for i in range(1, 10)} | {"flat.png"}
    assert {path for path, reason in found.items() if reason is None} >= new
    expected = {"page.jpg": "not an image"}
    for part in paths:
        expected |= {f"is {part}.png": f"in {part}", f"near {part}.jpg": f"near {part}"}
    assert expected.items() <= found.items()
    assert [found["other/again.png"], found["whatever/new0.png"]].count("duplicate") == 1, "whatever its folder is"
    rows = image_store.read_images(dataset / "unlabelled")
    assert set(rows.labels.tolist()) == {-1}
    assert set(rows.paths) == {path for path, reason in found.items() if reason is None}
    assert len(rows) == record.unlabelled == 11
    assert record.unlabelled_rejected["in test"] == record.unlabelled_rejected["near test"] == 1
    assert record.rejected == {}, "that is told of the labelled"
    assert image_store.read_images(dataset / "train").ids == image_store.read_images(without / "train").ids
    assert "11 images are used without a label" in (tmp_path / "with" / "card.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("scarce", [{"train_per_class": 4}, {"imbalance": ImbalanceConfig(factor=4, rare=["dog"])}])
def test_unused_images_hide_their_labels(labelled: Path, tmp_path: Path, scarce: dict) -> None:
    """Images that scarcity leaves over serve as unlabelled ones, with their labels hidden."""
    plain, _ = prepared(tmp_path / "plain", labelled, **scarce)
    record, dataset = prepared(tmp_path / "dataset", labelled, unlabelled="unused", **scarce)
    rows = image_store.read_images(dataset / "unlabelled")
    assert len(rows) == record.unlabelled == sum(record.counts["unused"].values()) > 0
    assert set(rows.labels.tolist()) == {-1}
    used = {id_ for part in ("train", "val", "test") for id_ in image_store.read_images(dataset / part).ids}
    assert not used & set(rows.ids)
    assert record.counts == plain.counts
    assert record.hash != plain.hash


def test_datasets_work_without_unlabelled_images(labelled: Path, tmp_path: Path) -> None:
    """A dataset without unlabelled images has no folder for them and does not mention them."""
    record, dataset = prepared(tmp_path / "dataset", labelled)
    assert record.unlabelled == 0
    assert "unlabelled" not in dataset.list_folders()
    assert "without a label" not in (tmp_path / "dataset" / "card.html").read_text(encoding="utf-8")


def test_unusable_unlabelled_source_is_named(labelled: Path, tmp_path: Path) -> None:
    """An unlabelled source that cannot be used is an error that names its own key."""
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "a.jpg").write_text("<html>")
    for source, words in (
        ("nowhere", r"data\.unlabelled .*nowhere: .*no such folder"),
        ("pages", r"data\.unlabelled .*pages: no readable image"),
    ):
        with pytest.raises(UserError, match=words):
            prepared(tmp_path / "out", labelled, unlabelled=str(tmp_path / source))
    with pytest.raises(UserError, match=r"data\.unlabelled unused: no image is left over"):
        prepared(tmp_path / "out", labelled, unlabelled="unused")
    assert not (tmp_path / "out").exists()


def test_unlabelled_paths_follow_job_file() -> None:
    """Paths of unlabelled images are relative to the job file, and the word unused is not taken for a path."""
    here = DIGITS.parent
    assert load_job(DIGITS, ["data.unlabelled=unused"]).data.unlabelled == ["unused"]
    assert load_job(DIGITS, ["data.unlabelled=[unused, ../more]"]).data.unlabelled == ["unused", f"{here}/../more"]
    assert load_job(DIGITS, ["data.source=unused"]).data.source == [f"{here}/unused"]
