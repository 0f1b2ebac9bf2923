"""How many labels the sequential test of a shadow needs, and how often it is wrong.

python -m tests.benchmarks.sequential

Simulated: each label is an image that both models have right or wrong, or one of them alone. The two are apart by
some points of accuracy; how often they differ at all decides how soon that is seen.
"""

from __future__ import annotations

import numpy as np

from ganaug_ray.serve import sequential_test

RUNS = 1000
MOST = 20_000  # labels


def first(rng: np.random.Generator, points: float, differ: float) -> tuple[int, str] | None:
    """The number of labels after which the test says something, looked at after each, and what; None: it does not."""
    draws = rng.random(MOST)
    win, loss = draws < (differ + points) / 2, draws > 1 - (differ - points) / 2
    wins, losses = win.cumsum(), loss.cumsum()
    for at in np.flatnonzero(win | loss):
        verdict = sequential_test.judge_candidate(int(wins[at]), int(losses[at]))
        if verdict != "undecided":
            return int(at) + 1, verdict
    return None


def main() -> None:
    print(f"{RUNS} runs each, looked at after every label, up to {MOST} labels")
    for points in (0.0, 0.03, 0.05):
        for differ in (0.05, 0.10, 0.15):
            rng = np.random.default_rng(0)
            found = [first(rng, points, differ) for _ in range(RUNS)]
            labels = sorted(one[0] for one in found if one)
            right = sum(one is not None and one[1] == "better" for one in found)
            said = f"{100 * points:.0f} points apart, one alone right on {100 * differ:.0f} %: "
            if points:
                half, tenth = (int(np.quantile(labels, q)) for q in (0.5, 0.9))
                print(f"{said}better in {100 * right / RUNS:.1f} %, after {half} labels (median), {tenth} (9 of 10)")
            else:
                print(f"{said}a verdict, which is wrong, in {100 * len(labels) / RUNS:.1f} %")


if __name__ == "__main__":
    main()
