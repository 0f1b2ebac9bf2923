"""Where a job leaves open how often it compares, its images and its aims decide, once for an experiment."""

from __future__ import annotations

import itertools
import re
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganaug_ray import cli
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.sources import folders, walk
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline import comparison_plan, dry_run, followed, plan_ladder, run_time
from ganaug_ray.pipeline.job_facts import JobFacts
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.pipeline.run_job import RunOptions, act_on_experiment, open_experiment
from ganaug_ray.pipeline.stage import StageContext
from ganaug_ray.pipeline.training_time import TrainingTime
from ganaug_ray.runtime.executors import map_serially
from ganaug_ray.verdict import from_experiment
from ganaug_ray.verdict.comparison_books import record_looks
from ganaug_ray.verdict.visible_gain import predict_visible_gain
from tests.unit.tracking.test_remote import RecordingServer

OPEN_JOB = """
data: {{source: {source}}}
gan: {{steps: 5}}
classifier: {{steps: 5}}
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def write_job(tmp_path: Path, photos: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(OPEN_JOB.format(source=photos))
    return path


def open_run(tmp_path: Path) -> Run:
    return Run(Folder.from_uri(tmp_path / "run"))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source of 2,000 images, classifiers of a minute and GANs of two, one after another, and nothing around them."""
    monkeypatch.setattr(JobFacts, "_images", 2000)
    monkeypatch.setattr(JobFacts, "time", TrainingTime(60.0, 120.0))
    monkeypatch.setattr(run_time, "plan_processes", lambda config, trainings, machine: (1, 1))
    monkeypatch.setattr(run_time.hardware, "count_usable_cores", lambda: 1)
    for name in vars(run_time):
        if name.endswith("_S"):
            monkeypatch.setattr(run_time, name, 0.0)


def test_few_images_are_all_tested(tmp_path: Path, photos: Path, known: None) -> None:
    """Of few images every one is tested, and the dry run says what gain that can show."""
    job = comparison_plan.plan_comparison(load_job(write_job(tmp_path, photos)), open_run(tmp_path))
    assert (job.compare.splits, job.compare.seeds) == (5, 2)
    text = dry_run.describe_job(job, open_run(tmp_path))
    assert "5 splits with 2 seeds: 20 classifiers, 5 GANs; every image is tested once" in text
    assert "on 40 test images" in text
    assert len(text.splitlines()) <= 22
    assert re.search(r"\ntime +about 35 minutes in all", text)
    assert re.search(r"\n  train +20 minutes +20 classifiers of 5 steps, one after another\n", text)


def lay_out_small_class(tmp_path: Path, images: int) -> Path:
    """Photos of 20 cats and fewer dogs."""
    rng = np.random.default_rng(2)
    for name, number in (("cat", 20), ("dog", images)):
        (tmp_path / "small" / name).mkdir(parents=True)
        for place in range(number):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "small" / name / f"{place}.png")
    return tmp_path / "small"


@pytest.mark.parametrize(("images", "splits"), [(10, 5), (9, 4), (7, 3)])
def test_small_class_lowers_the_plan(tmp_path: Path, images: int, splits: int) -> None:
    """A dry run plans as many splits as the smallest class has two test images for, and says so."""
    notices: list[str] = []
    path = write_job(tmp_path, lay_out_small_class(tmp_path, images))
    job = comparison_plan.plan_comparison(load_job(path), open_run(tmp_path))
    fitted = comparison_plan.fit_plan_to_images(job, JobFacts(job), notices.append)
    assert (fitted.compare.splits, fitted.compare.seeds) == (splits, 2)
    assert fitted.compare.planned_splits == splits
    assert len(notices) == (splits < 5)
    if notices:
        words = f"{splits} splits with 2 seeds instead of 5 splits: "
        assert notices[0].startswith(words)
        assert f"class 'dog' has {images} usable images; the test sets of 5 splits need 2 each" in notices[0]


def test_asked_splits_are_refused(tmp_path: Path) -> None:
    """Splits that the job itself asks for are not changed; the error names a number that is possible, and is."""
    path = write_job(tmp_path, lay_out_small_class(tmp_path, 9))
    job = load_job(path, ["compare.splits=5"])
    with pytest.raises(UserError, match=r"at least 10 a class; compare\.splits=4 is possible"):
        comparison_plan.fit_plan_to_images(job, JobFacts(job))
    job = load_job(path, ["compare.splits=4"])
    assert comparison_plan.fit_plan_to_images(job, JobFacts(job)) == job


def test_run_lowers_its_plan_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """A run whose images turn out too few goes on with fewer splits, and keeps that plan."""
    monkeypatch.setattr(StageContext, "open_executor", lambda context: nullcontext(map_serially))
    path = write_job(tmp_path, lay_out_small_class(tmp_path, 9))
    options = RunOptions(str(path), str(tmp_path / "run"))
    for _ in range(2):
        terminal = Terminal()
        experiment = open_experiment(options, terminal)
        act_on_experiment(Pipeline.prepare_data, experiment, options, terminal)
    printed = capsys.readouterr().out
    assert printed.count("4 splits with 2 seeds instead of 5 splits") == 1
    assert "failed" not in printed
    assert [DatasetRecord.find(open_run(tmp_path).locate_split(k).dataset) is not None for k in range(5)] == [
        *[True] * 4, False,
    ]  # fmt: skip
    assert load_job(tmp_path / "run" / "job.yaml").compare.splits == 4


def test_lowered_plan_tells_missed_gain(tmp_path: Path, known: None) -> None:
    """A plan that images lower says which gain it no longer sees, if the job asks for one; so does the dry run."""
    path = write_job(tmp_path, lay_out_small_class(tmp_path, 9))
    seen = predict_visible_gain(2000, 5, 1)
    assert seen is not None
    told: list[str] = []
    for gain in (0.5, round(seen + 0.0001, 4)):
        job = load_job(path, [f"compare.visible_gain={gain}"])
        planned = comparison_plan.plan_comparison(job, open_run(tmp_path), notice=told.append)
        if gain < 0.5:
            assert (planned.compare.splits, told) == (5, []), "the plan sees the gain before the images are read"
        told.clear()
        fitted = comparison_plan.fit_plan_to_images(planned, JobFacts(planned), told.append)
    assert fitted.compare.splits == 4
    words = f"compare.visible_gain {gain}: this plan sees no gain below "
    assert [sentence.startswith(words) for sentence in told] == [False, True]
    assert f"warning      {words}" in dry_run.describe_job(fitted, open_run(tmp_path))


def test_trackers_get_the_lowered_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracking server is sent the settings that are run, not those from before the images were read."""
    monkeypatch.setattr(StageContext, "open_executor", lambda context: nullcontext(map_serially))
    server = RecordingServer()
    monkeypatch.setattr(followed, "open_servers", lambda job, run: [server])
    path = write_job(tmp_path, lay_out_small_class(tmp_path, 9))
    options = RunOptions(str(path), str(tmp_path / "run"))

    def prepare_and_log(pipeline: Pipeline) -> None:
        pipeline.prepare_data()
        log = open_run(tmp_path).locate_model("real+classic", 0).create()
        log.write_bytes("metrics.jsonl", b'{"step": 1, "loss": 0.5}\n')

    terminal = Terminal()
    act_on_experiment(prepare_and_log, open_experiment(options, terminal), options, terminal)
    assert [opened["compare.splits"] for opened in server.settings] == ["4"]


def test_many_images_need_one_split(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many images one split's test part is sharp enough, and seeds are added instead."""
    monkeypatch.setattr(comparison_plan, "MANY_PARTS", 0)
    job = comparison_plan.plan_comparison(load_job(write_job(tmp_path, photos)), open_run(tmp_path))
    assert (job.compare.splits, job.compare.seeds) == (1, 5)


@pytest.mark.parametrize("setting", ["compare.seeds=3", "compare.splits=2", "augment.ratio=0"])
def test_settings_of_job_are_kept(tmp_path: Path, photos: Path, setting: str) -> None:
    """A job that says how often it compares, or compares nothing, is left as it is."""
    job = load_job(write_job(tmp_path, photos), [setting])
    assert comparison_plan.plan_comparison(job, open_run(tmp_path)) == job


@pytest.mark.parametrize("setting", ["data.split=given", "data.split.test=0.4"])
def test_splits_without_room_are_not_planned(tmp_path: Path, photos: Path, setting: str) -> None:
    """Where five splits without a common test image are not possible, there is one, with more seeds."""
    job = load_job(write_job(tmp_path, photos), [setting])
    planned = comparison_plan.plan_comparison(job, open_run(tmp_path))
    assert (planned.compare.splits, planned.compare.seeds) == (1, 5)


def test_plan_stands_when_images_are_added(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was planned for an experiment stands, whatever the number of images is later."""
    job, run = load_job(write_job(tmp_path, photos)), open_run(tmp_path)
    run.claim_folder(comparison_plan.plan_comparison(job, run))
    monkeypatch.setattr(comparison_plan, "MANY_PARTS", 0)
    again = comparison_plan.plan_comparison(job, run)
    assert (again.compare.splits, again.compare.seeds) == (5, 2)
    run.claim_folder(again)


def test_more_repeats_show_smaller_gains() -> None:
    """More test images, splits and seeds can each show a smaller gain; two trainings can show none."""
    gains = [predict_visible_gain(*plan) for plan in ((48, 1, 3), (48, 1, 5), (240, 5, 1), (240, 5, 2), (2400, 5, 2))]
    assert gains == sorted(gains, key=lambda gain: -(gain or 0))
    assert len(set(gains)) == len(gains)
    assert predict_visible_gain(48, 1, 2) is None
    assert predict_visible_gain(240, 5, 2, arms=3) > predict_visible_gain(240, 5, 2)


@pytest.mark.parametrize(
    ("settings", "plan", "words"),
    [
        (["compare.visible_gain=0.04"], (1, 3), []),
        (["compare.visible_gain=0.02"], (5, 1), []),
        (
            ["compare.visible_gain=0.001"],
            (5, 8),
            ["visible_gain 0.001: even the sharpest plan sees no gain below 1.4 p"],
        ),
        (["compare.visible_gain=0.02", "data.split.test=0.4"], (1, 5), []),
        (["compare.visible_gain=0.02", "compare.looks=4"], (5, 4), []),
        (["compare.budget_minutes=26"], (5, 1), ["about 25 minutes"]),
        (["compare.budget_minutes=40"], (5, 2), ["about 35 minutes"]),
        (
            ["compare.budget_minutes=5"],
            (1, 3),
            [
                "5 minutes (compare.budget_minutes): even the smallest plan, three trainings of each arm, takes about "
                "9 minutes; --set classifier.steps=2 --set gan.steps=2 would fit"
            ],
        ),
        (
            ["compare.budget_minutes=5", "gan.steps=1100"],
            (1, 3),
            ["even the smallest", "; allow that time: the GANs that we measured needed 1,000"],
        ),
        (
            ["compare.budget_minutes=5", "compare.visible_gain=0.01"],
            (1, 3),
            ["even the smallest plan", "; compare.visible_gain 0.01: it sees no gain below 3.4 points of accuracy"],
        ),
        (["compare.budget_minutes=40", "compare.visible_gain=0.03"], (1, 5), ["about 13 minutes"]),
        (
            ["compare.budget_minutes=26", "compare.visible_gain=0.01"],
            (5, 1),
            ["sharpest plan within compare.budget_minutes sees no gain below 1.9 points of accuracy"],
        ),
    ],
)
def test_aims_choose_the_plan(
    tmp_path: Path, photos: Path, known: None, settings: list[str], plan: tuple[int, int], words: list[str]
) -> None:
    """The cheapest plan that sees the gain, the sharpest within the minutes; a plan that fails an aim says so."""
    notices: list[str] = []
    job = load_job(write_job(tmp_path, photos), settings)
    planned = comparison_plan.plan_comparison(job, open_run(tmp_path), notice=notices.append)
    assert (planned.compare.splits, planned.compare.seeds) == plan
    text = "\n".join(notices)
    assert [word for word in words if word not in text] == []
    assert ("even the" in text) == any("sees no gain" in word or "even the" in word for word in words)


def test_gain_alone_times_nothing(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan for a gain counts the images in their listing: it reads none, and trains no step."""
    for name in ("survey", "time"):
        monkeypatch.setattr(JobFacts, name, property(lambda self: pytest.fail("takes too long")))
    job = load_job(write_job(tmp_path, photos), ["compare.visible_gain=0.2"])
    planned = comparison_plan.plan_comparison(job, open_run(tmp_path))
    assert (planned.compare.splits, planned.compare.seeds) == (5, 1)


@pytest.mark.parametrize("setting", [None, "compare.visible_gain=0.2"])
def test_source_is_listed_once(
    setting: str | None, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What decides on the splits, plans the comparison and reads the images is one listing of the source."""
    listed: list[str] = []

    def walk_and_count(source: str, folder: Folder) -> list[walk.WalkedFile]:
        listed.append(source)
        return walk.walk_folder(source, folder)

    monkeypatch.setattr(folders, "walk_folder", walk_and_count)
    arguments = ["ganaug", "prepare", str(write_job(tmp_path, photos)), "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", [*arguments, *(["--set", setting] if setting else [])])
    with pytest.raises(SystemExit):
        cli.main()
    assert listed == [str(photos)]


def test_given_test_folder_is_counted(tmp_path: Path, photos: Path) -> None:
    """Where the images come with their splits, those of the test folder are counted, not a share of all."""
    for number, pixels in enumerate(np.random.default_rng(1).integers(0, 256, (24, 40, 40, 3), dtype=np.uint8)):
        part = "test" if number < 6 else "train"
        folder = tmp_path / "given" / part / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    job = load_job(write_job(tmp_path, tmp_path / "given"), ["data.split=given"])
    assert JobFacts(job).count_tested(1) == 6
    assert JobFacts(load_job(write_job(tmp_path, photos))).count_tested(5) == 40


@pytest.mark.parametrize("ladder", [plan_ladder.LADDER, plan_ladder.LADDER_OF_ONE_SPLIT])
def test_each_rung_sees_and_costs_more(ladder: tuple[plan_ladder.Plan, ...]) -> None:
    """A later rung trains no fewer classifiers or GANs, and sees a smaller gain: the first that will do is cheapest."""
    gains = [predict_visible_gain(200 * plan.splits, plan.splits, plan.seeds) or 1.0 for plan in ladder]
    assert gains == sorted(gains, reverse=True)
    assert ladder[0].splits * ladder[0].seeds == 3
    for before, after in itertools.pairwise(ladder):
        assert before.splits <= after.splits
        assert before.splits * before.seeds <= after.splits * after.seeds


def test_budgeted_plan_stands_on_slower_days(
    tmp_path: Path, photos: Path, known: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan stands however long a step takes the next time; another aim makes another plan."""
    path, run = write_job(tmp_path, photos), open_run(tmp_path)
    run.claim_folder(comparison_plan.plan_comparison(load_job(path, ["compare.budget_minutes=40"]), run))
    monkeypatch.setattr(JobFacts, "time", TrainingTime(600.0, 1200.0))
    again = comparison_plan.plan_comparison(load_job(path, ["compare.budget_minutes=40"]), run)
    assert (again.compare.splits, again.compare.seeds) == (5, 2)
    told = dry_run.describe_job(again, run)
    assert "warning      40 minutes (compare.budget_minutes): this plan takes about 5.8 hours" in told
    other = comparison_plan.plan_comparison(load_job(path, ["compare.budget_minutes=41"]), run)
    assert (other.compare.splits, other.compare.seeds) == (1, 3)


def test_plan_for_a_gain_allows_for_earlier_comparisons(tmp_path: Path, photos: Path, known: None) -> None:
    """Arms that were compared on these images before make the interval wider: the plan sees the gain all the same."""
    job, run = load_job(write_job(tmp_path, photos), ["compare.visible_gain=0.04"]), open_run(tmp_path)
    first = comparison_plan.plan_comparison(job, run)
    images = from_experiment._foresee_look(first, run, JobFacts(job).survey)[0]
    record_looks(Run(Folder.from_uri(tmp_path / "other")), images, [f"{n:016x}" for n in range(8)], 1, 3, 1)
    notices: list[str] = []
    later = comparison_plan.plan_comparison(job, run, notice=notices.append)
    assert (first.compare.splits * first.compare.seeds) < later.compare.splits * later.compare.seeds
    assert notices == []
    elsewhere = comparison_plan.plan_comparison(job, Run(Folder.from_uri(tmp_path / "elsewhere" / "run")))
    assert elsewhere == first


def test_stored_job_keeps_its_plan(tmp_path: Path, photos: Path, known: None) -> None:
    """The job.yaml of a planned experiment is a job with that plan, though it names the aim too."""
    path, run = write_job(tmp_path, photos), open_run(tmp_path)
    run.claim_folder(comparison_plan.plan_comparison(load_job(path, ["compare.visible_gain=0.02"]), run))
    stored = load_job(tmp_path / "run" / "job.yaml")
    assert comparison_plan.plan_comparison(stored, Run(Folder.from_uri(tmp_path / "other"))) == stored
    assert (stored.compare.splits, stored.compare.seeds) == (5, 1)


def test_stored_job_with_another_aim_is_planned_anew(tmp_path: Path, photos: Path, known: None) -> None:
    """What is set beside a stored plan is followed: another aim chooses another plan, the same one changes nothing."""
    path, run = write_job(tmp_path, photos), open_run(tmp_path)
    run.claim_folder(comparison_plan.plan_comparison(load_job(path, ["compare.visible_gain=0.02"]), run))
    stored = tmp_path / "run" / "job.yaml"
    assert load_job(stored, ["compare.visible_gain=0.02"]) == load_job(stored)
    sharper = comparison_plan.plan_comparison(load_job(stored, ["compare.visible_gain=0.01"]), run)
    assert sharper == comparison_plan.plan_comparison(load_job(path, ["compare.visible_gain=0.01"]), run)
    assert sharper.compare.seeds * sharper.compare.splits > 5
    with pytest.raises(UserError, match=r"it would choose .* but the job gives compare\.seeds"):
        comparison_plan.plan_comparison(load_job(stored, ["compare.visible_gain=0.01", "compare.seeds=3"]), run)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            ["compare.visible_gain=0.01", "compare.seeds=3"],
            "compare.visible_gain: it would choose the splits and seeds, but the job gives compare.seeds; leave out",
        ),
        (
            ["compare.budget_minutes=9", "compare.splits=5"],
            "compare.budget_minutes, which --minutes sets: it would choose the splits and seeds, but the job gives "
            "compare.splits; leave out",
        ),
        (["compare.budget_minutes=0"], "compare.budget_minutes: found 0, expected greater than 0"),
        (["compare.visible_gain=1.0"], "compare.visible_gain: found 1.0, expected less than 1"),
    ],
)
def test_idle_or_wrong_aims_are_refused(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys, settings: list[str], words: str
) -> None:
    """An aim beside the numbers that it would choose, or one that makes no sense, ends in a line and exit code 2."""
    options = [part for setting in settings for part in ("--set", setting)]
    monkeypatch.setattr(sys, "argv", ["ganaug", "run", str(write_job(tmp_path, photos)), "--dry-run", *options])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1
