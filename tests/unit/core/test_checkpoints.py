"""Checkpoints and the experiment folder survive what happens to files."""

from __future__ import annotations

import errno
import fcntl
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from ganaug_ray.config.loader import load_job
from ganaug_ray.core import checkpoint, experiment_dir, metrics_log
from ganaug_ray.core.checkpoint import Checkpoint
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.metrics_log import MetricsLog
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from tests.conftest import DIGITS


def saved(folder: Folder, steps: list[int], inputs: str = "same") -> None:
    for step in steps:
        checkpoint.save(folder, Checkpoint(step, {"weight": torch.full((3,), float(step))}), inputs)


def test_states_restore_bit_identically(tmp_path: Path) -> None:
    """Networks and optimizers continue from a checkpoint to the same bits."""

    def make() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        network.to(memory_format=torch.channels_last)
        return network, torch.optim.Adam(network.parameters(), fused=True)

    def step(network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        network(torch.arange(150.0).reshape(2, 3, 5, 5).sin()).square().sum().backward()
        optimizer.step()

    one, two = make(), make()
    step(*one)
    step(*one)
    folder = Folder.from_uri(tmp_path)
    checkpoint.save(folder, Checkpoint(1, checkpoint.pack_states({"net": one[0], "opt": one[1]})), "same")
    found = checkpoint.load_newest(folder, "same", print)
    assert found is not None
    checkpoint.unpack_states(found.tensors, {"net": two[0], "opt": two[1]})
    step(*one)
    step(*two)
    for a, b in zip(one[0].state_dict().values(), two[0].state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_last_two_checkpoints_remain(tmp_path: Path) -> None:
    """Only the last two checkpoints are kept."""
    folder = Folder.from_uri(tmp_path)
    saved(folder, [10, 20, 30])
    assert folder.list_files() == [f"step-{step:08d}.{kind}" for step in (20, 30) for kind in ("json", "safetensors")]


@pytest.mark.parametrize("damage", ["truncate", "garbage", "delete", "json", "uncommitted"])
def test_damaged_checkpoint_falls_back(tmp_path: Path, damage: str) -> None:
    """Instead of a damaged newest checkpoint the previous one is loaded, and a notice says so."""
    folder = Folder.from_uri(tmp_path)
    saved(folder, [10, 20])
    tensors, record = tmp_path / "step-00000020.safetensors", tmp_path / "step-00000020.json"
    if damage == "truncate":
        tensors.write_bytes(tensors.read_bytes()[:-5])
    elif damage == "garbage":
        tensors.write_bytes(b"x" * len(tensors.read_bytes()))
    elif damage == "delete":
        tensors.unlink()
    elif damage == "json":
        record.write_text(record.read_text()[:10])
    else:
        record.unlink()
    notices: list[str] = []
    found = checkpoint.load_newest(folder, "same", notices.append)
    assert found is not None
    assert found.step == 10
    assert [("step-00000020" in notice) for notice in notices] == ([] if damage == "uncommitted" else [True])


SAVE_FOR_EVER = """
import itertools, sys, torch
from ganaug_ray.core import checkpoint
from ganaug_ray.core.storage import Folder
tensors = {"weight": torch.arange(4e6)}
for step in itertools.count(1):
    checkpoint.save(Folder.from_uri(sys.argv[1]), checkpoint.Checkpoint(step, tensors), "same")
"""


def test_kill_preserves_earlier_checkpoints(tmp_path: Path) -> None:
    """A kill while a checkpoint is written loses no earlier one, and its half-written file is removed later."""
    folder = Folder.from_uri(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path)])
    while True:  # stopped now and then, until that is while a checkpoint is being written and there is one before it
        time.sleep(0.01)
        assert child.poll() is None
        child.send_signal(signal.SIGSTOP)
        while psutil.Process(child.pid).status() != psutil.STATUS_STOPPED:
            pass
        if folder.has_file("step-00000002.json") and (half := list(tmp_path.glob(".*.safetensors.*"))):
            break
        child.send_signal(signal.SIGCONT)
    child.kill()
    child.wait()
    kept = [name for name in folder.list_files(".json") if (tmp_path / name).with_suffix(".safetensors").exists()]
    found = checkpoint.load_newest(folder, "same", pytest.fail)
    assert found is not None
    assert f"step-{found.step:08d}.json" == kept[-1]
    assert torch.equal(found.tensors["weight"], torch.arange(4e6))
    assert half[0].exists()
    saved(folder, [found.step + 1])
    experiment_dir.write_marker(folder, "gan.json", "train-gan", 0.0, {})
    assert not list(tmp_path.glob(".*")), "what was half-written is gone once the stage is done"


def test_foreign_checkpoint_is_not_used(tmp_path: Path) -> None:
    """A checkpoint made from other data or settings is not used, and a notice says so."""
    folder = Folder.from_uri(tmp_path)
    saved(folder, [10])
    notices: list[str] = []
    assert checkpoint.load_newest(folder, "other", notices.append) is None
    assert "was made from other data or settings: not used" in notices[0]
    assert checkpoint.load_newest(Folder.from_uri(tmp_path / "none"), "same", notices.append) is None


def test_checkpoint_of_another_version_is_not_used(tmp_path: Path) -> None:
    """A checkpoint whose training drew other random numbers is not gone on from, and a notice says so."""
    folder = Folder.from_uri(tmp_path)
    saved(folder, [10])
    record = folder.read_json("step-00000010.json")
    del record["version"]  # as the first version wrote it
    folder.write_json("step-00000010.json", record)
    notices: list[str] = []
    assert checkpoint.load_newest(folder, "same", notices.append) is None
    assert (
        "of another version of ganaug_ray, which draws other random numbers (version 1, not 2): not used" in notices[0]
    )


def test_resumed_log_has_every_step_once(tmp_path: Path) -> None:
    """A resumed log holds every step once and in order."""
    folder = Folder.from_uri(tmp_path)
    log = MetricsLog(folder, 0)
    for step in (1, 2, 3, 4):
        log.append_line({"step": step, "loss": 1 / step})
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 5, "lo')  # cut off by a kill
    again = MetricsLog(folder, 2)
    for step in (3, 4, 5):
        again.append_line({"step": step})
    assert [row["step"] for row in metrics_log.read_metrics(folder)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("uri", ["", "s3://"])
def test_newest_lines_load_alone(uri: str, tmp_path: Path) -> None:
    """The newest lines of a log are read without reading the older ones."""
    folder = Folder(Folder.from_uri(tmp_path).fs, str(tmp_path), uri)
    assert metrics_log.read_newest_lines(folder) == []
    log = MetricsLog(folder, 0)
    for step in range(1, 3001):
        log.append_line({"step": step, "words": "é" * 20})
    log.flush()
    newest = [row["step"] for row in metrics_log.read_newest_lines(folder)]
    assert 1 < len(newest) < 1000
    assert newest == list(range(3001 - len(newest), 3001))


def test_object_store_log_has_parts(tmp_path: Path) -> None:
    """On an object store the log is written in parts, and a resume drops the steps that come later."""
    folder = Folder(Folder.from_uri(tmp_path).fs, str(tmp_path), "s3://")  # as one without append
    log = MetricsLog(folder, 0)
    for step in (1, 2):
        log.append_line({"step": step})
    log.flush()
    log.append_line({"step": 3})
    assert [row["step"] for row in metrics_log.read_metrics(folder)] == [1, 2]
    log.flush()
    log.append_line({"step": 4})
    log.flush()
    again = MetricsLog(folder, 2)
    assert [row["step"] for row in metrics_log.read_metrics(folder)] == [1, 2]
    again.append_line({"step": 3})
    again.flush()
    assert [row["step"] for row in metrics_log.read_metrics(folder)] == [1, 2, 3]
    MetricsLog(folder, 1)
    assert [row["step"] for row in metrics_log.read_metrics(folder)] == [1]


def test_failed_write_preserves_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails leaves the old file in place."""
    folder = Folder.from_uri(tmp_path)
    folder.write_json("marker.json", {"old": True})

    def fail(self: Path, target: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        folder.write_json("marker.json", {"old": False})
    assert folder.read_json("marker.json") == {"old": True}
    assert folder.list_files() == ["marker.json"]


def test_json_never_holds_nan(tmp_path: Path) -> None:
    """Figures that are no number or infinite are null in JSON."""
    folder = Folder.from_uri(tmp_path)
    folder.write_json("figures.json", {"kid": float("nan"), "rows": [1.5, float("inf")]})
    assert json.loads((tmp_path / "figures.json").read_text()) == {"kid": None, "rows": [1.5, None]}


def test_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    """A folder with other files in it is refused and left alone."""
    (tmp_path / "thesis.doc").write_text("precious")
    with pytest.raises(UserError, match=r"not empty.*thesis\.doc"):
        Run(Folder.from_uri(tmp_path)).claim_folder(load_job(DIGITS))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_only_used_settings_are_fixed(tmp_path: Path) -> None:
    """Only settings that shaped what is already made are fixed, and the others may still change."""
    run = Run(Folder.from_uri(tmp_path))
    run.claim_folder(load_job(DIGITS))
    run.dataset.write_json("dataset.json", {})
    run.claim_folder(load_job(DIGITS, ["gan.lr=1e-5", "compare.seeds=9", "about=other words"]))
    with pytest.raises(UserError, match=r"data\.image_size is 32 there and 64 in this job") as caught:
        run.claim_folder(load_job(DIGITS, ["data.image_size=64", "gan.image_size=32"]))
    assert "--out" in str(caught.value)
    run.gan.write_json("gan.json", {})
    run.claim_folder(load_job(DIGITS, ["gan.lr=1e-5", "gan.workers=1"]))
    with pytest.raises(UserError, match=r"gan\.lr is 1e-05 there and 0\.001"):
        run.claim_folder(load_job(DIGITS, ["gan.lr=1e-3"]))
    run.synthetic.write_json("synthetic.json", {})
    run.claim_folder(load_job(DIGITS, ["gan.lr=1e-5", "arms={real+classic+live: {}}"]))
    run.locate_model("real+classic+live", 0).write_json("model.json", {})
    with pytest.raises(UserError, match=r"augment\.ratio is 0\.5 there and 1\.0"):
        run.claim_folder(load_job(DIGITS, ["gan.lr=1e-5", "augment.ratio=1.0"]))


def test_interrupted_training_keeps_its_settings(tmp_path: Path) -> None:
    """A training that can go on is not deleted for a forgotten setting, unless it failed; the way out is named."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    run.claim_folder(load_job(DIGITS, ["gan.lr=1e-5"]))
    half = Checkpoint(30, {"weight": torch.zeros(2)})
    checkpoint.save(run.gan / "checkpoints", half, "inputs")
    with pytest.raises(
        UserError, match=r"gan\.lr is 1e-05 there.*gan was interrupted after step 30; delete (\S+)"
    ) as caught:
        run.claim_folder(load_job(DIGITS))
    assert f"delete {run.gan} to begin anew" in str(caught.value)
    run.note_failure("train-gan", "it diverged")
    run.claim_folder(load_job(DIGITS))
    assert not run.gan.list_entries()


def test_unfinished_stages_fix_no_settings(tmp_path: Path) -> None:
    """What a failed stage left is deleted when its settings change, in every split, and finished ones stay."""
    run = Run(Folder.from_uri(tmp_path))
    run.claim_folder(load_job(DIGITS))
    run.dataset.write_json("rejected.json", {})
    run.claim_folder(load_job(DIGITS, ["data.smallest=9"]))
    assert not run.dataset.list_files()
    later = run.locate_split(1)
    for split in (run, later):
        split.dataset.write_json("dataset.json", {})
        split.locate_model("teacher", 0).write_json("model.json", {})
        split.gan.write_json("best.json", {})
    notes: list[str] = []
    lower = ["data.smallest=9", "gan.lr=1e-5"]
    run.claim_folder(load_job(DIGITS, lower), notes.append)
    assert [note.split()[0] for note in notes] == ["gan", "splits/1/gan"]
    assert not run.gan.list_files()
    assert not later.gan.list_files()
    assert later.dataset.has_file("dataset.json")
    later.gan.write_json("gan.json", {})
    run.gan.write_json("best.json", {})
    with pytest.raises(UserError, match=r"gan\.lr is 1e-05 there.*splits/1/gan is made"):
        run.claim_folder(load_job(DIGITS, ["data.smallest=9", "gan.lr=1e-6"]))
    assert run.gan.has_file("best.json")  # a refused job changes nothing
    assert "lr: 1.0e-05" in run.root.read_bytes("job.yaml").decode()


def test_images_without_models_are_made_anew(tmp_path: Path) -> None:
    """Synthetic images that no model was trained on give way to other settings, and the GAN stays."""
    run = Run(Folder.from_uri(tmp_path))
    run.claim_folder(load_job(DIGITS))
    run.gan.write_json("gan.json", {})
    run.synthetic.write_json("synthetic.json", {})
    (run.root / "synthetic-0123abcd").write_json("part.json", {})
    run.claim_folder(load_job(DIGITS, ["augment.screen.confidence=0.1"]))
    assert run.root.list_folders() == ["gan"]


def test_folder_predating_setting_is_accepted(tmp_path: Path) -> None:
    """A folder made before a setting existed still belongs to the same job."""
    run = Run(Folder.from_uri(tmp_path))
    run.claim_folder(load_job(DIGITS))
    run.dataset.write_json("dataset.json", {})
    text = (tmp_path / "job.yaml").read_text()
    (tmp_path / "job.yaml").write_text(text.replace("  smallest: 8\n", ""))
    run.claim_folder(load_job(DIGITS))
    with pytest.raises(UserError, match=r"data\.smallest is 8 there and 9"):
        run.claim_folder(load_job(DIGITS, ["data.smallest=9"]))


def test_folder_refuses_second_process(tmp_path: Path) -> None:
    """A second process in the same folder is refused; it works in another, or there once the first has ended."""
    first, second = (Run(Folder.from_uri(tmp_path / "run")) for _ in range(2))
    with first.hold_lock():
        with pytest.raises(UserError, match="another ganaug process") as caught, second.hold_lock():
            pass
        assert str(caught.value).endswith("; wait until it has ended, or give another --out")
        with Run(Folder.from_uri(tmp_path / "another")).hold_lock():
            pass
    with second.hold_lock():
        pass


def test_folder_without_locks_is_no_other_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that has no locks nobody is waited for: another --out is advised, and does."""

    def lock(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", lock)
        with (
            pytest.raises(UserError, match=r"\(No locks available\); give another --out$"),
            Run(Folder.from_uri(tmp_path / "network")).hold_lock(),
        ):
            pass
    with Run(Folder.from_uri(tmp_path / "local")).hold_lock():
        pass
