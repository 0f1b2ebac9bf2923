"""What stands on the terminal: life from the first moment of a stage, whole words, and the time that is left."""

from __future__ import annotations

import io
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
from rich.console import Console

from ganaug_ray.core import console, run_clock
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.run_clock import PartClock, RunClock
from tests.conftest import PATIENCE, environment

STAGE_SCRIPT = """
import sys
from ganaug_ray.config import Job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.pipeline.stage import StageContext

context = StageContext(Job.model_validate({"data": {"source": "x"}}), Run(Folder.from_uri(sys.argv[1])), Terminal())

def work():
    sys.stdin.readline()  # until the test has seen that something moves
    with context.terminal.show_activity("starting Ray"):
        sys.stdin.readline()
    with context.terminal.show_progress("teach", lambda: (0.25, "step 1 of 4")):
        sys.stdin.readline()
    raise KeyboardInterrupt

try:
    context.run_stage("teach", None, work, str)
except KeyboardInterrupt:
    pass
"""


def test_stage_moves_before_its_work_says_anything(tmp_path) -> None:
    """A stage has a bar from its beginning on, in words what it waits for, and an interrupted one has not failed."""
    child = pexpect.spawn(
        sys.executable, ["-c", STAGE_SCRIPT, str(tmp_path)], env=environment(TERM="xterm-256color"), encoding="utf-8",
        timeout=PATIENCE, dimensions=(30, 100),
    )  # fmt: skip
    for words in (r"teach .* 0 % .*starting", "starting Ray", r" 25 % .*step 1 of 4"):
        child.expect(words)
        child.sendline()
    child.expect(r"teach .*interrupted")
    child.expect(pexpect.EOF)


def draw(width: int, print_line: Callable[[Terminal], None]) -> str:
    """Return what a terminal of some width shows."""
    terminal = Terminal()
    stream = io.StringIO()
    terminal._console = Console(file=stream, force_terminal=True, width=width, highlight=False)
    print_line(terminal)
    return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())


SENTENCE = "Unclear whether the added images help: test accuracy changed by -0.3 points (validation 2.5 s)"


@pytest.mark.parametrize("width", [60, 80, 99, 100, 160])
def test_words_give_way_to_bar_and_time(width: int) -> None:
    """On a narrow terminal a bar's words are cut; the stage, the bar, its share and the time left never are."""
    words = "step 460 of 1000, loss_g -0.05, loss_d 1.60; beside it 4 of 5 models trained"

    def draw_bar(terminal: Terminal) -> None:
        with terminal._open_bar("train-gan", terminal._console) as bar:
            bar.add_task("train-gan", total=1.0, completed=0.25, words=words, left="14 minutes left")

    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", draw(width, draw_bar)).lstrip("\r")
    shown = re.split("[\r\n]", shown)[0].rstrip()
    pattern = r"train-gan +\S [━╸╺]+ +25 % (0:00:00 )?14 minutes left step \d"
    assert re.match(pattern, shown), shown
    assert len(shown) <= width
    assert shown.endswith(words if width > 140 else "…")


@pytest.mark.parametrize("width", [40, 50, 63, 200])
def test_lines_break_between_words(width: int) -> None:
    """On a narrow terminal no word is broken, and the text stays below where it began."""
    lines = draw(width, lambda terminal: terminal.print_stage_line("compare", "done", SENTENCE, 2.5)).splitlines()
    assert lines[0].startswith("compare    done   Unclear")
    assert all(line.startswith(" " * 18) for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == f"compare done {SENTENCE} 2.5 s"
    assert all(len(line) <= width for line in lines)
    text = draw(width, lambda terminal: terminal.print_text(SENTENCE))
    assert " ".join(text.split()) == SENTENCE


def test_labelled_lines_go_on_below_their_text(capsys: pytest.CaptureFixture[str]) -> None:
    """On a narrow terminal a long line is broken between words and goes on below its text; in a file it is whole."""
    text = f"answer  {SENTENCE}\npage    runs/digits/report.html"
    lines = draw(40, lambda terminal: terminal.print_labelled_lines(text, 8)).splitlines()
    assert lines[0].startswith("answer  Unclear whether")
    assert lines[-1] == "page    runs/digits/report.html"
    assert all(line.startswith(" " * 8) and len(line) <= 40 for line in lines[1:-1])
    assert " ".join(" ".join(lines[:-1]).split()) == f"answer {SENTENCE}"
    Terminal().print_labelled_lines(text, 8)
    assert capsys.readouterr().out == f"{text}\n"


def test_line_in_a_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no terminal, a stage is one line, however long."""
    Terminal().print_stage_line("compare", "done", SENTENCE * 3, 2.5)
    assert capsys.readouterr().out == f"compare    done   {SENTENCE * 3}  2.5 s\n"


class OutStream(io.StringIO):
    """Standard output in a notebook."""


OutStream.__module__ = "ipykernel.iostream"


def test_notebook_shows_progress_and_no_chatter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook a line is written anew while a stage works, in plain text; what libraries print is in the log."""
    shown = OutStream()
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as Jupyter sets it
    monkeypatch.setattr(console, "PROGRESS_POLL_S", 0.01)
    asked = threading.Event()

    def read_progress() -> tuple[float, str]:
        asked.set()
        return 0.25, "step 1 of 4"

    terminal = Terminal()
    with terminal.redirect_output(tmp_path / "log.txt"):
        print("chatter")
        with terminal.show_progress("teach", read_progress):
            assert asked.wait(30)
            terminal.print_stage_line("teach", "note", "a remark")
        terminal.print_stage_line("teach", "done", "a teacher")
    assert "chatter" in (tmp_path / "log.txt").read_text()
    text = shown.getvalue()
    assert "\x1b" not in text
    assert "chatter" not in text
    assert re.search(r"\rteach +25%  step 1 of 4", text)
    lines = [line.split("\r")[-1] for line in text.split("\n")]
    assert lines[:-1] == ["teach      note   a remark", "teach      done   a teacher"]


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(run_clock, "time", time)
    return time


def test_time_left_is_what_was_expected_at_first(clock: Time) -> None:
    """Before anything is done all that is expected is left, and of nothing expected nothing is said."""
    assert RunClock().estimate_left(0.5) is None
    run = RunClock({"teach": 100.0, "train": 400.0})
    assert run.estimate_left(0.0) == 500
    run.begin("teach")
    clock.now += 50
    assert run.estimate_left(0.5) == pytest.approx(450)
    clock.now += 50
    run.end()
    run.begin("train")
    assert run.estimate_left(0.0) == pytest.approx(400)


def test_time_left_follows_the_pace(clock: Time) -> None:
    """A run that takes three times as long as expected is expected to go on like that, and to end nevertheless."""
    run = RunClock({"teach": 1000.0, "train": 1000.0})
    run.begin("teach")
    run.estimate_left(0.001)
    clock.now += 1500
    left = run.estimate_left(0.5)
    assert left is not None
    assert 4000 < left < 4500
    clock.now += 1500
    run.end()
    run.begin("train")
    clock.now += 3000
    assert run.estimate_left(1.0) == 0


def test_earlier_share_of_a_stage_is_not_expected(clock: Time) -> None:
    """Where half of a stage was done by an earlier run, the expected time is that of the other half."""
    run = RunClock({"train": 100.0})
    run.begin("train")
    assert run.estimate_left(0.0) == 100
    assert run.estimate_left(0.5) == 100
    clock.now += 50
    assert run.estimate_left(0.75) == pytest.approx(50)


def test_run_within_a_stage_leaves_the_time_of_the_whole(clock: Time) -> None:
    """Where a stage consists of runs, their own stages do not end the time that is left of the run around them."""
    whole = RunClock({"sizes": 100.0, "report": 10.0})
    whole.begin("sizes")
    first = PartClock(whole, 0.0)
    first.begin("train")
    assert first.estimate_left(0.9) == 110
    clock.now += 50
    first.end()
    second = PartClock(whole, 0.5)
    assert second.knows_time
    assert second.estimate_left(0.0) == pytest.approx(60)
    clock.now += 50
    whole.end()
    assert whole.estimate_left(0.0) == pytest.approx(10)
    assert not PartClock(RunClock(), 0.0).knows_time


def test_start_of_a_stage_is_no_slow_pace(clock: Time) -> None:
    """What passes until a stage tells its first share is a part of its time, not a sign that the rest is slow."""
    run = RunClock({"teach": 40.0, "train": 400.0})
    run.begin("teach")
    run.estimate_left(0.0)
    clock.now += 20
    assert run.estimate_left(0.1) == pytest.approx(420)
    clock.now += 10
    assert run.estimate_left(0.55) == pytest.approx(410)


def test_stage_of_several_calls_is_shared_out(clock: Time) -> None:
    """Each call of a stage, one a split, takes its part of what is expected of the stage."""
    run = RunClock({"prepare": 100.0, "train": 100.0}, {"prepare": 5})
    for left in (180, 160, 140, 120, 100):
        run.begin("prepare")
        clock.now += 20
        run.end()
        assert run.estimate_left(0.0) == pytest.approx(left)


def test_silent_stage_goes_by_its_time(clock: Time) -> None:
    """A stage that does not say how far it is goes by the clock, and is not taken for done."""
    run = RunClock({"evaluate": 10.0, "report": 10.0})
    run.begin("evaluate")
    clock.now += 5
    assert run.estimate_left(0.0) == pytest.approx(15)
    clock.now += 35
    left = run.estimate_left(0.0)
    assert left is not None
    assert left > 10


LOCKED_SCRIPT = """
import _imp, sys
from ganaug_ray.core.console import Terminal

terminal = Terminal()
_imp.acquire_lock()  # so an interrupt in the midst of an import leaves it
with terminal.show_progress("teach", lambda: (0.25, "step 1 of 4")):
    sys.stdin.readline()
print("ended")
"""


def test_bar_imports_nothing() -> None:
    """A bar is drawn and ends though no other thread can import: else a run that was interrupted would never end."""
    child = pexpect.spawn(
        sys.executable, ["-c", LOCKED_SCRIPT], env=environment(TERM="xterm-256color"), encoding="utf-8",
        timeout=PATIENCE, dimensions=(30, 100),
    )  # fmt: skip
    child.expect("step 1 of 4")
    child.sendline()
    child.expect("ended")
    child.expect(pexpect.EOF)
