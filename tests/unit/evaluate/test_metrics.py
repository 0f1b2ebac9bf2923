"""Figures are scikit-learn's on the same predictions, and their intervals are what a bootstrap by hand gives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_calibration_error

from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.evaluate import bootstrap, metrics
from ganaug_ray.verdict import overfitting


def predictions(n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    probabilities = np.exp(logits)
    return labels, probabilities / probabilities.sum(1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_metrics_equal_scikit_learn(classes: int) -> None:
    """Every metric has the value that scikit-learn computes from the same predictions."""
    labels, probabilities = predictions(300, classes)
    predicted, names = probabilities.argmax(1), [str(k) for k in range(classes)]
    ours = metrics.compute_figures(labels, probabilities, names)
    expected = {"accuracy": sk.accuracy_score(labels, predicted), "cross_entropy": sk.log_loss(labels, probabilities)}
    for average in ("macro", "weighted"):
        scores = sk.precision_recall_fscore_support(labels, predicted, average=average)
        expected |= {f"{average}_{name}": scores[i] for i, name in enumerate(("precision", "recall", "f1"))}
    if classes > 3:
        k = 5 if classes > 5 else 3
        expected[f"top{k}_accuracy"] = sk.top_k_accuracy_score(labels, probabilities, k=k)
    else:
        expected["roc_auc"] = sk.roc_auc_score(labels, probabilities[:, 1])
        expected["average_precision"] = sk.average_precision_score(labels, probabilities[:, 1])
    expected["calibration_error"] = multiclass_calibration_error(
        torch.tensor(probabilities), torch.tensor(labels), classes, n_bins=15
    ).item()
    assert set(expected) == set(ours["intervals"])
    assert {name: ours[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert ours["n"] == 300
    assert ours["confusion"]["counts"] == sk.confusion_matrix(labels, predicted).tolist()
    assert np.allclose(ours["confusion"]["shares"], sk.confusion_matrix(labels, predicted, normalize="true"))
    report = sk.classification_report(labels, predicted, output_dict=True)
    for row in ours["per_class"]:
        theirs = report[row["class"]]
        assert (row["precision"], row["recall"], row["f1"], row["rows"]) == pytest.approx(tuple(theirs.values()))


@pytest.mark.parametrize("classes", [2, 4])
def test_intervals_equal_scikit_learn_bootstrap(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are the percentiles of scikit-learn's metrics over the same resampled rows."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 60)
    labels, probabilities = predictions(40, classes)  # few: some resamples lack a class
    probabilities = probabilities.round(1) + 1e-3  # equal scores
    probabilities /= probabilities.sum(1, keepdims=True)
    ours = metrics.compute_figures(labels, probabilities, [str(k) for k in range(classes)], seed=3)["intervals"]
    found: dict[str, list[float]] = {
        name: [] for name in ("accuracy", "macro_f1", "macro_precision", "weighted_recall")
    }
    found |= {"roc_auc": [], "average_precision": []} if classes == 2 else {}
    drawn = np.concatenate(list(bootstrap._iterate_resamples(40, 3, "rows"))).astype(int)
    for weights in drawn:
        y, p = np.repeat(labels, weights), np.repeat(probabilities, weights, 0)
        predicted = p.argmax(1)
        found["accuracy"].append(sk.accuracy_score(y, predicted))
        found["macro_f1"].append(sk.f1_score(y, predicted, average="macro", zero_division=0))
        found["macro_precision"].append(sk.precision_score(y, predicted, average="macro", zero_division=0))
        found["weighted_recall"].append(sk.recall_score(y, predicted, average="weighted", zero_division=0))
        if classes == 2:
            found["roc_auc"].append(sk.roc_auc_score(y, p[:, 1]))
            found["average_precision"].append(sk.average_precision_score(y, p[:, 1]))
    for name, values in found.items():
        assert ours[name] == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=1e-9), name


def test_interval_narrows_with_more_rows() -> None:
    """An interval contains its metric, narrows as theory says with more rows, and depends on the seed alone."""
    names = list("abcd")
    few, many = (metrics.compute_figures(*predictions(n, 4), names) for n in (100, 10_000))
    for found in (few, many):
        low, high = found["intervals"]["accuracy"]
        assert low < found["accuracy"] < high
        # what theory says of a share's standard error
        error = np.sqrt(found["accuracy"] * (1 - found["accuracy"]) / found["n"])
        assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert few == metrics.compute_figures(*predictions(100, 4), names)
    assert few["intervals"] != metrics.compute_figures(*predictions(100, 4), names, seed=1)["intervals"]


def test_absent_classes_keep_macro_average() -> None:
    """Classes without any row do not lower a macro average."""
    labels, probabilities = predictions(50, 2)
    wide = np.pad(probabilities, ((0, 0), (0, 2)))
    found = metrics.compute_figures(labels, wide, list("abcd"))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(labels, probabilities.argmax(1), average="macro"))
    assert found["intervals"]["macro_f1"][0] > 0.5


def table(**splits: tuple[np.ndarray, np.ndarray]) -> pa.Table:
    parts = []
    for split, (labels, probabilities) in splits.items():
        flat = pa.array(probabilities.astype(np.float32).ravel())
        columns = {"split": pa.array([split] * len(labels), pa.string()), "label": pa.array(labels, pa.int64())}
        columns["probabilities"] = pa.FixedSizeListArray.from_arrays(flat, probabilities.shape[1])
        parts.append(pa.table(columns))
    return pa.concat_tables(parts)


def answers(right: int, n: int = 100) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(n) % 2
    predicted = np.where(np.arange(n) < right, labels, 1 - labels)
    return labels, np.where(np.eye(2)[predicted] > 0, 0.9, 0.1)


def test_overfitting_gap_per_arm() -> None:
    """The report says how far training and test accuracy lie apart, and how an arm changes that gap."""
    predicted = {
        "real": [[table(train=answers(100), test=answers(n)) for n in (70, 71, 72)]],
        "syn": [[table(train=answers(95), test=answers(n)) for n in (80, 80, 81)]],
        "noise": [[table(train=answers(100), test=answers(n)) for n in (60, 61, 60)]],
    }
    rows = overfitting.compute_gaps(predicted, "real")
    assert rows is not None
    real, syn, _ = (row for row in rows if row["metric"] == "accuracy")
    assert (real["gap"], syn["gap"]) == pytest.approx((0.29, 0.95 - 2.41 / 3))
    assert real["ci95"][0] < 0.29 < real["ci95"][1]
    assert real["change"] is None
    assert syn["change"]["mean"] == pytest.approx(0.95 - 2.41 / 3 - 0.29)
    assert overfitting.describe_gap(rows, "syn", "both").startswith("Training on both reduced overfitting")
    assert overfitting.describe_gap(rows, "noise", "noise").startswith("Training on noise increased overfitting")
    assert overfitting.compute_gaps({"real": [[table(train=answers(0, 0), test=answers(70))]]}, "real") is None


def test_models_store_training_row_predictions(experiment: Run) -> None:
    """Models store predictions of their training rows, from which the overfitting gap is computed."""
    stored = experiment.locate_model("real+classic", 0).read_table("predictions.parquet")
    assert [len(metrics.read_split(stored, split)[0]) for split in ("train", "val", "test")] == [80, 50, 898]
