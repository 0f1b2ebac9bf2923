"""The standard streams of the command line: closed ones, readers that have gone, and disks that are full."""

import os
import sys
from contextlib import suppress

from ganaug_ray.errors import UserError


def open_closed_streams() -> None:
    """Open /dev/null in the place of standard streams that are closed, as after ``>&-``.

    Else the next file that is opened would get such a stream's number, and what libraries print would be written to it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def silence_errors() -> None:
    """Send to /dev/null what else is written to standard error: libraries count their leaks as the process ends."""
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def flush_output() -> None:
    """Write what was printed, while it can still be said that this failed; a reader that has gone, as head, may go.

    Raises:
        UserError: standard output cannot be written.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
    except OSError as error:
        _drop_output()
        raise UserError(
            f"standard output: cannot be written ({error.strerror or error}); send it to another file or disk"
        ) from None


def _drop_output() -> None:
    """Have the rest go nowhere: Python writes it once more when it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
