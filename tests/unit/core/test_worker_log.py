"""What the package logs in a worker process."""

import logging
from collections.abc import Iterator

import pytest

from ganaug_ray.core import worker_log


@pytest.fixture
def package_logger() -> Iterator[logging.Logger]:
    """The package's logger, left as it was."""
    logger = logging.getLogger("ganaug_ray")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers.clear()
    yield logger
    logger.handlers[:], logger.level, logger.propagate = before


def test_log_messages_print_once(
    package_logger: logging.Logger, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """No prefix, no second line by a handler of the root logger, nothing below INFO."""
    worker_log.print_log_messages()
    worker_log.print_log_messages()
    log = logging.getLogger("ganaug_ray.search.trainable")
    log.debug("hidden")
    log.info("going on from step %d", 7)
    log.error("100 %")
    assert capsys.readouterr() == ("going on from step 7\n100 %\n", "")
    assert caplog.records == []
