"""The data sets of several splits come from sources that are read once, and are the same as those made one by one."""

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ganaug_ray.config import DataConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import audit
from ganaug_ray.data.ingest.scan import survey_without_storing
from ganaug_ray.data.prepare import prepare_dataset, prepare_datasets
from ganaug_ray.errors import UserError
from ganaug_ray.runtime.executors import map_serially
from tests.helpers.labelled import lay_out, png

SAME_FILES = ("split.parquet", "near_duplicates.parquet", "unlabelled.parquet", "rejected.parquet")


def test_sources_are_read_once_for_all_splits(tmp_path: Path) -> None:
    """Three splits read each part of the source once, and have what three separate preparations give."""
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(12):
            pixels = np.random.default_rng(100 * number + index).integers(0, 256, (40, 48, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{index}.png")
    base = DataConfig(source=[str(tmp_path / "pictures")], train_per_class=4, unlabelled=["unused"], image_size=32)
    configs = [base.derive_fold(fold, 3) for fold in range(3)]
    parts_read: list[Any] = []

    def map_and_count(function: Any, items: Iterable[Any]) -> Iterator[Any]:
        if getattr(function, "func", None) is audit.audit_part:
            parts_read.extend(items)
        return map_serially(function, items)

    together = [Folder.from_uri(tmp_path / f"together-{fold}") for fold in range(3)]
    records = prepare_datasets(configs, together, map_and_count)
    names = [name for name, _ in parts_read]
    assert names
    assert len(names) == len(set(names))

    for fold, (config, folder, record) in enumerate(zip(configs, together, records, strict=True)):
        alone = Folder.from_uri(tmp_path / f"alone-{fold}")
        expected = prepare_dataset(config, alone)
        assert (record.hash, record.counts, record.mean) == (expected.hash, expected.counts, expected.mean)
        for name in SAME_FILES:
            assert folder.read_table(name).equals(alone.read_table(name)), name
        for part in ("train", "val", "test", "unlabelled"):
            shards = (folder / part).list_files()
            assert shards == (alone / part).list_files()
            for shard in shards:
                assert (folder / part).read_bytes(shard) == (alone / part).read_bytes(shard), (part, shard)
    assert len({record.hash for record in records}) == 3
    assert not [info for info in together[0].list_entries() if info.base_name == ".staged"]


def find_splits(*sources: Path) -> tuple[set[tuple[str, str]], str]:
    """Return the pairs of the split that an image came in and the one it is in, and all remarks."""
    found = survey_without_storing(DataConfig(source=[str(source) for source in sources]))
    pairs = zip(found.usable["came_in"].to_pylist(), found.usable["split"].to_pylist(), strict=True)
    return {*pairs}, "\n".join(found.remarks)


AS_GIVEN = {("train", "train"), ("train", "val"), ("test", "test")}  # val is taken from train where none is given


@pytest.mark.parametrize("names", [("pets_train", "pets_test"), ("train_labels", "test_labels"), ("aTrain", "aTest")])
def test_splits_in_names_of_tables_hold(names: tuple[str, str], tmp_path: Path) -> None:
    """Images stay in the splits that stand as a word in the names of all sources; where one has none, that is said."""
    lay_out(tmp_path, *(f"{number}.png" for number in range(48)))
    tables = [tmp_path / f"{name}.csv" for name in (*names, "more")]
    for place, table in enumerate(tables):
        rows = (f"{number}.png,{number % 2}" for number in range(16 * place, 16 * place + 16))
        table.write_text("\n".join(["image,label", *rows]))
    assert find_splits(*tables[:2])[0] == AS_GIVEN
    assert "has the word train, but that of more.csv names no split" in find_splits(tables[0], tables[2])[1]


def write_part(source: Path, numbers: range) -> None:
    """Write a source of pictures of two classes: a table beside them, an archive, a Parquet file, or a folder."""
    source.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".parquet":
        rows = [{"image": png(number), "label": number % 2} for number in numbers]
        pq.write_table(pa.Table.from_pylist(rows), source)
    elif source.suffix == ".zip":
        with zipfile.ZipFile(source, "w") as archive:
            for number in numbers:
                archive.writestr(f"{number % 2}/{number}.png", png(number))
    else:
        for number in numbers:
            path = source.parent / f"{number}.png" if source.suffix else source / f"{number % 2}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(number))
        if source.suffix:
            source.write_text("\n".join(["image,label", *(f"{number}.png,{number % 2}" for number in numbers)]))


@pytest.mark.parametrize("name", ["labels.csv", "_classes.csv", "0000.parquet", "data.zip", "imgs", "a/imgs"])
@pytest.mark.parametrize("folders", [("train", "test"), ("pets_train", "pets_test"), ("train/b", "test")])
def test_splits_in_folders_of_sources_hold(name: str, folders: tuple[str, str], tmp_path: Path) -> None:
    """Images stay in the splits of the folders that their sources lie in, also where given splits are insisted on."""
    sources = [tmp_path / "test" / folder / name for folder in folders]
    for place, source in enumerate(sources):
        write_part(source, range(16 * place, 16 * place + 16))
    pairs, remarks = find_splits(*sources)
    assert pairs == AS_GIVEN
    assert "images stay in the splits they came in, train and test" in remarks
    config = {"source": list(map(str, sources)), "split": {"given": True}}
    assert set(survey_without_storing(DataConfig.model_validate(config)).usable["came_in"].to_pylist()) == {
        "train",
        "test",
    }
    anew = survey_without_storing(DataConfig.model_validate(config | {"split": {"given": False}}))
    pairs_anew = {*zip(anew.usable["came_in"].to_pylist(), anew.usable["split"].to_pylist(), strict=True)}
    assert ("test", "train") in pairs_anew
    assert any("were split anew; data.split: given keeps them there" in remark for remark in anew.remarks)


def test_folders_of_splits_beside_another_are_said(tmp_path: Path) -> None:
    """Where one source lies in no folder for a split, the others are split anew, and a remark says so; it helps."""
    sources = [tmp_path / name / "labels.csv" for name in ("train", "test", "more")]
    for place, source in enumerate(sources):
        write_part(source, range(16 * place, 16 * place + 16))
    pairs, remarks = find_splits(*sources)
    assert {came_in for came_in, _ in pairs} == {None}
    assert "labels.csv lies in a folder for train, but " in remarks
    (tmp_path / "train" / "b").mkdir()
    moved = (tmp_path / "more").rename(tmp_path / "train" / "b" / "more") / "labels.csv"
    assert find_splits(*sources[:2], moved) == find_splits(sources[0], moved, sources[1])
    assert find_splits(*sources[:2], moved)[0] == AS_GIVEN


@pytest.mark.parametrize("name", ["pets_{}.parquet", "pets-{}-00000-of-00001.parquet", "split={}/part-0.parquet"])
def test_splits_in_names_of_shards_hold(name: str, tmp_path: Path) -> None:
    """Images stay in the splits that the names of all Parquet files in a folder have."""
    for place, split in enumerate(("train", "test")):
        images = [png(number) for number in range(16 * place, 16 * place + 16)]
        file = tmp_path / name.format(split)
        file.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"image": images, "label": ["cat", "dog"] * 8}), file)
    assert find_splits(tmp_path)[0] == AS_GIVEN


def test_labels_in_names_of_partitions_are_refused(tmp_path: Path) -> None:
    """Labels that only the names of folders have are refused, and the folder is named."""
    for name in ("cat", "dog"):
        (tmp_path / f"label={name}").mkdir()
        pq.write_table(pa.table({"image": [png(0)]}), tmp_path / f"label={name}" / "part-0.parquet")
    with pytest.raises(UserError, match="label=…, which is not read; write a column label"):
        find_splits(tmp_path)


SPLIT_CELLS = [
    ("type", "train", "test"),
    ("Usage", "Training", "PrivateTest"),
    ("is_train", "1", "0"),
    ("is_test", "False", "True"),
]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(("column", "train", "test"), SPLIT_CELLS)
def test_unused_column_of_splits_is_read(column: str, train: str, test: str, suffix: str, tmp_path: Path) -> None:
    """A column of any name whose cells all name splits has them, and so has a flag; the remark names the column."""
    lay_out(tmp_path, *(f"{number}.png" for number in range(32)))
    cells = [train] * 16 + [test] * 16
    table = {"image": [f"{number}.png" for number in range(32)], "label": ["cat", "dog"] * 16, column: cells}
    if suffix == "csv":
        rows = zip(*table.values(), strict=True)
        (tmp_path / "t.csv").write_text("\n".join(map(",".join, [tuple(table), *rows])))
    else:
        pq.write_table(pa.table(table), tmp_path / "t.parquet")
    pairs, remarks = find_splits(tmp_path / f"t.{suffix}")
    assert pairs == AS_GIVEN
    assert column.startswith("is_") or f"column {column} is read as the split of each row" in remarks


@pytest.mark.parametrize("column", ["is_test", "fold", "weight", "id"])
def test_column_beside_classes_is_no_class(column: str, tmp_path: Path) -> None:
    """Beside columns that each stand for a class, one that is called as a split, a weight or an id is no class."""
    lay_out(tmp_path, *(f"{number}.png" for number in range(32)))
    rows = (f"{number}.png,{number % 2},{1 - number % 2},{number // 16}" for number in range(32))
    (tmp_path / "t.csv").write_text("\n".join([f"image,cat,dog,{column}", *rows]))
    found = survey_without_storing(DataConfig(source=[str(tmp_path / "t.csv")]))
    assert found.classes == ["cat", "dog"]
    assert len(found.usable) == 32
    assert set(found.usable["came_in"].to_pylist()) == ({"train", "test"} if column == "is_test" else {None})


@pytest.mark.parametrize("form", ["images_{}/{}", "pets-{}/{}", "{}_{}s", "{1}_{0}"])
def test_splits_in_names_of_folders_hold(form: str, tmp_path: Path) -> None:
    """Images stay in the splits that all folders have as a word in their names, where their classes are the same."""
    names = [(split, name) for split in ("train", "test") for name in ("cat", "dog")]
    source = lay_out(tmp_path, *(f"{form.format(*pair)}/{number}.png" for pair in names for number in range(8)))
    pairs, remarks = find_splits(source)
    assert pairs == AS_GIVEN
    assert "used as splits because of their names" in remarks
    assert len(survey_without_storing(DataConfig(source=[str(source)])).classes) == 2


def test_unsure_splits_in_names_of_folders_are_said(tmp_path: Path) -> None:
    """Folders with splits in their names that hold different classes are classes, and the remark says so."""
    names = ("train_cat", "test_dog", "val_cow")
    found = find_splits(lay_out(tmp_path, *(f"{name}/{number}.png" for name in names for number in range(8))))
    assert "have splits in their names, but are not used as splits" in found[1]


@pytest.mark.parametrize(
    "names",
    [
        ("images_train", "images_test"),
        ("train_images", "test_imgs", "val_images"),
        ("pets-train", "pets-test"),
        ("train", "testPics"),
    ],
)
def test_folders_of_splits_are_no_classes(names: tuple[str, ...], tmp_path: Path) -> None:
    """Folders of images that only splits in their names tell apart are no classes; a table beside them has these."""
    paths = [f"{name}/{number}{place}.png" for place, name in enumerate(names) for number in range(8)]
    lay_out(tmp_path, *paths)
    with pytest.raises(UserError, match="which names a split, not a class"):
        find_splits(tmp_path)
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["image,label", *(f"{path},{number % 2}" for number, path in enumerate(paths))]))
    found = survey_without_storing(DataConfig.model_validate({"source": [str(tmp_path)]}))
    assert found.classes == ["0", "1"]
    came_in = {row["path"].partition("/")[0]: row["came_in"] for row in found.usable.to_pylist()}
    assert came_in == {name: next(split for split in ("train", "test", "val") if split in name) for name in names}


def test_holdout_is_renamed_to_test(tmp_path: Path) -> None:
    """A folder called holdout beside train is named wherever there is no test, and renaming it works."""
    names = [f"{split}/{name}/{n}.png" for split in ("train", "holdout") for name in ("cat", "dog") for n in range(8)]
    lay_out(tmp_path, *names)
    assert "holdout names no split, so rename it to test" in find_splits(tmp_path)[1]
    config = DataConfig.model_validate({"source": [str(tmp_path)], "split": "given"})
    with pytest.raises(UserError, match="holdout names no split, so rename it to test"):
        survey_without_storing(config)
    (tmp_path / "holdout").rename(tmp_path / "test")
    assert find_splits(tmp_path)[0] == AS_GIVEN
