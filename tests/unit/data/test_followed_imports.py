"""What is advised for images that are not the data set's own, where its settings do not count: followed there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ganaug_ray import cli
from ganaug_ray.classify import image_files
from ganaug_ray.config import DataConfig, ImagesConfig
from ganaug_ray.config.loader import load_job
from ganaug_ray.config.yaml_text import parse_yaml
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord, ImagesRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import external
from ganaug_ray.data.ingest.synthetic_images import import_images
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.runtime.executors import map_serially
from tests.conftest import DIGITS, TINY
from tests.helpers import records
from tests.helpers.labelled import lay_out, zip_names
from tests.helpers.refusals import refuse
from tests.unit.data.test_followed_refusals import CLASSES, LABELS, NAMES, PATHS, write_csv

ROWS = list(zip(NAMES, LABELS, strict=True))
SEPARATED = "image:label", [f"{name}:{label}" for name, label in ROWS]
UNNAMED = "image,wide,high,note", [f"{name},{number},7,{label}" for number, (name, label) in enumerate(ROWS)]
TWO_COLUMNS = "image,file,label", [f"l{name},r{name},{label}" for name, label in ROWS]
TABLES = [
    (*SEPARATED, {}),
    (*UNNAMED, {"label": "note"}),
    (*TWO_COLUMNS, {}),
]


def bring_in(out: Path, *sources: Path, job: DataConfig | None = None, **settings: Any) -> ImagesRecord:
    """Read images for arms, of the classes cat and dog."""
    dataset = Folder.from_uri(out / "dataset").create()
    record = records.write_dataset(dataset, classes=list(CLASSES), channels=3, image_size=16)
    config = ImagesConfig.model_validate({"source": [str(source) for source in sources], **settings})
    return import_images(job or DataConfig(source=["x"]), config, record, Folder.from_uri(out / "images").create())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of pictures, beside which a table may lie."""
    return lay_out(tmp_path / "pictures", *NAMES, *(f"{side}{name}" for side in "lr" for name in NAMES))


@pytest.mark.parametrize(("header", "rows", "meant"), TABLES)
def test_settings_of_a_table_are_those_of_its_images(
    header: str, rows: list[str], meant: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    """A table of images for arms is read with the columns that the message names, given beside its source."""
    table = write_csv(folder / "t.csv", header, rows)
    match = refuse(r"\b(columns: \{.*?\}).* \(beside source in augment\.images\)$",
                   bring_in, tmp_path, table)  # fmt: skip
    assert "data." not in match[0]
    columns = meant or parse_yaml(match[1], "the advice")["columns"]
    assert bring_in(tmp_path, table, columns=columns).counts == {"cat": 16, "dog": 16}


@pytest.mark.parametrize(("header", "rows", "meant"), TABLES)
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_table_is_changed_where_no_setting_is_read(
    command: str, header: str, rows: list[str], meant: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    """`ganaug predict` and `evaluate --data` have no settings of columns: the table gets those of the message."""

    def count(table: Path) -> int:
        if command == "predict":
            return sum(part.images or 0 for part in image_files.list_parts([str(table)]))
        staged = Folder.from_uri(tmp_path / "staged").create()
        model = records.make_spec(image_size=16, channels=3)
        found = external.read_images(DataConfig(source=["x"]), str(table), model, staged, map_serially, [])
        return len(found.labels)

    table = write_csv(folder / "t.csv", header, rows)
    if command == "predict" and meant:
        assert count(table) == 32, "no label is needed"
        return
    match = refuse("write the table with commas and (one column of images, called|the columns) (.*)$", count, table)
    assert "data." not in match.string
    names = match[2].split(" and ")
    cells = [dict(zip(("image", "label"), pair, strict=True)) for pair in ROWS]
    write_csv(table, ",".join(names), [",".join(row[name] for name in names) for row in cells])
    assert count(table) == 32


@pytest.mark.parametrize("kind", ["folder", "archive", "table"])
def test_missing_images_are_found_once_named(kind: str, tmp_path: Path) -> None:
    """An address with no images is refused under the name of its setting, and taken once it is the right one."""
    refuse(r"^augment\.images .*wrong", bring_in, tmp_path, tmp_path / f"wrong{'.zip' * (kind == 'archive')}")
    source = zip_names(tmp_path / "right.zip", *PATHS) if kind == "archive" else lay_out(tmp_path / "right", *PATHS)
    if kind == "table":
        source = write_csv(source / "t.csv", "image,label", [f"{path},{path[:3]}" for path in PATHS])
    assert bring_in(tmp_path, source).counts == {"cat": 16, "dog": 16}


def test_damaged_images_are_allowed_in_the_folder(digits: Folder, tmp_path: Path) -> None:
    """More damaged images for arms are allowed by the setting in the message, though the data set is made."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    job = load_job(DIGITS, TINY)
    run.claim_folder(job)
    (tmp_path / "run" / "dataset").symlink_to(str(digits))
    source = lay_out(tmp_path / "pictures", *PATHS)
    for path in PATHS[:8]:
        (source / path).write_bytes(b"\x89PNG\r\n\x1a\n")
    match = refuse(r"or allow it with (data\.max_rejected) \(now 0\.2\)", bring_in, tmp_path, source, job=job.data)
    allowed = load_job(DIGITS, [*TINY, f"{match[1]}=0.3"])
    run.claim_folder(allowed)
    assert bring_in(tmp_path, source, job=allowed.data).counts == {"cat": 12, "dog": 12}


def test_scale_of_images_is_set_for_a_new_data_set(tmp_path: Path) -> None:
    """The scale of images for arms that nobody can know is set in another experiment, as the message says."""
    draw = np.random.default_rng(0)
    pictures = lay_out(tmp_path / "pictures", *PATHS)
    made = tmp_path / "made"
    for path in PATHS:
        (made / path).with_suffix(".tif").parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.uniform(-3, 3, (16, 16)).astype(np.float32)).save((made / path).with_suffix(".tif"))

    def import_made(out: str, **data: Any) -> ImagesRecord:
        settings = {"split": {"given": False}, "image_size": 16, **data}
        job = load_job(DIGITS, [*TINY, "data.train_per_class=null", f"data.source={pictures}"])
        config = DataConfig.model_validate(job.data.model_dump() | settings)
        run = Run(Folder.from_uri(tmp_path / out))
        run.claim_folder(job.model_copy(update={"data": config}))
        if not run.dataset.has_file("dataset.json"):
            prepare_dataset(config, run.dataset)
        images = ImagesConfig(source=[str(made)])
        return import_images(config, images, DatasetRecord.read(run.dataset), run.root / "images")

    refuse(r"set data\.value_range: \[low, high\], in another --out$", import_made, "run")
    refuse("give another --out", import_made, "run", value_range=[-3, 3])
    assert import_made("other", value_range=[-3, 3]).counts == {"cat": 16, "dog": 16}


@pytest.mark.parametrize("command", ["for arms", "evaluate"])
def test_unread_kind_is_packed_or_looked_up(command: str, tmp_path: Path) -> None:
    """An archive of another kind is packed as the message says, and the command in the message lists what is read."""

    def count(source: Path) -> int:
        if command == "for arms":
            return sum(bring_in(tmp_path, source).counts.values())
        staged = Folder.from_uri(tmp_path / "staged").create()
        model = records.make_spec(image_size=16, channels=3)
        return len(external.read_images(DataConfig(source=["x"]), str(source), model, staged, map_serially, []).labels)

    box = tmp_path / "box"
    box.mkdir()
    (box / "pets.7z").write_bytes(b"7z")
    if command == "for arms":
        refuse(r"pack it as \.zip or \.tar\.gz and name it in augment\.images, in a list", count, box)
    else:
        refuse(r"^--data .*; unpack it, or pack it as \.zip or \.tar\.gz$", count, box / "pets.7z")
    assert count(zip_names(tmp_path / "pets.zip", *PATHS)) == 32
    (tmp_path / "pets.xyz").write_bytes(b"xyz")
    advised = refuse("`ganaug (explain .*)` lists what is read", count, tmp_path / "pets.xyz")[1]
    result = CliRunner().invoke(cli.app, advised.split(), catch_exceptions=False)
    assert result.exit_code == 0
    assert "archive, table (CSV, TSV, JSON Lines), Parquet" in result.output


@pytest.mark.parametrize("way", ["write the table", "move both out"])
def test_labels_of_parts_are_given_or_moved(way: str, tmp_path: Path) -> None:
    """Of two tables in a folder to evaluate on one is given in its place, or both are moved, as the message says."""
    paths = [f"part_{number % 2 + 1}/{number}.png" for number in range(32)]
    root = lay_out(tmp_path / "in", *paths)
    rows = [f"{path},{CLASSES[number // 2 % 2]}" for number, path in enumerate(paths)]
    write_csv(root / "a.csv", "image,label", rows)
    write_csv(root / "b.csv", "image,label", rows)

    def list_classes(source: Path) -> list[str]:
        staged = Folder.from_uri(tmp_path / "staged").create()
        model = records.make_spec(image_size=16, channels=3)
        return external.read_images(DataConfig(source=["x"]), str(source), model, staged, map_serially, []).classes

    refuse(f"^--data .*a\\.csv and b\\.csv list images .*{way}", list_classes, root)
    if way == "write the table":
        assert list_classes(root / "a.csv") == ["cat", "dog"]
    else:
        for name in ("a.csv", "b.csv"):
            (root / name).rename(tmp_path / name)
        assert list_classes(root) == ["part_1", "part_2"]
