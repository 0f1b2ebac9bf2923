"""What the package logs in a worker process."""

import contextlib
import io
import logging

import pytest

from ganaug_ray.core import worker_log


def test_log_messages_print_once(
    package_logger: logging.Logger, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """No prefix, no second line by a handler of the root logger, nothing below INFO."""
    worker_log.install_print_handler()
    worker_log.install_print_handler()
    log = logging.getLogger("ganaug_ray.search.trainable")
    log.debug("hidden")
    log.info("trial %d begins", 7)
    log.error("100 %")
    assert capsys.readouterr() == ("trial 7 begins\n100 %\n", "")
    assert caplog.records == []


def test_log_messages_follow_standard_output(package_logger: logging.Logger) -> None:
    """As with print: a stream that was put in its place since then gets them."""
    worker_log.install_print_handler()
    with contextlib.redirect_stdout(io.StringIO()) as replaced:
        logging.getLogger("ganaug_ray.gan.train_worker").info("trial %d begins", 7)
    assert replaced.getvalue() == "trial 7 begins\n"
