"""A run plans with the times that the dry run before it measured, so that it does what the user was shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ganaug_ray import cli
from ganaug_ray.config import Job
from ganaug_ray.core.storage import Folder
from ganaug_ray.pipeline import kept_times, training_time
from ganaug_ray.pipeline.kept_times import KeptTimes
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.pipeline.training_time import ImageFacts, StepTime

MEASURED = {"steps": {"filters": 16}}
FIGURES = {"classifier_s": 0.5, "gpus": 0.0}


class Machine:
    """A machine that becomes slower each time that steps are timed on it."""

    def __init__(self) -> None:
        self.step_s = 0.02
        self.timed = 0

    def measure(self, job: Job, images: ImageFacts) -> StepTime:
        self.timed += 1
        self.step_s *= 1.5
        return StepTime(self.step_s, self.step_s / 250, self.step_s)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    made = Machine()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(training_time, "measure_step_time", made.measure)
    monkeypatch.setenv("GANAUG_CACHE", str(tmp_path / "cache"))
    return made


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(40):
            pixels = draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{number}.png")
    return tmp_path / "pets"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Pipeline]:
    """The pipelines of the runs that were begun, none of which trains."""
    pipelines: list[Pipeline] = []
    monkeypatch.setattr(Pipeline, "run_all", lambda self: pipelines.append(self))
    return pipelines


def ganaug(*words: str) -> str:
    result = CliRunner().invoke(cli.app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def find_time(output: str) -> str:
    return next(line for line in output.splitlines() if line.startswith("time  "))


def test_run_does_what_the_dry_run_said(photos: Path, machine: Machine, opened: list[Pipeline], tmp_path: Path) -> None:
    """The run after a dry run of images has its settings, its plan and its minutes, however slow the machine is now."""
    words = ["run", str(photos), "--minutes", "10", "--out"]
    shown = ganaug(*words, str(tmp_path / "shown"), "--dry-run", "--settings")
    times = machine.timed
    ganaug(*words, str(tmp_path / "done"))
    assert machine.timed == times
    job = opened[0].job
    assert f"splits: {job.compare.splits}" in shown
    assert f"image_size: {job.data.image_size}" in shown
    facts = opened[0].facts
    assert facts is not None
    assert facts.estimate(job).describe().split(" on ")[0] in find_time(shown)


def test_init_times_for_the_run(photos: Path, machine: Machine, opened: list[Pipeline], tmp_path: Path) -> None:
    """What `ganaug init` timed is not timed again by the run of the same images."""
    ganaug("init", str(photos), "--minutes", "10", "--out", str(tmp_path / "pets.yaml"))
    times = machine.timed
    ganaug("run", str(photos), "--minutes", "10", "--out", str(tmp_path / "done"))
    assert machine.timed == times > 0
    assert f"splits: {opened[0].job.compare.splits}" in (tmp_path / "pets.yaml").read_text()


def test_dry_run_times_anew(photos: Path, machine: Machine, tmp_path: Path) -> None:
    """A second dry run is of the machine as it is now; and other settings are timed of their own."""
    words = ["run", str(photos), "--minutes", "10", "--out", str(tmp_path / "out"), "--dry-run"]
    ganaug(*words)
    times = machine.timed
    ganaug(*words)
    assert machine.timed == 2 * times


def test_other_networks_are_timed(photos: Path, machine: Machine, opened: list[Pipeline], tmp_path: Path) -> None:
    """The times of one GAN are not those of another."""
    words = ["run", str(photos), "--minutes", "10", "--out", str(tmp_path / "out"), "--set"]
    ganaug(*words, "gan.latent=16", "--dry-run")
    times = machine.timed
    ganaug(*words, "gan.latent=32")
    assert machine.timed > times


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"times": 3}',
        b'{"times": {"a": {"kept_at": "now", "figures": {}}}}',
        b'{"times": {"a": {"kept_at": 1.0, "figures": {"classifier_s": -1.0}}}}',
        b"[" * 100_000,
    ],
)
def test_damaged_file_is_as_good_as_none(content: bytes, tmp_path: Path) -> None:
    """A file with anything else in it is written anew, and stops nobody."""
    (tmp_path / kept_times.FILE).write_bytes(content)
    folder = Folder.from_uri(tmp_path)
    assert KeptTimes(folder, is_dry_run=False).find(MEASURED) is None
    KeptTimes(folder, is_dry_run=True).keep(MEASURED, FIGURES)
    assert KeptTimes(folder, is_dry_run=False).find(MEASURED) == FIGURES


def test_times_grow_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are forgotten after a day, also by the file, and times from the future count for nothing."""
    folder = Folder.from_uri(tmp_path)
    now = 1e9
    monkeypatch.setattr(kept_times.time, "time", lambda: now)
    KeptTimes(folder, is_dry_run=True).keep(MEASURED, FIGURES)
    for age_s, expected in ((kept_times.MAX_AGE_S - 1, FIGURES), (kept_times.MAX_AGE_S + 1, None), (-60, None)):
        monkeypatch.setattr(kept_times.time, "time", lambda age_s=age_s: now + age_s)
        assert KeptTimes(folder, is_dry_run=False).find(MEASURED) == expected
    monkeypatch.setattr(kept_times.time, "time", lambda: now + 2 * kept_times.MAX_AGE_S)
    KeptTimes(folder, is_dry_run=True).keep({"steps": 2}, FIGURES)
    assert len(folder.read_json(kept_times.FILE)["times"]) == 1


def test_nothing_is_kept_where_nothing_can_be(tmp_path: Path) -> None:
    """A cache folder that cannot be made, or none at all, keeps no one from a dry run; a run writes none."""
    (tmp_path / "file").write_text("")
    for folder in (None, Folder.from_uri(tmp_path / "file" / "cache")):
        times = KeptTimes(folder, is_dry_run=True)
        times.keep(MEASURED, FIGURES)
        assert times.find(MEASURED) == FIGURES
    KeptTimes(Folder.from_uri(tmp_path / "cache"), is_dry_run=False).keep(MEASURED, FIGURES)
    assert not (tmp_path / "cache").exists()


def test_cache_folder_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$GANAUG_CACHE comes first, then $XDG_CACHE_HOME, then the home folder's."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for environment, expected in (
        ({"GANAUG_CACHE": str(tmp_path / "own"), "XDG_CACHE_HOME": str(tmp_path / "xdg")}, "own"),
        ({"XDG_CACHE_HOME": str(tmp_path / "xdg")}, "xdg/ganaug"),
        ({}, "home/.cache/ganaug"),
    ):
        KeptTimes.open_user_cache(environment, is_dry_run=True).keep(MEASURED, FIGURES)
        assert (tmp_path / expected / kept_times.FILE).is_file()
