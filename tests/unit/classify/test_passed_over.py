"""``ganaug predict`` passes over what is no image, as ``prepare`` does, and counts it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ganaug_ray.classify.image_answers import build_answers, divide_answers, predict_in_process
from ganaug_ray.classify.image_files import list_parts, read_batches
from ganaug_ray.cli.predict import summarize_predictions
from ganaug_ray.core.model_registry import resolve_model
from ganaug_ray.core.storage import Folder
from tests.helpers.image_files import png16
from tests.helpers.labelled import lay_out, png
from tests.helpers.serving import promote


def test_other_files_are_set_aside(tmp_path: Path) -> None:
    """Texts, links that lead back and hidden images are no images that cannot be read; remarks are kept."""
    root = lay_out(tmp_path / "pics", "cat/1.png", "cat/.2.png")
    (root / "cat" / "1.txt").write_text("a cat")
    (root / "cat" / "label.json").write_bytes(png(1))
    (root / "back").symlink_to(".")
    with tarfile.open(tmp_path / "pics.tar", "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as archive:
        entry = tarfile.TarInfo("Kätze/1.png")
        entry.size = len(png(2))
        archive.addfile(entry, io.BytesIO(png(2)))
    parts = list_parts([str(root), str(tmp_path / "pics.tar")])
    batches = [batch for part in parts for batch in read_batches(part)]
    answers = [
        build_answers(["cat"], batch, [np.ones(1)] * len(batch), batch["error"].to_pylist()) for batch in batches
    ]
    predicted = divide_answers(["cat"], answers)
    names = [path.rpartition("/")[2] for path in predicted.table["path"].to_pylist()]
    assert names == ["1.png", "label.json", "1.png"]
    assert summarize_predictions(predicted.table, predicted.passed_over) == ("3 images: 3 × cat; 3 other files skipped")
    assert predicted.remarks == (
        "1 name, Kätze/1.png, is not UTF-8 but read as Latin-1, so classes may be misnamed; "
        "pack the archive again with UTF-8 names",
    )
    assert predicted.table.schema.metadata is None, "a table that is written has nothing else in it"


def test_every_file_is_answered_or_counted(tmp_path: Path) -> None:
    """Of a folder each file has a row, with an answer or the reason why there is none, or is counted as skipped."""
    root = lay_out(tmp_path / "pics", "cat/1.png", "cat/2.png", "3.png")
    (root / "cat" / "lost.png").symlink_to(tmp_path / "nowhere.png")
    (root / "cat" / "empty.jpg").touch()
    (root / "page.png").write_text("<html>")
    (root / "cat" / "features.npy").write_bytes(b"\x93NUMPY")
    (root / ".hidden.png").write_bytes(png(9))
    batches = [batch for part in list_parts([str(root)]) for batch in read_batches(part)]
    answers = []
    for batch in batches:
        contents, errors = batch["content"].to_pylist(), batch["error"].to_pylist()
        answers.append(build_answers(["cat"], batch, [np.ones(1) if content else None for content in contents], errors))
    predicted = divide_answers(["cat"], answers)
    rows = {row["path"].rpartition("/")[2]: row["error"] for row in predicted.table.to_pylist()}
    assert rows.keys() == {"1.png", "2.png", "3.png", "lost.png", "empty.jpg", "page.png"}
    assert rows["lost.png"].startswith("link to nothing (leads to ")
    assert predicted.passed_over == 2
    assert len(rows) + predicted.passed_over == sum(path.is_symlink() or path.is_file() for path in root.rglob("*"))


def test_tables_need_no_labels(tmp_path: Path) -> None:
    """Images that a table lists are classified whether it has labels or not."""
    lay_out(tmp_path, "1.png", "2.png")
    (tmp_path / "list.csv").write_text("path,width\n1.png,16\n2.png,16\n")
    (tmp_path / "list.jsonl").write_text('{"path": "1.png"}\n{"path": "2.png"}\n')
    (tmp_path / "list.ndjson").write_text('{"path": "1.png"}\n{"path": "2.png"}\n')
    table = pa.table({"image": [png(0), png(1)], "label": [["cat"], []]})
    pq.write_table(table, tmp_path / "rows.parquet")
    for name in ("list.csv", "list.jsonl", "list.ndjson", "rows.parquet"):
        (part,) = list_parts([str(tmp_path / name)])
        (rows,) = read_batches(part)
        assert rows["content"].to_pylist() == [png(0), png(1)]


def test_changed_images_are_noted(tmp_path: Path) -> None:
    """A row says what of its file was left out or rescaled; that of an image used as it is says nothing."""
    model = Folder.from_uri(tmp_path / "pets")
    promote(model, 0)
    root = lay_out(tmp_path / "pics", "1.png")
    narrow = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    (root / "2.png").write_bytes(png16(narrow))
    predicted = predict_in_process(resolve_model(str(model)), list_parts([str(root)]), lambda share, words: None)
    plain, scaled = predicted.table["note"].to_pylist()
    assert plain is None
    assert scaled == (
        "values 0 to 65535 scaled to 0 to 255; "
        "all values within a quarter of that range, as if written in a narrower one"
    )
    summary = summarize_predictions(predicted.table, notes=predicted.count_notes())
    assert "; notes: 1 × values 0 to 65535 scaled to 0 to 255, 1 × all values within" in summary
