"""What was compared on the same images counts, in this experiment or beside it, and so does every look."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganaug_ray.config.loader import load_job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.verdict import from_experiment
from ganaug_ray.verdict.comparison_books import Count, count_looks, record_looks
from tests.conftest import DIGITS, TINY

A, B, C = ("a" * 16, "b" * 16, "c" * 16)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(Folder.from_uri(tmp_path / "runs" / "cats"))


def look(
    run: Run, candidates: list[str], splits: int = 5, seeds: int = 2, looks: int = 1, images: str = "images"
) -> Count:
    return record_looks(run, images, candidates, splits, seeds, looks)


def test_removed_candidates_still_count(run: Run) -> None:
    """A candidate that was compared on the same images and then taken out of the job counts as a rival."""
    assert look(run, [A, B]).candidates == 2
    assert look(run, [A]).candidates == 2
    assert look(run, [C]).candidates == 3
    assert look(run, [A], images="other images").candidates == 1


def test_experiments_beside_share_their_books(run: Run, tmp_path: Path) -> None:
    """With another folder beside the first no new count begins, even if the first is gone; elsewhere one does."""
    look(run, [A])
    assert look(Run(Folder.from_uri(tmp_path / "runs" / "again")), [A]) == Count(1, 1), "unchanged settings count once"
    assert look(Run(Folder.from_uri(tmp_path / "runs" / "other")), [B]).candidates == 2
    assert look(Run(Folder.from_uri(tmp_path / "elsewhere" / "cats")), [B]).candidates == 1
    assert Folder.from_uri(tmp_path / "runs").list_folders() != [], "an experiment is no hidden folder"
    assert ".ganaug" not in Folder.from_uri(tmp_path / "runs").list_folders()


def test_moved_experiment_keeps_its_books(run: Run, tmp_path: Path) -> None:
    """An experiment that is moved brings along all that it was compared with."""
    look(Run(run.root.parent / "first"), [A])  # type: ignore[operator]  # it has a parent
    look(run, [B])
    (tmp_path / "moved").mkdir()
    Path(str(run.root)).rename(tmp_path / "moved" / "cats")
    assert look(Run(Folder.from_uri(tmp_path / "moved" / "cats")), [C]).candidates == 3


def test_folder_without_right_to_write(run: Run) -> None:
    """Where nothing can be written beside an experiment, it has its own count."""
    run.root.create()
    Path(str(run.root.parent), ".ganaug").write_text("a file in the way")
    assert look(run, [A, B]).candidates == 2
    assert look(run, [C]).candidates == 3


def test_two_runs_at_once_lose_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another run writes while this one does is there afterwards, and counts."""
    other = Run(Folder.from_uri(tmp_path / "runs" / "dogs"))
    write = Folder.write_json
    nested = []

    def write_after_another(folder: Folder, name: str, content: dict[str, object]) -> None:
        if not nested:
            nested.append(name)
            look(other, [B])
        write(folder, name, content)

    monkeypatch.setattr(Folder, "write_json", write_after_another)
    assert look(run, [A]).candidates == 2
    assert look(other, [B]).candidates == 2


def test_plain_run_keeps_planned_looks(run: Run) -> None:
    """After looks that were planned, a plain run has an interval as wide, and further repeats are a further look."""
    assert look(run, [A], 5, 1, looks=3).looks == 3
    assert look(run, [A], 5, 2, looks=3).looks == 3
    assert look(run, [A], 5, 1).looks == 3
    assert look(run, [A], 5, 6).looks == 3, "a look that was planned and not taken"
    assert look(run, [A], 5, 8).looks == 4
    assert look(run, [A], 5, 8).looks == 4, "the same again is no other look"
    assert look(run, [B], 5, 2).looks == 1, "another candidate has had none"


def test_plain_look_counts_before_planned_ones(run: Run) -> None:
    """The look of a plain run, whose interval was narrower, counts on top of those that are planned afterwards."""
    assert look(run, [A], 5, 2).looks == 1
    assert look(run, [A], 5, 2).looks == 1
    assert look(run, [A], 5, 2, looks=3).looks == 4
    assert look(run, [A], 5, 4, looks=3).looks == 4
    assert look(run, [A], 5, 2).looks == 4


def test_plain_runs_with_more_repeats_are_looks(run: Run) -> None:
    """Each further number of seeds or splits is a look; one that gave no answer is none."""
    assert look(run, [A], 1, 2).looks == 1
    assert look(run, [A], 1, 3).looks == 1
    assert count_looks(run, "images", [A], 5, 3, 1).looks == 2
    assert look(run, [A], 5, 3).looks == 2


def test_free_settings_make_no_candidate() -> None:
    """Settings by which no weight changes, more seeds, and the place of the images leave a candidate what it is."""

    def hash_with(*settings: str, dataset: str = "d" * 16) -> list[str]:
        return from_experiment.hash_candidates(load_job(DIGITS, [*TINY, *settings]), dataset)

    plain = hash_with()
    free = [
        "gan.workers=2", "gan.min_workers=1", "classifier.workers=2", "data.loader=stream", "data.executor=ray_data",
        "data.resident_limit=0.5", "compare.seeds=9", "compare.worthwhile=0.02", "augment.allow_copies=true",
    ]  # fmt: skip
    for setting in free:
        assert hash_with(setting) == plain, setting
    for setting in ("gan.steps=7", "classifier.steps=9", "augment.ratio=0.25", "seed=7"):
        assert hash_with(setting) != plain, setting
    assert hash_with(dataset="e" * 16) != plain
