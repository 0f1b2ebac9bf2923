"""Files of many formats, depths and kinds of damage: each is kept as it was, or rejected with a reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ganaug_ray.config import DataConfig
from ganaug_ray.data.ingest import scan
from tests.helpers import image_fuzz

pytestmark = pytest.mark.filterwarnings("ignore")


def test_fuzzed_files_keep_their_pixels() -> None:
    """No file crashes the decoder, and what is kept has the means that an independent decoder finds."""
    outcomes = Counter(image_fuzz.check_file(file) for file in image_fuzz.make_files(seed=0, n=400))
    assert outcomes.total() == 400
    for decoder in ("torchvision", "plain TIFF", "plain PNM", "plain BMP", "the photograph"):
        assert outcomes["kept", decoder] > 8


def test_every_fuzzed_file_is_counted(tmp_path: Path) -> None:
    """Every file of a folder is either usable or rejected with a reason."""
    for number, file in enumerate(image_fuzz.make_files(seed=1, n=160)):
        label = tmp_path / "ab"[number % 2]
        label.mkdir(exist_ok=True)
        (label / f"{number:03d}.png").write_bytes(file.content)
    found = scan.survey_without_storing(DataConfig(source=[str(tmp_path)], max_rejected=1, value_range=[0, 65535]))
    assert len(found.usable) + len(found.rejected) == 160
    assert all(found.rejected["reason"].to_pylist())
