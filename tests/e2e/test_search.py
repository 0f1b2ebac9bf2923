"""kill -9 in the middle of a search, and the same command again: all trials accounted for, none lost."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from ganaug_ray.config.loader import load_job
from ganaug_ray.core.storage import Folder
from ganaug_ray.search.trial_log import Ledger
from tests.conftest import DIGITS, PATIENCE, environment
from tests.helpers import killing

SPACE = """
about: "a small one"
space:
  gan.lr: {log_uniform: [1.0e-4, 1.0e-3]}
  gan.steps: {choice: [40, 80]}
"""


def test_killed_search_resumes_and_writes_job(finished: tuple[Path, str], tmp_path: Path) -> None:
    """A search that is killed goes on with the same command and writes a job that runs."""
    space, best, out = tmp_path / "space.yaml", tmp_path / "best.yaml", killing.taught(finished[0], tmp_path / "run")
    space.write_text(SPACE)
    settings = [f"--set={one}" for one in [*killing.SETTINGS, "search.trials=4"]]
    command = [
        sys.executable, "-m", "ganaug_ray", "search", "gan", str(DIGITS), "--space", str(space), "--out", str(out),
        "--write", str(best), *settings,
    ]  # fmt: skip
    child = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder, deadline = Folder.from_uri(out / "search" / "gan"), time.monotonic() + PATIENCE
    while not (folder.has_file("trials.jsonl") and Ledger.from_folder(folder).ended_trials):
        assert child.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.kill()
    child.wait()
    before = {trial.trial: trial for trial in Ledger.from_folder(folder).ended_trials}
    assert before
    assert len(before) < 4

    again = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    trials = Ledger.from_folder(folder).trials
    assert list(trials) == ["0001", "0002", "0003", "0004"]
    assert all(trial.status in ("finished", "stopped") for trial in trials.values())
    assert {name: trials[name] for name in before} == before, "what had ended is kept as it was"
    found = folder.read_json("search.json")["best"]
    for name in trials:
        assert list((out / "search" / "gan" / "tensorboard" / name).iterdir()), "TensorBoard's files"
    assert folder.read_table("trials.parquet").num_rows == sum(len(trial.looks) for trial in trials.values())
    assert "0001" in (out / "search" / "gan" / "search.html").read_text()
    written = load_job(best)
    assert (written.gan.lr, written.gan.steps) == (found["settings"]["gan.lr"], found["at"])

    best.unlink()
    kept = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert "search     kept" in kept.stdout
    assert best.exists()
