"""One run for several modules: typed on a terminal, interrupted, finished, and what killed ones are measured by."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import terminal
from tests.helpers.killing import killable  # noqa: F401  # a fixture: pytest finds it here by name
from tests.helpers.terminal import Interrupted


@pytest.fixture(scope="session")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Interrupted]:
    """A run on which Ctrl-C was pressed while ranks of Ray Train trained its GAN: its folder, and what it left."""
    out = tmp_path_factory.mktemp("e2e") / "digits"
    return out, terminal.interrupt_gan(out)


@pytest.fixture(scope="session")
def finished(interrupted: tuple[Path, Interrupted]) -> tuple[Path, str]:
    """The same command again, to its end: the folder of the run, and all that was drawn on the terminal both times.

    Whoever changes the folder takes a copy.
    """
    out, before = interrupted
    return out, before.drawn + terminal.finish(out)
