"""The terminal: one line a stage and a progress bar while it works; the output of libraries goes to a log file."""

import io
import os
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from ganaug_ray.core.run_clock import RunClock
from ganaug_ray.core.wording import format_time

PROGRESS_POLL_S = 0.5  # seconds between looks at a running stage
DRAWS_PER_S = 4  # of a bar: each takes 2 ms from a core that may train
PLAIN_LINE_INTERVAL_S = 15.0  # seconds between lines where there is no terminal to draw a bar on
STAGE_NAME_WIDTH = 10
STATUS_WIDTH = 6
BAR_WIDTH = 16
NARROW = 100  # characters: below that the bar is shorter and without its clock, so that the words have room
BAR_PATIENCE_S = 5.0  # seconds for a bar to end; one that cannot must not keep an interrupted run from ending

ReadProgress = Callable[[], tuple[float, str]]
"""How far a running stage is, from 0 to 1, and a few words on it."""


def create_log_file(command: str) -> Path:
    """Create an empty temporary file for what a command's libraries print."""
    number, path = tempfile.mkstemp(prefix=f"ganaug-{command}-", suffix=".log")
    os.close(number)
    return Path(path)


class Terminal:
    """Prints to the user's terminal, while all other output of this process and its children can go to a log file.

    Attributes:
        clock: of the run that is shown; what it knows of the time left stands beside the bar.
    """

    def __init__(self) -> None:
        self._in_notebook = type(sys.stdout).__module__.startswith("ipykernel.")  # of Jupyter, and what shows its files
        self._console = self._open_console()
        self._readers: list[ReadProgress] = []
        self._last_read = 0.0, ""
        self._line_width = 0  # of the line of a notebook that shows how far a stage is
        self.clock = RunClock()
        if self._console.is_terminal:
            # Rich imports parts of itself when it draws a first bar. A bar's thread must import nothing: an interrupt
            # in the midst of an import leaves Python's lock of imports taken.
            unseen = Console(file=io.StringIO(), force_terminal=True, force_jupyter=False)
            with self._open_bar("", unseen) as bar:
                bar.add_task("", total=1.0, words="", left="")
                bar.refresh()

    def _open_console(self, stream: IO[str] | None = None) -> Console:
        """Open a console on a stream, or on standard output; a notebook gets plain text, though it asks for colours."""
        plain = False if self._in_notebook else None
        return Console(file=stream, highlight=False, force_jupyter=False, force_terminal=plain)

    @contextmanager
    def redirect_output(self, log: Path | None) -> Iterator[None]:
        """Send what libraries print, also from C++ and from child processes, to a file until the context ends.

        Where standard output is no file but an object, as in a notebook, lines and bars go on to be written to it.
        """
        if log is None:
            yield
            return
        sys.stdout.flush()
        sys.stderr.flush()
        saved_out = os.dup(1)
        saved_err = os.dup(2)
        is_file = sys.stdout is sys.__stdout__
        terminal_stream = sys.stdout
        if is_file:
            terminal_stream = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace")
        self._console = self._open_console(terminal_stream)
        with log.open("a", encoding="utf-8", errors="replace") as stream:
            stream.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(sys.argv)}\n")
            stream.flush()
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        try:
            with redirect_stdout(sys.__stdout__), redirect_stderr(sys.__stderr__):
                yield
        finally:
            for printed in filter(None, (sys.__stdout__, sys.__stderr__, terminal_stream)):
                printed.flush()
            os.dup2(saved_out, 1)
            os.dup2(saved_err, 2)
            os.close(saved_out)
            os.close(saved_err)
            self._console = self._open_console()

    def print_stage_line(self, stage: str, status: str, text: str, seconds: float | None = None) -> None:
        """Print the line of a stage: its name, its status, what came out, and seconds.

        A terminal too narrow for it breaks the text between words, below where it began; a file gets one line.
        """
        self._clear_progress_line()
        colour = {"done": "green", "kept": "cyan", "failed": "red"}.get(status, "yellow")
        tail = f"  [dim]{seconds:.1f} s[/]" if seconds is not None else ""
        name = f"[bold]{stage:<{STAGE_NAME_WIDTH}}[/]"
        state = f"[{colour}]{status:<{STATUS_WIDTH}}[/]"
        if not self._console.is_terminal:
            self._console.print(f"{name} {state} {escape(text)}{tail}", soft_wrap=True)
            return
        row = Table.grid(
            Column(no_wrap=True, min_width=STAGE_NAME_WIDTH),
            Column(no_wrap=True, min_width=STATUS_WIDTH),
            Column(overflow="fold"),
            padding=(0, 1, 0, 0),
        )
        row.add_row(name, state, Text.from_markup(f"{escape(text)}{tail}"))
        self._console.print(row)

    def print_text(self, text: str) -> None:
        """Print text without interpreting markup in it, broken between words where a terminal is too narrow."""
        self._clear_progress_line()
        self._console.print(text, markup=False, soft_wrap=not self._console.is_terminal)

    def print_labelled_lines(self, text: str, indent: int) -> None:
        """Print lines that begin with a label; on a terminal too narrow for one, its text goes on below its text.

        Args:
            text: the lines.
            indent: columns that a label takes.
        """
        self._clear_progress_line()
        for line in text.splitlines():
            self._console.print(self._wrap_line(line, indent), markup=False, soft_wrap=True)

    def _wrap_line(self, line: str, indent: int) -> str:
        if not self._console.is_terminal:
            return line
        return textwrap.fill(
            line,
            self._console.width,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )

    @contextmanager
    def show_progress(self, stage: str, read_progress: ReadProgress) -> Iterator[None]:
        """Show how far a stage is until the context ends.

        On a terminal it is a bar, in a notebook a line that is written anew, elsewhere a line every 15 seconds.

        Within another such context the bar is that one's, and goes by ``read_progress`` in the meantime.
        """
        self._readers.append(read_progress)
        self._last_read = 0.0, ""
        try:
            if len(self._readers) > 1:
                yield
                return
            stop = threading.Event()
            show = self._print_progress
            if self._console.is_terminal:
                show = self._draw_bar
            elif self._in_notebook:
                show = self._rewrite_progress
            thread = threading.Thread(target=show, args=(stage, stop), daemon=True)
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join(BAR_PATIENCE_S)
        finally:
            self._readers.pop()

    @contextmanager
    def show_activity(self, words: str) -> Iterator[None]:
        """Show words beside the bar until the context ends, for what cannot say how far it is."""
        share = self._read_progress()[0] if self._readers else 0.0
        with self.show_progress("", lambda: (share, words)):
            yield

    def _read_progress(self) -> tuple[float, str]:
        with suppress(OSError, KeyError, ValueError, IndexError):  # a file that is being replaced: look again later
            self._last_read = self._readers[-1]()
        return self._last_read

    def _open_bar(self, stage: str, screen: Console) -> Progress:
        is_narrow = screen.width < NARROW
        clock = () if is_narrow else (TimeElapsedColumn(),)
        columns = (
            TextColumn(f"[bold]{stage:<{STAGE_NAME_WIDTH}}[/]"),
            SpinnerColumn(),
            BarColumn(bar_width=BAR_WIDTH // 2 if is_narrow else BAR_WIDTH),
            TextColumn("{task.percentage:>3.0f} %"),
            *clock,
            TextColumn("{task.fields[left]}", markup=False),
            # A ratio makes this the one column that gives way, with an ellipsis.
            TextColumn(
                "{task.fields[words]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
            ),
        )
        # By default rich would draw what other libraries print above its bar; it belongs in the log.
        return Progress(
            *columns, console=screen, transient=True, redirect_stdout=False, redirect_stderr=False,
            refresh_per_second=DRAWS_PER_S, expand=True,
        )  # fmt: skip

    def _draw_bar(self, stage: str, stop: threading.Event) -> None:
        with self._open_bar(stage, self._console) as progress:
            share, words = self._read_progress()
            task = progress.add_task(stage, total=1.0, words=words, left=self._describe_left(share))
            while not stop.wait(PROGRESS_POLL_S):
                share, words = self._read_progress()
                progress.update(task, completed=share, words=words, left=self._describe_left(share))

    def _describe_left(self, share: float) -> str:
        left_s = self.clock.estimate_left(share)
        return "" if left_s is None else f"{format_time(left_s)} left"

    def _print_progress(self, stage: str, stop: threading.Event) -> None:
        printed = ""
        while not stop.wait(PLAIN_LINE_INTERVAL_S):
            share, words = self._read_progress()
            text = f"{stage:<{STAGE_NAME_WIDTH}} {share:4.0%} {words}"
            if text != printed:
                left = self._describe_left(share)
                self.print_text(f"{text} ({left})" if left else text)
                printed = text

    def _rewrite_progress(self, stage: str, stop: threading.Event) -> None:
        """Write a line over the one before; a carriage return goes to the beginning of it in a notebook, too."""
        while True:
            share, words = self._read_progress()
            parts = (f"{stage:<{STAGE_NAME_WIDTH}} {share:4.0%}", self._describe_left(share), words)
            text = "  ".join(filter(None, parts))
            self._line_width = max(self._line_width, len(text))
            self._console.file.write(f"\r{text:<{self._line_width}}")
            self._console.file.flush()
            if stop.wait(PROGRESS_POLL_S):
                break
        self._clear_progress_line()

    def _clear_progress_line(self) -> None:
        if self._line_width:
            self._console.file.write(f"\r{'':<{self._line_width}}\r")
            self._line_width = 0
