"""The table of pairs in docs/results/benchmarks.md: one dated row a pair and machine, which a newer one replaces."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

from tests.benchmarks.rounds import Result, Spread

BEGIN = "<!-- python -m tests.benchmarks writes from here -->"
END = "<!-- to here -->"
MACHINE = "Machine: "
HEADER = "| pair | ours | peer | ratio | asked | rounds | date |"

Rows = dict[str, dict[str, str]]  # machine -> pair -> line of the table


def update_page(page: Path, results: Iterable[Result], machine: str, date: datetime.date) -> None:
    """Put a row for each result into the page between the two marks; all else stays.

    Results with failures get none: what was measured before stays there.

    Raises:
        ValueError: the page lacks a mark.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    block, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page}: lacks {END if begin else BEGIN}")
    rows = _parse_rows(block)
    for result in results:
        if not result.failure:
            rows.setdefault(machine, {})[result.pair.name] = _format_row(result, date)
    page.write_text(f"{before}{BEGIN}\n{_format_rows(rows)}{END}{after}", encoding="utf-8")


def _parse_rows(block: str) -> Rows:
    rows: Rows = {}
    machine = ""
    for line in block.splitlines():
        if line.startswith(MACHINE):
            machine = line.removeprefix(MACHINE)
        elif line.startswith("| ") and line != HEADER:
            rows.setdefault(machine, {})[line.split("|")[1].strip()] = line
    return rows


def _format_rows(rows: Rows) -> str:
    tables = []
    for machine, row_by_pair in rows.items():
        rule = "|---" * HEADER.count(" | ") + "|---|"
        tables.append("\n".join([f"{MACHINE}{machine}", "", HEADER, rule, *row_by_pair.values(), ""]))
    return "\n" + "\n".join(tables) + "\n" if tables else "\n"


def _format_row(result: Result, date: datetime.date) -> str:
    pair, ratio = result.pair, Spread.of(result.ratios)
    sides = (
        f"{name}: {format_figure(Spread.of(values).median)} {pair.unit}"
        for name, values in ((pair.ours, result.ours), (pair.peer, result.peer))
    )
    spread = f"{ratio.median:.2f} ({ratio.least:.2f} to {ratio.most:.2f})"
    cells = (pair.name, *sides, spread, pair.asked or "–", str(len(result.ratios)), date.isoformat())
    return f"| {' | '.join(cells)} |"


def format_figure(value: float) -> str:
    """Return a figure with three digits that count.

    >>> format_figure(1234.6), format_figure(12.34), format_figure(0.1234)
    ('1,235', '12.3', '0.123')
    """
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"
