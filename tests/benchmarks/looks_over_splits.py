"""How often is a firm answer wrong where looks go from one split over to several? Simulated, with the verdict's rule.

A training's difference between two arms has chance from its test rows (half of it the rows' own, half their interplay
with the training), from the seed, and from the split's draw of training images and GAN; the shares are varied. The
looks are those of ``pipeline.sequential_plan.plan_looks``, each at the level that is paid for, and the comparison ends
with its first firm answer. What a look over one split speaks of is the effect on that split, so there its own draw is
part of the truth; over several splits it is one of the repeats' own chances. The last column counts the first
split's draw as chance at every look, as if its answer had been meant for other splits too.

    python -m tests.benchmarks.looks_over_splits
    python -m tests.benchmarks.looks_over_splits --first-splits 5 --splits 5 --seeds 1 2
    python -m tests.benchmarks.looks_over_splits --worthwhile 0.001     # no firm no ends a comparison early
    python -m tests.benchmarks.looks_over_splits --plain-looks 1        # the first look is a plain run's
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass

import numpy as np

from ganaug_ray.pipeline.plan_ladder import Plan
from ganaug_ray.pipeline.sequential_plan import LOOKS, plan_looks
from ganaug_ray.verdict.multiple_testing import compute_looks_factor
from ganaug_ray.verdict.paired_statistics import (
    FIRM_NO_SHARE,
    MIN_REPEATS,
    SIGNIFICANCE_LEVEL,
    Differences,
    _estimate_error,
    choose_level_share,
)
from tests.benchmarks.interval_coverage import SHARES

CHUNK = 500  # repetitions in memory at a time


@dataclass(frozen=True)
class Cell:
    """A place in the grid.

    Attributes:
        first_splits: of the first look.
        seeds: of the first look.
        splits: of the last look.
        rows: that a split tests.
        shares: of the chance, as in ``interval_coverage``.
        worthwhile: the least gain that is, in standard deviations of one training's difference.
        plain_looks: so many of the first are plain runs', and count as ``verdict.comparison_books`` has it.
    """

    first_splits: int
    seeds: int
    splits: int
    rows: int
    shares: tuple[float, float, float]
    worthwhile: float
    plain_looks: int

    @property
    def looks(self) -> list[Plan]:
        """The looks that such a comparison takes."""
        return plan_looks(Plan(self.first_splits, self.seeds), LOOKS, self.splits)

    def count_looks(self, number: int) -> int:
        """Count the looks that the interval of one of them, numbered from zero, allows for."""
        return 1 + 2 * number if number < self.plain_looks else LOOKS + 2 * self.plain_looks


def simulate(cell: Cell, gain: float, is_strict: bool, repetitions: int, rng: np.random.Generator) -> float:
    """Return the share of comparisons whose first firm answer is wrong: helped without a gain, none with one."""
    wrong = 0
    for start in range(0, repetitions, CHUNK):
        wrong += int(_simulate_chunk(cell, gain, is_strict, min(CHUNK, repetitions - start), rng).sum())
    return wrong / repetitions


def _simulate_chunk(cell: Cell, gain: float, is_strict: bool, trials: int, rng: np.random.Generator) -> np.ndarray:
    by_rows, by_seed, by_draw = cell.shares
    last = cell.looks[-1]
    shape = (last.splits, last.seeds, cell.rows, trials)
    moved_JSNM = rng.standard_normal(shape) + rng.standard_normal((last.splits, 1, cell.rows, trials))
    moved_JSNM *= np.sqrt(by_rows / 2 * cell.rows)
    moved_JSNM += gain + np.sqrt(by_seed) * rng.standard_normal((last.splits, last.seeds, 1, trials))
    draw_J11M = np.sqrt(by_draw) * rng.standard_normal((last.splits, 1, 1, trials))
    is_open = np.ones(trials, bool)
    wrong = np.zeros(trials, bool)
    for number, look in enumerate(cell.looks):
        if look.splits * look.seeds < MIN_REPEATS:
            continue
        part_JSNM = moved_JSNM[: look.splits, : look.seeds]
        if look.splits > 1 or is_strict:
            part_JSNM = part_JSNM + draw_J11M[: look.splits]
        level = SIGNIFICANCE_LEVEL / compute_looks_factor(cell.count_looks(number))
        helped, short = _judge(part_JSNM, cell.worthwhile, level)
        wrong |= is_open & (short if gain else helped)
        is_open &= ~(helped | short)
    return wrong


def _judge(moved_JSNM: np.ndarray, worthwhile: float, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Say of each comparison whether it helped, and whether it fell short (or hurt), by the rule of the verdict."""
    values_JSM = moved_JSNM.mean(2)
    differences = Differences(values_JSM, list(moved_JSNM - values_JSM[:, :, None]), np.zeros(1))
    mean_M = values_JSM.mean((0, 1))
    repeats_RM = values_JSM.mean(1) if len(values_JSM) > 1 else values_JSM[0]
    error = _estimate_error(differences, repeats_RM.var(0, ddof=1), len(repeats_RM))
    differs_M = error.compute_tail(mean_M) < choose_level_share(*values_JSM.shape[:2]) * level
    short_M = (error.compute_tail(mean_M - worthwhile) / 2 < FIRM_NO_SHARE * level) & (mean_M < worthwhile)
    return differs_M & (mean_M > 0) & ~short_M, short_M | (differs_M & (mean_M < 0))


def main() -> None:
    """Print, of each number of seeds and splits, the worst mixture and the mean over mixtures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=4000)
    parser.add_argument("--first-splits", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--splits", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--rows", type=int, nargs="+", default=[48, 200])
    parser.add_argument("--worthwhile", type=float, default=0.5, help="in standard deviations of one difference")
    parser.add_argument("--plain-looks", type=int, default=0)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    started = time.monotonic()
    print("seeds splits rows | % wrong: helped at no gain, worst, mean | none at a worthwhile one | strict help, worst")
    for seeds, splits, rows in itertools.product(asked.seeds, asked.splits, asked.rows):
        cells = []
        for shares in SHARES:
            cells.append(Cell(asked.first_splits, seeds, splits, rows, shares, asked.worthwhile, asked.plain_looks))
        columns = []
        for gain, is_strict in ((0.0, False), (asked.worthwhile, False), (0.0, True)):
            shares = [100 * simulate(cell, gain, is_strict, asked.repetitions, rng) for cell in cells]
            worst = SHARES[int(np.argmax(shares))]
            columns.append(f"{max(shares):.2f} {worst}, {np.mean(shares):.2f}")
        print(f"{seeds:>5} {splits:>6} {rows:>4} | {' | '.join(columns)}", flush=True)
    print(f"{asked.repetitions:,} repetitions a cell, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
