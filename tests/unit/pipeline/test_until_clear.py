"""Seeds, then splits are added until the verdict is firm; looks are paid for, and trainings are replaced."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ganaug_ray import cli
from ganaug_ray.augment import arms
from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import VerdictRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import format_time
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline import comparison_plan, generator_check, sequential_plan
from ganaug_ray.pipeline.missing_trainings import MissingTrainings, count_missing
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.pipeline.plan_ladder import Plan
from ganaug_ray.verdict.comparison_books import record_looks
from ganaug_ray.verdict.verdict import build_verdict
from tests.conftest import DIGITS, TINY
from tests.helpers import records
from tests.unit.verdict.test_compare import CLASSES, GOOD, REAL, arm

JOB = [*TINY, "compare.splits=1"]


MINUTE_S = 60.0  # what each model takes
GAN_S = 600.0
FIFTHS = [*TINY, "compare.splits=1", "data.split.test=0.2"]
"""A job of one split whose images five splits can be made of."""


class Experiment:
    """An experiment whose verdicts are prepared, one a look; ``reached`` has the splits and seeds of each verdict."""

    def __init__(self, root: Path, verdicts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = Run(Folder.from_uri(root))
        self.verdicts = iter(verdicts)
        self.reached: list[tuple[int, int]] = []
        self.concluded: list[tuple[int, int]] = []
        monkeypatch.setattr(Pipeline, "reach_verdict", self.reach_verdict)
        monkeypatch.setattr(Pipeline, "build_report", lambda p: self.concluded.append(count_repeats(p.job)))
        monkeypatch.setattr(Pipeline, "promote_champion", lambda p: None)

    @property
    def reach_verdict(self) -> Callable[[Pipeline], None]:
        def write_verdict(pipeline: Pipeline) -> None:
            repeats = count_repeats(pipeline.job)
            settings = self.read_settings()
            assert (settings["splits"], settings["seeds"]) == repeats, "a kill from here on must go on with these"
            self.reached.append(repeats)
            content = build_verdict({"real": arm(REAL), "syn": arm(GOOD)}, "real", ["syn"], "accuracy", CLASSES)
            content["verdict"] = next(self.verdicts)
            train_all(pipeline.job, self.run)
            VerdictRecord.write(self.run.root, "compare", time.monotonic(), {"hash": "0" * 16, **content})

        return write_verdict

    def read_settings(self) -> dict[str, int | None]:
        return yaml.safe_load(self.run.root.read_bytes("job.yaml"))["compare"]

    def run_until_clear(self, job: Job | None = None, hours: float | None = None) -> None:
        allowed = sequential_plan.allow_looks(job or load_job(DIGITS, JOB))
        allowed = comparison_plan.plan_comparison(allowed, self.run)
        self.run.claim_folder(sequential_plan.resume_look(allowed, self.run))
        Pipeline(allowed, self.run, Terminal()).run_until_clear(hours)


def count_repeats(job: Job) -> tuple[int, int]:
    return job.compare.splits, job.compare.seeds


def train_all(job: Job, run: Run) -> None:
    """Leave what a comparison's trainings leave: a teacher and a GAN for each split, and the models."""
    for number in range(job.compare.splits):
        split = run.locate_split(number)
        for arm_name, seed in [(arms.TEACHER, 0), *arms.list_pairs(job)]:
            records.write_model(split.locate_model(arm_name, seed).create(), train_seconds=MINUTE_S)
        content = records.GAN | {"version": 1, "versions": {}, "stage": "train-gan", "status": "done"}
        split.gan.create().write_json("gan.json", {**content, "seconds": GAN_S})


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Experiment]:
    return lambda *words: Experiment(tmp_path / "run", list(words), monkeypatch)


@pytest.mark.parametrize("word", ["helped", "no worthwhile gain", "hurt"])
def test_first_firm_answer_ends_run(prepare: Callable[..., Experiment], word: str, capsys) -> None:
    """Seeds are added until the verdict is firm; the stages after it run once, with all seeds."""
    experiment = prepare("not enough repeats", word, "unclear")
    experiment.run_until_clear()
    assert (experiment.reached, experiment.concluded) == ([(1, 2), (1, 4)], [(1, 4)])
    assert experiment.read_settings().items() >= {"seeds": 4, "looks": 3}.items()
    printed = capsys.readouterr().out
    assert "look 1 of 3 note   not enough repeats with 2 seeds; continues with 4 seeds" in printed
    assert f"look 2 of 3 done   {word} with 4 seeds" in printed


def test_unclear_run_ends_after_looks(prepare: Callable[..., Experiment], capsys) -> None:
    """Nothing is added after the last look that was paid for."""
    experiment = prepare(*["unclear"] * 5)
    experiment.run_until_clear()
    assert (experiment.reached, experiment.concluded) == ([(1, 2), (1, 4), (1, 6)], [(1, 6)])
    assert (
        "look 3 of 3 done   unclear with 6 seeds; this was the last look (only seeds were added: data.split.test 0.5 "
        "leaves room for 2 splits, and at least 3 are needed to tell more; 0.2 with another --out leaves room for 5)"
    ) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["compare.splits=3", "data.split.test=0.33"], "data.split.test 0.33 leaves room for 3 splits; 0.2 with"),
        (["compare.splits=5", "data.split.test=0.2"], "no more than 5 splits are added"),
        (["compare.splits=1", "data.split.given=true"], "data.split is given, so there is one split"),
    ],
)
def test_missing_splits_are_explained(settings: list[str], words: str, tmp_path: Path) -> None:
    """Where seeds alone are added, the reason is told, and what would change it."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    assert words in sequential_plan.explain_no_splits(load_job(DIGITS, [*TINY, *settings]), run)


@pytest.mark.parametrize(("test", "room"), [(0.2, True), (0.5, False)])
def test_two_splits_get_no_idle_seeds(test: float, room: bool) -> None:
    """Two splits give no answer: they get others at once, or the command is refused with a way out."""
    job = load_job(DIGITS, [*TINY, "compare.splits=2", f"data.split.test={test}"])
    if room:
        assert sequential_plan.allow_looks(job).compare.looks == 3
        return
    with pytest.raises(UserError, match=r"two splits give no answer.*; give compare\.splits=1, or another --out"):
        sequential_plan.allow_looks(job)


def test_splits_follow_after_seeds(prepare: Callable[..., Experiment], capsys) -> None:
    """One split gets seeds, then all that its images allow, then seeds again; the words and job.yaml say so."""
    experiment = prepare("unclear", "unclear", "unclear", "helped")
    experiment.run_until_clear(load_job(DIGITS, [*FIFTHS, "compare.looks=4"]))
    assert experiment.reached == [(1, 2), (1, 4), (5, 4), (5, 8)]
    assert experiment.concluded == [(5, 8)]
    printed = capsys.readouterr().out
    assert "look 2 of 4 note   unclear with 4 seeds; continues with 5 splits with 4 seeds" in printed
    assert "look 4 of 4 done   helped with 5 splits with 8 seeds" in printed


@pytest.mark.parametrize(
    ("start", "looks", "splits", "expected"),
    [
        (Plan(1, 3), 4, 5, [(1, 3), (1, 6), (5, 6), (5, 12)]),
        (Plan(1, 3), 5, 3, [(1, 3), (1, 6), (3, 6), (3, 12), (3, 18)]),
        (Plan(1, 3), 2, 5, [(1, 3), (5, 3)]),
        (Plan(1, 3), 4, 2, [(1, 3), (1, 6), (1, 9), (1, 12)]),
        (Plan(5, 2), 4, 5, [(5, 2), (5, 4), (5, 6), (5, 8)]),
        (Plan(1, 30), 5, 1, [(1, 30), (1, 60), (1, 90)]),
        (Plan(1, 60), 4, 5, [(1, 60), (5, 60)]),
        (Plan(2, 3), 4, 5, [(2, 3), (5, 3), (5, 6), (5, 9)]),
        (Plan(2, 3), 4, 2, [(2, 3)]),
        (Plan(1, 3), 1, 5, [(1, 3)]),
    ],
)
def test_looks_keep_their_limits(start: Plan, looks: int, splits: int, expected: list[tuple[int, int]]) -> None:
    """Looks are as many as are paid for, of a hundred seeds at most, and of three splits or one."""
    planned = sequential_plan.plan_looks(start, looks, splits)
    assert [(look.splits, look.seeds) for look in planned] == expected


def test_short_time_ends_run(prepare: Callable[..., Experiment], capsys) -> None:
    """No look is begun that would take longer than what is left."""
    experiment = prepare("unclear", "helped")
    experiment.run_until_clear(hours=1e-9)
    assert (experiment.reached, experiment.concluded) == ([(1, 2)], [(1, 2)])
    assert "(--hours)" in capsys.readouterr().out


def test_expected_time_counts_new_trainings(tmp_path: Path) -> None:
    """What a look will take follows from the trainings that it lacks, at the pace of all looks so far."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    first, second, third, _ = (
        load_job(DIGITS, [*FIFTHS, "compare.looks=4", f"compare.splits={splits}", f"compare.seeds={seeds}"])
        for splits, seeds in ((1, 2), (1, 4), (5, 4), (5, 8))
    )
    trained = count_missing(first, run)
    assert trained == MissingTrainings(classifiers=5, gans=1), "four models and a teacher"
    train_all(first, run)
    trained_s = 5 * MINUTE_S + GAN_S
    plan = sequential_plan.SequentialPlan(first, run, hours=2)
    following, _ = plan.choose_next(first, "unclear", 2 * trained_s, trained)
    assert following is not None
    assert count_repeats(following) == (1, 4)
    trained = count_missing(second, run)
    train_all(second, run)
    following, words = plan.choose_next(second, "unclear", 4 * MINUTE_S, trained)
    assert following is None
    pace = (2 * trained_s + 4 * MINUTE_S) / (trained_s + 4 * MINUTE_S)
    third_h = pace * 4 * (9 * MINUTE_S + GAN_S) / 3600  # four splits of eight models, a teacher and a GAN
    assert count_missing(third, run) == MissingTrainings(classifiers=36, gans=4)
    assert f"5 splits with 4 seeds would take about {third_h:.2g} h more, and 1.4 h of 2 h are left" in words


@pytest.mark.parametrize(
    ("settings", "stored", "reached", "look"),
    [
        (JOB, (1, 4), [(1, 4), (1, 6)], "look 2 of 3"),
        (FIFTHS, (5, 4), [(5, 4)], "look 3 of 3"),
        ([*FIFTHS, "compare.looks=4"], (5, 4), [(5, 4), (5, 8)], "look 3 of 4"),
        ([*FIFTHS, "compare.looks=4"], (1, 6), [(5, 8)], "look 4 of 4"),
    ],
)
def test_killed_run_resumes_stored_look(
    prepare: Callable[..., Experiment],
    settings: list[str],
    stored: tuple[int, int],
    reached: list[tuple[int, int]],
    look: str,
    capsys,
) -> None:
    """The same command continues with the splits and seeds that the folder has, and counts the looks that they were."""
    experiment = prepare("unclear", "helped")
    splits, seeds = stored
    job = load_job(DIGITS, [*settings, f"compare.splits={splits}", f"compare.seeds={seeds}", "compare.looks=3"])
    experiment.run.claim_folder(job)
    experiment.run_until_clear(load_job(DIGITS, settings))
    assert experiment.reached == reached
    assert look in capsys.readouterr().out


@pytest.mark.parametrize("killed_at", [2, 3])
def test_run_goes_on_from_its_job_file(prepare: Callable[..., Experiment], killed_at: int, capsys) -> None:
    """A run with seeds of its own that is killed goes on from its job.yaml with the looks that it began with.

    All that decides the verdict, its looks, splits and seeds, is then as in a run that was left alone.
    """
    looks = [(1, 2), (1, 4), (5, 4)]
    alone = prepare(*["unclear"] * 3)
    alone.run_until_clear(load_job(DIGITS, FIFTHS))
    assert alone.reached == looks
    undisturbed = alone.read_settings()
    shutil.rmtree(str(alone.run.root))

    killed = prepare(*["unclear"] * (killed_at - 1))
    with pytest.raises(StopIteration):
        killed.run_until_clear(load_job(DIGITS, FIFTHS))
    assert killed.reached == looks[:killed_at]
    resumed = prepare(*["unclear"] * (4 - killed_at))
    resumed.run_until_clear(load_job(Path(str(resumed.run.root / "job.yaml"))))
    assert resumed.reached == looks[killed_at - 1 :]
    assert resumed.read_settings() == undisturbed
    assert "look 3 of 3 done" in capsys.readouterr().out


def test_seeds_given_later_begin_looks(tmp_path: Path) -> None:
    """Seeds that are given to a stored job, and are none of its looks, begin looks of their own."""
    stored = ["compare.planned_splits=1", "compare.planned_seeds=2", "compare.looks=3"]
    job = load_job(DIGITS, [*JOB, *stored, "compare.seeds=10"])
    run = Run(Folder.from_uri(tmp_path / "run"))
    assert sequential_plan.list_looks(job, run) == [Plan(1, 10), Plan(1, 20), Plan(1, 30)]


def test_plain_run_follows_until_clear(prepare: Callable[..., Experiment], capsys) -> None:
    """A plain run afterwards takes the job's own seeds, and names the command that adds more, and its minutes."""
    experiment = prepare("unclear", "helped", "unclear")
    experiment.run_until_clear()
    job = load_job(DIGITS, JOB)
    experiment.run.claim_folder(job)
    Pipeline(job, experiment.run, Terminal()).run_all()
    assert experiment.reached == [(1, 2), (1, 4), (1, 2)]
    assert experiment.read_settings().items() >= {"seeds": 2, "looks": 1}.items()
    assert (
        "leaves room for 5) until the answer is clear. That is up to 4 more trainings, about 4 minutes "
        "of training in all. Adding repeats after an answer has a price" in capsys.readouterr().out
    )


def test_advice_counts_added_splits(tmp_path: Path) -> None:
    """The advice after one split has the models, teachers and GANs of the others in its numbers and its time."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    job = load_job(DIGITS, FIFTHS)
    train_all(job, run)
    advice = sequential_plan.advise_until_clear(job, run, "unclear", "mine.yaml --out far")
    assert advice is not None
    assert advice.startswith("`ganaug run mine.yaml --out far --until-clear` adds seeds, then splits, until")
    models = 5 * 4 * 2 - 4  # of five splits with four seeds and two arms, four are there
    assert f"{models + 4} more trainings and 4 GANs, about {format_time((models + 4) * 60 + 4 * GAN_S)} of" in advice


def test_two_splits_that_stay_two_have_no_advice(tmp_path: Path) -> None:
    """A comparison over two splits that leave no room for a third ends without advice, and without an error."""
    job = load_job(DIGITS, [*TINY, "data.split.test=0.5", "compare.splits=2", "compare.seeds=1"])
    run = Run(Folder.from_uri(tmp_path / "run"))
    assert sequential_plan.advise_until_clear(job, run, "not enough repeats", "mine.yaml") is None
    with pytest.raises(UserError, match="two splits give no answer"):
        sequential_plan.allow_looks(job)


def test_nothing_left_to_train_has_no_advice(tmp_path: Path) -> None:
    """After all looks, and once all candidates are taken out, nothing is advised; nor does the run fail there."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    job = load_job(DIGITS, FIFTHS)
    last = sequential_plan.list_looks(sequential_plan.allow_looks(job), run)[-1]
    train_all(load_job(DIGITS, [*FIFTHS, f"compare.splits={last.splits}", f"compare.seeds={last.seeds}"]), run)
    assert sequential_plan.advise_until_clear(job, run, "unclear", "mine.yaml") is None
    controls = load_job(DIGITS, [*FIFTHS, "arms={oversample: {}}"])
    assert sequential_plan.advise_until_clear(controls, run, "unclear", "mine.yaml") is None


def test_report_names_the_command(
    experiment: Run, tiny_job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page of a comparison that ended open has the same advice as the terminal."""
    shutil.copytree(str(experiment.root), tmp_path / "run", symlinks=True)
    run = Run(Folder.from_uri(tmp_path / "run"))
    run.root.delete_file("report.json")
    monkeypatch.setattr(generator_check, "advise_longer", lambda context: None)
    Pipeline(tiny_job, run, Terminal()).build_report()
    page = run.root.read_bytes("report.html").decode()
    assert "<span>--until-clear</span></code>" in page
    assert "8 more trainings" in page


def test_compared_arms_beside_count(experiment: Run, tiny_job: Job, tmp_path: Path, capsys) -> None:
    """What another experiment compared on the same images is in the verdict, and told on the terminal."""
    shutil.copytree(str(experiment.root), tmp_path / "runs" / "mine", symlinks=True)
    run = Run(Folder.from_uri(tmp_path / "runs" / "mine"))
    (images,) = (run.root / "compared").list_folders()
    record_looks(Run(Folder.from_uri(tmp_path / "runs" / "other")), images, ["a" * 16], 1, 3, 1)
    run.root.delete_file("verdict.json")
    Pipeline(tiny_job, run, Terminal()).compare_arms()
    assert VerdictRecord.read(run.root).ever_compared == 2
    assert "2 arms were compared on these images, now or before (an arm counts again" in capsys.readouterr().out


def test_planned_seeds_stay_first_step(tmp_path: Path) -> None:
    """Where seeds were planned and then added, the plan is still what the experiment began with."""
    run, job = Run(Folder.from_uri(tmp_path / "run")), load_job(DIGITS, TINY)
    unset = Job.model_validate({**job.model_dump(exclude_none=True), "compare": {}})
    first = comparison_plan.plan_comparison(sequential_plan.allow_looks(unset), run)
    added = first.compare.model_copy(update={"seeds": 3 * first.compare.seeds})
    run.claim_folder(first.model_copy(update={"compare": added}))
    planned = comparison_plan.plan_comparison(unset, run)
    assert planned.compare.seeds == comparison_plan.SEEDS_OF_ONE_SPLIT
    assert sequential_plan.resume_look(sequential_plan.allow_looks(planned), run).compare.seeds == 15


def test_planned_looks_begin_small(tmp_path: Path) -> None:
    """Where looks follow, the first has one seed a split, so that clear answers cost fewer models than a plain plan."""
    run, job = Run(Folder.from_uri(tmp_path / "run")), load_job(DIGITS, FIFTHS)
    unset = Job.model_validate({**job.model_dump(exclude_none=True), "compare": {}})
    planned = comparison_plan.plan_comparison(sequential_plan.allow_looks(unset), run)
    assert sequential_plan.list_looks(planned, run) == [Plan(5, 1), Plan(5, 2), Plan(5, 3)]
    assert count_repeats(comparison_plan.plan_comparison(unset, run)) == (5, 2)


def test_planned_split_stays_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one split was planned and others were added, the plan is still that one."""
    monkeypatch.setattr(comparison_plan, "MANY_PARTS", 0)
    run, job = Run(Folder.from_uri(tmp_path / "run")), load_job(DIGITS, FIFTHS)
    unset = Job.model_validate({**job.model_dump(exclude_none=True), "compare": {}})
    first = comparison_plan.plan_comparison(sequential_plan.allow_looks(unset), run)
    added = first.compare.model_copy(update={"splits": 5, "seeds": 10})
    run.claim_folder(first.model_copy(update={"compare": added}))
    planned = comparison_plan.plan_comparison(unset, run)
    assert count_repeats(planned) == (1, 5)
    assert count_repeats(sequential_plan.resume_look(sequential_plan.allow_looks(planned), run)) == (5, 10)


def test_looks_begin_with_the_plan(tmp_path: Path) -> None:
    """A job.yaml whose seeds have grown has the looks of the plan that it began with, and none beyond them."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    job = load_job(DIGITS, [*TINY, "data.split.test=0.2"])
    compare = {"splits": 5, "seeds": 4, "planned_splits": 5, "planned_seeds": 2, "looks": 4}
    stored = Job.model_validate({**job.model_dump(exclude_none=True), "compare": compare})
    assert sequential_plan.list_looks(stored, run) == [Plan(5, 2), Plan(5, 4), Plan(5, 6), Plan(5, 8)]


def test_job_without_candidate_is_refused() -> None:
    """Without an arm that may ship there is no verdict to wait for."""
    with pytest.raises(UserError, match="no arm that may ship"):
        sequential_plan.allow_looks(load_job(DIGITS, ["arms={}", "augment.ratio=0"]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--hours", "2"], "--hours: goes with --until-clear"),
        (["--until-clear", "--hours", "0"], "--hours: found 0, expected more than 0"),
    ],
)
def test_wrong_hours_are_refused(options: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Hours without the option that they belong to, or none at all, end with exit code 2."""
    monkeypatch.setattr(sys, "argv", ["ganaug", "run", str(DIGITS), *options])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_options_reach_the_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command gives its hours, the allowed looks, and how the job and its folder are named to the pipeline."""
    calls: list[tuple[int, float | None]] = []
    named = [str(DIGITS), "--set", "about=two words", "--out", str(tmp_path / "out")]

    def note_call(pipeline: Pipeline, hours: float | None) -> None:
        calls.append((pipeline.job.compare.looks, hours))
        assert shlex.split(pipeline.context.arguments) == named

    monkeypatch.setattr(Pipeline, "run_until_clear", note_call)
    command = ["ganaug", "run", *named, "--until-clear", "--hours", "1.5"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    assert calls == [(3, 1.5)]
