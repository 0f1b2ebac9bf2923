"""Seeds are added until the verdict is firm, and looking again is paid for; trainings are replaced."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
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
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline import comparison_plan, sequential_plan
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.verdict.multiple_testing import compute_looks_factor, multiply_p
from ganaug_ray.verdict.paired_statistics import (
    Differences,
    Estimate,
    estimate_means,
    judge_effect,
)
from ganaug_ray.verdict.verdict import build_verdict
from tests.conftest import DIGITS, TINY
from tests.helpers import records
from tests.unit.verdict.test_compare import CLASSES, GOOD, REAL, arm
from tests.unit.verdict.test_statistics import draw_seeds

JOB = [*TINY, "compare.splits=1"]


class Experiment:
    """An experiment whose verdicts are prepared, by number of seeds; ``reached`` has the seeds of each verdict."""

    def __init__(self, root: Path, verdicts: dict[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = Run(Folder.from_uri(root))
        self.verdicts = verdicts
        self.reached: list[int] = []
        self.concluded: list[int] = []
        monkeypatch.setattr(Pipeline, "reach_verdict", self.reach_verdict)
        monkeypatch.setattr(Pipeline, "build_report", lambda p: self.concluded.append(p.job.compare.seeds))
        monkeypatch.setattr(Pipeline, "promote_champion", lambda p: None)

    @property
    def reach_verdict(self) -> Callable[[Pipeline], None]:
        def write_verdict(pipeline: Pipeline) -> None:
            seeds = pipeline.job.compare.seeds
            assert self.read_settings()["seeds"] == seeds, "a kill from here on must go on with these"
            self.reached.append(seeds)
            content = build_verdict({"real": arm(REAL), "syn": arm(GOOD)}, "real", ["syn"], "accuracy", CLASSES)
            content["verdict"] = self.verdicts[seeds]
            for arm_name, seed in arms.list_pairs(pipeline.job):
                records.write_model(self.run.locate_model(arm_name, seed).create(), train_seconds=60.0)
            VerdictRecord.write(self.run.root, "compare", time.monotonic(), {"hash": "0" * 16, **content})

        return write_verdict

    def read_settings(self) -> dict[str, int]:
        return yaml.safe_load(self.run.root.read_bytes("job.yaml"))["compare"]

    def run_until_clear(self, job: Job | None = None, hours: float | None = None) -> None:
        allowed = sequential_plan.allow_looks(job or load_job(DIGITS, JOB))
        allowed = comparison_plan.plan_comparison(allowed, self.run)
        self.run.claim_folder(sequential_plan.resume_seeds(allowed, self.run))
        Pipeline(allowed, self.run, Terminal()).run_until_clear(hours)


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Experiment]:
    return lambda *words: Experiment(tmp_path / "run", {2 * (n + 1): word for n, word in enumerate(words)}, monkeypatch)


@pytest.mark.parametrize("word", ["helped", "no worthwhile gain", "hurt"])
def test_first_firm_answer_ends_run(prepare: Callable[..., Experiment], word: str, capsys) -> None:
    """Seeds are added until the verdict is firm; the stages after it run once, with all seeds."""
    experiment = prepare("not enough repeats", "unclear", word, "unclear")
    experiment.run_until_clear()
    assert (experiment.reached, experiment.concluded) == ([2, 4, 6], [6])
    assert experiment.read_settings().items() >= {"seeds": 6, "looks": 4}.items()
    printed = capsys.readouterr().out
    assert "look 2 of 4 note   unclear with 4 seeds; goes on with 6" in printed
    assert f"look 3 of 4 done   {word} with 6 seeds" in printed


def test_unclear_run_ends_after_looks(prepare: Callable[..., Experiment], capsys) -> None:
    """No seeds are added after the last look that was paid for, be it the default one or the job's."""
    experiment = prepare(*["unclear"] * 5)
    experiment.run_until_clear()
    assert (experiment.reached, experiment.concluded) == ([2, 4, 6, 8], [8])
    assert "look 4 of 4 done   unclear with 8 seeds; this was the last look" in capsys.readouterr().out
    other = sequential_plan.SequentialPlan(load_job(DIGITS, ["compare.seeds=30", "compare.looks=5"]))
    assert other.looks == 3, "a job has a hundred seeds at most"


def test_short_time_ends_run(prepare: Callable[..., Experiment], capsys) -> None:
    """No verdict is begun that would take longer than what is left, going by the longest so far."""
    experiment = prepare("unclear", "helped")
    experiment.run_until_clear(hours=1e-9)
    assert (experiment.reached, experiment.concluded) == ([2], [2])
    assert "(--hours)" in capsys.readouterr().out
    job = load_job(DIGITS, [*JOB, "compare.looks=4"])
    plan = sequential_plan.SequentialPlan(job, hours=1)
    second, _ = plan.choose_next(job, "unclear", 1200)
    assert second is not None
    assert second.compare.seeds == 4
    third, words = plan.choose_next(second, "unclear", 1300)
    assert third is None
    assert "would take about 0.36 h, and 0.31 h of 1 h are left" in words


def test_killed_run_resumes_stored_seeds(prepare: Callable[..., Experiment], capsys) -> None:
    """The same command goes on with the seeds that the folder has, and counts the looks that they were."""
    experiment = prepare("unclear", "unclear", "helped")
    experiment.run.claim_folder(load_job(DIGITS, [*JOB, "compare.seeds=4", "compare.looks=4"]))
    experiment.run_until_clear()
    assert experiment.reached == [4, 6]
    assert "look 2 of 4" in capsys.readouterr().out


def test_plain_run_follows_until_clear(prepare: Callable[..., Experiment], capsys) -> None:
    """A plain run afterwards takes the job's own seeds, and names the command that adds more, and its minutes."""
    experiment = prepare("unclear", "helped")
    experiment.run_until_clear()
    job = load_job(DIGITS, JOB)
    experiment.run.claim_folder(job)
    Pipeline(job, experiment.run, Terminal()).run_all()
    assert experiment.reached == [2, 4, 2]
    assert experiment.read_settings().items() >= {"seeds": 2, "looks": 1}.items()
    assert (
        "--until-clear` adds seeds until the answer is clear, with up to 12 more trainings, about 12 minutes of "
        "training in all; after" in capsys.readouterr().out
    )


def test_report_names_the_command(experiment: Run) -> None:
    """The page of a comparison that ended open has the same advice as the terminal."""
    page = experiment.root.read_bytes("report.html").decode()
    assert " --until-clear</code>" in page
    assert "12 more trainings" in page


def test_planned_seeds_stay_first_step(tmp_path: Path) -> None:
    """Where seeds were planned and then added, the plan is still what the experiment began with."""
    run, job = Run(Folder.from_uri(tmp_path / "run")), load_job(DIGITS, TINY)
    unset = Job.model_validate({**job.model_dump(exclude_none=True), "compare": {}})
    first = comparison_plan.plan_comparison(sequential_plan.allow_looks(unset), run)
    added = first.compare.model_copy(update={"seeds": 3 * first.compare.seeds})
    run.claim_folder(first.model_copy(update={"compare": added}))
    planned = comparison_plan.plan_comparison(unset, run)
    assert planned.compare.seeds == comparison_plan.SEEDS_OF_ONE_SPLIT
    assert sequential_plan.resume_seeds(sequential_plan.allow_looks(planned), run).compare.seeds == 15


def test_job_without_candidate_is_refused() -> None:
    """Without an arm that may ship there is no verdict to wait for."""
    with pytest.raises(UserError, match="no arm that may ship"):
        sequential_plan.allow_looks(load_job(DIGITS, ["augment.ratio=0"]))


def test_levels_of_looks_are_pocock() -> None:
    """The level of each look is that of Pocock's table, and the verdict's p values, interval and words follow it."""
    levels = [0.05 / compute_looks_factor(looks) for looks in range(1, 6)]
    assert levels == pytest.approx([0.05, 0.0294, 0.0221, 0.0182, 0.0158])
    outcomes = {"real": arm(REAL), "syn": arm(GOOD), "noise": arm(GOOD)}
    single, several = (build_verdict(outcomes, "real", ["syn"], "accuracy", CLASSES, looks=looks) for looks in (1, 4))
    for before, after in zip(single["comparisons"], several["comparisons"], strict=True):
        for key in ("p_adjusted", "p_worthwhile_adjusted"):
            assert after[key] == pytest.approx(min(1.0, compute_looks_factor(4) * before[key]))
        assert after["ci95"][0] < before["ci95"][0]
    assert "looked at 4 times" in several["covers"]
    assert "looked at" not in single["covers"]


def test_several_looks_keep_error_rate() -> None:
    """Without an effect, four looks call it help hardly more often than one does; unpaid looks do."""
    draws = draw_seeds(np.random.default_rng(1), 12, gain=0, by_row=0, by_seed=0.3, trials=2000)
    assert draws.influence is not None

    def find_help(estimates: list[Estimate], times: float) -> np.ndarray:
        words = [judge_effect(e.mean, multiply_p(e.p, times), 1.0) for e in estimates]
        return np.array([word == "helped" for word in words])

    paid = unpaid = np.zeros(2000, bool)
    for seeds in (3, 6, 9, 12):
        influence = [part[:seeds] for part in draws.influence]
        estimates = estimate_means(Differences(draws.values_JSM[:, :seeds], influence, draws.row_steps_M))
        paid = paid | find_help(estimates, compute_looks_factor(4))
        unpaid = unpaid | find_help(estimates, 1.0)
    assert paid.mean() <= 0.032
    assert unpaid.mean() > 0.04


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
    """The command gives its hours and the allowed looks to the pipeline."""
    calls: list[tuple[int, float | None]] = []
    monkeypatch.setattr(Pipeline, "run_until_clear", lambda p, hours: calls.append((p.job.compare.looks, hours)))
    command = ["ganaug", "run", str(DIGITS), "--until-clear", "--hours", "1.5", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    assert calls == [(4, 1.5)]
