"""No test in here starts Ray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
import ray


@pytest.fixture(scope="package", autouse=True)
def _no_ray() -> Iterator[None]:
    """Fail what would start Ray, also where Ray does so unasked, as at ray.put: it would outlive the test."""

    def refuse(*args: Any, **options: Any) -> NoReturn:
        pytest.fail("tests in tests/unit start no Ray: replace what does, or move the test to tests/ray")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", refuse)
        yield
