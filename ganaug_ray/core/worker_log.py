"""Prints what the package logs in a process of a run, so that it gets into the log of the job."""

from __future__ import annotations

import io
import logging
import sys
from typing import TextIO


class _PrintHandler(logging.StreamHandler[TextIO]):
    """Writes to what the standard output is when a message comes, as print does."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        self.stream = sys.stdout
        super().emit(record)


def replace_unencodable() -> None:
    """Have what this process prints replaced where the terminal's encoding lacks a character, never an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def install_print_handler() -> None:
    """Install a log handler that prints what this package logs in this process, from INFO on and without a prefix.

    The handlers that Ray or a library may have set on the root logger do not get them as well: each line is in the log
    once. A second call changes nothing.
    """
    logger = logging.getLogger("ganaug_ray")
    if logger.handlers:
        return
    replace_unencodable()
    handler = _PrintHandler()

    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
