"""Measures the package beside what a user would take instead, and beside the limit; keeps the page of benchmarks.

    python -m tests.benchmarks [--list] [--pairs ingest help] [--slow] [--device cpu] [--rounds 5] [--out FOLDER]

The sides of each pair run in turn, round by round, so that what else the machine does meets both. The ratio is the
median of the rounds' ratios, ours over the peer's. After each benchmark, the results so far are written to
FOLDER/benchmarks.json and FOLDER/benchmarks.svg, and to the table in docs/results/benchmarks.md. A side that fails is
said to have failed, the others go on, and the command ends with 1.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.benchmarks.benchmarks_page import format_figure, update_page
from tests.benchmarks.machine import describe_machine, format_machine
from tests.benchmarks.pairs import Benchmark
from tests.benchmarks.rounds import Result, Spread, measure_benchmark

PAGE = Path(__file__).parents[2] / "docs" / "results" / "benchmarks.md"


def main(arguments: Sequence[str] | None = None, benchmarks: Sequence[Benchmark] | None = None) -> int:
    """Measure what the arguments ask for.

    Args:
        arguments: of the command line.
        benchmarks: to choose from; absent: all there are.

    Returns:
        The exit code: 1 if something failed, else 0.
    """
    given = _build_parser().parse_args(arguments)
    if given.rounds < 1:
        sys.exit(f"--rounds {given.rounds}: give 1 or more")
    if benchmarks is None:
        from tests.benchmarks.all_benchmarks import list_benchmarks  # here: a worker process imports this file anew

        benchmarks = list_benchmarks(given.peer_python, given.device)
    if given.list:
        for benchmark in benchmarks:
            for pair in benchmark.pairs:
                print(f"{pair.name:24} {pair.question}{' (slow)' * benchmark.slow}")
        return 0
    chosen = _choose_pairs(benchmarks, given.pairs, given.slow)
    machine = describe_machine()
    print(format_machine(machine), flush=True)
    results: list[Result] = []
    with ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        for benchmark in benchmarks:
            if any(pair.name in chosen for pair in benchmark.pairs):
                new = measure_benchmark(benchmark, chosen, given.rounds, folder)
                results += new
                for result in new:
                    print("\n".join(_format_result(result)), flush=True)
                _write(results, machine, given)
    return int(any(result.failure and not result.not_installed for result in results))


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="list the pairs")
    parser.add_argument("--pairs", nargs="+", help="measure these alone; default: all that are not slow")
    parser.add_argument("--slow", action="store_true", help="measure the slow ones too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of the JSON and the plot")
    parser.add_argument("--folder", type=Path, help="keep images and data sets here, for the next time")
    parser.add_argument("--page", type=Path, default=PAGE, help="page with the table")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="of all servers; default: cuda where there is one")
    parser.add_argument("--peer-python", help="interpreter that has AutoGluon or Ludwig")
    return parser


def _choose_pairs(benchmarks: Sequence[Benchmark], names: Sequence[str] | None, slow: bool) -> set[str]:
    known = {pair.name for benchmark in benchmarks for pair in benchmark.pairs}
    if unknown := set(names or ()) - known:
        sys.exit(f"--pairs {' '.join(sorted(unknown))}: unknown; there are {' '.join(sorted(known))}")
    if names:
        return set(names)
    return {pair.name for benchmark in benchmarks if slow or not benchmark.slow for pair in benchmark.pairs}


def _format_result(result: Result) -> list[str]:
    pair = result.pair
    lines = [f"{pair.name}: {pair.question}"]
    if result.failure:
        return [*lines, f"  {'not measured' if result.not_installed else 'FAILED'}: {result.failure}"]
    for name, values in ((pair.ours, result.ours), (pair.peer, result.peer)):
        spread = Spread.of(values)
        figures = " ".join(f"{format_figure(value):>8}" for value in (spread.least, spread.median, spread.most))
        lines.append(f"  {name:44} {figures} {pair.unit}")
    ratio = Spread.of(result.ratios)
    asked = f", asked {pair.asked}" if pair.asked else ""
    lines.append(f"  {'ratio':44} {ratio.least:8.3f} {ratio.median:8.3f} {ratio.most:8.3f}{asked}")
    return [*lines, f"  (least, median, most of {len(result.ratios)} rounds; a round took {result.round_s:.1f} s)"]


def _write(results: Sequence[Result], machine: dict[str, Any], given: argparse.Namespace) -> None:
    from tests.benchmarks.ratio_plot import draw_ratios

    today = datetime.datetime.now(datetime.UTC).date()
    given.out.mkdir(parents=True, exist_ok=True)
    record = {"date": today.isoformat(), "machine": machine, "pairs": [result.to_json() for result in results]}
    (given.out / "benchmarks.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (given.out / "benchmarks.svg").write_text(draw_ratios(results), encoding="utf-8")
    update_page(given.page, results, format_machine(machine), today)


if __name__ == "__main__":
    sys.exit(main())
