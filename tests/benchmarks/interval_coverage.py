"""How often does the interval cover, and how wide is it? Simulated over a grid, beside the rule that it replaced.

A training's difference between two arms has chance from its test rows (half of it the rows' own, half their interplay
with the training), from the seed, and from which images are trained on; the shares of the three are varied. The truth
is the effect on these images: over several splits the draw of training images is one of the repeats' own chances, and
over a single split it is part of the truth. Of several arms the best on validation is judged, which has as many rows as
test and the same trainings; all share a baseline.

    python -m tests.benchmarks.interval_coverage                      # the grid
    python -m tests.benchmarks.interval_coverage --rows               # few rows that are right or wrong, no bell curves
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass

import numpy as np
from scipy import special

from ganaug_ray.verdict.mean_error import combine_rows_and_repeats
from ganaug_ray.verdict.multiple_testing import compute_best_of_factor
from ganaug_ray.verdict.paired_statistics import (
    FIRM_NO_SHARE,
    MIN_REPEATS,
    SIGNIFICANCE_LEVEL,
    Differences,
    choose_level_share,
    estimate_means,
)

SHARES = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.1, 0.9, 0.0), (0.75, 0.0, 0.25), (0.5, 0.0, 0.5), (0.3, 0.1, 0.6),
          (0.1, 0.0, 0.9))  # fmt: skip
"""Of the variance of one training's difference: rows, seed, training images."""


@dataclass(frozen=True)
class Cell:
    """A place in the grid."""

    splits: int
    seeds: int
    rows: int
    shares: tuple[float, float, float]
    arms: int


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: shares of repetitions, and the mean width of the new interval over that of the old."""

    helped: float
    short: float
    covered: float
    covered_before: float
    width: float


def simulate(cell: Cell, repetitions: int, rng: np.random.Generator) -> Outcome:
    """Simulate a cell without any effect; ``short`` is how often the one-sided interval lies below it."""
    by_rows, by_seed, by_images = cell.shares
    own_rows, interplay = by_rows / 2, by_rows / 2
    shape = (repetitions, cell.arms + 1)  # the last is the baseline; each has half of a difference's chance
    repeats = cell.splits if cell.splits > 1 else cell.seeds
    if cell.splits > 1:
        moved = by_images + by_seed / cell.seeds
        of_one_repeat = own_rows + interplay / cell.seeds
        shared = np.zeros((2, *shape, 1))
    else:
        moved = by_seed
        of_one_repeat = interplay
        shared = np.sqrt(own_rows / 2) * rng.normal(size=(2, *shape, 1))
    training = np.sqrt(moved / 2) * rng.normal(size=(*shape, repeats))
    tested, validated = (
        training + np.sqrt(of_one_repeat / 2) * rng.normal(size=training.shape) + part for part in shared
    )
    differences_TAR = tested[:, :-1] - tested[:, -1:]
    chosen_T = (validated[:, :-1] - validated[:, -1:]).mean(2).argmax(1)
    values_TR = differences_TAR[np.arange(repetitions), chosen_T]
    between_T = values_TR.var(1, ddof=1)
    rows = cell.rows // cell.splits

    def estimate(variance: float, df: int) -> np.ndarray:
        return variance * rng.chisquare(df, repetitions) / df

    if cell.splits > 1:
        within_T = np.mean([estimate(of_one_repeat, rows - 1) for _ in range(repeats)], 0)
        shared_T = np.zeros(repetitions)
    else:
        within_T = estimate(interplay, (repeats - 1) * (rows - 1))
        shared_T = np.maximum(0.0, estimate(own_rows + interplay / repeats, rows - 1) - within_T / repeats)
    level = SIGNIFICANCE_LEVEL / compute_best_of_factor(cell.arms)
    error = combine_rows_and_repeats(between_T, within_T, shared_T, repeats, cell.rows - cell.splits)
    half_T = error.compute_half_width(choose_level_share(cell.splits, cell.seeds) * level)
    one_sided_T = error.compute_half_width(2 * FIRM_NO_SHARE * level)
    before_T = compute_old_half(between_T, shared_T, cell, level)
    mean_T = values_TR.mean(1)
    return Outcome(
        helped=float((mean_T > half_T).mean()),
        short=float((mean_T < -one_sided_T).mean()),
        covered=float((np.abs(mean_T) <= half_T).mean()),
        covered_before=float((np.abs(mean_T) <= before_T).mean()),
        width=float(half_T.mean() / before_T.mean()),
    )


def compute_old_half(between_T: np.ndarray, shared_T: np.ndarray, cell: Cell, level: float) -> np.ndarray:
    """Half the width of the interval before: corrected for shared training rows, or of seeds and rows apart."""
    if cell.splits > 1:
        overlap = (cell.splits - 2) / (cell.splits - 1)
        correction = 1 / cell.splits + overlap / (cell.splits - 1)
        return np.asarray(-special.stdtrit(cell.splits - 1, level / 2) * np.sqrt(between_T * correction))
    of_seeds = between_T / cell.seeds * special.stdtrit(cell.seeds - 1, level / 2) ** 2
    of_rows = shared_T * special.stdtrit(cell.rows - 1, level / 2) ** 2
    return np.asarray(np.sqrt(of_seeds + of_rows))


def run_grid(repetitions: int) -> None:
    """Print the worst and the mean of each number of splits and seeds, and every cell that covers too little."""
    rng = np.random.default_rng(0)
    print(
        "splits seeds arms | helped max | short max | covers min, before | width, mean over cells that covered before"
    )
    for splits, seeds, arms in itertools.product((1, 3, 5, 10), range(1, 9), (1, 3, 8)):
        if splits * seeds < MIN_REPEATS:
            continue
        cells = [
            Cell(splits, seeds, rows, shares, arms)
            for rows, shares in itertools.product((48, 10_000), SHARES)
            if splits > 1 or not shares[2]
        ]
        outcomes = [simulate(cell, repetitions, rng) for cell in cells]
        fair = [own.width for own in outcomes if own.covered_before >= 0.94] or [float("nan")]
        print(
            f"{splits:>6} {seeds:>5} {arms:>4} | {100 * max(own.helped for own in outcomes):>10.1f} "
            f"| {100 * max(own.short for own in outcomes):>9.1f} "
            f"| {100 * min(own.covered for own in outcomes):>6.1f}, "
            f"{100 * min(own.covered_before for own in outcomes):.1f} "
            f"| {np.mean(fair):.2f} ({min(fair):.2f} to {max(fair):.2f})",
            flush=True,
        )
        for cell, own in zip(cells, outcomes, strict=True):
            if own.covered < 0.94:
                print(f"       rows {cell.rows}, shares {cell.shares}: covers {100 * own.covered:.1f} %", flush=True)


def run_rows(repetitions: int) -> None:
    """Simulate rows that are right or wrong: some are easy for every model, and trainings shift the rest."""
    rng = np.random.default_rng(1)
    print("splits seeds rows hard | helped | short | covers | mean half width, points")
    for splits, seeds, rows, hard in itertools.product((1, 5), (2, 3, 5, 10), (48, 240), (0.02, 0.1, 0.4)):
        if splits * seeds < MIN_REPEATS:
            continue
        per_split = rows // splits
        shape = (splits, 1, per_split, repetitions)
        is_hard = rng.random(shape) < hard
        skill = rng.normal(size=shape) + 0.5
        hits = []
        for _ in range(2):
            moved = rng.normal(size=(splits, seeds, per_split, repetitions))
            shift = 0.3 * rng.normal(size=(splits, seeds, 1, repetitions))
            hits.append(~is_hard | (skill + moved + shift > 0))
        difference = hits[0].astype(np.float64) - hits[1]
        values = difference.mean(2)
        found = estimate_means(Differences(values, list(difference - values[:, :, None])), worthwhile=1e-9)
        ends = np.array([own.ci95 for own in found if own.ci95])
        helped, short = (ends[:, 0] > 0).mean(), (ends[:, 1] < 0).mean()
        half = (ends[:, 1] - ends[:, 0]).mean() / 2
        print(
            f"{splits:>6} {seeds:>5} {rows:>4} {hard:>4} | {100 * helped:>6.1f} | {100 * short:>5.1f} "
            f"| {100 * (1 - helped - short):>6.1f} | {100 * half:.1f}",
            flush=True,
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=4000)
    parser.add_argument("--rows", action="store_true")
    asked = parser.parse_args()
    started = time.monotonic()
    (run_rows if asked.rows else run_grid)(asked.repetitions)
    print(f"{asked.repetitions:,} repetitions a cell, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
