"""The fuzzer of image files at length: 3,000 files of each of two seeds, and folders of names of all kinds."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.helpers import image_fuzz

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("seed", [100, 101])
def test_many_fuzzed_files_keep_pixels(seed: int) -> None:
    """No file crashes the decoder, and what is kept has the means that an independent decoder finds."""
    outcomes = Counter(image_fuzz.check_file(file) for file in image_fuzz.make_files(seed, 3000))
    for outcome, n in outcomes.most_common():
        print(f"{n:5} {outcome.verdict} {outcome.reference and f'(by {outcome.reference})'}")
    assert outcomes.total() == 3000
    for decoder in ("torchvision", "plain TIFF", "plain PNM", "plain BMP", "the photograph"):
        assert outcomes["kept", decoder] > 80
