"""Data sets of the Hugging Face Hub, from a small server that answers as the Hub does; and without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganaug_ray.config import LabelFrom
from ganaug_ray.data.sources import hub, list_parts
from ganaug_ray.errors import UserError
from tests.helpers.hub import Files, point_to, serve_hub
from tests.unit.data.test_saved_dataset import CLASSES, encode

__all__ = ["serve_hub"]  # a fixture


def read(source: str) -> list[Any]:
    return [raw for part in list_parts([source], LabelFrom()) for raw in part()]


def test_image_folder_of_hub_is_read_and_kept(
    serve_hub: Callable[[dict[str, Files]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images, classes and splits are read; no script is fetched; without a network what was fetched is read again."""
    pictures = {f"train/{name}/{i}.png": encode(i) for i, name in enumerate(CLASSES * 2)}
    context = serve_hub({"main": pictures | {"pets.py": b"raise SystemExit", "README.md": b"# pets"}})
    found = [raw for raw in read("hf:someone/pets") if raw.label]
    assert sorted((raw.label, raw.split) for raw in found) == [("cat", "train")] * 2 + [("dog", "train")] * 2
    assert {raw.provenance for raw in found} == {"hf:someone/pets"}
    assert not list(hub.fetch_dataset("hf:someone/pets").rglob("*.py"))
    context.__exit__(None, None, None)
    hub.fetch_dataset.cache_clear()
    point_to(monkeypatch, "http://127.0.0.1:9")
    again = [raw for raw in read("hf://datasets/someone/pets") if raw.label]
    assert {raw.content for raw in again} == {raw.content for raw in found}


def test_images_of_hub_are_fetched_by_suffix_in_any_case(serve_hub: Callable[[dict[str, Files]], Any]) -> None:
    """Names such as 1.Jpg and 1.PNM are fetched too, in one folder of a data set as well."""
    names = [f"pets/{name}/1{suffix}" for name in CLASSES for suffix in (".Jpg", ".JFIF", ".jfif", ".pnm", ".PnG")]
    pictures = {name: encode(number) for number, name in enumerate(names)}
    context = serve_hub({"main": pictures})
    assert len({raw.path for raw in read("hf:someone/pets") if raw.label}) == len(names)
    assert len({raw.path for raw in read("hf:someone/pets/pets") if raw.label}) == len(names)
    context.__exit__(None, None, None)


def test_data_set_of_scripts_is_read_as_converted(serve_hub: Callable[[dict[str, Files]], Any], tmp_path: Path) -> None:
    """What has only code or archives is read as the Hub has converted it; of several configurations one is named."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [{"bytes": encode(row), "path": None} for row in range(4)]
    pq.write_table(pa.table({"image": cells, "label": CLASSES * 2}), tmp_path / "shard.parquet")
    shard = (tmp_path / "shard.parquet").read_bytes()
    converted = {"small/train/0000.parquet": shard, "large/train/0000.parquet": shard}
    context = serve_hub({"main": {"pets.py": b"", "data.zip": b""}, hub.PARQUET_BRANCH: converted})
    with pytest.raises(UserError, match=r"several data sets, large, small; name one, as in hf:someone/pets/large"):
        read("hf:someone/pets")
    found = [raw for raw in read("hf:someone/pets/small") if raw.label]
    assert [raw.label for raw in found] == CLASSES * 2
    context.__exit__(None, None, None)


def test_code_alone_is_refused(serve_hub: Callable[[dict[str, Files]], Any]) -> None:
    """A data set that only a script could read is refused: none is run."""
    context = serve_hub({"main": {"pets.py": b"", "data.zip": b""}})
    with pytest.raises(UserError, match="neither Parquet files nor images, but code or archives"):
        read("hf:someone/pets")
    context.__exit__(None, None, None)


def test_missing_network_says_what_to_do(serve_hub: Any) -> None:
    """Without a network and without a copy: one sentence with the command that fetches the data set elsewhere."""
    with pytest.raises(UserError, match=r"hf:someone/pets: cannot be fetched .*`hf download someone/pets --repo-type"):
        read("hf:someone/pets")


@pytest.mark.parametrize("source", ["hf:pets", "hf:", "hf:a/../../etc", "hf:a/b?x=1"])
def test_odd_address_is_refused(source: str) -> None:
    """An address that names no data set is refused with the form that it should have."""
    with pytest.raises(UserError, match="expected hf:OWNER/NAME"):
        read(source)
