"""Tests of half a minute and more, for ``pytest tests/soak``: the default run does not look here."""

import faulthandler
from pathlib import Path

import pytest

from tests.helpers.killing import killable, undisturbed  # noqa: F401  # fixtures: pytest finds them here by name


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: takes half a minute or more")


def pytest_runtest_setup(item: pytest.Item) -> None:
    faulthandler.cancel_dump_traceback_later()  # the suite's limit of ten minutes is not for these


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("soak")
