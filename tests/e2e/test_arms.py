"""A comparison of all kinds of arms over two splits, as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import DIGITS, TINY, environment

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


def run(out: Path, *settings: str, arms: dict[str, str] = ARMS, **extra: str) -> subprocess.CompletedProcess[str]:
    declared = "arms={" + ", ".join(f"{name}: {own}" for name, own in arms.items()) + "}"
    chosen = [*TINY, "data.unlabelled=unused", "augment.pseudo_confidence=0.1", "compare.splits=2", "compare.seeds=1"]
    return subprocess.run(
        [sys.executable, "-m", "ganaug_ray", "run", str(DIGITS), "--out", str(out),
         *(f"--set={one}" for one in [*chosen, declared, *settings])],
        env=environment(**extra), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("arms") / "digits"
    done = run(out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_arm_has_a_model_in_each_split_and_a_place_in_the_verdict(finished: Path) -> None:
    verdict = json.loads((finished / "verdict.json").read_text())
    assert set(verdict["arms"]) == {"real+classic", *ARMS}
    assert {one["arm"] for one in verdict["comparisons"]} == set(ARMS)
    for split in (finished, finished / "splits" / "1"):
        for arm in ("real+classic", *ARMS):
            assert (split / "models" / arm / "seed-0" / "model.json").exists()
    assert verdict["champion"]["arm"] in (
        "real+classic",
        "real+classic+synthetic",
        "some",
        "threes",
        "pseudo",
        "pseudo+synthetic",
    )
    assert verdict["champion"]["split"] in (0, 1)
    assert (finished / "registry" / "champion.json").exists()
    for arm in ARMS:
        assert arm in (finished / "report.html").read_text()


def test_splits_share_no_test_image(finished: Path) -> None:
    tests = [
        {row["id"] for row in pq.read_table(folder / "dataset" / "split.parquet").to_pylist() if row["split"] == "test"}
        for folder in (finished, finished / "splits" / "1")
    ]
    assert tests[0]
    assert not tests[0] & tests[1]


def test_what_is_done_is_kept_and_another_arm_trains_alone(finished: Path) -> None:
    again = run(finished, RAY_ADDRESS="127.0.0.1:1")  # any attempt to reach Ray would fail
    assert again.returncode == 0, again.stdout + again.stderr
    assert "done" not in again.stdout
    before = (finished / "models" / "noise" / "seed-0" / "model.json").stat().st_mtime_ns
    more = run(finished, arms=ARMS | {"much": "{kind: oversample, ratio: 2.0}"})
    assert more.returncode == 0, more.stdout + more.stderr
    assert (finished / "splits" / "1" / "models" / "much" / "seed-0" / "model.json").exists()
    assert (finished / "models" / "noise" / "seed-0" / "model.json").stat().st_mtime_ns == before
    assert "much" in json.loads((finished / "verdict.json").read_text())["arms"]


def test_an_arm_cannot_change_once_it_is_trained(finished: Path) -> None:
    changed = run(finished, arms=ARMS | {"noise": "{ratio: 0.25}"})
    assert changed.returncode == 2
    assert "arms.noise.ratio is 0.5 there and 0.25 in this job" in changed.stderr
