"""One small local cluster for all modules that ask for it: they come first, one after another."""

from collections.abc import Iterator

import pytest
import ray


def _asks(item: pytest.Item) -> bool:
    return "cluster" in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not _asks(item))


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    """More logical CPUs than there are cores: these tests are about what is placed where, not about speed."""
    if not ray.is_initialized():
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    last = [item for item in request.session.items if _asks(item)][-1]
    if last.getparent(pytest.Module) is request.node:
        ray.shutdown()
