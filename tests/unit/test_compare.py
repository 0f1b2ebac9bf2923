"""The verdict is what scipy says of the predictions, by one rule."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, log_loss

from ganaug_ray.evaluate import metrics
from ganaug_ray.evaluate.compare import Outcome, compare, verdict
from ganaug_ray.runs import Run


def arm(tests: list[float], vals: list[float] | None = None) -> list[Outcome]:
    vals = vals or [0.5] * len(tests)
    return [
        Outcome(
            seed, {"accuracy": val, "macro_f1": val, "cross_entropy": 1.0}, {"accuracy": test, "macro_f1": test - 0.01}
        )
        for seed, (test, val) in enumerate(zip(tests, vals, strict=True))
    ]


REAL = [0.80, 0.82, 0.81]


@pytest.mark.parametrize(
    ("synthetic", "expected"),
    [
        ([0.85, 0.86, 0.87], "helped"),
        ([0.75, 0.76, 0.77], "hurt"),
        ([0.85, 0.78, 0.82], "unclear"),
        ([0.83, 0.85, 0.84], "unclear"),  # equal differences: an interval of no width is no evidence
    ],
)
def test_the_verdict_follows_the_interval(synthetic: list[float], expected: str) -> None:
    assert compare("syn", "real", arm(synthetic), arm(REAL), "accuracy").verdict == expected


def test_the_interval_is_the_paired_t_interval_with_pairs_minus_one_degrees_of_freedom() -> None:
    synthetic = [0.85, 0.80, 0.87]
    result = compare("syn", "real", arm(synthetic), arm(REAL), "accuracy")
    d = np.array(synthetic) - np.array(REAL)
    half = stats.t.ppf(0.975, df=2) * d.std(ddof=1) / np.sqrt(3)
    assert result.ci95 == pytest.approx((d.mean() - half, d.mean() + half))
    assert result.p == pytest.approx(stats.ttest_rel(synthetic, REAL).pvalue)


def test_macro_f1_is_compared_too_and_decides_only_where_it_is_asked_to() -> None:
    arms = {"real": arm(REAL), "syn": arm([0.85, 0.86, 0.88])}
    by_accuracy, by_f1 = (verdict(arms, "real", metric) for metric in ("accuracy", "macro_f1"))
    assert [c["metric"] for c in by_accuracy["other_metrics"]] == ["macro_f1"]
    assert by_accuracy["other_metrics"] == by_f1["comparisons"]
    assert "macro-F1" in by_f1["sentence"]


def test_one_seed_is_no_evidence() -> None:
    result = compare("syn", "real", arm([0.99]), arm([0.5]), "accuracy")
    assert (result.verdict, result.ci95) == ("unclear", None)
    assert "no interval" in verdict({"real": arm([0.5]), "syn": arm([0.99])}, "real", "accuracy")["sentence"]


@pytest.mark.parametrize(("synthetic", "champion"), [([0.85, 0.86, 0.88], "syn"), ([0.85, 0.78, 0.95], "real")])
def test_the_champion_uses_synthetic_images_only_where_they_helped(synthetic: list[float], champion: str) -> None:
    vals = [0.7, 0.9, 0.8]
    result = verdict({"real": arm(REAL, vals), "syn": arm(synthetic, vals)}, "real", "accuracy")
    assert (result["champion"]["arm"], result["champion"]["seed"]) == (champion, 1)


def test_of_several_synthetic_arms_the_best_is_named_and_may_be_the_champion() -> None:
    def said(**tests: list[float]) -> tuple[str, str, str]:
        result = verdict({"real": arm(REAL)} | {name: arm(own) for name, own in tests.items()}, "real", "accuracy")
        assert [c["arm"] for c in result["comparisons"]] == list(tests)
        return result["verdict"], result["sentence"], result["champion"]["arm"]

    good, better, bad, worse = [0.85, 0.86, 0.88], [0.90, 0.91, 0.93], [0.75, 0.76, 0.78], [0.65, 0.66, 0.68]
    unclear, lower = [0.86, 0.78, 0.84], [0.85, 0.77, 0.83]
    for first, second, expected, words, champion in (
        (good, better, "helped", "helped in live", "live"),
        (better, good, "helped", "helped in pool", "pool"),
        (bad, good, "helped", "helped in live", "live"),
        (worse, bad, "hurt", "hurt in live", "real"),
        (lower, unclear, "unclear", "help in live", "real"),
        (unclear, bad, "unclear", "help in pool", "real"),
    ):
        told, sentence, winner = said(pool=first, live=second)
        assert (told, winner) == (expected, champion)
        assert words in sentence
    assert "live" not in said(live=good)[1], "one arm needs no name"


def test_the_champions_seed_is_chosen_on_validation_never_on_test() -> None:
    vals = [0.9, 0.7, 0.7]
    shuffled = [verdict({"real": arm(tests, vals)}, "real", "accuracy") for tests in ([0.1, 0.9, 0.9], [0.9, 0.1, 0.1])]
    assert [result["champion"]["seed"] for result in shuffled] == [0, 0]


def test_without_a_synthetic_arm_there_is_a_champion_and_no_verdict() -> None:
    result = verdict({"real": arm(REAL)}, "real", "accuracy")
    assert result["verdict"] is None
    assert result["champion"]["arm"] == "real"
    assert "only arm" in result["champion"]["reason"]


def test_a_finished_runs_verdict_can_be_recomputed_from_its_predictions(experiment: Run) -> None:
    stored = experiment.root.read_json("verdict.json")
    accuracies = {}
    for name in ("real+classic", "real+classic+synthetic"):
        for seed in range(2):
            table = experiment.model(name, seed).read_table("predictions.parquet").to_pylist()
            test = [row for row in table if row["split"] == "test"]
            accuracies[name, seed] = np.mean([np.argmax(row["probabilities"]) == row["label"] for row in test])
    d = [accuracies["real+classic+synthetic", seed] - accuracies["real+classic", seed] for seed in range(2)]
    (comparison,) = stored["comparisons"]
    assert comparison["differences"] == pytest.approx(d)
    interval = stats.ttest_1samp(d, 0).confidence_interval(0.95)
    assert comparison["ci95"] == pytest.approx([interval.low, interval.high])
    assert stored["verdict"] == ("helped" if interval.low > 0 else "hurt" if interval.high < 0 else "unclear")


def test_figures_equal_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 4, 200), rng.dirichlet(np.ones(4), 200)
    ours = metrics.summary(labels, probabilities)
    predicted = probabilities.argmax(1)
    assert ours["accuracy"] == pytest.approx(accuracy_score(labels, predicted), abs=1e-9)
    assert ours["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"), abs=1e-9)
    assert ours["cross_entropy"] == pytest.approx(log_loss(labels, probabilities), abs=1e-6)
    assert metrics.confusion(labels, probabilities).sum() == 200
    assert [row["rows"] for row in metrics.per_class(labels, probabilities, list("abcd"))] == np.bincount(
        labels
    ).tolist()
