"""What a stage prints: kept, done or failed; and how far it is."""

import pytest

from ganaug_ray.config.loader import load_job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.progress import Progress
from ganaug_ray.core.storage import Folder
from ganaug_ray.pipeline.stage import StageContext
from tests.conftest import DIGITS


@pytest.fixture
def context(tmp_path):
    return StageContext(load_job(DIGITS), Run(Folder.from_uri(tmp_path)), Terminal())


def test_kept_stage_does_no_work(context, capsys):
    """A marker that stands is shown, and nothing is done."""
    context.run_stage("prepare", {"images": 3}, pytest.fail, lambda record: f"{record['images']} images")
    assert "kept" in capsys.readouterr().out


def test_done_stage_updates_summary(context, capsys):
    """A stage that was done has its line, and run.json is written."""
    context.run_stage("prepare", None, lambda: {"images": 3}, lambda record: f"{record['images']} images")
    printed = capsys.readouterr().out
    assert "done" in printed
    assert "3 images" in printed
    assert context.run.root.has_file("run.json")


def test_failed_stage_passes_error_on(context, capsys):
    """A stage that fails has its line too, and its error goes on as it is."""

    def fail() -> dict[str, int]:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        context.run_stage("prepare", None, fail, str)
    assert "failed" in capsys.readouterr().out
    assert not context.run.root.has_file("run.json")


def test_progress_is_read_as_set():
    """The terminal reads what the stage noted last."""
    progress = Progress("listing the sources")
    assert progress.read() == (0.0, "listing the sources")
    progress.update(0.5, "5 of 10 images")
    assert progress.read() == (0.5, "5 of 10 images")
