"""A run as a user types it on a terminal, with Ctrl-C in its middle, and what the terminal shows of it."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import pexpect
import psutil

from tests.conftest import PATIENCE, environment
from tests.helpers.killing import STEPS, command


@dataclass(frozen=True)
class Interrupted:
    """What a run had left when Ctrl-C was pressed while its GAN was trained: all that it drew, and its processes."""

    drawn: str
    exit_code: int
    ended: bool


def spawn(out: Path) -> tuple[pexpect.spawn, io.StringIO]:
    """Type the command on a pseudo-terminal; the second is what it draws there."""
    drawn = io.StringIO()
    program, *arguments = command("run", out)
    child = pexpect.spawn(
        program, arguments, env=environment(TERM="xterm-256color"), encoding="utf-8", timeout=PATIENCE,
        dimensions=(40, 160), logfile=drawn,
    )  # fmt: skip
    return child, drawn


def interrupt_gan(out: Path) -> Interrupted:
    """Type the command, and press Ctrl-C as soon as ranks of Ray Train train the GAN."""
    child, drawn = spawn(out)
    child.expect(rf"step \d+ of {STEPS}, loss_g")
    processes = psutil.Process(child.pid).children(recursive=True)
    assert len(processes) > 3
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    alive = psutil.wait_procs(processes, timeout=PATIENCE)[1]
    return Interrupted(drawn.getvalue(), child.exitstatus, not alive)


def finish(out: Path) -> str:
    """Type the command, wait for its end, and return what it drew."""
    child, drawn = spawn(out)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, drawn.getvalue()
    return drawn.getvalue()


def plain(text: str) -> str:
    """What is written, without colours and movements of the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def join_lines(text: str) -> str:
    """What a terminal shows, with the lines of a stage that were broken between words in one."""
    return re.sub(r" *\n {18}", " ", re.sub(r"[\r\n]+", "\n", text))
