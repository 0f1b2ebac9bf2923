"""A job that is chosen for images and minutes: by the images' size, this machine's pace and what the user gives."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ganaug_ray import cli
from ganaug_ray.classify.network_check import check_network
from ganaug_ray.config import Job
from ganaug_ray.config.loader import build_job, load_job
from ganaug_ray.core.console import Terminal
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline import default_job, run_time, sequential_plan, source_job, training_time
from ganaug_ray.pipeline.default_job import FULL, LEAST, MEDIUM, SHORT, DefaultJob, choose_default_job
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.pipeline.step_timer import StepTimer
from ganaug_ray.pipeline.training_time import ImageFacts, StepTime
from ganaug_ray.runtime import hardware


class Machine:
    """A machine on which a step takes so long at 32 pixels, and four times as long at twice the side."""

    def __init__(self) -> None:
        self.step_s = 0.13
        self.timed: list[tuple[int, int]] = []

    def measure(self, job: Job, images: ImageFacts) -> StepTime:
        area = (job.data.image_size / 32) ** 2
        self.timed.append((job.data.image_size, job.gan.filters))
        gan_s = self.step_s * area * (2.0 if job.gan.filters == 32 else 0.7)
        return StepTime(self.step_s * area, 0.004 * self.step_s * area, gan_s)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Two cores, whose pace is set by hand."""
    made = Machine()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(training_time, "measure_step_time", made.measure)
    monkeypatch.setattr(run_time.hardware.os, "sched_getaffinity", lambda pid: {0, 1})
    return made


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 images of two classes, 150 pixels high."""
    folder = tmp_path_factory.mktemp("images") / "pets"
    write_images(folder, 120, (180, 150))
    return folder


def write_images(folder: Path, per_class: int, size: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = draw.integers(0, 256, (5, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize(size).save(folder / name / f"{number}.jpg")


def choose(photos: Path, minutes: float, *settings: str) -> DefaultJob:
    return source_job.choose_source_job(str(photos), list(settings), minutes, check_network, Terminal())


@pytest.mark.parametrize(
    ("minutes", "step_s", "size", "lengths", "plan"),
    [
        (8, 0.13, 32, SHORT, (1, 5)),
        (10, 0.13, 32, LEAST, (5, 1)),
        (3, 0.13, 32, LEAST, (1, 3)),
        (30, 0.13, 32, SHORT, (5, 2)),
        (60, 0.13, 32, MEDIUM, (5, 2)),
        (300, 0.13, 64, MEDIUM, (5, 2)),
        (30, 0.001, 128, FULL, (5, 4)),
    ],
)
def test_minutes_decide_size_lengths_and_plan(
    photos: Path, machine: Machine, minutes: float, step_s: float, size: int, lengths: default_job.Lengths, plan: tuple
) -> None:
    """More time first gives splits that test every image, then longer trainings, then larger images and seeds."""
    machine.step_s = step_s
    chosen = choose(photos, minutes)
    job = chosen.job
    assert (job.data.image_size, job.compare.splits, job.compare.seeds) == (size, *plan)
    assert (job.gan.filters, job.gan.steps, job.classifier.steps) == (
        lengths.filters, lengths.gan_steps, lengths.classifier_steps,
    )  # fmt: skip
    total_s = chosen.facts.estimate(job).total_s
    assert (total_s <= 60 * minutes) == (minutes > 3)
    assert len(set(machine.timed)) == len(machine.timed), "no step is timed twice"


def test_hopeless_size_is_not_timed(photos: Path, machine: Machine) -> None:
    """Where small images show that larger ones take too long, these are not tried at all."""
    choose(photos, 10)
    assert {size for size, _ in machine.timed} == {32}


def test_small_images_are_not_enlarged(machine: Machine, tmp_path: Path) -> None:
    """However much time there is, images are stored no larger than they come."""
    machine.step_s = 0.001
    write_images(tmp_path / "icons", 20, (40, 60))
    assert choose(tmp_path / "icons", 60).job.data.image_size == 32


@pytest.mark.parametrize(
    ("rows", "lengths", "gan_steps", "classifier_steps"),
    [(28, FULL, 1000, 262), (168, FULL, 4000, 1500), (168, SHORT, 1000, 400), (100_000, SHORT, 1000, 7813)],
)
def test_lengths_follow_number_of_images(
    rows: int, lengths: default_job.Lengths, gan_steps: int, classifier_steps: int
) -> None:
    """Few images are not repeated endlessly, and of many each is seen some times."""
    adapted = lengths.adapt(rows)
    assert (adapted.gan_steps, adapted.classifier_steps) == (gan_steps, classifier_steps)


def test_settings_of_the_user_stand(photos: Path, machine: Machine) -> None:
    """What the user sets is not chosen, and the rest is chosen around it."""
    job = choose(photos, 10, "data.image_size=48", "gan.epochs=7", "classifier.steps=50", "compare.seeds=4").job
    assert (job.data.image_size, job.gan.epochs, job.gan.steps, job.classifier.steps) == (48, 7, None, 50)
    assert (job.compare.splits, job.compare.seeds, job.compare.budget_minutes) == (1, 4, None)
    assert choose(photos, 10, "augment.ratio=0").job.augment.ratio == 0


@pytest.mark.parametrize(("minutes", "plan"), [(10, None), (30, (5, 2)), (60, None), (600, (5, 2))])
def test_control_costs_no_usual_seeds(photos: Path, machine: Machine, minutes: float, plan: tuple | None) -> None:
    """More rows of real images are a control, unless the usual plan does not fit with it or the user gives the arms."""
    chosen = choose(photos, minutes)
    job = chosen.job
    assert chosen.facts.estimate(job).total_s <= 60 * minutes
    if plan is None:
        assert set(job.compared_arms) == {"real+classic+synthetic"}
    else:
        assert set(job.compared_arms) == {"real+classic+synthetic", "oversample"}
        assert (job.compare.splits, job.compare.seeds) >= plan
        assert "what a larger batch does" in chosen.reasons["arms.oversample"]
    assert "oversample" not in choose(photos, minutes, "augment.ratio=0").job.compared_arms
    assert set(choose(photos, minutes, "arms={live: {}}").job.compared_arms) == {"live"}


def test_control_stands_beside_named_sources(photos: Path, machine: Machine) -> None:
    """Sources with the names of kinds keep their arms, and the control stays away where its name is one of them."""
    machine.step_s = 0.001
    for name, has_control in (("synthetic", True), ("oversample", False)):
        job = choose(photos, 600, f"augment.images={{{name}: {photos}}}").job
        assert job.compared_arms[f"real+classic+{name}"].source == name
        assert ("oversample" in job.compared_arms) == has_control


def test_first_look_takes_the_smallest_plan(photos: Path, machine: Machine) -> None:
    """With --until-clear the minutes are for what is added, not for a first look with all seeds that fit."""
    machine.step_s = 0.001
    base = source_job.choose_source_job(str(photos), [], 30, check_network, Terminal(), until_clear=True).job
    assert (base.compare.splits, base.compare.seeds) == (5, 1)


def test_choices_are_said_in_a_sentence_each(
    photos: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Size, lengths and minutes are explained, and a budget that nothing fits in is named."""
    chosen = choose(photos, 3)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split()[-1] for line in lines[:3]] == [
        "data.image_size",
        "gan.steps",
        "classifier.steps",
    ]
    assert "32 pixels a side; 64 would take" in lines[0]
    assert "each of yours 381 times" in lines[1]
    words = source_job.describe_too_few_minutes(chosen.job, chosen.facts)
    assert words is not None
    assert words.startswith("3 minutes are too few: even the smallest run takes about")
    choose(photos, 3, "compare.splits=1", "compare.seeds=3")
    assert "3 minutes are too few" in " ".join(capsys.readouterr().out.split()), "nobody else tells it of a given plan"
    fitting = choose(photos, 30)
    assert source_job.describe_too_few_minutes(fitting.job, fitting.facts) is None


def test_written_job_is_the_one_that_runs(
    photos: Path, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ganaug init` writes the job that `ganaug run` would choose, with reasons, and overwrites nothing."""
    monkeypatch.chdir(photos.parent)
    out = photos.parent / "mine.yaml"
    words = ["init", "pets", "--minutes", "10", "--out", str(out), "--set", "gan.lr=1e-4"]
    result = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    text = out.read_text()
    assert text.startswith("# yaml-language-server: $schema=file://")
    assert "  source: pets\n" in text
    assert "  image_size: 32  # 32 pixels a side; 64 would take" in text
    chosen = choose(photos, 10, "gan.lr=1e-4").job
    plan = {"budget_minutes": None, "planned_seeds": None, "planned_splits": None}
    written = load_job(out)
    assert written.compare == chosen.compare.model_copy(update=plan)
    assert written.model_copy(update={"compare": chosen.compare, "data": chosen.data}) == chosen
    with pytest.raises(UserError, match="already exists; give --out another name"):
        CliRunner().invoke(cli.app, words, catch_exceptions=False)
    others = [str(out.with_name("another.yaml")) if word == str(out) else word for word in words]
    CliRunner().invoke(cli.app, others, catch_exceptions=False)
    assert load_job(out.with_name("another.yaml")).compare == written.compare


def open_experiment(photos: Path, out: Path, minutes: float | None, *settings: str) -> source_job.OpenExperiment:
    return source_job.open_source_experiment(
        str(photos), str(out), {}, list(settings), minutes, check_network, Terminal()
    )


def test_run_goes_on_with_its_settings(photos: Path, machine: Machine, tmp_path: Path) -> None:
    """The same command continues with what it chose, however fast the machine is then; other minutes are refused."""
    first = open_experiment(photos, tmp_path / "out", 10)
    first.run.claim_folder(first.job)
    machine.step_s, machine.timed = 0.001, []
    again = open_experiment(photos, tmp_path / "out", None, "seed=3")
    assert again.job == first.job.model_copy(update={"seed": 3})
    assert machine.timed == []
    with pytest.raises(UserError, match=r"--minutes 20: .* was begun for 10 minutes; leave out --minutes"):
        open_experiment(photos, tmp_path / "out", 20)
    assert open_experiment(photos, tmp_path / "out", None).job == first.job
    other = shutil.copytree(photos, tmp_path / "other")
    with pytest.raises(UserError, match=r"holds an experiment on .*; give --out another folder, or remove that one"):
        open_experiment(other, tmp_path / "out", 10)
    assert str(open_experiment(other, tmp_path / "another", 10).run.root).endswith("another")
    shutil.rmtree(tmp_path / "out")
    assert open_experiment(other, tmp_path / "out", 10).job.data.source != first.job.data.source


def test_equal_command_goes_on_without_plan(photos: Path, machine: Machine, tmp_path: Path) -> None:
    """Where the user gives the seeds, the minutes plan nothing, and the same command continues all the same."""
    first = open_experiment(photos, tmp_path / "out", 10, "compare.seeds=2")
    first.run.claim_folder(first.job)
    assert open_experiment(photos, tmp_path / "out", 10, "compare.seeds=2").job == first.job


def test_until_clear_joins_later(photos: Path, machine: Machine, tmp_path: Path) -> None:
    """An experiment of images that was begun without --until-clear gets its looks when it is asked for them."""
    first = open_experiment(photos, tmp_path / "out", 10)
    first.run.claim_folder(first.job)
    again = source_job.open_source_experiment(
        str(photos), str(tmp_path / "out"), {}, [], None, check_network, Terminal(), until_clear=True
    )
    assert len(sequential_plan.list_looks(again.job, again.run)) > 1


def test_cpu_only_leaves_gpus_alone(photos: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --cpu no step is timed on a GPU, whichever facts a plan goes by."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(hardware, "read_local_hardware", lambda: pytest.fail("it looks for GPUs"))
    base = build_job({"data": {"source": [str(photos)]}}, "job", photos)
    assert choose_default_job(base, 10, timer=StepTimer(cpu_only=True)).facts.step_time.gpus == 0


def test_folder_of_an_experiment_goes_on(
    photos: Path, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ganaug run` of images begins an experiment; of that one's folder it goes on with it, and chooses nothing."""
    opened: list[tuple[Job, str]] = []
    monkeypatch.setattr(Pipeline, "run_all", lambda self: opened.append((self.job, str(self.run.root))))
    for words in (
        ["run", str(photos), "--minutes", "10", "--out", str(tmp_path / "out")],
        ["run", str(tmp_path / "out")],
    ):
        result = CliRunner().invoke(cli.app, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert opened[0] == opened[1]
    with pytest.raises(UserError, match=r"--minutes: .* already has its plan"):
        CliRunner().invoke(cli.app, ["run", str(tmp_path / "out"), "--minutes", "5"], catch_exceptions=False)
    assert opened[0][1] == str(tmp_path / "out")
    assert len(machine.timed) == 2


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        *(
            (images, True)
            for images in ("pets.zip", "a/pets.tar.gz", "list.jsonl", "sklearn:digits", "s3://bucket/x", ".")
        ),
        *((job, False) for job in ("job.yaml", "digits", "job.yml")),
    ],
)
def test_images_are_told_from_job_files(what: str, expected: bool, tmp_path: Path, monkeypatch) -> None:
    """A folder, an archive, a table and an address are images; any other argument is a job file."""
    monkeypatch.chdir(tmp_path)
    assert source_job.is_source(what) == expected


def test_misspelt_images_are_named() -> None:
    """What is neither a job file nor images is an error that says so."""
    with pytest.raises(UserError, match="pest/: there is no such job file, folder or archive"):
        CliRunner().invoke(cli.app, ["run", "pest/"], catch_exceptions=False)
    with pytest.raises(UserError, match=r"mine\.yaml: there is no such job file"):
        CliRunner().invoke(cli.app, ["run", "mine.yaml"], catch_exceptions=False)
    for name in ("partner", "partner.yaml"):
        with pytest.raises(UserError, match="`ganaug examples copy partner` writes the example of that name"):
            CliRunner().invoke(cli.app, ["run", name], catch_exceptions=False)
    with pytest.raises(UserError, match="--minutes: found 0, expected more than 0"):
        CliRunner().invoke(cli.app, ["run", ".", "--minutes", "0"], catch_exceptions=False)


def test_init_writes_the_job_of_what_has_begun(
    photos: Path, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a run of images, `ganaug init` writes the job of that run, though the machine has another pace by then."""
    monkeypatch.setenv("GANAUG_HOME", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    begun = source_job.open_source_experiment(
        str(photos), None, {"GANAUG_HOME": str(tmp_path / "runs")}, [], 10, check_network, Terminal()
    )
    begun.run.claim_folder(begun.job)
    machine.step_s, machine.timed = 0.001, []
    result = CliRunner().invoke(cli.app, ["init", str(photos), "--minutes", "10"], catch_exceptions=False)
    assert "the job of the experiment in" in result.output
    assert machine.timed == []
    begun.run.claim_folder(load_job(tmp_path / "pets.yaml"))  # the folder takes it for its own job
    CliRunner().invoke(cli.app, ["init", str(photos), "--minutes", "20", "--out", "20.yaml"], catch_exceptions=False)
    assert machine.timed, "for other minutes a job is chosen anew"


def test_init_keeps_what_equals_a_default(
    photos: Path, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ratio of an arm and a number of seeds that happen to be the defaults are in the job that is written."""
    monkeypatch.setenv("GANAUG_HOME", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    given = ["augment.ratio=0.5", "arms={few: {kind: synthetic, ratio: 1.0}}", "compare.splits=1", "compare.seeds=3"]
    begun = open_experiment(photos, tmp_path / "runs" / "pets", 10, *given)
    begun.run.claim_folder(begun.job)
    CliRunner().invoke(cli.app, ["init", str(photos)], catch_exceptions=False)
    written = load_job(tmp_path / "pets.yaml")
    assert (written.arms["few"].ratio, written.arms) == (1.0, begun.job.arms)
    assert written.compare == begun.job.compare
    assert {"splits", "seeds"} <= written.compare.model_fields_set


def test_rare_classes_are_told(tmp_path: Path, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Of images with a small class, the metric that lets it count is named, unless the user has chosen one."""
    write_images(tmp_path / "pets", 60, (40, 40))
    for number in range(10, 60):
        (tmp_path / "pets" / "dog" / f"{number}.jpg").unlink()
    choose(tmp_path / "pets", 10)
    words = " ".join(capsys.readouterr().out.split())
    assert "1 class with few images, such as dog: --set compare.metric=macro_f1" in words
    choose(tmp_path / "pets", 10, "compare.metric=macro_f1")
    assert "with few images" not in capsys.readouterr().out
