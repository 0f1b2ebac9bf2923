"""``ganaug predict`` passes over what is no image, as ``prepare`` does, and counts it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa

from ganaug_ray.classify import batch_inference
from ganaug_ray.cli.predict import summarize_predictions
from tests.helpers.labelled import lay_out, png


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
    parts = batch_inference.list_parts([str(root), str(tmp_path / "pics.tar")])
    rows = [table for number in range(len(parts)) for table in batch_inference._read_parts(parts, part_table(number))]
    answers = pa.concat_tables(rows)
    answers = answers.append_column("label", pa.array(["cat"] * len(answers)))
    aside = batch_inference.set_aside(answers)
    assert [path.rpartition("/")[2] for path in aside["path"].to_pylist()] == ["1.png", "label.json", "1.png"]
    assert summarize_predictions(aside) == "3 images: 3 × cat; 3 other files passed over"
    assert aside.schema.metadata[b"remarks"].startswith(b"1 name, ")


def part_table(number: int) -> pa.Table:
    return pa.table({"part": [number]})
