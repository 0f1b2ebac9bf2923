"""What a failed, interrupted or absent stage was made with may change; what is made may not."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from ganaug_ray.config.loader import load_job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from tests.conftest import DIGITS, TINY

MARKERS = {"dataset": "dataset.json", "gan": "gan.json", "models": "model.json", "synthetic": "synthetic.json"}
TEACHER = "models/teacher/seed-0"
REAL = "models/real+classic/seed-0"
MADE = "made"


def make_run(root: Path, stages: Mapping[str, str | int], failed: str | None = None, *settings: str) -> Run:
    """Make the folder of an experiment: stage -> MADE, or the steps of an unfinished one, or what lies in it."""
    run = Run(Folder.from_uri(root))
    run.claim_folder(load_job(DIGITS, [*TINY, *settings]))
    for name, state in stages.items():
        folder = (run.root / name).create()
        folder.write_bytes("begun", b"")
        if state == MADE:
            folder.write_json(MARKERS[name.partition("/")[0]], {"status": "done"})
        elif isinstance(state, int) and state:
            (folder / "checkpoints").create().write_bytes(f"step-{state:08d}.json", b"{}")
    if failed:
        run.note_failure(failed, "it did not work")
    return run


def change(run: Run, *settings: str) -> list[str]:
    """Claim the folder with other settings; return what was said."""
    notes: list[str] = []
    run.claim_folder(load_job(DIGITS, [*TINY, *settings]), notes.append)
    return notes


@pytest.mark.parametrize(
    ("stages", "failed", "setting", "deleted"),
    [
        ({}, None, "data.image_size=16", []),
        ({"dataset": 0}, None, "data.image_size=16", ["dataset"]),
        ({"dataset": 0}, "prepare", "seed=3", ["dataset"]),
        ({"dataset": MADE, TEACHER: 4}, "teach", "classifier.lr=0.01", [TEACHER]),
        ({"dataset": MADE, TEACHER: 0}, None, "classifier.steps=9", [TEACHER]),
        ({"dataset": MADE, TEACHER: MADE, "gan": 4}, "train-gan", "gan.lr=0.001", ["gan"]),
        ({"dataset": MADE, TEACHER: MADE, "gan": 0}, None, "gan.filters=4", ["gan"]),
        ({"dataset": MADE, "gan": MADE, "synthetic": 0}, "generate", "augment.ratio=2", ["synthetic"]),
        ({"dataset": MADE, "gan": MADE, "synthetic": MADE}, None, "augment.per_class=11", ["synthetic"]),
        ({"dataset": MADE, "gan": MADE, "synthetic": MADE, REAL: 4}, "train", "classifier.lr=0.01", [REAL]),
        ({"dataset": MADE, "gan": MADE, "synthetic": MADE, REAL: MADE}, None, "augment.per_class=11", ["synthetic"]),
        ({"dataset": MADE, "gan": 4}, None, "classifier.lr=0.01", []),
        ({"dataset": MADE, "gan": MADE}, None, "compare.seeds=3", []),
    ],
)
def test_settings_of_failed_stages_change(
    tmp_path: Path, stages: Mapping[str, str | int], failed: str | None, setting: str, deleted: list[str]
) -> None:
    """A setting that no finished stage has may change; what the stage left is deleted, and said to be."""
    run = make_run(tmp_path / "run", stages, failed)
    notes = change(run, setting)
    assert [note.partition(" was made")[0] for note in notes] == deleted
    for name in stages:
        assert ((run.root / name).local_path or tmp_path).exists() == (name not in deleted)
    assert change(run, setting) == [], "the same command continues"


@pytest.mark.parametrize(
    ("stages", "setting", "made"),
    [
        ({"dataset": MADE}, "data.image_size=16", "dataset is made"),
        ({"dataset": MADE, TEACHER: MADE, "gan": 4}, "classifier.lr=0.01", f"{TEACHER} is made"),
        ({"dataset": MADE, "gan": MADE}, "gan.lr=0.001", "gan is made"),
        ({"dataset": MADE, "gan": MADE}, "gan.steps=4", "gan is made"),
        ({"dataset": MADE, "gan": MADE}, "seed=3", "dataset is made"),
    ],
)
def test_settings_of_made_stages_stay(tmp_path: Path, stages: Mapping[str, str | int], setting: str, made: str) -> None:
    """A setting of a finished stage is refused, nothing is deleted, and another folder takes the job, as advised."""
    run = make_run(tmp_path / "run", stages, "train-gan")
    with pytest.raises(UserError, match=rf"give another --out\n.*\({re.escape(made)}\)"):
        change(run, setting)
    assert all((run.root / name).has_file("begun") for name in stages)
    assert change(Run(Folder.from_uri(tmp_path / "other")), setting) == []


def test_failure_of_another_stage_loses_no_steps(tmp_path: Path) -> None:
    """An interrupted GAN keeps its steps when another stage failed since, until its folder is deleted, as advised."""
    run = make_run(tmp_path / "run", {"dataset": MADE, TEACHER: 2, "gan": 4}, "teach")
    with pytest.raises(UserError, match="gan was interrupted after step 4; delete") as caught:
        change(run, "gan.lr=0.001")
    advised = re.search(r"delete (\S+) to begin anew", str(caught.value))
    assert advised is not None
    shutil.rmtree(advised[1])
    assert change(run, "gan.lr=0.001") == []


def test_second_failure_is_the_one_that_counts(tmp_path: Path) -> None:
    """Once a failed stage is begun again and interrupted, its steps are kept, too."""
    run = make_run(tmp_path / "run", {"dataset": MADE, "gan": 4}, "train-gan")
    run.clear_failure()  # as when the stage begins
    with pytest.raises(UserError, match="gan was interrupted after step 4"):
        change(run, "gan.lr=0.001")
    run.note_failure("train-gan", "it did not work again")
    assert len(change(run, "gan.lr=0.001")) == 1


def test_longer_gan_goes_on(tmp_path: Path) -> None:
    """An unfinished or finished GAN that is to be longer is kept; pools made with it are not."""
    unfinished = make_run(tmp_path / "unfinished", {"dataset": MADE, "gan": 4})
    assert change(unfinished, "gan.steps=12") == []
    assert (unfinished.gan / "checkpoints").has_file("step-00000004.json")
    finished = make_run(tmp_path / "finished", {"dataset": MADE, "gan": MADE, "synthetic": MADE})
    notes = change(finished, "gan.steps=12")
    assert [note.partition(":")[0] for note in notes] == [
        "synthetic was made with other settings and is deleted",
        "gan is trained for longer",
    ]
    assert finished.gan.has_file("begun")


def test_arms_may_come_and_go(tmp_path: Path) -> None:
    """An arm is added, changed while its models are unfinished, and left out; a trained one keeps its settings."""
    run = make_run(tmp_path / "run", {"dataset": MADE, "gan": MADE, REAL: MADE})
    light = "arms.more={kind: synthetic, weight: 0.2}"
    heavy = "arms.more={kind: synthetic, weight: 0.4}"
    assert change(run, light) == []
    folder = (run.models / "more" / "seed-0").create()
    folder.write_bytes("begun", b"")
    assert [note.partition(" was")[0] for note in change(run, heavy)] == ["models/more/seed-0"]
    folder.create().write_json("model.json", {"status": "done"})
    with pytest.raises(UserError, match=r"arms\.more\.weight is 0\.4 there and 0\.2 .*models/more/seed-0 is made"):
        change(run, light)
    assert change(run) == [], "an arm that is no longer compared stays where it is"
    assert folder.has_file("model.json")


def test_damaged_failure_note_stops_nobody(tmp_path: Path) -> None:
    """A note of a failure that was cut off, as on a full disk, counts as none."""
    run = make_run(tmp_path / "run", {"dataset": MADE, "gan": 4})
    run.root.write_bytes("failed.json", b'{"stage": "tr')
    assert change(run) == []
