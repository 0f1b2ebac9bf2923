"""The suffix of a file that is asked for decides its format, or is refused before any work."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganaug_ray import cli
from ganaug_ray.cli import file_formats

ROWS = [
    {"path": 'a,"b".png', "label": "Kätzchen", "probabilities": {"Kätzchen": 0.75, "dog": 0.25}, "error": None},
    {"path": "c.png", "label": None, "probabilities": None, "error": "empty"},
]


def test_each_suffix_holds_the_same_rows() -> None:
    """Parquet, JSON, JSON Lines and CSV hold the same rows; CSV has a column for each probability."""
    table = pa.Table.from_pylist(ROWS)
    content = {suffix: file_formats.encode_table(table, suffix) for suffix in file_formats.TABLE_ENCODERS}
    assert pq.read_table(pa.BufferReader(content[".parquet"])).to_pylist() == ROWS
    assert json.loads(content[".json"]) == ROWS
    assert [json.loads(line) for line in content[".jsonl"].decode().splitlines()] == ROWS
    first, second = csv.DictReader(io.StringIO(content[".csv"].decode()))
    assert first["path"] == 'a,"b".png'
    assert first["probabilities.Kätzchen"] == "0.75"
    assert second["error"] == "empty"
    assert second["probabilities.dog"] == ""


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["predict", "no-model", "no-image", "--out", "answers.txt"], "answers.txt: found .txt, expected"),
        (["predict", "no-model", "no-image", "--out", "answers"], "found no suffix, expected a name that ends in .par"),
        (["export", "no-model", "--out", "model.pt"], "model.pt: found .pt, expected a name that ends in .onnx"),
        (["serve", "no-model", "--config", "serve.json"], "found .json, expected a name that ends in .yaml or .yml"),
        (["search", "gan", "no.yaml", "--space", "no.yaml", "--write", "best.json"], "--write best.json: found .json"),
    ],
)
def test_other_suffixes_are_refused_first(
    command: list[str], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd
) -> None:
    """A suffix that names no known format is refused before any work, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ganaug", *command])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert words in capfd.readouterr().err
    assert not list(tmp_path.iterdir())
