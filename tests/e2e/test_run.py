"""The whole way, as a user types it: on a terminal with Ctrl-C in the middle, once more piped, and what is on disk."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

from tests.conftest import environment
from tests.helpers.killing import STEPS, command
from tests.helpers.terminal import Interrupted, join_lines, plain

STAGES = ["prepare", "teach", "train-gan", "generate", "train", "compare", "evaluate", "report", "promote"]


def test_interrupted_training_ends_without_traceback(interrupted: tuple[Path, Interrupted]) -> None:
    """Ctrl-C while a GAN trains ends every process that was started, with one line on how to go on."""
    _, left = interrupted
    assert left.exit_code == 128 + signal.SIGINT
    assert left.ended
    text = plain(left.drawn)
    assert re.search(r"train-gan +interrupted", text)
    assert re.search(r"[\n\r]interrupted; ", text)
    assert "Traceback" not in text


def test_terminal_shows_progress_and_stages(finished: tuple[Path, str]) -> None:
    """A terminal shows a progress bar for long work and one line for each stage."""
    _, drawn = finished
    text = plain(drawn)
    done = re.findall(r"^\s*(\S+)\s+done\s+\S.*\d\.\d s", join_lines(text), re.MULTILINE)
    assert done == STAGES
    assert re.search(r"train-gan\s+━+.*\d+ %", text), "a progress bar"
    assert re.search(rf"step \d+ of {STEPS}, loss_g \d+\.\d+", text)


def test_every_stage_shows_life_from_its_beginning(finished: tuple[Path, str]) -> None:
    """What a terminal shows of a stage is first a bar that moves, before any work of it, and its line last."""
    _, drawn = finished
    text = join_lines(plain(drawn))
    for stage in STAGES:
        shown = re.findall(rf"^{stage} +(\S)", text, re.MULTILINE)
        assert shown[0] in "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", (stage, shown)
    assert re.search(r"teach +\S ━+ +0 % .*starting Ray", text)
    assert re.search(r"train +\S ━+.*starting workers", text)


def test_time_of_the_run_is_said_and_counted_down(finished: tuple[Path, str]) -> None:
    """Once the data are there, a run says how long all of it takes; from then on the time left is beside the bar."""
    _, drawn = finished
    text = join_lines(plain(drawn))
    said = re.search(r"plan +note +about \d[^\n]* on this machine \(\S+ \d", text)
    assert said
    assert "left" not in text[: said.start()]
    for stage in STAGES[1:]:
        assert re.search(rf"^{stage} +\S ━.* (s|minutes) left", text[said.end() :], re.MULTILINE), stage


def test_library_messages_go_to_log_file(finished: tuple[Path, str]) -> None:
    """Messages of Ray and other libraries go to the log file and not to the terminal."""
    out, drawn = finished
    log = (out / "log.txt").read_text()
    assert "Started a local Ray instance" in log
    assert "Ray" not in plain(drawn).replace("starting Ray", "").replace("leaving Ray", "")
    assert "Warning" not in drawn


def test_run_folder_holds_all_results(finished: tuple[Path, str]) -> None:
    """The folder of a run holds the files of every stage, and all stages are done."""
    out, _ = finished
    promised = """
        job.yaml run.json verdict.json report.html report.json registry/champion.json registry/versions/1/model.onnx
        dataset/dataset.json dataset/split.parquet dataset/train/part-00000.parquet
        gan/gan.json gan/gan.safetensors gan/metrics.jsonl gan/samples/step-00000240.png
        synthetic/synthetic.json synthetic/part-0000-00000.parquet gan/film.gif dataset/card.html
        models/real+classic/seed-0/predictions.parquet models/real+classic+synthetic/seed-0/model.safetensors
        models/real+classic+live/seed-0/predictions.parquet
        training.html
    """
    for name in promised.split():
        assert (out / name).is_file(), name
    for training in ("gan", "models/real+classic/seed-0"):
        assert list((out / "tensorboard" / training).glob("events.out.tfevents.*")), training
    assert not [path for path in out.rglob("*") if path.name.startswith(".ray-train") or path.suffix == ".pkl"]
    stages = json.loads((out / "run.json").read_text())["stages"]
    assert all(stage["status"] == "done" for stage in stages.values())
    assert {"dataset", "gan", "synthetic", "verdict", "report", "models/real+classic/seed-0"} <= stages.keys()


def test_lineage_links_champion_to_data(finished: tuple[Path, str]) -> None:
    """The lineage of hashes leads from the champion back to the data."""
    out, _ = finished

    def read(name: str) -> dict:
        return json.loads((out / name).read_text())

    champion = read("registry/champion.json")
    version = out / "registry" / "versions" / str(champion["version"])
    lineage = champion["lineage"]
    model = read(f"models/{lineage['arm']}/seed-{lineage['seed']}/model.json")
    assert json.loads((version / "version.json").read_text())["model"] == model["hash"] == champion["model"]
    assert lineage["inputs"]["dataset"] == read("dataset/dataset.json")["hash"]
    assert read("synthetic/synthetic.json")["inputs"]["gan"] == read("gan/gan.json")["hash"]
    assert read("gan/gan.json")["inputs"]["dataset"] == read("dataset/dataset.json")["hash"]
    for arm in ("real+classic+synthetic", "real+classic+live"):
        assert read(f"models/{arm}/seed-0/model.json")["inputs"] == {
            "dataset": read("dataset/dataset.json")["hash"],
            "synthetic": read("synthetic/synthetic.json")["hash"],
            "generator": read("gan/gan.json")["hash"],
        }
    assert [c["arm"] for c in read("verdict.json")["comparisons"]] == ["real+classic+synthetic", "real+classic+live"]


def test_two_ranks_log_each_step_once(finished: tuple[Path, str]) -> None:
    """A GAN that is trained on two ranks logs every step once."""
    out, _ = finished
    rows = [json.loads(line) for line in (out / "gan" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss_g" in row] == list(range(1, STEPS + 1))
    assert any(name.startswith("kid_teacher_n80") for name in rows[-1])


def test_finished_run_starts_no_ray(finished: tuple[Path, str]) -> None:
    """With a cluster address where nobody answers, so that any attempt to start Ray would fail."""
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in (out / "models").rglob("*")}
    nowhere = environment(RAY_ADDRESS="127.0.0.1:1")
    again = subprocess.run(command("run", out), env=nowhere, capture_output=True, text=True, check=True)
    assert re.findall(r"^(\S+)\s+kept", again.stdout, re.MULTILINE) == STAGES
    assert again.stderr == ""
    assert {path: path.stat().st_mtime_ns for path in (out / "models").rglob("*")} == before


def test_added_seed_trains_only_missing_models(finished: tuple[Path, str], tmp_path: Path) -> None:
    """More evidence for the same experiment needs classifiers alone; without the cluster that is named, it ends."""
    out = shutil.copytree(finished[0], tmp_path / "digits")
    typed, nowhere = command("run", out, "compare.seeds=2"), environment(RAY_ADDRESS="127.0.0.1:1")
    planned = subprocess.run([*typed, "--dry-run"], env=environment(), capture_output=True, text=True, check=True)
    assert re.findall(r"^  (\S+)", planned.stdout, re.MULTILINE) == ["train", "the"]
    assert "3 classifiers of" in planned.stdout
    more = subprocess.run(typed, env=nowhere, capture_output=True, text=True, check=False)
    assert re.findall(r"^(\S+)\s+kept", more.stdout, re.MULTILINE) == STAGES[:1]
    assert more.returncode == 2
    assert more.stderr.startswith("RAY_ADDRESS=127.0.0.1:1: no Ray cluster")


def test_folder_refuses_other_job(finished: tuple[Path, str]) -> None:
    """The folder of a run refuses a job with other settings and names the difference."""
    out, _ = finished
    job = (out / "job.yaml").read_bytes()
    typed = command("run", out, "gan.lr=1e-5")
    other = subprocess.run(typed, env=environment(), capture_output=True, text=True, check=False)
    assert other.returncode == 2
    assert re.search(r"gan\.lr\b.*\b0\.0002\b.*\b1e-05\b", other.stderr)
    assert (out / "job.yaml").read_bytes() == job
