"""One small local cluster for all of these tests."""

from collections.abc import Iterator

import pytest
import ray


@pytest.fixture(scope="package")
def cluster() -> Iterator[None]:
    """More logical CPUs than there are cores: these tests are about what is placed where, not about speed."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
