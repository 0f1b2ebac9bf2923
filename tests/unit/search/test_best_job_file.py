"""The job that a search writes: as a person would write it, and the same job as the one that was tried."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ganaug_ray.config import Job
from ganaug_ray.config.loader import apply_settings, load_job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.search import driver
from ganaug_ray.search.driver import BestJobFile
from ganaug_ray.search.search_plan import BASELINE_TRIAL, SearchPlan
from ganaug_ray.search.search_space import Dimension, SearchKind, SearchSpace
from ganaug_ray.search.trial_log import Ledger, Trial

JOB = """
about: pets
data: {source: [../pets, pets.zip, "sklearn:digits"], image_size: 32, split: {seed: 0}}
gan: {epochs: 20, init_from: ../old/gan}
augment: {ratio: 0.5, images: {scans: /far/scans}}
arms: {mix: {kind: synthetic}, few: {kind: synthetic, ratio: 1.0}, oversample: {}}
classifier: {steps: 300, weights: weights.pt, arch: "torchvision:resnet18"}
models: {light: {lr: 1.0e-3}, long: {epochs: 9}}
compare: {splits: 1, seeds: 3}
"""
SETTINGS = {"gan.lr": 4e-4, "gan.steps": 500, "augment.ratio": 0.25}


def write_best(folder: Path, best: Path, kind: SearchKind = "gan") -> tuple[dict, SearchPlan]:
    """Write the best job of a search of the job in a folder, and return its content and the search."""
    original = folder / "pets.yaml"
    original.write_text(JOB)
    plan = SearchPlan(load_job(original), SearchSpace(kind, ()), str(folder / "run"))
    BestJobFile(best, original).write_job(plan, {"best": {"trial": "0003", "settings": SETTINGS}})
    return yaml.safe_load(best.read_text()), plan


@pytest.mark.parametrize("place", ["jobs", "jobs/best", "elsewhere"])
def test_written_job_is_the_one_that_was_tried(place: str, tmp_path: Path) -> None:
    """Wherever the file lies, it reads as the job with the best settings."""
    for folder in ("jobs", place):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    best = tmp_path / place / "best.yaml"
    _, plan = write_best(tmp_path / "jobs", best)
    written = load_job(best)
    expected = apply_settings(plan.job, SETTINGS, "best")
    resolved = [str(Path(source).resolve()) if source.startswith("/") else source for source in written.data.source]
    assert resolved == [str(tmp_path / "pets"), str(tmp_path / "jobs" / "pets.zip"), "sklearn:digits"]
    assert Path(str(written.gan.init_from)).resolve() == tmp_path / "old" / "gan"
    assert Path(str(written.classifier.weights)).resolve() == tmp_path / "jobs" / "weights.pt"
    same_paths = {
        "data": expected.data.model_copy(update={"source": written.data.source}),
        "gan": expected.gan.model_copy(update={"init_from": written.gan.init_from}),
        "classifier": expected.classifier.model_copy(update={"weights": written.classifier.weights}),
    }
    assert written == expected.model_copy(update=same_paths)


def test_file_has_what_was_given_and_found(tmp_path: Path) -> None:
    """No default is spelled out, paths are as they were given, and what was found is marked."""
    content, _ = write_best(tmp_path, tmp_path / "best.yaml")
    assert content == {
        "about": "pets",
        "data": {"source": ["../pets", "pets.zip", "sklearn:digits"], "image_size": 32, "split": {"seed": 0}},
        "gan": {"init_from": "../old/gan", "lr": 4e-4, "steps": 500},
        "augment": {"ratio": 0.25, "images": {"scans": {"source": ["/far/scans"]}}},
        "arms": {"mix": {"kind": "synthetic"}, "few": {"kind": "synthetic", "ratio": 1.0}, "oversample": {}},
        "classifier": {"steps": 300, "weights": "weights.pt", "arch": "torchvision:resnet18"},
        "models": {"light": {"lr": 1e-3}, "long": {"epochs": 9}},
        "compare": {"splits": 1, "seeds": 3},
    }
    text = (tmp_path / "best.yaml").read_text()
    assert "  lr: 0.0004  # found by the search\n" in text
    assert text.count("# found by the search") == len(SETTINGS)
    assert "pets.yaml with the best settings of `ganaug search gan`, trial 0003." in text


def test_no_file_is_written_where_no_mix_did_better(
    tiny_job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where training without synthetic images did best, that is said; a job of that mix would mix nothing."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    ratio = Dimension("augment.ratio", "choice", (0.5,), {})
    search = tiny_job.search.model_copy(update={"trials": 1, "hours": None})
    job = tiny_job.model_copy(update={"search": search})
    plan = SearchPlan(job, SearchSpace("mix", (ratio,)), str(run.root))
    ledger = Ledger.from_folder(plan.folder.create())
    for number, value in ((BASELINE_TRIAL, 0.0), ("0001", 0.5)):
        ledger.write_trial(Trial(number, {"augment.ratio": value}, status="finished", ended=1.0))
    record = {"sentence": "none of 1 mixes", "seconds": 1.0, "baseline": BASELINE_TRIAL}
    original, path = tmp_path / "pets.yaml", tmp_path / "best.yaml"
    original.write_text(JOB)
    for best, written in ((BASELINE_TRIAL, False), ("0001", True)):
        plan.folder.write_json("search.json", {**record, "best": {"trial": best, "settings": {"augment.ratio": 0.5}}})
        driver.run_search(Pipeline(job, run, Terminal()), plan.space, BestJobFile(path, original))
        assert path.exists() == written
        said = " ".join(capsys.readouterr().out.split())
        assert ("best.yaml was not written, as no mix did better" in said) != written
        if not written:
            advised = re.findall(r"--set (\S+)", said)
            assert not load_job(original, advised).compared_arms
