"""What all tests need that start Ray in their own process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ganaug_ray.runtime import cluster


@pytest.fixture(scope="package", autouse=True)
def _patient() -> Iterator[None]:
    """A busy machine needs longer for a node than Ray waits for it; tests elsewhere have Ray as it is."""
    with cluster.wait_for_node():
        yield
