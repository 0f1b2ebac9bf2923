"""Ctrl-C and SIGTERM: they end a process that has begun nothing at once, and any other by KeyboardInterrupt."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}  # 128 and the number of the signal, as shells have it
_received: signal.Signals | None = None
_exit_code: int | None = None  # once this process is ending for a signal


def end_process_at_once() -> None:
    """Have the signals end this process with a line, until ``raise_interrupts``: there is nothing to clean up yet.

    Libraries that are being imported take a KeyboardInterrupt for an error of their own, or lose it.
    """
    atexit.register(_leave)  # what is registered first is called last
    _set_handler(_end_at_once)


def raise_interrupts() -> None:
    """Have the signals raise KeyboardInterrupt in the main thread, so that what is done is kept."""
    _set_handler(_raise_interrupt)


@contextmanager
def keep_interrupts() -> Iterator[None]:
    """Have Ctrl-C end the context by KeyboardInterrupt, also where a library takes it for an error of its own.

    For programs that are not the command line: one that answers Ctrl-C in its own way goes on to do so.
    """
    global _received
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    _received = None
    signal.signal(signal.SIGINT, _raise_interrupt)
    try:
        yield
    except Exception:
        if is_interrupted():
            raise KeyboardInterrupt from None
        raise
    finally:
        _received = None
        signal.signal(signal.SIGINT, signal.default_int_handler)


def is_interrupted() -> bool:
    """Whether a signal came since one of the two above; libraries may take it for an error of their own."""
    return _received is not None


def exit_interrupted(message: str) -> NoReturn:
    """Exit with a message and the exit code of the signal, or of Ctrl-C; signals that follow change nothing."""
    global _exit_code
    _exit_code = EXIT_CODES[_received or signal.SIGINT]
    _set_handler(_ignore)
    print(message, file=sys.stderr)
    sys.exit(_exit_code)


def _set_handler(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in EXIT_CODES:
        # A shell that starts a command in the background has it ignore Ctrl-C, which is meant for another one.
        if number != signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, b"interrupted; nothing was begun\n")
    os._exit(EXIT_CODES[signal.Signals(number)])


def _raise_interrupt(number: int, frame: FrameType | None) -> None:
    global _received
    _received = signal.Signals(number)
    raise KeyboardInterrupt


def _ignore(number: int, frame: FrameType | None) -> None:
    """Unlike SIG_IGN, no child process inherits this."""


def _leave() -> None:
    """End an interrupted process, after all that was registered to be done at its end.

    Python itself would end it with the exit code of Ctrl-C if the interrupt came within exec, and takes seconds for
    what Ray and torch have in memory.
    """
    if _exit_code is None:
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(_exit_code)
