"""The commands that measure: turns, statistics, what they write, what they do with sides that fail, their devices."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from tests.benchmarks import classifier_step, gan_step, step_rates
from tests.benchmarks.__main__ import main
from tests.benchmarks.benchmarks_page import BEGIN, END, update_page
from tests.benchmarks.pairs import Benchmark, NotInstalled, Pair, Side
from tests.benchmarks.rounds import Result, measure_benchmark
from tests.benchmarks.serving import Service

MACHINE = "2 cores of A, no GPU"
OURS, PEER, BROKEN = "ours", "peer", "broken"
PAIR = Pair("fast", "what is asked", OURS, PEER, "images/s", least=1.5)


class Script:
    """Sides that give these figures, one a round, and note their turns; a figure may be an error."""

    def __init__(self, **figures: list[float | Exception]) -> None:
        self.turns: list[str] = []
        self._figures = {name: iter(values) for name, values in figures.items()}

    @contextmanager
    def open_sides(self, folder: Path) -> Iterator[Mapping[str, Side]]:
        assert folder.is_dir()
        yield {name: lambda name=name: self._measure(name) for name in self._figures}

    def _measure(self, name: str) -> float:
        self.turns.append(name)
        value = next(self._figures[name])
        if isinstance(value, Exception):
            raise value
        return value


@contextmanager
def fail_to_open(folder: Path) -> Iterator[Mapping[str, Side]]:
    raise NotInstalled("wrk")
    yield {}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(f"# Benchmarks\n\n{BEGIN}\n{END}\n\nThe rest.\n")
    return path


def run_command(page: Path, benchmarks: list[Benchmark], *arguments: str) -> int:
    out = page.parent / "out"
    return main(["--out", str(out), "--page", str(page), "--folder", str(page.parent), *arguments], benchmarks)


def read_json(page: Path) -> dict:
    return json.loads((page.parent / "out" / "benchmarks.json").read_text())


def test_sides_run_in_turn(tmp_path: Path) -> None:
    """Each side runs once a round, one after the other; a side of pairs that nobody wants does not run."""
    script = Script(ours=[3, 4, 5], peer=[1, 2, 2], other=[])
    benchmark = Benchmark((PAIR, Pair("other", "", OURS, "other", "s")), script.open_sides)
    (result,) = measure_benchmark(benchmark, {"fast"}, 3, tmp_path)
    assert script.turns == [OURS, PEER] * 3
    assert result.ratios == [3, 2, 2.5]


def test_ratio_is_the_median_of_the_rounds(page: Path) -> None:
    """Not the ratio of the medians: what else the machine does meets both sides of a round."""
    script = Script(ours=[10, 40, 90], peer=[10, 20, 30])
    assert run_command(page, [Benchmark((PAIR,), script.open_sides)], "--rounds", "3") == 0
    record = read_json(page)
    assert record["machine"].keys() == {"cores", "cpu", "gpu", "python", "torch", "ray"}
    (pair,) = record["pairs"]
    assert (pair["ours"], pair["peer"]) == ([10, 40, 90], [10, 20, 30])
    assert pair["summary"]["ours"] == {"least": 10, "median": 40, "most": 90}
    assert pair["summary"]["ratio"] == {"least": 1, "median": 2, "most": 3}


def test_page_and_plot_are_written(page: Path) -> None:
    """The row has the ratio and its spread, what is asked and the date; all around the marks stays."""
    script = Script(ours=[10, 40, 90], peer=[10, 20, 30])
    run_command(page, [Benchmark((PAIR,), script.open_sides)], "--rounds", "3")
    text = page.read_text()
    today = datetime.datetime.now(datetime.UTC).date()
    assert (
        f"| fast | ours: 40.0 images/s | peer: 20.0 images/s | 2.00 (1.00 to 3.00) | at least 1.5 | 3 | {today} |"
    ) in text
    assert text.startswith("# Benchmarks\n")
    assert text.endswith(f"{END}\n\nThe rest.\n")
    assert (page.parent / "out" / "benchmarks.svg").read_text().startswith("<svg xmlns=")


def test_newer_row_replaces_older_of_the_machine(page: Path) -> None:
    """A row stays until the same pair is measured again on the same machine."""
    earlier, later = datetime.date(2026, 1, 1), datetime.date(2026, 2, 2)
    other = Pair("other", "", OURS, PEER, "s")
    update_page(page, [Result(PAIR, [1], [2]), Result(other, [1], [2])], MACHINE, earlier)
    update_page(page, [Result(PAIR, [1], [2])], "8 cores", earlier)
    update_page(page, [Result(PAIR, [3], [2]), Result(other, [], [], failure="it failed")], MACHINE, later)
    lines = [line for line in page.read_text().splitlines() if line.startswith(("| fast", "| other", "Machine"))]
    assert lines == [
        f"Machine: {MACHINE}",
        "| fast | ours: 3.00 images/s | peer: 2.00 images/s | 1.50 (1.50 to 1.50) | at least 1.5 | 1 | 2026-02-02 |",
        "| other | ours: 1.00 s | peer: 2.00 s | 0.50 (0.50 to 0.50) | – | 1 | 2026-01-01 |",
        "Machine: 8 cores",
        "| fast | ours: 1.00 images/s | peer: 2.00 images/s | 0.50 (0.50 to 0.50) | at least 1.5 | 1 | 2026-01-01 |",
    ]


def test_failing_side_stops_its_pairs_alone(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others go on, what they gave is written, and the exit code is 1."""
    script = Script(ours=[2, 2, 2], broken=[1, ValueError("no such thing"), 1], peer=[1, 1, 1])
    pairs = (Pair("bad", "", OURS, BROKEN, "s"), PAIR)
    last = Script(a=[1, 1, 1], b=[1, 1, 1])
    benchmarks = [
        Benchmark(pairs, script.open_sides),
        Benchmark((Pair("last", "", "a", "b", "s"),), last.open_sides),
    ]
    assert run_command(page, benchmarks, "--rounds", "3") == 1
    assert script.turns == [OURS, BROKEN, PEER, OURS, BROKEN, PEER, OURS, PEER]
    bad, good, after = read_json(page)["pairs"]
    assert bad["failure"] == "ValueError: no such thing"
    assert "summary" not in bad
    assert good["summary"]["ratio"]["median"] == 2
    assert after["summary"]["ratio"]["median"] == 1
    assert "FAILED: ValueError: no such thing" in capsys.readouterr().out
    assert "| bad |" not in page.read_text()


def test_results_are_written_after_each_benchmark(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured is there when a later benchmark is interrupted."""
    script, stopped = Script(ours=[2], peer=[1]), Script(a=[1])
    benchmarks = [
        Benchmark((PAIR,), script.open_sides),
        Benchmark((Pair("stopped", "", "a", "a", "s"),), stopped.open_sides),
    ]
    monkeypatch.setattr(stopped, "_measure", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_command(page, benchmarks, "--rounds", "1")
    assert [pair["pair"]["name"] for pair in read_json(page)["pairs"]] == ["fast"]


def _interrupt(name: str) -> float:
    raise KeyboardInterrupt


def test_missing_program_is_no_failure(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pair whose peer is not installed is said not to be measured."""
    assert run_command(page, [Benchmark((PAIR,), fail_to_open)]) == 0
    assert "not measured: wrk" in capsys.readouterr().out


def test_slow_pairs_run_when_asked_for(page: Path) -> None:
    """By name or with --slow; an unknown name is refused."""
    script = Script(ours=[1, 1], peer=[1, 1])
    benchmarks = [Benchmark((PAIR,), script.open_sides, slow=True)]
    assert run_command(page, benchmarks, "--rounds", "1") == 0
    assert script.turns == []
    run_command(page, benchmarks, "--rounds", "1", "--slow")
    run_command(page, benchmarks, "--rounds", "1", "--pairs", "fast")
    assert script.turns == [OURS, PEER] * 2
    with pytest.raises(SystemExit, match="unknown"):
        run_command(page, benchmarks, "--pairs", "fats")


def test_servers_share_one_device(tmp_path: Path) -> None:
    """On a GPU all sides load the model there, and our replicas share one GPU; on the CPU ours takes no GPU."""
    ours, *others = Service(replicas=2, device="cuda").list_commands(tmp_path).values()
    assert ours[ours.index("--gpus") + 1] == "0.5"
    assert [command[-1] for command in others] == ["cuda", "cuda"]
    ours, *others = Service().list_commands(tmp_path).values()
    assert ours[ours.index("--gpus") + 1] == "0"
    assert [command[-1] for command in others] == ["cpu", "cpu"]


def test_steps_are_measured_on_their_device() -> None:
    """Both loops and the plain one mark what is measured, and the busy share is one."""
    cpu = torch.device("cpu")
    gan = gan_step.make_images(cpu)
    classifier = classifier_step.make_images(8, cpu)
    trainings: list[step_rates.Train] = [
        functools.partial(gan_step.train_ours, gan, 2, 2, preset="dcgan", filters=4),
        functools.partial(classifier_step.train_ours, classifier, "cnn", 2, 2, precision="fp32"),
        functools.partial(classifier_step.train_plainly, classifier, "cnn", 2, 2, precision="fp32"),
    ]
    for train in trainings:
        assert step_rates.measure_rate(train, 4) > 0
    assert 0 < step_rates.measure_busy_share(trainings[0], cpu) <= 1
