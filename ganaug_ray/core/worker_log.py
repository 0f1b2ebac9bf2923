"""Prints what the package logs in a worker process, so that it gets into the log of the job."""

from __future__ import annotations

import logging
import sys


def print_log_messages() -> None:
    """Print every message from INFO on that this package logs in this process, without a prefix.

    The handlers that Ray or a library may have set on the root logger do not get them as well: each line is in the log
    once. A second call changes nothing.
    """
    logger = logging.getLogger("ganaug_ray")
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
