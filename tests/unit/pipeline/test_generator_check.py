"""A generator that is not usable: its arm is left out, the answer and the page say why, and the advice helps."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ganaug_ray import cli
from ganaug_ray.augment import synthetic_pools
from ganaug_ray.augment.arms import REAL, SYNTHETIC
from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import GanRecord, VerdictRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import StageFailed
from ganaug_ray.gan.train_worker import train_and_finish
from ganaug_ray.pipeline import evaluation_stages, generator_check
from ganaug_ray.pipeline.missing_trainings import count_missing
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.pipeline.work_left import count_work
from tests.conftest import DIGITS, TINY
from tests.helpers.records import USABLE

SETTINGS = [setting for setting in TINY if "use_anyway" not in setting]


@pytest.fixture
def job() -> Job:
    return load_job(DIGITS, SETTINGS)


@pytest.fixture
def run(experiment: Run, job: Job, tmp_path: Path) -> Run:
    """An experiment whose GAN of six steps is finished, and no model that was trained on its images."""
    shutil.copytree(str(experiment.root), tmp_path / "run", symlinks=True)
    run = Run(Folder.from_uri(tmp_path / "run"))
    for folder in (run.synthetic, run.models / SYNTHETIC, run.registry, run.root / "compared"):
        shutil.rmtree(str(folder))
    for name in ("verdict.json", "report.json", "report.html"):
        run.root.delete_file(name)
    run.claim_folder(job)
    return run


def change_record(run: Run, **changes: Any) -> None:
    run.gan.write_json("gan.json", run.gan.read_json("gan.json") | changes)


def test_arm_of_red_generator_is_not_trained(run: Run, job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    """The run ends with an answer; the terminal, verdict.json, the page, the model card and `show` say why."""
    pipeline = Pipeline(job, run, Terminal(), arguments="job.yaml --set 'arms={}'")
    pipeline.train_gan()
    pipeline.generate_images()
    pipeline.train_classifiers()
    pipeline.compare_arms()
    pipeline._conclude()

    said = capsys.readouterr().out
    (line,) = re.findall(r"generator +red +(.*)", said)
    assert line.startswith("The generator is not usable yet: ")
    assert "It had 6 steps; the data sets that we measured needed 4,000 or more." in line
    assert "no classifier is trained with its images; --set gan.steps=4000 trains the GAN longer" in said
    assert "next       note   `ganaug run job.yaml --set 'arms={}' --set gan.steps=4000` trains the GAN longer" in said
    assert "nothing is drawn by a generator that is not usable" in said
    assert SYNTHETIC not in said, "codes of arms stand in tables alone"
    assert not run.synthetic.list_files()

    verdict = VerdictRecord.read(run.root)
    assert verdict.verdict is None
    assert verdict.sentence == "The synthetic images were not tried: the generator is not usable yet."
    assert verdict.action == "Ship the classifier trained on real images."
    assert verdict.left_out == [SYNTHETIC]
    assert list(verdict.arms) == [REAL]
    (judged,) = verdict.generators
    assert (judged.colour, judged.sentence, judged.splits, judged.arms) == ("red", line, {"0": "red"}, [SYNTHETIC])

    page = run.root.read_bytes("report.html").decode()
    assert page.index(line) < page.index(verdict.sentence), "why comes first"
    assert "So no classifier was trained with its images." in " ".join(page.split())
    assert run.registry.read_json("champion.json")["lineage"]["generator"] == line
    shown = CliRunner().invoke(cli.app, ["show", str(run.root)], catch_exceptions=False).output
    assert f"generator   red: {line}" in shown
    assert "generator not usable" in CliRunner().invoke(cli.app, ["ls", str(run.root)]).output


@pytest.mark.usefixtures("signals_stay")
def test_run_with_red_generator_ends_well(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`ganaug run` ends with exit code 0 and trains no arm, for which it would need Ray; the page says why first."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    settings = [f"--set={setting}" for setting in SETTINGS]
    monkeypatch.setattr(sys, "argv", ["ganaug", "run", str(DIGITS), "--out", str(run.root), *settings])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    said = capsys.readouterr().out
    assert re.search(r"^generator +red +The generator is not usable yet", said, re.MULTILINE)
    assert re.search(r"^promote +done +version 1 is champion", said, re.MULTILINE)
    assert SYNTHETIC not in run.models.list_folders()
    page = run.root.read_bytes("report.html").decode()
    assert page.index("The generator is not usable yet") < page.index("The synthetic images were not tried")


def test_nothing_is_missing_of_left_out_arms(run: Run, job: Job) -> None:
    """What is left to do, and the time it takes, is without the arms that are left out."""
    assert count_missing(job, run).classifiers == 0
    assert count_work(job, run).trainings == 0
    assert count_work(job, run).pools == 0
    anyway = load_job(DIGITS, TINY)
    assert count_missing(anyway, run).classifiers == 2
    run.claim_folder(anyway)  # it changes nothing of what is there
    assert GanRecord.find(run.gan)
    assert [pool.folder.name for pool in synthetic_pools.list_pools(anyway, run)] == ["synthetic"]


def test_page_says_usable_generators_beside_the_answer(run: Run, job: Job) -> None:
    """A generator that is usable is said to be so below the answer, and its arm is trained."""
    change_record(run, beside_held_out=USABLE)
    assert [
        pool.folder.name for pool in synthetic_pools.list_pools(Pipeline(job, run, Terminal()).usable_context.job, run)
    ]
    assert Pipeline(job, run, Terminal()).usable_context.job.compared_arms.keys() == {SYNTHETIC}


def test_longer_training_goes_on_and_is_judged_anew(run: Run) -> None:
    """With more steps, as the advice says, the GAN goes on in the same folder from where it stopped."""
    job = load_job(DIGITS, [*SETTINGS, "gan.steps=12"])
    notes: list[str] = []
    run.claim_folder(job, notes.append)
    assert any("gan is trained for longer" in note for note in notes)
    assert count_work(job, run).gans == 1
    assert Pipeline(job, run, Terminal()).usable_context.job.compared_arms, "it is not judged before it is trained"
    train_and_finish(synthetic_pools.build_training(job, run, synthetic_pools.locate_gan(run)), Place())
    assert run.gan.read_json("attempts.json")["from_step"] == [0, 6]
    record = GanRecord.read(run.gan)
    assert record.steps == 12
    assert record.beside_held_out is not None
    assert record.beside_held_out.images == 50


def test_gan_goes_on_beside_trained_images_from_elsewhere(run: Run, job: Job) -> None:
    """Models of images from elsewhere do not hold the GAN's length, as those of its own images do."""
    both = [*SETTINGS, "augment.images=made", "arms={real+classic+synthetic: {}, real+classic+images: {}}"]
    run.claim_folder(load_job(DIGITS, both))
    run.locate_model("real+classic+images", 0).create().write_json("model.json", {})
    run.claim_folder(load_job(DIGITS, [*both, "gan.steps=12"]))
    assert GanRecord.find(run.gan) is None


@pytest.mark.parametrize(
    ("changes", "settings", "advice"),
    [
        ({"ended_early": "collapsed"}, [], "--set augment.use_anyway=true uses its images as they are; more steps"),
        (
            {"memorization": {"verdict": "copies", "reason": "it does"}},
            [],
            "more images or fewer gan.steps may help, in another --out (see gan/closest_pairs.png); --set "
            "augment.allow_copies=true uses",
        ),
        ({}, ["gan.epochs=1"], "--set gan.epochs=667 trains the GAN longer"),
    ],
)
def test_advice_suits_the_reason(
    run: Run, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], settings: list[str], advice: str
) -> None:
    """More steps are advised where they can help; else what can."""
    change_record(run, **changes)
    job = load_job(DIGITS, [*SETTINGS, *settings])
    context = Pipeline(job, run, Terminal()).context
    generator_check.print_verdicts(context)
    assert advice in " ".join(capsys.readouterr().out.split())


def test_no_mix_of_unusable_images_is_searched(run: Run, job: Job) -> None:
    """A search of the mix ends before its trials, with what helps; with use_anyway it goes on."""
    context = Pipeline(job, run, Terminal()).context
    with pytest.raises(StageFailed, match=r"not usable yet.*--set gan\.steps=4000"):
        generator_check.refuse_unusable(context, "gan")
    generator_check.refuse_unusable(Pipeline(load_job(DIGITS, TINY), run, Terminal()).context, "gan")


def test_verdict_follows_the_generator(run: Run, job: Job) -> None:
    """A verdict is reached anew where a generator is judged otherwise than before."""
    pipeline = Pipeline(job, run, Terminal())
    pipeline.compare_arms()
    before = VerdictRecord.read(run.root)
    pipeline.compare_arms()
    assert VerdictRecord.read(run.root).hash == before.hash
    change_record(run, hash=experiment_dir.compute_fingerprint("another"))
    pipeline.compare_arms()
    assert VerdictRecord.read(run.root).hash != before.hash


def test_repeats_of_a_red_generator_are_not_advised(
    experiment: Run, tiny_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unclear answer about images that were used anyway is decided by a longer GAN, not by more trainings."""
    context = Pipeline(tiny_job, experiment, Terminal(), arguments=f"a.yaml --out {experiment.root} --cpu").context
    monkeypatch.setattr(evaluation_stages.sequential_plan, "advise_until_clear", lambda *given: "until clear")
    command = f"`ganaug run a.yaml --cpu --out {experiment.root}-longer --set gan.steps=4000` trains the GAN longer"
    assert (evaluation_stages.advise_next(context) or "").startswith(command)
    monkeypatch.setattr(generator_check, "judge_generators", lambda *given: [])
    assert evaluation_stages.advise_next(context) == "until clear"
    monkeypatch.setattr(evaluation_stages.sequential_plan, "advise_until_clear", lambda *given: None)
    assert "serves the champion" in (evaluation_stages.advise_next(context) or "")
