"""Tests of half a minute and more, for ``pytest tests/soak``: the default run does not look here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import killing
from tests.killing import Cluster


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: takes half a minute or more")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("soak")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and two nodes, of two CPUs each."""
    with killing.cluster(cpus=2) as found:
        yield found


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The job's experiment as it is when nobody is killed."""
    out = tmp_path_factory.mktemp("killing") / "undisturbed"
    assert killing.start(cluster.nodes, "run", out).wait() == 0, out.with_suffix(".txt").read_text()
    return out
