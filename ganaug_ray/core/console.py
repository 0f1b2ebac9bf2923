"""The terminal: one line a stage and a progress bar for long work; the output of libraries goes to a log file."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PROGRESS_POLL_S = 0.5  # seconds between looks at a running stage
PLAIN_LINE_INTERVAL_S = 15.0  # seconds between lines where there is no terminal to draw a bar on
STAGE_NAME_WIDTH = 10

ReadProgress = Callable[[], tuple[float, str]]
"""How far a running stage is, from 0 to 1, and a few words on it."""


class Terminal:
    """Prints to the user's terminal, while all other output of this process and its children can go to a log file."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)

    @contextmanager
    def redirect_output(self, log: Path | None) -> Iterator[None]:
        """Send what libraries print, also from C++ and from child processes, to a file until the context ends."""
        if log is None:
            yield
            return
        sys.stdout.flush()
        sys.stderr.flush()
        saved_out = os.dup(1)
        saved_err = os.dup(2)
        terminal_stream = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace")
        self._console = Console(file=terminal_stream, highlight=False)
        with log.open("a", encoding="utf-8", errors="replace") as stream:
            stream.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(sys.argv)}\n")
            stream.flush()
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved_out, 1)
            os.dup2(saved_err, 2)
            os.close(saved_out)
            os.close(saved_err)
            terminal_stream.flush()
            self._console = Console(highlight=False)

    def print_stage_line(self, stage: str, status: str, text: str, seconds: float | None = None) -> None:
        """Print the line of a stage: its name, its status (done, kept or failed), what came out, and seconds."""
        colour = {"done": "green", "kept": "cyan", "failed": "red"}.get(status, "yellow")
        tail = f"  [dim]{seconds:.1f} s[/]" if seconds is not None else ""
        self._console.print(
            f"[bold]{stage:<{STAGE_NAME_WIDTH}}[/] [{colour}]{status:<6}[/] {escape(text)}{tail}", soft_wrap=True
        )

    def print_text(self, text: str) -> None:
        """Print text without interpreting markup in it."""
        self._console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def show_progress(self, stage: str, read_progress: ReadProgress) -> Iterator[None]:
        """Show how far a stage is until the context ends: a bar on a terminal, else a line every 15 seconds."""
        stop = threading.Event()
        show = self._draw_bar if self._console.is_terminal else self._print_progress
        thread = threading.Thread(target=show, args=(stage, read_progress, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _draw_bar(self, stage: str, read_progress: ReadProgress, stop: threading.Event) -> None:
        columns = (
            TextColumn(f"[bold]{stage:<{STAGE_NAME_WIDTH}}[/]"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
        )
        # By default rich would draw what other libraries print above its bar; it belongs in the log.
        with Progress(
            *columns, console=self._console, transient=True, redirect_stdout=False, redirect_stderr=False
        ) as progress:
            task = progress.add_task(stage, total=1.0, words="starting")
            while not stop.wait(PROGRESS_POLL_S):
                with suppress(OSError, KeyError, ValueError):  # a file that is being replaced: look again later
                    share, words = read_progress()
                    progress.update(task, completed=share, words=words)

    def _print_progress(self, stage: str, read_progress: ReadProgress, stop: threading.Event) -> None:
        printed = ""
        while not stop.wait(PLAIN_LINE_INTERVAL_S):
            with suppress(OSError, KeyError, ValueError):
                share, words = read_progress()
                text = f"{stage:<{STAGE_NAME_WIDTH}} {share:4.0%} {words}"
                if text != printed:
                    self.print_text(text)
                    printed = text
