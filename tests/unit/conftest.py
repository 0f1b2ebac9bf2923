"""No test in here starts Ray."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
import ray

from ganaug_ray.core import interrupts
from tests.helpers.mlflow_server import serve_mlflow


@pytest.fixture(scope="package", autouse=True)
def _no_ray() -> Iterator[None]:
    """Fail what would start Ray, also where Ray does so unasked, as at ray.put: it would outlive the test."""

    def refuse(*args: Any, **options: Any) -> NoReturn:
        pytest.fail("tests in tests/unit start no Ray: replace what does, or move the test to tests/ray")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", refuse)
        yield


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server."""
    with serve_mlflow(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture
def signals_stay() -> Iterator[None]:
    """The command line answers signals in its own way, and an interrupted one no more; the tests' process goes on."""
    before = {number: signal.getsignal(number) for number in interrupts.EXIT_CODES}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
