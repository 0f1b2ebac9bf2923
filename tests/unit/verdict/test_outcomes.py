"""Figures are scikit-learn's; what a row moves them by is what leaving it out shows; splits share what they share."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, recall_score

from ganaug_ray.errors import UserError
from ganaug_ray.verdict.outcomes import Outcome, Predictions, compute_differences, compute_figures, compute_influence
from ganaug_ray.verdict.split_overlap import measure_overlap
from tests.unit.verdict.test_compare import arm


def answers(n: int = 300, classes: int = 4, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    predicted = np.where(rng.random(n) < 0.7, labels, rng.integers(0, classes, n))
    keys = ("cross_entropy", "calibrated_cross_entropy", "calibrated_brier")
    return Predictions(labels, predicted, classes, dict.fromkeys(keys, np.ones(n)))


def test_outcome_figures_equal_scikit_learn() -> None:
    """Figures of an outcome have the values that scikit-learn computes."""
    given = answers()
    labels, predicted = given.labels_N, given.predicted_N
    f1 = f1_score(labels, predicted, average=None)
    for metric, expected in (
        ("accuracy", [accuracy_score(labels, predicted)]),
        ("macro_f1", [f1_score(labels, predicted, average="macro")]),
        ("rare_f1", [f1[[1, 3]].mean()]),
        ("f1", f1),
        ("recall", recall_score(labels, predicted, average=None)),
    ):
        assert compute_figures(given, metric, [1, 3]) == pytest.approx(expected, abs=1e-12), metric
    scores = ["cross_entropy", "calibrated_cross_entropy", "calibrated_brier"]
    assert list(given.summarize()) == ["accuracy", "macro_f1", *scores]
    assert list(given.summarize([1])) == ["accuracy", "macro_f1", "rare_f1", *scores]


def test_outcome_reads_prediction_table() -> None:
    """An outcome is read from a table of predictions, validation and test rows apart."""
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 4, 60), rng.dirichlet(np.ones(4), 60).astype(np.float32)
    columns = {"split": ["train", "val", "test"] * 20, "label": labels}
    flat = pa.FixedSizeListArray.from_arrays(pa.array(probabilities.ravel()), 4)
    found = Outcome.from_table(pa.table({**columns, "probabilities": flat}), 2, 1)
    assert (found.split, found.seed) == (2, 1)
    for first, own in ((1, found.val), (2, found.test)):
        true, said = labels[first::3], probabilities[first::3]
        assert own.summarize()["accuracy"] == accuracy_score(true, said.argmax(1))
        assert own.summarize()["cross_entropy"] == pytest.approx(log_loss(true, said, labels=range(4)), abs=1e-6)


def test_calibration_is_fitted_on_validation() -> None:
    """Calibrated scores are those of probabilities scaled on validation rows; being too sure costs nothing."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 4000)
    logits = 2 * np.eye(4)[labels] + rng.normal(size=(4000, 4))
    right = np.exp(2 * logits) / np.exp(2 * logits).sum(1, keepdims=True)  # the posterior of such draws

    def read(times: float) -> Predictions:
        sharp = right**times / (right**times).sum(1, keepdims=True)
        flat = pa.FixedSizeListArray.from_arrays(pa.array(sharp.astype(np.float32).ravel()), 4)
        columns = {"split": ["val", "test"] * 2000, "label": labels, "probabilities": flat}
        return Outcome.from_table(pa.table(columns), 0, 0).test

    plain, sharp = read(1).summarize(), read(4).summarize()
    assert sharp["cross_entropy"] > plain["cross_entropy"] + 0.1
    for key in ("calibrated_cross_entropy", "calibrated_brier"):
        assert sharp[key] == pytest.approx(plain[key], abs=5e-3), key
    said = read(1)
    assert compute_influence(said, "calibrated_cross_entropy").mean() == pytest.approx(0, abs=1e-12)
    truth = np.eye(4)[labels[1::2]]
    assert plain["calibrated_brier"] == pytest.approx(((right[1::2] - truth) ** 2).sum(1).mean(), abs=5e-3)


def test_absent_class_scores_zero() -> None:
    """A class without any row counts as zero and causes no division by zero."""
    given = Predictions(np.array([0, 1]), np.array([0, 1]), 3, {})
    assert compute_figures(given, "f1").tolist() == [1, 1, 0]
    assert np.isfinite(compute_influence(given, "f1")).all()
    assert compute_figures(given, "macro_f1") == pytest.approx([2 / 3])


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "rare_f1", "f1", "recall"])
def test_influence_variance_equals_jackknife(metric: str) -> None:
    """The influence of rows gives the variance that leaving out every row in turn gives."""
    given, n = answers(), 300
    by_row = compute_influence(given, metric, [1])
    assert by_row.mean(0) == pytest.approx(0, abs=1e-12)
    without = np.array(
        [
            compute_figures(
                Predictions(np.delete(given.labels_N, i), np.delete(given.predicted_N, i), 4, {}), metric, [1]
            )
            for i in range(n)
        ]
    )
    jackknife = (n - 1) / n * ((without - without.mean(0)) ** 2).sum(0)
    assert by_row.var(0, ddof=1) / n == pytest.approx(jackknife, rel=0.05)


def test_differences_pair_split_and_seed() -> None:
    """Differences are paired by split and seed in whatever order the outcomes come."""
    ours, theirs = arm([[0.9, 0.8], [0.7, 0.6]]), arm([[0.5, 0.5], [0.5, 0.5]])
    found = compute_differences(ours[::-1], theirs, "accuracy")
    assert found.values_JSM[:, :, 0] == pytest.approx(np.array([[0.4, 0.3], [0.2, 0.1]]))
    assert found.influence is not None
    assert [own.shape for own in found.influence] == [(2, 1000, 1)] * 2
    one_split = compute_differences(ours[:2], theirs[:2], "f1").influence
    assert one_split is not None
    assert [own.shape for own in one_split] == [(2, 1000, 2)]
    with pytest.raises(AssertionError, match="paired"):
        compute_differences(ours[:3], theirs, "accuracy")
    with pytest.raises(AssertionError, match="same seeds"):
        compute_differences(ours[:3], theirs[:3], "accuracy")


def test_overlap_measures_shared_split_rows() -> None:
    """The overlap measures how many training and test rows the splits share."""

    def deal(**parts: str) -> dict[str, str]:
        return {id_: part for part, ids in parts.items() for id_ in ids}

    found = measure_overlap([deal(train="abcd", val="ef", test="gh"), deal(train="cdgh", val="ai", test="be")])
    assert (found.train, found.tested) == (0.5, 4)
    assert found.chosen_on == 0.25, "of g, h, b, e the last is a validation image of the first split"
    assert measure_overlap([deal(train="ab", val="c", test="d")]).train == 0
    with pytest.raises(UserError, match="have test images in common"):
        measure_overlap([deal(train="a", val="b", test="cd"), deal(train="a", val="b", test="de")])
