"""Compares a model with the champion, on test images that neither has seen, before it may take the champion's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.classify import drift
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.evaluate import test_images
from ganaug_ray.evaluate.answer_scores import PredictedClasses
from ganaug_ray.evaluate.metric_register import ACCURACY, get_metric
from ganaug_ray.evaluate.targets import TEST_SPLIT
from ganaug_ray.verdict import mcnemar, outcomes

SEEN_FILE = "seen.parquet"  # of a version: the ids of the images that it was trained on or chosen by


@dataclass(frozen=True)
class ChampionMatch:
    """A candidate compared with the champion on the same test rows.

    Attributes:
        metric: key of the metric that they are compared by.
        rows: number of rows.
        left_out: number of further test rows, which the champion was trained on or chosen by.
        candidate: the candidate's metric, in [0, 1].
        champion: the champion's metric, in [0, 1].
        candidate_alone: number of rows that only the candidate has right.
        champion_alone: number of rows that only the champion has right.
        p: of McNemar's exact test that the two are right equally often.
    """

    metric: str
    rows: int
    left_out: int
    candidate: float
    champion: float
    candidate_alone: int
    champion_alone: int
    p: float

    @property
    def is_worse(self) -> bool:
        """Whether the candidate's metric is below the champion's, however small the difference."""
        return self.candidate < self.champion

    @property
    def record(self) -> dict[str, Any]:
        """The attributes as a dict, as champion.json keeps them."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        return (
            f"{self.metric} {self.candidate:.3f}, the champion's {self.champion:.3f} on the same {self.rows} test "
            f"images; only the new model is right on {self.candidate_alone}, only the champion on "
            f"{self.champion_alone}, p {self.p:.2g}"
        )


def compare_answers(
    labels_N: np.ndarray,
    ours_N: np.ndarray,
    theirs_N: np.ndarray,
    classes: int,
    metric: str = "accuracy",
    rare: Sequence[int] = (),
    left_out: int = 0,
) -> ChampionMatch:
    """Compare the predicted classes of a candidate and of the champion.

    Args:
        labels_N: true classes, int64 [N] in [0, K); one row at least.
        ours_N: classes predicted by the candidate, int64 [N].
        theirs_N: classes predicted by the champion, int64 [N].
        classes: number of classes, K.
        metric: key of one of ``COMPARED``.
        rare: numbers of the rare classes; used by metrics of these alone.
        left_out: number of further rows that were not compared.

    >>> match = compare_answers(np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), 2)
    >>> match.candidate, match.champion, match.is_worse
    (0.75, 0.5, False)
    """
    ours = float(outcomes.compute_figures(PredictedClasses(labels_N, ours_N, classes), metric, rare)[0])
    theirs = float(outcomes.compute_figures(PredictedClasses(labels_N, theirs_N, classes), metric, rare)[0])
    pairs = mcnemar.compute_mcnemar(labels_N, ours_N, theirs_N)
    alone = int(pairs["ours_alone"]), int(pairs["theirs_alone"])
    return ChampionMatch(metric, len(labels_N), left_out, ours, theirs, *alone, float(pairs["p"]))


def compare_with_champion(run: Run, model: Folder, champion: Folder, metric: str, device: str = "cpu") -> ChampionMatch:
    """Predict the test images of a model's experiment with it and with a registry's champion, and compare the two.

    Args:
        run: the split whose images the model was trained on.
        model: the candidate's folder.
        champion: folder of the champion's version. Images that it was trained on or chosen by are left out.
        metric: key of the metric, ``compare.metric`` of the job; accuracy in the place of one of probabilities.
        device: where both predict.

    Raises:
        UserError: the two cannot be compared: they know other classes, the champion takes larger images than are
            stored, or no image is left; or one is not finished.
    """
    ours = Classifier.load(model, device)
    theirs = Classifier.load(champion, device)
    if set(ours.classes) != set(theirs.classes):
        unshared_classes = sorted(set(ours.classes) ^ set(theirs.classes))
        raise UserError(
            f"{champion}: the champion has other classes (only one of the two has {', '.join(unshared_classes[:5])})"
        )
    if theirs.spec.image_size > ours.spec.image_size:
        raise UserError(
            f"{champion}: the champion takes images of {theirs.spec.image_size} pixels, and here they are stored "
            f"at {ours.spec.image_size}; prepare with data.image_size={theirs.spec.image_size}, in another --out"
        )
    facts = DatasetRecord.read(run.dataset)
    our_images = test_images.read_split(run, TEST_SPLIT, ours)
    champion_images = test_images.read_split(run, TEST_SPLIT, theirs)
    seen_ids: set[str] = set()
    if champion.has_file(SEEN_FILE):
        seen_ids.update(champion.read_table(SEEN_FILE)["id"].to_pylist())
    fresh = np.array([id_ not in seen_ids for id_ in our_images.ids])
    if not fresh.any():
        raise UserError(f"{champion}: it has seen all test images of {run.root}, so none is left to compare on")
    champion_to_ours = np.array([ours.classes.index(name) for name in theirs.classes])
    ours_N = ours.predict_probabilities(our_images.images).argmax(1)[fresh]
    theirs_N = champion_to_ours[theirs.predict_probabilities(champion_images.images).argmax(1)][fresh]
    rare = [ours.classes.index(name) for name in facts.rare]
    if get_metric(metric).calibrated:
        metric = ACCURACY.key
    return compare_answers(
        our_images.labels[fresh], ours_N, theirs_N, len(ours.classes), metric, rare, int((~fresh).sum())
    )


def write_seen_images(run: Run, version: Folder) -> None:
    """Write beside a model's version the ids of the images it was trained on or chosen by, and a reference for drift.

    Args:
        run: the split whose images the model was trained on.
        version: folder of the version, where seen.parquet and ``drift.REFERENCE_FILE`` are written.
    """
    table = run.dataset.read_table("split.parquet", ["id", "split"])
    seen = table.filter(pc.is_in(table["split"], pa.array(["train", "val"])))
    version.write_table(SEEN_FILE, seen.select(["id"]))
    model = Classifier.load(version)
    n = drift.MAX_REFERENCE_ROWS
    train = test_images.read_split(run, "train", model, n).images[:n]
    val = test_images.read_split(run, "val", model, n).images[:n]
    version.write_table(drift.REFERENCE_FILE, drift.build_reference(train, val, model.predict_probabilities(val)))
