"""What was compared on the same images counts, in this experiment or beside it, and so does every look."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.verdict.comparison_books import Count, count_looks, record_looks

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
    """The look of a plain run, whose interval was narrower, counts twice on top of those that are planned."""
    assert look(run, [A], 5, 2).looks == 1
    assert look(run, [A], 5, 2).looks == 1
    assert look(run, [A], 5, 2, looks=3).looks == 5
    assert look(run, [A], 5, 4, looks=3).looks == 5
    assert look(run, [A], 5, 2).looks == 5


def test_plain_runs_with_more_repeats_are_looks(run: Run) -> None:
    """Each further number of seeds or splits is a look, at a narrower interval than the next; one without answer none.

    Those that are planned afterwards are all as wide, whether they repeat numbers of the plain ones or not.
    """
    assert look(run, [A], 1, 2).looks == 1
    assert look(run, [A], 1, 3).looks == 1
    assert count_looks(run, "images", [A], 1, 5, 1).looks == 3
    assert look(run, [A], 1, 5).looks == 3
    assert look(run, [A], 1, 3).looks == 3, "the same again is no other look"
    assert look(run, [A], 5, 5).looks == 5
    assert [look(run, [A], *repeats, looks=3).looks for repeats in ((1, 5), (1, 10), (5, 10))] == [9, 9, 9]


@pytest.mark.parametrize("error", [PermissionError("denied"), UserError("a name that is no UTF-8")])
@pytest.mark.parametrize("denied", ["write_json", "list_entries"])
def test_closed_books_end_no_run(run: Run, denied: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the books beside an experiment may not be read or written, it has its own count."""
    look(Run(run.root.parent / "other"), [B])  # type: ignore[operator]  # it has a parent
    act = getattr(Folder, denied)

    def refuse(folder: Folder, *arguments: object) -> object:
        if ".ganaug" in folder.path:
            raise error
        return act(folder, *arguments)

    monkeypatch.setattr(Folder, denied, refuse)
    readable = denied == "write_json"
    assert count_looks(run, "images", [A], 5, 2, 1).candidates == 1 + readable
    assert look(run, [A]).candidates == 1 + readable
    assert look(run, [C]).candidates == 2 + readable


def test_books_are_as_open_as_their_folder(run: Run, tmp_path: Path) -> None:
    """In a folder that several users put experiments in, each of them may write to the books."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs").chmod(0o1777)
    umask = os.umask(0o077)
    try:
        look(run, [A])
    finally:
        os.umask(umask)
    books = tmp_path / "runs" / ".ganaug" / "compared"
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (books.parent, books, books / "images")] == [0o1777] * 3


def test_sizes_are_questions_of_their_own(run: Run) -> None:
    """The experiments at other numbers of training images do not count as rivals of each other."""
    run.root.create().write_bytes("job.yaml", b"")
    assert [look(Run(run.root / "sizes" / n), [candidate]) for n, candidate in (("4", A), ("12", B))] == [(1, 1)] * 2
