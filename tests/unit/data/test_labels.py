"""Labels are understood at one place: folders that are no classes, columns and cells of tables, and what has none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganaug_ray.config import DataConfig, LabelFrom, SplitConfig
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import sources as readers
from ganaug_ray.data.ingest.given_splits import resolve_given
from ganaug_ray.data.ingest.scan import survey_without_storing as survey
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.errors import UserError
from tests.helpers.labelled import lay_out, png, read, read_labels

NONE = "<no class>"
CONFLICT = "<label conflict>"
ASIDE = "<sidecar file>"


@pytest.mark.parametrize(
    "layout",
    [
        {"cat/1.png": "cat", "dog/1.png": "dog"},
        {"pets/cat/1.png": "cat", "pets/dog/1.png": "dog"},
        {"train/cat/1.png": "cat", "test/cat/1.png": "cat", "Valid/dog/1.png": "dog"},
        {"cat/train/1.png": "cat", "dog/train/1.png": "dog", "dog/test_set/2.png": "dog"},
        {"cat/images/1.png": "cat", "dog/images/2.png": "dog", "owl/3.png": "owl"},
        {"train/cat/images/1.png": "cat", "train/dog/images/1.png": "dog", "val/images/1.png": NONE},
        {"COVID/images/1.png": "COVID", "COVID/masks/1.png": ASIDE, "Normal/images/1.png": "Normal"},
        {"cat/1.png": "cat", "cat/masks/1.png": ASIDE, "dog/1.png": "dog"},
        {"images/cat/1.png": "cat", "images/dog/1.png": "dog", "masks/cat/1.png": ASIDE},
        {"mask/1.png": "mask", "no_mask/1.png": "no_mask"},
        {"images/cat/1.png": "cat", "masks/cat/1.png": ASIDE, "preview/1.png": "preview", "images/dog/1.png": "dog"},
        {"train/cat/1.png": "cat", "train/dog/1.png": "dog", "train_masks/cat/1.png": ASIDE},
        {"images/cat/1.png": "cat", "images/dog/1.png": "dog", "images_gt/cat/1.png": ASIDE},
        {"face/1.png": "face", "face_mask/1.png": "face_mask"},
        {"photos/1.png": "photos", "drawings/1.png": "drawings"},
        {"train/cat/1.png": "cat", "train/dog/1.png": "dog", "test/1.png": NONE},
        {"cat/1.png": "cat", "dog/1.png": "dog", "test/1.png": NONE, "2.png": NONE},
        {"train/train/1.png": "train", "train/bus/1.png": "bus", "test/train/1.png": "train", "test/bus/1.png": "bus"},
        {"pets/train/1.png": NONE, "pets/test/2.png": NONE},
        {"images/1.png": NONE},
        {"cat/1.png": "cat", "cat/1_mask.png": ASIDE, "cat/1_Mask_2.tif": ASIDE, "cat/2_mask.png": "cat"},
        {"cat/1.png": "cat", "cat/1.mask.png": ASIDE, "cat/1 masks.png": ASIDE, "cat/1_GroundTruth.png": ASIDE},
        {"cat/run.png": "cat", "cat/run-seg-1.png": ASIDE, "cat/run2.png": "cat"},
        {"cat/1.jpg": "cat", "cat/1-seg.png": ASIDE, "cat/1_gt1.png": ASIDE, "dog/1_mask.png": "dog"},
        {"cat/a_mask.png": "cat", "cat/b_mask.png": "cat", "dog/mask.png": "dog", "dog/1_masked.png": "dog"},
        {"1/1.png": "1", "1.0/1.png": "1.0", "01/1.png": "01", "b'1'/1.png": "b'1'"},
    ],
)
def test_folders_name_the_classes(layout: dict[str, str], tmp_path: Path) -> None:
    """The class is the folder that names one: no split, no folder that says images or masks."""
    assert read_labels(lay_out(tmp_path, *layout)) == layout


def test_sidecar_files_are_passed_over(tmp_path: Path) -> None:
    """Texts beside images are counted and neither kept nor rejected; an image of such a name is an image."""
    root = lay_out(tmp_path / "pics", *(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(8)))
    for name in ("cat/0.txt", "cat/0.xml", "dog/labels.csv", "README"):
        (root / name).write_text("" if name == "cat/0.txt" else "text")
    (root / "dog" / "really.txt").write_bytes(png(99))
    found = survey(DataConfig(source=[str(root)]))
    assert found.passed_over == {"sidecar file": 4}
    assert (len(found.usable), len(found.rejected)) == (17, 0)


def test_masks_beside_images_are_told(tmp_path: Path) -> None:
    """Files called as masks of images in their class folder are counted, named once, and never trained on."""
    images = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(8)]
    root = lay_out(tmp_path, *images, "cat/0_mask.png", "dog/1_mask.png")
    found = survey(DataConfig(source=[str(root)]))
    assert len(found.usable) == 16
    assert found.passed_over == {"sidecar file": 2}
    assert any("such as cat/0_mask.png" in remark for remark in found.remarks)


def test_masks_of_named_images_are_told(tmp_path: Path) -> None:
    """Where names have the labels, masks beside their images are skipped too, unless mask is a label."""
    images = [f"{name}_{number}.png" for name in ("cat", "dog") for number in range(8)]
    root = lay_out(tmp_path / "named", *images, "cat_0_mask.png", "dog_1-seg.png")
    found = survey(DataConfig(source=[str(root)], label_from=LabelFrom(regex="^(?P<label>[a-z]+)_")))
    assert len(found.usable) == 16
    assert found.passed_over == {"sidecar file": 2}
    assert any("2 files are named like masks" in remark for remark in found.remarks)
    worn = {"1.png": NONE, "1_mask.png": "mask", "2_mask.png": "mask", "2_bare.png": "bare"}
    root = lay_out(tmp_path / "faces", *worn)
    assert read_labels(root, LabelFrom(regex=r"_(?P<label>\w+)\.")) == worn


def test_renamed_masks_become_images(tmp_path: Path) -> None:
    """Files that were skipped as masks are images once they have names of their own, as the remark advises."""
    root = lay_out(tmp_path, "cat/0.png", "cat/0_mask.png", "dog/1.png")
    assert read_labels(root)["cat/0_mask.png"] == ASIDE
    (root / "cat" / "0_mask.png").rename(root / "cat" / "masked_cat.png")
    assert read_labels(root)["cat/masked_cat.png"] == "cat"


def layout_of(*splits: str) -> list[str]:
    return [f"{split}/{name}/{i}.png" for split in splits for name in ("cat", "dog") for i in range(8)]


def test_split_folders_are_kept(tmp_path: Path) -> None:
    """Folders train and test with classes inside are the splits, and the record says so and how to change it."""
    root = lay_out(tmp_path / "pics", *layout_of("train", "test"))
    record = prepare_dataset(DataConfig(source=[str(root)]), Folder.from_uri(tmp_path / "dataset"))
    assert record.classes == ["cat", "dog"]
    assert record.counts["test"] == {"cat": 8, "dog": 8}
    (remark,) = record.remarks
    assert "stay in the splits they came in, train and test; data.split: {given: false} splits" in remark
    assert remark[1:] in (tmp_path / "dataset" / "card.html").read_text()
    config = DataConfig(source=[str(root)], split=SplitConfig(val=0.2, test=0.2))
    anew = survey(config)
    assert sum(anew.count_images()["test"].values()) < 16
    assert "were split anew; data.split: given keeps them there" in anew.remarks[0]


def test_unusable_splits_name_the_way_out(tmp_path: Path) -> None:
    """Where the folders cannot be the splits, the message names the setting that deals anew, and it works."""
    root = lay_out(tmp_path, *layout_of("train"), "test/cat/1.png", "test/cat/2.png")
    assert "class 'dog' has 0 usable images" in refuse(root)
    assert "data.split: {given: false}" in refuse(root)
    assert len(survey(DataConfig(source=[str(root)], split=SplitConfig(given=False))).usable) == 18


def test_splits_of_several_sources_are_kept(tmp_path: Path) -> None:
    """Two sources that are called train and test are the splits."""
    root = lay_out(tmp_path, *layout_of("train", "test"))
    both = DataConfig(source=[str(root / "train"), str(root / "test")])
    assert resolve_given(both).split.given is True
    assert resolve_given(DataConfig(source=[str(root / "train")])).split.given is False


def test_bare_test_folder_is_noted(tmp_path: Path) -> None:
    """A folder test without classes is no class: its images are left out, however many, and a note says why."""
    root = lay_out(tmp_path, *layout_of("train"), *(f"test/{i}.png" for i in range(30)))
    found = survey(DataConfig(source=[str(root)]))
    assert found.classes == ["cat", "dog"]
    assert found.count_rejects() == {"no class": 30}
    assert len(found.usable) + len(found.rejected) == 46
    assert "split: given needs a folder a class in each split" in found.remarks[0]


def test_test_images_without_labels_are_left_out(tmp_path: Path) -> None:
    """The one folder of a test split that train lacks is no class, a remark names it, and its advice works."""
    layout = [*layout_of("train"), *(f"test/unknown/{i}.png" for i in range(30))]
    root = lay_out(tmp_path / "bare", *layout)
    found = survey(DataConfig(source=[str(root)]))
    assert found.classes == ["cat", "dog"]
    assert sum(found.count_images()["test"].values()) > 0
    assert found.count_rejects() == {"no class": 30}
    assert "lies in test/unknown: test has no other folder" in found.rejected["detail"][0].as_py()
    (remark,) = (remark for remark in found.remarks if remark.startswith("test/unknown is not taken"))
    assert "add such a folder to train, and set data.split: {given: false}" in remark
    root = lay_out(tmp_path / "class", *layout, "train/unknown/1.png")
    split = SplitConfig(given=False)
    assert survey(DataConfig(source=[str(root)], split=split)).classes == ["cat", "dog", "unknown"]


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("order", [1, -1])
def test_source_of_bare_tests_is_left_out(order: int, kind: str, tmp_path: Path) -> None:
    """Where train and test are two sources, the one folder of the test source is no class either."""
    root = lay_out(tmp_path, *layout_of("train"), *(f"test/unknown/{i}.png" for i in range(30)))
    train, test = root / "train", root / "test"
    if kind == "zip":
        test = Path(shutil.make_archive(str(test), "zip", test))
    sources = [str(train), str(test)][::order]
    found = survey(DataConfig(source=sources))
    assert found.classes == ["cat", "dog"]
    assert sum(found.count_images()["test"].values()) > 0
    assert found.count_rejects() == {"no class": 30}
    assert {*found.rejected["came_in"].to_pylist()} == {"test"}
    (remark,) = (remark for remark in found.remarks if remark.startswith(f"{test}/unknown is not taken"))
    assert "add such a folder to train, and set data.split: {given: false}" in remark
    (train / "unknown").mkdir()
    (train / "unknown" / "1.png").write_bytes(png(999))
    assert survey(DataConfig(source=sources, split=SplitConfig(given=False))).classes == ["cat", "dog", "unknown"]


def test_source_of_other_tests_has_classes(tmp_path: Path) -> None:
    """A test source whose folder train has, or that has several, is one of labelled images, as is one with a table."""
    train = lay_out(tmp_path / "train", "cat/1.png", "dog/2.png")
    for number, paths in enumerate([["cat/3.png"], ["owl/3.png", "cow/4.png"]]):
        test = lay_out(tmp_path / str(number) / "test", *paths)
        parts = readers.list_parts([str(train), str(test)], LabelFrom())
        assert {*paths} <= {raw.path for part in parts for raw in part() if raw.label is not None}


def test_unlabelled_test_images_can_be_used(tmp_path: Path) -> None:
    """Test images that are left out since they have no labels can be named in data.unlabelled."""
    root = lay_out(tmp_path, *layout_of("train"), *(f"test/unknown/{i}.png" for i in range(30)))
    found = survey(DataConfig(source=[str(root)], unlabelled=[str(root / "test")]))
    assert found.unlabelled["reason"].null_count == 30


@pytest.mark.parametrize("test", ["owl/test/1.png", "test/cat/1.png", "test/Cat/1.png"])
def test_other_test_folders_are_classes(test: str, tmp_path: Path) -> None:
    """A test folder in a class folder is of that class, and so is one whose class train has."""
    layout = ["cat/train/1.png", "dog/train/2.png"] if test.startswith("owl") else layout_of("train")
    assert read_labels(lay_out(tmp_path, *layout, test))[test] == ("owl" if test.startswith("owl") else "cat")


def write_csv(root: Path, text: str) -> LabelFrom:
    (root / "labels.csv").write_text(text)
    return LabelFrom(csv=str(root / "labels.csv"))


TABLES = {
    "usual": "image,label\n1.png,cat\n2.png,dog\n",
    "spaces": "image , label\n 1.png , cat \n 2.png , dog \n",
    "quoted": '"label","image"\n"cat","1.png"\n"dog","2.png"\n',
    "other names": "Filename;Class Name\n1.png;cat\n2.png;dog\n",
    "commas in a name": "image ; label ; height, width, depth, age\n1.png ; cat ; 7\n2.png ; dog ; 9\n",
    "tabs and ids": "id\tbreed\n1\tcat\n2\tdog\n",
    "bars": "file_path|height|category\nimg/1.png|7|cat\nimg/2.png|7|dog\n",
    "no header": "1.png,cat\n2.png,dog\n",
    "a space": "1.png cat\n2.png dog\n",
    "bytes": "image,label\n1.png,b'cat'\n2.png,b'dog'\n",
    "one-hot": "image,cat,dog\n1.png,1,0\n2.png,0,1\n",
    "one-hot with row numbers": "Unnamed: 0,image,cat,dog\n0,1.png,1,0\n1,2.png,0,1\n",
    "one-hot floats": "image,cat,dog\n1,1.0,0.0\n2,0.0,1.0\n",
    "extra columns": "split,image,label\ntrain,1.png,cat\ntest,2.png,dog\n",
}


@pytest.mark.parametrize("kind", TABLES)
def test_label_tables_are_understood(kind: str, tmp_path: Path) -> None:
    """Tables of all usual forms give the same labels."""
    root = lay_out(tmp_path / "pics", "1.png", "2.png")
    assert read_labels(root, write_csv(tmp_path, TABLES[kind])) == {"1.png": "cat", "2.png": "dog"}
    csv = root / "labels.csv"
    csv.write_text(TABLES[kind].replace("img/", ""))
    assert set(read_labels(csv).values()) == {"cat", "dog"}


def test_columns_are_named_by_setting(tmp_path: Path) -> None:
    """Columns of any name are read where the setting names them, and a wrong name is refused."""
    root = lay_out(tmp_path / "pics", "1.png", "2.png")
    table = write_csv(tmp_path, "Bild*Befund*age\n1.png*cat*7\n2.png*dog*9\n")
    labels = read_labels(root, table, image="Bild", label="Befund", separator="*")
    assert labels == {"1.png": "cat", "2.png": "dog"}
    with pytest.raises(UserError, match=r"Bild, Befund, age; .*data\.columns: art"):
        read_labels(root, table, label="art", separator="*")
    with pytest.raises(UserError, match=r"labels\.csv: .*Bild.*data\.columns: \{image: \.\.\., label"):
        read_labels(root, table)
    with pytest.raises(UserError, match="line 2: found 'cat' in Befund, expected a 1 for the class and a 0"):
        read_labels(root, table, image="Bild", label=["Befund", "age"], separator="*")


def test_numbers_in_names_stay(tmp_path: Path) -> None:
    """Labels in the names of files are as they are written there: 1 and 1.0 are two."""
    root = lay_out(tmp_path, "1_a.png", "1.0_b.png")
    assert read_labels(root, LabelFrom(regex="^(?P<label>[0-9.]+)_")) == {"1_a.png": "1", "1.0_b.png": "1.0"}


def test_contradicting_rows_are_conflicts(tmp_path: Path) -> None:
    """Rows that contradict each other, have two classes or none make no label, and say why."""
    root = lay_out(tmp_path / "pics", *(f"{i}.png" for i in range(1, 6)))
    table = write_csv(
        tmp_path, "image,label\n1.png,cat\n1.png,dog\n2.png,cat\n2.png,cat\n3.png,\n4.png,dog\n9.png,dog\n"
    )
    *labels, remark = sorted(read(root, table), key=lambda raw: raw.path[0] == "/")
    assert [raw.label for raw in labels] == [None, "cat", None, "dog", None]
    assert labels[0].objection == ("label conflict", "labels.csv lines 2 and 3: labelled cat, dog")
    assert labels[2].objection == ("no class", "labels.csv line 6: no label")
    assert labels[4].objection is not None
    assert "no row" in labels[4].objection[1]
    assert remark.content.detail == "1 of 7 rows of labels.csv fits no image, such as 9.png in line 8"
    several = write_csv(tmp_path, "image,cat,dog\n1.png,1,1\n2.png,0,0\n3.png,1,0\n")
    found = read_labels(root, several)
    assert [found[f"{i}.png"] for i in range(1, 4)] == [CONFLICT, NONE, "cat"]


def test_manifest_rows_are_accounted_for(tmp_path: Path) -> None:
    """Every row of a manifest is an image or a reason."""
    lay_out(tmp_path, "1.png", "2.png")
    (tmp_path / "list.csv").write_text("image,label\n1.png,cat\n2.png,\n,dog\n3.png,dog\n")
    assert read_labels(tmp_path / "list.csv") == {
        "1.png": "cat", "2.png": NONE, "list.csv#4": NONE, "3.png": "<cannot be read>",
    }  # fmt: skip


def write_parquet(path: Path, labels: Any, names: list[str] | None = None) -> Path:
    table = pa.table({"image": [{"bytes": png(i), "path": None} for i in range(len(labels))], "label": labels})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["cat", " dog"], ["cat", "dog"]),
        ([b"cat", b"dog"], ["cat", "dog"]),
        (pa.array(["cat", "dog"]).dictionary_encode(), ["cat", "dog"]),
        ([0, 1], ["0", "1"]),
        ([0.0, 1.0], ["0", "1"]),
        ([True, False], ["True", "False"]),
        ([None, float("nan")], [NONE, NONE]),
    ],
)
def test_parquet_labels_are_text(labels: Any, classes: list[str], tmp_path: Path) -> None:
    """Labels of every type become text, and no number gets a point."""
    assert list(read_labels(write_parquet(tmp_path / "rows.parquet", labels)).values()) == classes


@pytest.mark.parametrize("labels", [[["cat"], ["dog"]], [{"name": "cat"}, {"name": "dog"}]])
def test_nested_labels_are_refused(labels: Any, tmp_path: Path) -> None:
    """A column of lists or structs is no column of labels."""
    with pytest.raises(UserError, match=r"column label holds .*; expected labels, text or numbers"):
        read_labels(write_parquet(tmp_path / "rows.parquet", labels))


def test_parquet_shards_are_read(tmp_path: Path) -> None:
    """A folder of shards is a source: names of classes come from the schema, splits from the names of the files."""
    for split in ("train", "test"):
        for number in range(2):
            labels = [0, 1, -1] if number else [1, 0, 1]
            write_parquet(tmp_path / "data" / f"{split}-0000{number}-of-00002.parquet", labels, ["cat", "dog"])
    (tmp_path / "README.md").write_text("a data set")
    rows = read(tmp_path)
    assert [raw.label for raw in rows[:6]] == ["dog", "cat", "dog", "cat", "dog", None]
    assert [raw.split for raw in rows[:12]] == ["test"] * 6 + ["train"] * 6
    assert resolve_given(DataConfig(source=[str(tmp_path)])).split.given is True


def test_class_names_of_jobs_are_text(tmp_path: Path) -> None:
    """Names of classes in a job are text, whatever YAML takes them for."""
    job = tmp_path / "job.yaml"
    job.write_text(
        "data: {source: x, imbalance: {factor: 2, rare: [no, 010, null, 1.0]}}\ngan: {steps: 9}\nclassifier: {steps: 9}"
    )
    assert load_job(job).data.imbalance.rare == ["no", "010", "null", "1.0"]
    assert load_job(job, ["data.imbalance.rare=[off]"]).data.imbalance.rare == ["off"]


def refuse(root: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as refusal:
        survey(DataConfig(source=[str(root)], **settings))
    return str(refusal.value)


def test_missing_labels_name_their_cause(tmp_path: Path) -> None:
    """Images that can be read and have no class are never called unreadable: the message says why they have none."""
    root = lay_out(tmp_path / "pics", "1.png", "2.png")
    assert "no image has a label that can be used (2 × no class); 1.png: lies in no class folder" in refuse(root)
    table = write_csv(tmp_path, "image,label\nx/7.png,cat\nx/8.png,dog\n")
    words = refuse(root, label_from=table)
    assert "labels.csv has no row that fits it; its 2 rows name images, such as x/7.png" in words
    words = refuse(root, label_from=LabelFrom(regex="^(?P<label>cat)"))
    assert "finds no label in 1.png" in words
    assert "no class" in refuse(lay_out(tmp_path / "flat", "train/1.png", "test/2.png"))
