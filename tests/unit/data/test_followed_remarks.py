"""What refusals and remarks of sources advise, followed: then the images are there, in the classes that were meant."""

from __future__ import annotations

import gzip
import json
import re
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganaug_ray.config import DataConfig
from ganaug_ray.config.yaml_text import parse_yaml
from ganaug_ray.data.ingest.scan import Survey, survey_without_storing
from ganaug_ray.errors import UserError
from tests.helpers.archives import BZIP2, Entry, zip_of
from tests.helpers.labelled import lay_out, png

CLASSES = ("cat", "dog")
PATHS = [f"{label}/{number}.png" for label in CLASSES for number in range(16)]


def survey(*sources: Path, **settings: object) -> Survey:
    return survey_without_storing(DataConfig.model_validate({"source": list(map(str, sources)), **settings}))


def refuse(*sources: Path, **settings: object) -> str:
    with pytest.raises(UserError) as refusal:
        survey(*sources, **settings)
    return str(refusal.value)


def find_remark(found: Survey, words: str) -> str:
    (remark,) = [remark for remark in found.remarks if words in remark]
    return remark


def assert_all_kept(found: Survey, images: int = len(PATHS)) -> None:
    assert found.classes == list(CLASSES)
    assert (len(found.usable), len(found.rejected)) == (images, 0)


def write_rows(path: Path) -> None:
    rows = [{"image": png(100 + number), "label": CLASSES[number % 2]} for number in range(32)]
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize("way", ["give the table", "move it out"])
def test_table_beside_images_is_read_alone(way: str, tmp_path: Path) -> None:
    """Of a Parquet table beside images the one is read that is given by its name, or the others once it has moved."""
    root = lay_out(tmp_path / "in", *PATHS)
    write_rows(root / "rows.parquet")
    message = refuse(root)
    if way == "give the table":
        advised = re.search(r"give (\S+); to read", message)
        assert advised, message
        assert_all_kept(survey(Path(advised[1])))
    else:
        assert "move the table out of the folder" in message
        (root / "rows.parquet").rename(tmp_path / "rows.parquet")
        assert_all_kept(survey(root))


def test_archives_in_folder_are_named_in_list(tmp_path: Path) -> None:
    """A folder of archives is refused; its archives in a list are read."""
    archives = []
    for label in CLASSES:
        archives.append(tmp_path / f"{label}.zip")
        names = [path for path in PATHS if path.startswith(label)]
        archives[-1].write_bytes(zip_of([Entry(name, png(PATHS.index(name))) for name in names]))
    assert "is an archive: name each archive in data.source, in a list" in refuse(tmp_path)
    assert_all_kept(survey(*archives))


def test_archive_beside_class_folders_is_told(tmp_path: Path) -> None:
    """An archive among images is rejected as what it is, and a remark says how to have it read."""
    names = [f"{label}/{number}.png" for label in ("cat", "dog") for number in range(16)]
    root = lay_out(tmp_path / "in", *names)
    (root / "bird.zip").write_bytes(zip_of([Entry("bird/1.png", png(99))]))
    found = survey(root)
    assert found.count_rejects() == {"archive": 1}
    (remark,) = found.remarks
    assert remark.startswith("bird.zip was not read: it is an archive: name each archive in data.source, in a list")


@pytest.mark.parametrize("way", ["pack the archive again with Deflate", "unpack it and give the folder"])
def test_other_compression_is_packed_again(way: str, tmp_path: Path) -> None:
    """An archive of another method is read once it is packed again, or unpacked."""
    root = lay_out(tmp_path / "in", *PATHS)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", BZIP2) as archive:
        for path in PATHS:
            archive.write(root / path, path)
    assert way in refuse(tmp_path / "a.zip")
    if "Deflate" in way:
        with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as again:
            for path in PATHS:
                again.write(root / path, path)
        assert_all_kept(survey(tmp_path / "b.zip"))
    else:
        zipfile.ZipFile(tmp_path / "a.zip").extractall(tmp_path / "unpacked")
        assert_all_kept(survey(tmp_path / "unpacked"))


def test_joined_tars_are_given_one_by_one(tmp_path: Path) -> None:
    """Tar archives that were joined are refused; each as its own file is read."""
    root = lay_out(tmp_path / "in", *PATHS)
    parts = []
    for label in CLASSES:
        parts.append(tmp_path / f"{label}.tar")
        with tarfile.open(parts[-1], "w") as archive:
            archive.add(root / label, label)
    (tmp_path / "joined.tar").write_bytes(b"".join(part.read_bytes() for part in parts))
    assert "give each as a file of its own" in refuse(tmp_path / "joined.tar")
    assert_all_kept(survey(*parts))


def test_hidden_images_are_renamed(tmp_path: Path) -> None:
    """Hidden images that are to be used are there once they are renamed, as the remark says."""
    root = lay_out(tmp_path / "in", *PATHS)
    (root / "cat" / "0.png").rename(root / "cat" / ".0.png")
    assert "rename it if it is to be used" in find_remark(survey(root), "hidden")
    (root / "cat" / ".0.png").rename(root / "cat" / "0.png")
    assert_all_kept(survey(root))


def test_unlabelled_folder_is_named(tmp_path: Path) -> None:
    """A folder of images without labels is used once data.unlabelled names it, as the remark says."""
    paths = [f"{split}/{path}" for split in ("train", "test") for path in PATHS]
    root = lay_out(tmp_path / "in", *paths, *(f"unlabeled/{number}.png" for number in range(8)))
    assert "name that folder in data.unlabelled" in find_remark(survey(root), "without labels")
    found = survey(root, unlabelled=[str(root / "unlabeled")])
    assert len(found.unlabelled) == 8
    assert_all_kept(found, 64)


def test_splits_are_dealt_anew(tmp_path: Path) -> None:
    """Images that stay in the splits they came in are dealt anew with the setting that the remark has."""
    root = lay_out(tmp_path / "in", *(f"{split}/{path}" for split in ("train", "test") for path in PATHS))
    remark = find_remark(survey(root), "images stay in the splits they came in")
    advised = re.search(r"data\.split: (\{.*\}) splits", remark)
    assert advised, remark
    found = survey(root, split=parse_yaml(advised[1], "the advice"))
    assert "images came in the splits train and test and were split anew" in " ".join(found.remarks)
    moved = [row for row in found.usable.select(["came_in", "split"]).to_pylist() if row["came_in"] != row["split"]]
    assert moved


def test_one_of_two_metadata_tables_is_left(tmp_path: Path) -> None:
    """A folder with metadata in two formats is read once one of them is gone."""
    root = lay_out(tmp_path / "in", *(f"{number}.png" for number in range(32)))
    rows = [{"file_name": f"{number}.png", "label": CLASSES[number % 2]} for number in range(32)]
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (root / "metadata.csv").write_text("file_name,label\n" + "\n".join(",".join(row.values()) for row in rows))
    assert "metadata.csv and metadata.jsonl; keep one of them" in refuse(root)
    (root / "metadata.csv").unlink()
    assert_all_kept(survey(root))


@pytest.mark.parametrize("suffix", [".csv.gz", ".json", ".txt"])
def test_tables_of_other_kinds_are_changed(suffix: str, tmp_path: Path) -> None:
    """A packed table, an array of JSON and a table under another suffix are read once they are changed as advised."""
    root = lay_out(tmp_path, *(f"{number}.png" for number in range(32)))
    rows = [{"image": f"{number}.png", "label": CLASSES[number % 2]} for number in range(32)]
    text = "image,label\n" + "\n".join(",".join(row.values()) for row in rows)
    table = root / f"list{suffix}"
    if suffix == ".csv.gz":
        table.write_bytes(gzip.compress(text.encode()))
        assert refuse(table).endswith("unpack it")
        (root / "list.csv").write_bytes(gzip.decompress(table.read_bytes()))
        assert_all_kept(survey(root / "list.csv"))
    elif suffix == ".txt":
        table.write_text(text)
        assert refuse(table).endswith("save the table as .csv")
        assert_all_kept(survey(table.rename(root / "list.csv")))
    else:
        table.write_text(json.dumps(rows))
        assert refuse(table).endswith("write one object on each line, with the suffix .jsonl")
        table.rename(root / "list.jsonl")
        assert "`jq -c '.[]'` makes such lines of an array" in refuse(root / "list.jsonl")
        (root / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert_all_kept(survey(root / "list.jsonl"))


def test_class_that_means_missing_is_renamed(tmp_path: Path) -> None:
    """A class called NA in a table is one once it is renamed as the remark says."""
    root = lay_out(tmp_path, *(f"{number}.png" for number in range(48)))
    lines = [f"{number}.png,{('NA', 'cat', 'dog')[number % 3]}" for number in range(48)]
    table = root / "list.csv"
    table.write_text("\n".join(["image,label", *lines]))
    remark = find_remark(survey(table, max_rejected=1), "'NA', which stands for a missing label")
    advised = re.search(r"for instance to '(.*)'", remark)
    assert advised, remark
    table.write_text("\n".join(["image,label", *lines]).replace(",NA", f",{advised[1]}"))
    found = survey(table)
    assert (found.classes, len(found.usable)) == (["cat", advised[1], "dog"], 48)


def test_spellings_get_one_name(tmp_path: Path) -> None:
    """Two classes whose names are almost the same are one once the folders have one name."""
    root = lay_out(tmp_path / "in", *PATHS, *(f"Cat/{number}.png" for number in range(16, 32)))
    remark = find_remark(survey(root), "almost the same")
    assert "give both one name if they are one" in remark
    for number in range(16, 32):
        (root / "Cat" / f"{number}.png").rename(root / "cat" / f"{number}.png")
    found = survey(root)
    assert_all_kept(found, 48)
    assert not [remark for remark in found.remarks if "almost the same" in remark]


def test_names_of_one_sight_are_told_apart(tmp_path: Path) -> None:
    """Folders whose names look the same are one class with a remark, and two once one of them is renamed."""
    root = lay_out(tmp_path / "in", *PATHS, *(f"ca\u200bt/{number}.png" for number in range(16)))
    found = survey(root)
    assert_all_kept(found, 48)
    remark = find_remark(found, "nobody can see how their names differ")
    assert remark.startswith(r"folders 'cat' and 'ca\u200bt' are one class, cat")
    assert "if they are two, rename one of them" in remark
    (root / "ca\u200bt").rename(root / "lynx")
    found = survey(root)
    assert (found.classes, found.remarks) == (["cat", "dog", "lynx"], [])


@pytest.mark.parametrize("link", ["wolf", "cat/wolf"])
def test_link_gives_way_to_a_folder(link: str, tmp_path: Path) -> None:
    """Images of a link to another class are in its place once they are moved there: a class, or a part of one."""
    root = lay_out(tmp_path / "in", *PATHS, *(f"dog/{number}.png" for number in range(16, 40)))
    (root / link).symlink_to(root / "dog", target_is_directory=True)
    remark = find_remark(survey(root), f"{link} is a link to dog, so its images are used once")
    assert f"if some of them belong to {link}, put a folder in the place of the link, and move them into it" in remark
    (root / link).unlink()
    (root / link).mkdir()
    for number in range(16, 40):
        (root / "dog" / f"{number}.png").rename(root / link / f"{number}.png")
    found = survey(root)
    label = "wolf" if link == "wolf" else "cat"
    assert (len(found.usable), len(found.rejected)) == (56, 0)
    assert [row["label"] for row in found.usable.to_pylist() if row["path"].startswith(link)] == [label] * 24


def test_spellings_of_two_classes_are_told_apart(tmp_path: Path) -> None:
    """Two classes of one spelling in different splits are two once a folder has another name and splits are anew."""
    paths = [f"{split}/dog/{number}.png" for split in ("train", "test") for number in range(16)]
    paths += [f"{folder}/{number}.png" for folder in ("train/Cat", "test/cat") for number in range(16)]
    root = lay_out(tmp_path / "in", *paths)
    remark = find_remark(survey(root), "are taken for one class, Cat")
    advised = re.search(r"rename one of the folders, and set data\.split: (\{.*\})", remark)
    assert advised, remark
    (root / "test" / "cat").rename(root / "test" / "lynx")
    found = survey(root, split=parse_yaml(advised[1], "the advice"))
    assert (found.classes, len(found.usable)) == (["Cat", "dog", "lynx"], 64)


def test_images_called_as_masks_are_renamed(tmp_path: Path) -> None:
    """Images that are taken for masks by their names are used once they have others."""
    masks = [f"{label}/{number}_mask.png" for label in CLASSES for number in range(16)]
    root = lay_out(tmp_path / "in", *PATHS, *masks)
    remark = find_remark(survey(root), "32 files are named like masks")
    assert "give them names that are not the name of another image with a word added" in remark
    for mask in masks:
        (root / mask).rename(root / mask.replace("_mask", "b"))
    found = survey(root)
    assert_all_kept(found, 64)
    assert not found.remarks


@pytest.mark.parametrize("way", ["folders", "names"])
def test_masks_in_sets_of_images_are_moved_out(way: str, tmp_path: Path) -> None:
    """Masks beside several kinds of an image are named, and no image of a class once they have moved out."""
    form = "{}/{}_{}.png" if way == "folders" else "{}-{}_{}.png"
    names = [(label, number, kind) for label in CLASSES for number in range(12) for kind in ("rgb", "depth", "mask")]
    root = lay_out(tmp_path / "in", *(form.format(*name) for name in names), "readme.png")
    settings = {} if way == "folders" else {"label_from": {"regex": "^(?P<label>cat|dog)"}}
    remark = find_remark(survey(root, **settings), "named like masks")
    beside = f"such as {form.format('cat', 0, 'mask')} beside {form.format('cat', 0, 'depth')}, but used as images"
    assert remark.startswith("24 files are named like masks")
    assert beside in remark
    for name in names:
        if name[2] == "mask":
            (root / form.format(*name)).unlink()
    found = survey(root, **settings)
    assert len(found.usable) == 48
    assert not any("masks" in remark for remark in found.remarks)


@pytest.mark.parametrize("form", ["{0}_face/{1}_mask.png", "{0}/{1}_mask.png", "{0}/{1}_{0}_gt.png"])
def test_words_for_masks_without_images_are_names(form: str, tmp_path: Path) -> None:
    """Images that are all called by a word for masks, with nothing beside them, are said nothing of."""
    root = lay_out(tmp_path / "in", *(form.format(label, number) for label in CLASSES for number in range(16)))
    assert not any("masks" in remark for remark in survey(root).remarks)


def test_table_of_labels_is_moved_out(tmp_path: Path) -> None:
    """Labels are the names of folders once the table in the folder has moved out of it."""
    root = lay_out(tmp_path / "in", *PATHS)
    rows = [f"{path},{'young' if 'cat' in path else 'old'}" for path in PATHS]
    (root / "metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    found = survey(root)
    assert found.classes == ["old", "young"]
    assert "to use the folders' names as labels, move such tables out" in find_remark(found, "Hugging Face's image")
    (root / "metadata.csv").rename(tmp_path / "metadata.csv")
    assert_all_kept(survey(root))


UNREAD_TABLES = {
    "folders are places": ("house_{place}/{number}{label}.png", {"cat": "cat", "dog": "dog"}),
    "folders are other classes": ("{label}/{number}.png", {"cat": "dog", "dog": "cat"}),
    "folders are coarser": ("{label}/{number}.png", {"cat": "lynx", "dog": "dog"}),
}


@pytest.mark.parametrize("name", ["labels.csv", "more/labels.tsv", "labels.jsonl", "metadata.csv"])
@pytest.mark.parametrize("case", UNREAD_TABLES)
def test_unread_table_of_other_classes_is_read(case: str, name: str, tmp_path: Path) -> None:
    """A table that has other classes for images in folders is named, and read once its setting is given."""
    form, classes = UNREAD_TABLES[case]
    below = Path(name).parent
    rows = [
        (form.format(place="ab"[number % 2], number=number, label=label), classes[label])
        for label in CLASSES
        for number in range(16)
    ]
    lay_out(tmp_path / below, *(path for path, _ in rows))
    mark = "\t" if name.endswith(".tsv") else ","
    lines = [mark.join(row) for row in (("image", "label"), *rows)]
    if name.endswith(".jsonl"):
        lines = [json.dumps({"image": path, "label": label}) for path, label in rows]
    (tmp_path / name).write_text("\n".join(lines))
    remark = find_remark(survey(tmp_path), f"{name} lists 32 of the images")
    advised = re.search(r"set data\.label_from: (\{.*\})", remark)
    assert advised, remark
    found = survey(tmp_path, label_from=parse_yaml(advised[1], "the advice"))
    assert found.classes == sorted({*classes.values()})
    assert len(found.usable) == 32
    labels = {row["path"]: row["label"] for row in found.usable.to_pylist()}
    assert labels == {(below / path).as_posix(): label for path, label in rows}


@pytest.mark.parametrize(
    "rows",
    [
        "image,label\ncat/0.png,cat\ndog/0.png,dog\n",
        "image,label\ncat/0.png,0\ndog/0.png,1\n",
        "image,caption\ncat/0.png,dog\n",
        "image,label\ncow/0.png,dog\n",
        "epoch,loss\n1,0.5\n",
        '"',
    ],
)
def test_table_of_the_same_classes_is_not_named(rows: str, tmp_path: Path) -> None:
    """A table with the classes of the folders, by any name, or without labels of these images, needs no remark."""
    lay_out(tmp_path, *PATHS)
    (tmp_path / "labels.csv").write_text(rows)
    assert not any("labels.csv" in remark for remark in survey(tmp_path).remarks)
