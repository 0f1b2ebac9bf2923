"""What a refused source is advised, followed literally with the same files: then its images are there."""

from __future__ import annotations

import gzip
import json
import re
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ganaug_ray.cli import predict
from ganaug_ray.config import DataConfig
from ganaug_ray.config.yaml_text import parse_yaml
from ganaug_ray.data.card.class_metadata import join_classes
from ganaug_ray.data.ingest.scan import Survey, survey_without_storing
from ganaug_ray.data.sources import hub, web
from ganaug_ray.errors import UserError
from tests.helpers.labelled import lay_out, png, zip_names

CLASSES = ("cat", "dog")
NAMES = [f"{number}.png" for number in range(32)]
PATHS = [f"{CLASSES[number % 2]}/{number}.png" for number in range(32)]
LABELS = [CLASSES[number % 2] for number in range(32)]


def survey(source: Path | str, **settings: object) -> Survey:
    return survey_without_storing(DataConfig.model_validate({"source": str(source), **settings}))


def refuse(source: Path | str, advice: str, **settings: object) -> re.Match[str]:
    """Return where the advice stands in the message of a refusal."""
    with pytest.raises(UserError) as refusal:
        survey(source, **settings)
    match = re.search(advice, str(refusal.value))
    assert match, str(refusal.value)
    return match


def assert_kept(found: Survey, images: int = 32, classes: tuple[str, ...] = CLASSES) -> None:
    assert (found.classes, len(found.usable)) == (list(classes), images)


def write_csv(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]), encoding="utf-8")
    return path


def write_idx(path: Path, array: np.ndarray) -> None:
    head = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


def test_idx_folder_has_named_files(tmp_path: Path) -> None:
    """A folder of arrays is read once it has the files, and the shapes, that messages name."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (32, 28, 28), np.uint8)
    source = f"idx:{tmp_path}"
    match = refuse(source, r"has no file in MNIST's format, such as (\S+);")
    image_file = tmp_path / match[1]
    write_idx(image_file, images)
    label_file = tmp_path / refuse(source, r"but not (\S+); both are needed")[1]
    write_idx(label_file, images)
    refuse(source, r"expected \[N, H, W\] and \[N\]")
    write_idx(label_file, np.arange(32) % 2)
    assert_kept(survey(source), classes=("0", "1"))


def test_equal_columns_are_renamed(tmp_path: Path) -> None:
    """A table with two columns of one name is read once the other is renamed."""
    lay_out(tmp_path, *NAMES)
    rows = [f"{name},x,{label}" for name, label in zip(NAMES, LABELS, strict=True)]
    table = write_csv(tmp_path / "t.csv", "image,label,label", rows)
    refuse(table, "2 columns are called label; rename all but the one to be used")
    write_csv(table, "image,other,label", rows)
    assert_kept(survey(table))


@pytest.mark.parametrize("way", ["remove the mark", "write it twice"])
def test_stray_quotation_mark_is_mended(way: str, tmp_path: Path) -> None:
    """A quotation mark that swallows rows is removed, or written twice."""
    lay_out(tmp_path, *NAMES)
    rows = [f"{name},{label},fine" for name, label in zip(NAMES, LABELS, strict=True)]
    rows[3] = rows[3].replace("fine", '"12 inch')
    rows[9] = rows[9].replace("fine", 'a 12" one')
    table = write_csv(tmp_path / "t.csv", "image,label,note", rows)
    match = refuse(table, r"opens in line (\d+) and closes .*; (remove the mark, or write it twice)")
    assert way in match[2]
    at = int(match[1]) - 2
    rows[at] = rows[at].replace('"', "" if way == "remove the mark" else '"""')
    if way == "write it twice":
        rows[at] += '"'
    write_csv(table, "image,label,note", rows)
    assert_kept(survey(table))


def test_lists_in_labels_give_way_to_another_column(tmp_path: Path) -> None:
    """A column of lists is refused as labels; another is named with the setting in the message, or in its place."""
    rows = [{"image": png(n), "label": [n % 2], "name": LABELS[n]} for n in range(32)]
    table = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist(rows), table)
    refuse(table, "expected labels, text or numbers")
    assert_kept(survey(table, columns={"label": "name"}))


def test_lists_in_json_give_way_to_another_column(tmp_path: Path) -> None:
    """A cell that holds several values is refused with the setting that names another column."""
    lay_out(tmp_path, *NAMES)
    rows = [
        json.dumps({"image": name, "label": [0, 1], "kind": label}) for name, label in zip(NAMES, LABELS, strict=True)
    ]
    table = tmp_path / "t.jsonl"
    table.write_text("\n".join(rows))
    advised = refuse(table, r"name other columns with data\.columns: (\{label: )\.\.\.\}")[1]
    assert_kept(survey(table, columns=parse_yaml(f"{advised}kind}}", "the advice")))


def test_column_of_hive_folder_is_written(tmp_path: Path) -> None:
    """Labels that only the folders of shards have are written into each file, in the column that the message names."""
    for label in CLASSES:
        (tmp_path / f"label={label}").mkdir()
        rows = [{"image": png(n)} for n in range(32) if LABELS[n] == label]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"label={label}" / "0.parquet")
    column = refuse(tmp_path, r"write a column (\w+) into each file")[1]
    for label in CLASSES:
        file = tmp_path / f"label={label}" / "0.parquet"
        table = pq.ParquetFile(file).read()
        pq.write_table(table.append_column(column, pa.array([label] * len(table))), file)
    assert_kept(survey(tmp_path))


@pytest.mark.parametrize("chosen", ["left", "right"])
def test_one_of_two_image_columns_is_chosen(chosen: str, tmp_path: Path) -> None:
    """Of two columns that fit different images the one is read that a setting in the message names."""
    lay_out(tmp_path, *(f"{side}{name}" for side in ("l", "r") for name in NAMES))
    rows = [f"l{name},r{name},{label}" for name, label in zip(NAMES, LABELS, strict=True)]
    table = write_csv(tmp_path / "t.csv", "image,file,label", rows)
    match = refuse(table, r"choose one with data\.columns: (\{.*\}) or (\{.*\})$")
    advised = match[1] if chosen == "left" else match[2]
    found = survey(table, columns=parse_yaml(advised, "the advice"))
    assert_kept(found)
    assert {path[0] for path in found.usable["path"].to_pylist()} == {chosen[0]}


@pytest.mark.parametrize("way", ["repair them", "data.max_rejected"])
def test_many_rejects_are_repaired_or_allowed(way: str, tmp_path: Path) -> None:
    """Where too many images are damaged, they are repaired, or allowed with the setting in the message."""
    lay_out(tmp_path, *PATHS)
    for path in PATHS[:8]:
        (tmp_path / path).write_bytes(b"\x89PNG\r\n\x1a\n")
    match = refuse(tmp_path, r"repair them, or allow it with (data\.max_rejected) \(now 0\.2\)")
    assert way in match[0]
    if way == "repair them":
        lay_out(tmp_path, *PATHS)
    found = survey(tmp_path, **({"max_rejected": 0.25} if way.startswith("data") else {}))
    assert_kept(found, 32 if way == "repair them" else 24)


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_split_folder_is_made(split: str, tmp_path: Path) -> None:
    """Given splits need both folders; once the one that is named is there, they are kept."""
    other = "test" if split == "train" else "train"
    lay_out(tmp_path, *(f"{other}/{path}" for path in PATHS))
    missing = refuse(tmp_path, r"needs folders train and test; found no (\w+)", split="given")[1]
    assert missing == split
    for number, path in enumerate(PATHS):
        (tmp_path / missing / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / missing / path).write_bytes(png(100 + number))
    assert_kept(survey(tmp_path, split="given"), 64)


def test_small_class_gets_as_many_as_needed(tmp_path: Path) -> None:
    """A class that is too small to split is large enough with the number of images in the message."""
    lay_out(tmp_path, *PATHS, "cow/0.png")
    needed = int(refuse(tmp_path, r"class 'cow' has 1 usable image; .*, so at least (\d+) a class")[1])
    for number in range(needed):
        (tmp_path / "cow" / f"{number}.png").write_bytes(png(200 + number))
    assert_kept(survey(tmp_path), 32 + needed, ("cat", "cow", "dog"))


def test_single_class_gets_a_folder_beside(tmp_path: Path) -> None:
    """One class is refused; with a folder of images for a second one there are two."""
    lay_out(tmp_path, *(path for path in PATHS if path.startswith("cat")))
    refuse(tmp_path, "expected one folder of images for each of two or more classes")
    (tmp_path / "dog").mkdir()
    for number in range(16):
        (tmp_path / "dog" / f"{number}.png").write_bytes(png(100 + number))
    assert_kept(survey(tmp_path))


@pytest.mark.parametrize("way", ["bring all images to one scale", "data.value_range"])
def test_several_scales_become_one(way: str, tmp_path: Path) -> None:
    """Classes whose samples fill other scales are brought to one, or the setting says that it is one."""
    draw = np.random.default_rng(0)
    pixels = {path: draw.integers(0, 4096 if path.startswith("cat") else 65536, (16, 16), np.uint16) for path in PATHS}
    lay_out(tmp_path, *PATHS)
    for path in PATHS:
        Image.fromarray(pixels[path]).save(tmp_path / path)
    assert way in refuse(tmp_path, "bring all images to one scale, or, if they have one, .*")[0]
    if way == "data.value_range":
        assert_kept(survey(tmp_path, value_range=[0, 65535]))
    else:
        for path in PATHS:
            Image.fromarray(pixels[path] * (16 if path.startswith("cat") else 1)).save(tmp_path / path)
        assert_kept(survey(tmp_path))


@pytest.mark.parametrize("kind", ["addresses", "base64"])
def test_table_names_files_in_place_of_others(kind: str, tmp_path: Path) -> None:
    """A table of web addresses, or of images as text, is read once it names files, as the message says."""
    lay_out(tmp_path, *NAMES)
    cell = "https://host.example/{}?key=1" if kind == "addresses" else "iVBORw0KGgo" + "A" * 600 + "{}"
    rows = [f"{cell.format(name[:-4])},{label}" for name, label in zip(NAMES, LABELS, strict=True)]
    table = write_csv(tmp_path / "t.csv", "image,label", rows)
    refuse(table, "name their files in the table" if kind == "addresses" else "write its bytes, or a path")
    write_csv(table, "image,label", [f"{name},{label}" for name, label in zip(NAMES, LABELS, strict=True)])
    assert_kept(survey(table))


def test_download_has_address_and_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An http address is told to be https, then to have a hash; what cannot be fetched is given by its path."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def refuse_download(*arguments: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(web, "_download_file", refuse_download)
    table = "http://host.example/t.csv"
    refuse(table, "the images of a CSV file lie beside it, and are not fetched with it; give an archive of both")
    address = table.replace("t.csv", "pets.zip")
    address = address.replace("http://", refuse(address, "give an (https://) address")[1])
    address = refuse(address, r"write (\S+#sha256=)<its 64 hex digits>")[1] + "0" * 64
    refuse(address, "or download the file yourself and give its path")
    archive = zip_names(tmp_path / "pets.zip", *PATHS)
    assert_kept(survey(archive))


def test_hub_address_is_written_as_exemplified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An address of the Hub is taken in each form that the message has."""
    asked: list[tuple[str, str | None]] = []

    def choose(source: str, repo: str, folder: str | None) -> hub._Snapshot:
        asked.append((repo, folder))
        raise UserError("asked")

    monkeypatch.setattr(hub, "_choose_snapshot", choose)
    match = refuse("hf:pets", r"expected (hf:OWNER/NAME), or (hf:OWNER/NAME/FOLDER) for")
    for form in match.groups():
        refuse(form, "asked")
    assert asked == [("OWNER/NAME", None), ("OWNER/NAME", "FOLDER")]


def test_hub_error_names_folder_to_give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a network, the folder that the named command fills is given in the place of the address."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "_choose_snapshot", lambda *arguments: 1 / 0)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    hub.fetch_dataset.cache_clear()
    match = refuse(
        "hf:someone/pets-in-a-house", r"`hf download (\S+) --repo-type dataset --local-dir (\S+)` fetches it"
    )
    assert match[1] == "someone/pets-in-a-house"
    lay_out(tmp_path / match[2], *PATHS)  # as the command does
    assert_kept(survey(tmp_path / match[2]))


def test_fact_is_written_as_one_class(tmp_path: Path) -> None:
    """A class that may be one of two rows of facts is one of them once it is written so."""
    table = write_csv(tmp_path / "facts.csv", "name,genre", ["Müller,a", "Muller,b"])
    with pytest.raises(UserError, match=r"class '(.*)' could be '(.*)' or '(.*)'; write it as one of them") as refusal:
        join_classes(["Mùller"], str(table))
    match = re.search(r"could be '(.*)' or", str(refusal.value))
    assert match
    assert join_classes([match[1]], str(table))[0].keys() == {match[1]}


def test_predictions_go_beside_their_table(tmp_path: Path) -> None:
    """Answers are not written over the table that names the images, but under another name."""
    table = write_csv(tmp_path / "t.csv", "image", NAMES)
    with pytest.raises(UserError, match="would be overwritten; give another name"):
        predict._open_output(str(table), [str(table)])
    assert predict._open_output(str(tmp_path / "answers.csv"), [str(table)])[2] == ".csv"
