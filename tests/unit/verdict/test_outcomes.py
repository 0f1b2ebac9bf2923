"""Figures are scikit-learn's; what a row moves them by is what leaving it out shows; splits share what they share."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, recall_score

from ganaug_ray.verdict.outcomes import Outcome, Predictions, compute_differences, compute_figures, compute_influence
from ganaug_ray.verdict.split_overlap import measure_overlap
from tests.unit.verdict.test_compare import arm


def answers(n: int = 300, classes: int = 4, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    predicted = np.where(rng.random(n) < 0.7, labels, rng.integers(0, classes, n))
    return Predictions(labels, predicted, classes, {"cross_entropy": 1.0})


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
    assert list(given.summarize()) == ["accuracy", "macro_f1", "cross_entropy"]
    assert list(given.summarize([1])) == ["accuracy", "macro_f1", "rare_f1", "cross_entropy"]


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
        assert own.row_means["cross_entropy"] == pytest.approx(log_loss(true, said, labels=range(4)), abs=1e-6)


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
    values, by_row = compute_differences(ours[::-1], theirs, "accuracy")
    assert values[:, :, 0] == pytest.approx(np.array([[0.4, 0.3], [0.2, 0.1]]))
    assert by_row is None
    one_split = compute_differences(ours[:2], theirs[:2], "f1")[1]
    assert one_split is not None
    assert one_split.shape == (2, 1000, 2)
    with pytest.raises(AssertionError, match="paired"):
        compute_differences(ours[:3], theirs, "accuracy")
    with pytest.raises(AssertionError, match="same seeds"):
        compute_differences(ours[:3], theirs[:3], "accuracy")


def test_overlap_measures_shared_split_rows() -> None:
    """The overlap measures how many training and test rows the splits share."""

    def deal(**parts: str) -> dict[str, str]:
        return {id_: part for part, ids in parts.items() for id_ in ids}

    found = measure_overlap([deal(train="abcd", val="ef", test="gh"), deal(train="cdgh", val="ai", test="be")])
    assert (found.train, found.n_train, found.n_test) == (0.5, 4, 2)
    assert found.chosen_on == 0.25, "of g, h, b, e the last is a validation image of the first split"
    assert found.correction == pytest.approx(0.5 * 2 / 4)
    assert measure_overlap([deal(train="ab", val="c", test="d")]).correction == 0
    with pytest.raises(AssertionError, match="test rows"):
        measure_overlap([deal(train="a", val="b", test="cd"), deal(train="a", val="b", test="de")])
