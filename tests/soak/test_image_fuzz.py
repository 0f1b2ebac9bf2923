"""The fuzzer of image files at length: 4,000 files of four seeds."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.helpers import image_fuzz

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("seed", range(100, 104))
def test_many_fuzzed_files_keep_pixels(seed: int) -> None:
    """No file crashes the decoder, and what is kept has the mean of the photograph that it was made of."""
    outcomes = Counter(image_fuzz.check_file(file) for file in image_fuzz.make_files(seed, 1000))
    print(dict(outcomes))
    assert outcomes["kept"] > 500
