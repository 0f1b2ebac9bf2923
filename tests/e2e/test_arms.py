"""A comparison of all kinds of arms over two splits, as a user types it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganaug_ray.config.loader import load_job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.verdict import choices, from_experiment
from tests.conftest import DIGITS, PATIENCE, TINY, environment

ARMS = {
    "real": "{}",
    "oversample": "{}",
    "real+classic+synthetic": "{}",
    "some": "{kind: synthetic, classes: gaining, ratio: 0.25}",
    "threes": "{kind: synthetic, classes: ['3'], strategy: anneal}",
    "synthetic-only": "{}",
    "noise": "{}",
    "shuffled-labels": "{}",
    "pseudo": "{}",
    "pseudo+synthetic": "{}",
}

CONTROLS = {"real", "oversample", "synthetic-only", "noise", "shuffled-labels"}


def run(out: Path, verb: str = "run", declare: dict[str, str] = ARMS) -> subprocess.CompletedProcess[str]:
    declared = "arms={" + ", ".join(f"{name}: {own}" for name, own in declare.items()) + "}"
    chosen = [*TINY, "data.unlabelled=unused", "augment.pseudo_confidence=0.1", "compare.splits=2", "compare.seeds=1"]
    return subprocess.run(
        [sys.executable, "-m", "ganaug_ray", verb, str(DIGITS), "--out", str(out),
         *(f"--set={one}" for one in [*chosen, declared])],
        env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("arms") / "digits"
    done = run(out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_arm_has_models_and_verdict(finished: Path) -> None:
    """Every arm has a model in each split and a place in verdict and report."""
    verdict = json.loads((finished / "verdict.json").read_text())
    assert set(verdict["arms"]) == {"real+classic", *ARMS}
    assert {one["arm"] for one in verdict["comparisons"]} == set(ARMS)
    for split in (finished, finished / "splits" / "1"):
        for arm in ("real+classic", *ARMS):
            assert (split / "models" / arm / "seed-0" / "model.json").exists()
    assert verdict["champion"]["arm"] in {"real+classic", *ARMS} - CONTROLS
    assert verdict["champion"]["split"] in (0, 1)
    assert (finished / "registry" / "champion.json").exists()
    for arm in ARMS:
        assert arm in (finished / "report.html").read_text()


def test_splits_share_no_test_image(finished: Path) -> None:
    """No image is in the test part of two splits."""
    tests = [
        {row["id"] for row in pq.read_table(folder / "dataset" / "split.parquet").to_pylist() if row["split"] == "test"}
        for folder in (finished, finished / "splits" / "1")
    ]
    assert tests[0]
    assert not tests[0] & tests[1]


def test_two_splits_are_too_few(finished: Path) -> None:
    """Two splits with one seed give differences that the predictions repeat, and no word on them."""
    folders = [finished, finished / "splits" / "1"]
    verdict = json.loads((finished / "verdict.json").read_text())

    def accuracy(arm: str, part: str) -> np.ndarray:
        tables = [pq.read_table(folder / "models" / arm / "seed-0" / "predictions.parquet") for folder in folders]
        rows = [[row for row in table.to_pylist() if row["split"] == part] for table in tables]
        return np.array([np.mean([np.argmax(row["probabilities"]) == row["label"] for row in own]) for own in rows])

    on_val = verdict["chosen"]["values"]
    assert on_val.keys() == ARMS.keys() - CONTROLS
    assert verdict["chosen"]["metric"] == "calibrated_cross_entropy"
    assert on_val[verdict["chosen"]["arm"]] == min(on_val.values())
    assert len(verdict["comparisons"]) == len(ARMS)
    for own in verdict["comparisons"]:
        assert own["by_split"] == pytest.approx(accuracy(own["arm"], "test") - accuracy("real+classic", "test"))
        assert own["mean"] == pytest.approx(np.mean(own["by_split"]))
        assert (own["ci95"], own["verdict"]) == (None, "not enough repeats"), "two trainings of each arm"
    assert verdict["verdict"] == "not enough repeats"
    assert "2 splits with 1 seed each" in verdict["details"]


def test_shuffled_test_labels_change_no_choice(finished: Path, tmp_path: Path) -> None:
    """Shuffled test labels change the verdict of a finished run, but no choice of an arm or model."""
    copy, draw = tmp_path / "digits", np.random.default_rng(0)
    shutil.copytree(finished, copy, ignore=shutil.ignore_patterns("checkpoints", "registry", "evaluation"))
    for split in (copy, copy / "splits" / "1"):
        order: np.ndarray | None = None
        for file in sorted((split / "models").glob("*/*/predictions.parquet")):
            table = pq.read_table(file)
            labels = table["label"].to_numpy().copy()
            test = np.flatnonzero(np.array(table["split"].to_pylist()) == "test")
            order = draw.permutation(len(test)) if order is None else order  # the same for all arms
            labels[test] = labels[test][order]
            place = table.column_names.index("label")
            pq.write_table(table.set_column(place, "label", pa.array(labels)), file)
    job = load_job(finished / "job.yaml")
    before, after = (Run(Folder.from_uri(folder)) for folder in (finished, copy))
    old, new = (from_experiment.build_verdict(job, run) for run in (before, after))
    assert new["chosen"] == old["chosen"]
    assert from_experiment.choose_classes_for_guided_arm(
        job, after, "some"
    ) == from_experiment.choose_classes_for_guided_arm(job, before, "some")
    assert [own["mean"] for own in new["comparisons"]] != [own["mean"] for own in old["comparisons"]]
    for arm in (old["champion"]["arm"], new["champion"]["arm"]):
        best = [
            choices.choose_champion({arm: from_experiment.read_outcomes(job, run, arm)}, arm, None, "accuracy")
            for run in (before, after)
        ]
        assert best[0]["repeat"] == best[1]["repeat"]


def test_added_arm_trains_alone(finished: Path) -> None:
    """What is done is kept, and only an arm that is added later is trained."""
    before = (finished / "models" / "noise" / "seed-0" / "model.json").stat().st_mtime_ns
    declare = ARMS | {"much": "{kind: oversample, ratio: 2.0}"}
    for verb in ("train", "compare"):
        more = run(finished, verb=verb, declare=declare)
        assert more.returncode == 0, more.stdout + more.stderr
        assert re.findall(r"^(\S+) +done", more.stdout, re.MULTILINE) == [verb]
    assert (finished / "splits" / "1" / "models" / "much" / "seed-0" / "model.json").exists()
    assert (finished / "models" / "noise" / "seed-0" / "model.json").stat().st_mtime_ns == before
    assert "much" in json.loads((finished / "verdict.json").read_text())["arms"]


def test_trained_arm_cannot_change(finished: Path) -> None:
    """An arm that is trained cannot change; the error names the setting with both values."""
    changed = run(finished, declare=ARMS | {"noise": "{ratio: 0.25}"})
    assert changed.returncode == 2
    assert re.search(r"arms\.noise\.ratio\b.*\b0\.5\b.*\b0\.25\b", changed.stderr)
