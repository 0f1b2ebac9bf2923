"""Files of many formats, depths, names and kinds of damage: each is kept as it was, or rejected with a reason."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from ganaug_ray.config import DataConfig
from ganaug_ray.data.ingest import scan
from ganaug_ray.errors import UserError
from tests.helpers import image_fuzz, name_fuzz

pytestmark = pytest.mark.filterwarnings("ignore")


def test_fuzzed_files_keep_their_pixels() -> None:
    """No file crashes the decoder, whole ones are kept, with the means that an independent decoder finds."""
    outcomes = Counter(image_fuzz.check_file(file) for file in image_fuzz.make_files(seed=0, n=400))
    assert outcomes.total() == 400
    for decoder in ("torchvision", "plain TIFF", "plain PNM", "plain BMP", "the photograph"):
        assert outcomes["kept", decoder] > 8


@pytest.mark.parametrize("source", ["100%41 #1? é 'pictures'", "a b#.zip"])
def test_every_fuzzed_file_is_counted(source: str, tmp_path: Path) -> None:
    """Whatever a file is called, it is kept in its class, rejected with a reason or skipped with a count."""
    files = name_fuzz.name_files(seed=1, files=list(image_fuzz.make_files(seed=1, n=240)))
    if source.endswith(".zip"):
        name_fuzz.write_zip(tmp_path / source, files)
    else:
        name_fuzz.write_folder(tmp_path / source, files)
    config = DataConfig(source=[str(tmp_path / source)], max_rejected=1, value_range=[0, 65535])
    outcomes = name_fuzz.count_files(files, scan.survey_without_storing(config))
    assert outcomes.total() == 240
    assert outcomes["kept"] > 80


@pytest.mark.parametrize("name", [b"cat/\xff.png", b"c\xe4t/1.png", b"cat/\xed\xa0\x80.png", b"cat/.\xfe.png"])
def test_undecodable_names_refuse_the_folder(name: bytes, tmp_path: Path) -> None:
    """A file or folder whose name is no UTF-8 is named, with its odd bytes spelled out."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.parent.mkdir()
    path.write_bytes(b"")
    with pytest.raises(UserError) as raised:
        scan.survey_without_storing(DataConfig(source=[str(tmp_path)]))
    assert name.decode("utf-8", "backslashreplace") in str(raised.value)
