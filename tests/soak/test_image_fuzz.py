"""The fuzzer of image files at length: 3,000 files of each of two seeds, and folders of names of all kinds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ganaug_ray.config import DataConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import scan
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.data.sources.raw import PASSED_OVER
from tests.helpers import image_fuzz, name_fuzz

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("seed", [100, 101])
def test_many_fuzzed_files_keep_pixels(seed: int) -> None:
    """No file crashes the decoder, whole ones are kept, with the means that an independent decoder finds."""
    outcomes = Counter(image_fuzz.check_file(file) for file in image_fuzz.make_files(seed, 3000))
    for outcome, n in outcomes.most_common():
        print(f"{n:5} {outcome.verdict} {outcome.reference and f'(by {outcome.reference})'}")
    assert outcomes.total() == 3000
    for decoder in ("torchvision", "plain TIFF", "plain PNM", "plain BMP", "the photograph"):
        assert outcomes["kept", decoder] > 50


@pytest.mark.parametrize("seed", [100, 101])
def test_many_fuzzed_names_are_counted(seed: int, tmp_path: Path) -> None:
    """Whatever a file is called, a data set has it, or its tables and counts say why not, and its card is drawn."""
    files = name_fuzz.name_files(seed, list(image_fuzz.make_files(seed, 3000)))
    source = tmp_path / "100%41 #1? é 'pictures'"
    name_fuzz.write_folder(source, files)
    name_fuzz.write_zip(tmp_path / "a b#.zip", files)
    config = DataConfig(source=[str(source)], max_rejected=1, value_range=[0, 65535], image_size=32)
    outcomes = name_fuzz.count_files(files, scan.survey_without_storing(config))
    print(dict(outcomes.most_common()))
    assert outcomes.total() == 3000
    zipped = config.model_copy(update={"source": [str(tmp_path / "a b#.zip")]})
    assert name_fuzz.count_files(files, scan.survey_without_storing(zipped)) == outcomes

    folder = Folder.from_uri(str(tmp_path / "dataset"))
    prepare_dataset(config, folder)
    assert len(folder.read_table("split.parquet", ["path"])) == outcomes["kept"]
    rejected = folder.read_table("rejected.parquet", ["reason"])["reason"].to_pylist()
    passed_over = {reason: outcomes[reason] for reason in PASSED_OVER}
    assert Counter(rejected) + Counter(passed_over) + Counter(kept=outcomes["kept"]) == outcomes
