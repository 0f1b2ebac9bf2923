"""How many models does a comparison take until its answer is firm, by the schedule of its looks? Simulated.

The four arms are those of ``decisions`` on the digits: each has the mean and the spread of one training's difference
that was measured there, from five splits of which every image is tested. Printed are, of each schedule (the seeds of
each split at each look), the percentages of answers, and the models of each arm on average.

    python -m tests.benchmarks.look_schedules
"""

from __future__ import annotations

import argparse

import numpy as np

from ganaug_ray.verdict.mean_error import combine_rows_and_repeats
from ganaug_ray.verdict.multiple_testing import compute_looks_factor
from ganaug_ray.verdict.paired_statistics import SIGNIFICANCE_LEVEL

SPLITS = 5
ROWS = 1797  # digits
WORTHWHILE = 1.0  # points, as all figures here
ARMS = {"noise": (0.14, 0.80), "shuffled labels": (-0.50, 1.03), "oversample": (0.23, 0.77), "rigged": (2.41, 1.17)}
"""Arm -> mean and standard deviation of one training's difference."""
SHARES = (0.05, 0.45, 0.45, 0.05)
"""Of its variance: rows, their interplay with the training, seed, draw; twice the seeds halved it nearly."""
SCHEDULES = ((1,), (2,), (1, 2), (1, 2, 3), (1, 2, 4), (1, 2, 3, 4), (2, 4, 6))


def simulate(
    mean: float, spread: float, seeds_by_look: tuple[int, ...], trials: int, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Return the shares of helped, no worthwhile gain and hurt, and the average number of models."""
    by_rows, by_interplay, by_seed, by_draw = (share * spread**2 for share in SHARES)
    shape = (SPLITS, max(seeds_by_look), trials)
    values_JSM = mean + np.sqrt(by_interplay + by_seed) * rng.standard_normal(shape)
    values_JSM += np.sqrt(by_rows + by_draw) * rng.standard_normal((SPLITS, 1, trials))
    level = SIGNIFICANCE_LEVEL / compute_looks_factor(len(seeds_by_look))
    is_open = np.ones(trials, bool)
    models_M = np.zeros(trials)
    counts = np.zeros(3)
    for seeds in seeds_by_look:
        models_M[is_open] = SPLITS * seeds
        repeats_JM = values_JSM[:, :seeds].mean(1)
        within_M = np.full(trials, by_rows + by_interplay / seeds)
        error = combine_rows_and_repeats(repeats_JM.var(0, ddof=1), within_M, np.zeros(trials), SPLITS, ROWS - SPLITS)
        mean_M = repeats_JM.mean(0)
        differs_M = error.compute_tail(mean_M) < level
        hurt_M = differs_M & (mean_M < 0)
        short_M = (error.compute_tail(mean_M - WORTHWHILE) / 2 < level) & (mean_M < WORTHWHILE) & ~hurt_M
        helped_M = differs_M & ~hurt_M & ~short_M
        counts += [(is_open & answer_M).sum() for answer_M in (helped_M, short_M, hurt_M)]
        is_open &= ~(helped_M | short_M | hurt_M)
    helped, short, hurt = counts / trials
    return helped, short, hurt, float(models_M.mean())


def main() -> None:
    """Print a line for each arm and schedule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=4000)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    print("arm             seeds by look | % helped, no worthwhile gain, hurt | models")
    for arm, (mean, spread) in ARMS.items():
        for schedule in SCHEDULES:
            helped, short, hurt, models = simulate(mean, spread, schedule, asked.repetitions, rng)
            name = ", ".join(map(str, schedule))
            print(f"{arm:<15} {name:>13} | {100 * helped:.1f}, {100 * short:.1f}, {100 * hurt:.1f} | {models:.1f}")


if __name__ == "__main__":
    main()
