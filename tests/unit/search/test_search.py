"""A search without Ray: its trials, its ledger, what comes of it."""

import functools
import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

import pytest
import torch

from ganaug_ray.config import Job
from ganaug_ray.config.loader import apply_settings, load_job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.finite_guard import DivergenceError
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.search import driver, result, search_plan, trainable
from ganaug_ray.search.pbt import explore_lr
from ganaug_ray.search.search_plan import BASELINE_TRIAL, SearchPlan, compute_cautious_mean
from ganaug_ray.search.search_space import Dimension, SearchKind, SearchSpace
from ganaug_ray.search.searcher import OptunaSearcher, determine_outcome
from ganaug_ray.search.trial_log import IntermediateResult, Ledger, Trial
from ganaug_ray.search.tune_runner import plan_trials
from tests.conftest import DIGITS

LR = Dimension("gan.lr", "log_uniform", (1e-4, 1e-3), {})
RATIO = Dimension("augment.ratio", "choice", (0.25, 0.5), {})


@pytest.fixture
def copy(experiment: Run, tmp_path: Path) -> Run:
    """An experiment of its own, without test rows: whatever would look at one fails."""
    root = tmp_path / "run"
    shutil.copytree(experiment.root.path, root)
    shutil.rmtree(root / "dataset" / "test")
    return Run(Folder.from_uri(root))


def plan_of(job: Job, run: Run, kind: SearchKind, *dimensions: Dimension, **search: object) -> SearchPlan:
    job = job.model_copy(update={"search": job.search.model_copy(update=search)})
    space = SearchSpace(kind, dimensions, "gan.steps", (2, 4, 6)) if kind == "gan" else SearchSpace(kind, dimensions)
    return SearchPlan(job, space, str(run.root))


def try_out(plan: SearchPlan, trial: str, settings: dict) -> tuple[Trial, list[IntermediateResult]]:
    told: list[IntermediateResult] = []
    trainable.run_trial(plan, trial, settings, trainable.TrialRunner.build_local(Place(), told.append))
    return determine_outcome(plan, Trial(trial, settings), 1.0, False, 0.0), told


def test_killed_gan_trial_repeats_results(copy: Run, tiny_job: Job) -> None:
    """A GAN trial is measured at every length of the space, and after a kill it gives the same figures."""
    plan = plan_of(tiny_job, copy, "gan", LR)
    trial, told = try_out(plan, "0001", {"gan.lr": 3e-4})
    assert trial.status == "finished", trial.reason
    assert [look.at for look in told] == [2, 4, 6]
    assert list(trial.looks) == told
    assert trial.steps == 6
    folder = plan.locate_trial("0001")
    folder.delete_file(trainable.TRIAL_MARKER)
    checkpoints = folder / "checkpoints"
    for name in ("step-00000006.json", "step-00000006.safetensors"):
        checkpoints.delete_file(name)  # as if it had been killed at step 5
    again, told_again = try_out(plan, "0001", {"gan.lr": 3e-4})
    assert again.looks == trial.looks, "the same weights, so the same figures"
    assert {look.at for look in told_again} == {2, 4, 6}
    other, _ = try_out(plan, "0002", {"gan.lr": 3e-3})
    assert other.looks != trial.looks, "the setting is used"


def beaten(plan: SearchPlan) -> SearchPlan:
    """A population in which every new member is the worst of four at the first look: three have copied the first."""
    first, _ = try_out(plan, "0001", {"gan.lr": 3e-4})
    assert first.status == "finished", first.reason
    for name in ("0101", "0102", "0103"):
        shutil.copytree(plan.locate_trial("0001").path, plan.locate_trial(name).path)
        told = plan.locate_trial(name) / "handed" / "2"
        told.write_json("told.json", told.read_json("told.json") | {"value": -1.0})
        shutil.rmtree((plan.locate_trial(name) / "handed" / "4").path)
    return plan


def test_worst_population_member_copies_best(copy: Run, tiny_job: Job) -> None:
    """The worst member of a population goes on from the best, and its schedule reproduces it from scratch."""
    plan = beaten(plan_of(tiny_job, copy, "gan", LR, algorithm="pbt"))
    leader = determine_outcome(plan, Trial("0001", {"gan.lr": 3e-4}), 1.0, False, 0.0)
    assert leader.settings == {"gan.lr": 3e-4}, "nobody was there to follow"
    trial, _ = try_out(plan, "0002", {"gan.lr": 9e-4})
    assert trial.status == "finished", trial.reason
    (later,) = trial.settings.pop("gan.then")
    assert trial.settings == {"gan.lr": 3e-4}, "it has the leader's past"
    assert later["after"] == 2
    assert 1.14 < max(later["lr"] / 3e-4, 3e-4 / later["lr"]) < 1.61
    assert trial.looks[0] == leader.looks[0]
    assert trial.looks[1:] != leader.looks[1:]
    alone = plan_of(tiny_job, copy, "gan", LR)
    again, _ = try_out(alone, "0900", {"gan.lr": 3e-4, "gan.then": [later]})
    assert again.looks == trial.looks, "trained from scratch along its course it is the same generator"


def test_explored_rates_stay_within_space() -> None:
    """Learning rates that a population explores differ and stay within the space."""
    rates = [explore_lr(9e-4, LR, 0, f"{number:04d}", 2) for number in range(40)]
    assert all(1e-4 <= rate <= 1e-3 for rate in rates)
    assert len(set(rates)) > 30
    few = Dimension("gan.lr", "choice", (1e-4, 2e-4, 4e-4), {})
    assert {explore_lr(2e-4, few, 0, f"{number:04d}", 2) for number in range(40)} == {1e-4, 4e-4}
    assert explore_lr(1e-4, few, 0) == 2e-4


def test_killed_population_member_copies_again(copy: Run, tiny_job: Job) -> None:
    """A member killed while it copies the best copies it again and gives the same figures."""
    plan = beaten(plan_of(tiny_job, copy, "gan", LR, algorithm="pbt"))
    whole, _ = try_out(plan, "0002", {"gan.lr": 9e-4})
    folder = plan.locate_trial("0002")
    course = folder.read_json("course.json")
    folder.write_json("course.json", course | {"leader": "0101", "decided": [2]})
    for name in (trainable.TRIAL_MARKER, "metrics.jsonl", "best.json"):
        folder.delete_file(name)
    shutil.rmtree((folder / "checkpoints").path)
    again, _ = try_out(plan, "0002", {"gan.lr": 9e-4})
    assert again.looks == whole.looks
    assert again.settings == whole.settings


def test_best_population_schedule_ends_at_best(copy: Run, tiny_job: Job) -> None:
    """The schedule of the best member is written up to its best length, without later learning rates."""
    plan = plan_of(tiny_job, copy, "gan", LR, algorithm="pbt")
    then = [{"after": 2, "lr": 4e-4}, {"after": 4, "lr": 5e-4}]
    looks = (IntermediateResult(2, 0.3), IntermediateResult(4, 0.1), IntermediateResult(6, 0.2))
    trial = Trial("0001", {"gan.lr": 3e-4, "gan.then": then}, "finished", looks=looks)
    record = result.build_record(plan, [trial], 100, 1.0, 1)
    assert record["best"]["settings"] == {"gan.lr": 3e-4, "gan.then": then[:1], "gan.steps": 4}
    job = apply_settings(plan.job, record["best"]["settings"], "new.yaml")
    assert [later.lr for later in job.gan.then] == [4e-4]
    assert "0.0003" in record["sentence"]


def test_search_by_classification_accuracy_score(copy: Run, tiny_job: Job) -> None:
    """A GAN search can maximise the accuracy of a classifier that is trained on generated images."""
    plan = plan_of(tiny_job, copy, "gan", LR, objective="cas")
    trial, _ = try_out(plan, "0001", {"gan.lr": 3e-4})
    assert trial.status == "finished", trial.reason
    assert all(0 <= look.value <= 1 for look in trial.looks)
    assert plan.direction == "max"


def test_mix_trials_share_gan_and_pool(copy: Run, tiny_job: Job) -> None:
    """Trials of a mix search share a GAN and a pool, and no trial sees a test image."""
    plan = plan_of(tiny_job, copy, "mix", RATIO, seeds=2)
    gan, pool = copy.gan.read_json("gan.json"), copy.synthetic.read_json("synthetic.json")
    baseline, _ = try_out(plan, BASELINE_TRIAL, {"augment.ratio": 0.0})
    trial, told = try_out(plan, "0001", {"augment.ratio": 0.5})
    for each in (baseline, trial):
        assert each.status == "finished", each.reason
        assert [look.at for look in each.looks] == [1, 2]
    scores = [look.score for look in told]
    assert told[-1].value == compute_cautious_mean([score for score in scores if score is not None], "min")
    assert copy.gan.read_json("gan.json") == gan
    assert copy.synthetic.read_json("synthetic.json") == pool
    folder = plan.locate_trial("0001") / "split-0-seed-0"
    assert folder.read_json("model.json")["inputs"]["synthetic"] == pool["hash"]
    first = plan.locate_trial(BASELINE_TRIAL) / "split-0-seed-0"
    for each in (folder, first):
        assert set(each.read_table("predictions.parquet")["split"].to_pylist()) == {"val"}
    assert "synthetic" not in first.read_json("model.json")["inputs"]


def test_mix_search_generates_pool_once(copy: Run, tiny_job: Job) -> None:
    """A mix search generates the pool that its trials need once and reuses it."""
    plan = plan_of(tiny_job, copy, "mix", seeds=1)
    other, _ = try_out(plan, "0001", {"augment.ratio": 0.5, "augment.per_class": 4})
    assert other.status == "finished", other.reason
    (made,) = (name for name in copy.root.list_folders() if name.startswith("synthetic-"))
    first = (copy.root / made).read_json("synthetic.json")
    assert first["images"] == 40
    try_out(plan, "0002", {"augment.ratio": 1.0, "augment.per_class": 4})
    assert (copy.root / made).read_json("synthetic.json") == first


def test_classifier_trial_applies_settings(copy: Run, tiny_job: Job) -> None:
    """A classifier trial trains with the settings that were proposed."""
    plan = plan_of(tiny_job, copy, "classifier", seeds=1)
    trial, _ = try_out(plan, "0001", {"classifier.lr": 1e-2, "classifier.dropout": 0.0})
    assert trial.status == "finished", trial.reason
    config = (plan.locate_trial("0001") / "split-0-seed-0").read_json("model.json")["config"]
    assert (config["lr"], config["dropout"]) == (1e-2, 0.0)


def test_failed_trial_is_recorded_with_reason(copy: Run, tiny_job: Job) -> None:
    """A trial that fails is recorded with its reason and raises no error."""
    plan = plan_of(tiny_job, copy, "gan", LR)
    trial, _ = try_out(plan, "0001", {"gan.lr": 1.0, "gan.lr_d": 1.0, "gan.preset": "dcgan"})
    wrong, _ = try_out(plan, "0002", {"gan.lr": 7})
    assert wrong.status == "failed"
    assert "gan.lr" in (wrong.reason or "")
    assert trial.status in ("failed", "finished")  # so high a rate may or may not diverge within six steps
    rare = plan_of(tiny_job, copy, "mix", seeds=1)
    mix, _ = try_out(rare, "0001", {"augment.classes": "rare"})
    assert (mix.status, "rare" in (mix.reason or "")) == ("failed", True)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out of memory: CUDA out of memory"),
        (MemoryError(), "out of memory: MemoryError"),
        (DivergenceError(7), "step 7"),
    ],
)
def test_search_continues_after_failed_trial(
    copy: Run, tiny_job: Job, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    """A trial that runs out of memory or diverges says so, and the search goes on with the next."""
    plan = plan_of(tiny_job, copy, "gan", LR)

    def fails(*given: object) -> None:
        raise error

    monkeypatch.setattr(trainable, "train_gan", fails)
    chooser = OptunaSearcher(plan, Ledger.from_folder(plan.folder.create()), 2, lambda trial: None)
    first = chooser.suggest("a")
    trainable.run_trial(
        plan, first["trial"], first["settings"], trainable.TrialRunner.build_local(Place(), lambda look: None)
    )
    chooser.on_trial_complete("a")
    (failed,) = Ledger.from_folder(plan.folder).ended_trials
    assert failed.status == "failed"
    assert reason in (failed.reason or "")
    assert chooser.suggest("b")["trial"] == "0002"


def test_trackers_receive_every_trial(copy: Run, tiny_job: Job) -> None:
    """Trackers of a search receive the start, the results and the end of every trial."""
    told: list[tuple] = []

    class Listener:
        def start_trial(self, trial: str, settings: Mapping[str, object]) -> None:
            told.append(("started", trial, dict(settings)))

        def log_result(self, trial: str, at: int, value: float, figures: Mapping[str, float]) -> None:
            told.append(("look", trial, at, value))

        def end_trial(self, trial: str, status: str, reason: str | None) -> None:
            told.append(("ended", trial, status, reason))

    plan = plan_of(tiny_job, copy, "classifier", Dimension("classifier.lr", "choice", (1e-3,), {}), seeds=1)
    chooser = OptunaSearcher(plan, Ledger.from_folder(plan.folder.create()), 1, lambda trial: None, [Listener()])
    asked = chooser.suggest("a")
    chooser.on_trial_result("a", {"at": 1, "value": 0.5})
    plan.locate_trial("0001").create().write_json(
        trainable.TRIAL_MARKER, {"status": "failed", "reason": "NaN", "seconds": 1.0}
    )
    chooser.on_trial_complete("a")
    assert told == [
        ("started", "0001", asked["settings"]), ("look", "0001", 1, 0.5), ("ended", "0001", "failed", "NaN"),
    ]  # fmt: skip


def test_resumed_search_uses_finished_trials(copy: Run, tiny_job: Job) -> None:
    """TPE has nothing but the ledger to go by; without it rates are drawn from the whole range."""

    def drawn(folder: str, ledger_of: Callable[[Ledger], object]) -> list[float]:
        ledger = Ledger.from_folder((plan.folder / folder).create())
        ledger_of(ledger)
        chooser = OptunaSearcher(plan, ledger, None, lambda trial: None)
        return sorted(chooser.suggest(str(number))["settings"]["gan.lr"] for number in range(15))

    def with_trials(ledger: Ledger) -> None:
        for number in range(1, 31):
            lr = 1e-4 * 10 ** (number / 30)
            looks = tuple(IntermediateResult(at, abs(math.log10(lr / 9e-4))) for at in (2, 4, 6))
            ledger.write_trial(Trial(f"{number:04d}", {"gan.lr": lr}, "finished", None, looks))

    plan = plan_of(tiny_job, copy, "gan", LR, algorithm="tpe")
    assert drawn("without", lambda ledger: None)[7] < 6e-4 < drawn("with", with_trials)[7], "the medians"


def test_ledger_restores_search_state(tmp_path: Path) -> None:
    """The ledger restores all that a search needs to go on: ended and unfinished trials, numbers and time."""
    folder = Folder.from_uri(tmp_path)
    ledger = Ledger.from_folder(folder)
    ledger.write_trial(Trial("0001", {"gan.lr": 1e-4}))
    ledger.write_trial(Trial("0002", {"gan.lr": 2e-4}))
    done = Trial(
        "0001",
        {"gan.lr": 1e-4},
        "finished",
        None,
        (IntermediateResult(2, 0.5), IntermediateResult(4, 0.25)),
        3.0,
        30.0,
        4,
    )
    ledger.write_trial(done)
    again = Ledger.from_folder(folder)
    assert again.ended_trials == [done]
    assert [trial.trial for trial in again.unfinished_trials] == ["0002"]
    assert again.allocate_number() == "0003"
    assert again.seconds >= 30.0
    assert done.find_best("min") == IntermediateResult(4, 0.25)


def test_resumed_search_repeats_no_trial(copy: Run, tiny_job: Job) -> None:
    """A resumed search continues its unfinished trials and tries no setting twice."""
    plan = plan_of(tiny_job, copy, "mix", RATIO, algorithm="grid", seeds=1)
    ledger = Ledger.from_folder(plan.folder.create())
    first = OptunaSearcher(plan, ledger, 2, lambda trial: None)
    asked = [first.suggest(name) for name in ("a", "b")]
    assert [each["trial"] for each in asked] == [BASELINE_TRIAL, "0001"]
    trainable.run_trial(
        plan, "0001", asked[1]["settings"], trainable.TrialRunner.build_local(Place(), lambda look: None)
    )
    first.on_trial_complete("b", {"time_total_s": 1.0})
    # The process is killed here: the baseline was under way.
    second = OptunaSearcher(plan, Ledger.from_folder(plan.folder), 2, lambda trial: None)
    assert second.suggest("c")["trial"] == BASELINE_TRIAL
    last = second.suggest("d")
    assert last["settings"] != asked[1]["settings"]
    assert second.suggest("e") == "FINISHED"


@pytest.mark.parametrize("algorithm", ["tpe", "random"])
def test_resumed_samplers_draw_new_settings(copy: Run, tiny_job: Job, algorithm: str) -> None:
    """Samplers stay within the space and its conditions, and draw new settings after a resume."""
    when = Dimension("gan.beta1", "uniform", (0.1, 0.5), {"gan.preset": ("dcgan",)})
    preset = Dimension("gan.preset", "choice", ("dcgan", "scarce"), {})
    plan = plan_of(tiny_job, copy, "gan", LR, preset, when, algorithm=algorithm)
    drawn = []
    for turn in range(2):
        chooser = OptunaSearcher(plan, Ledger.from_folder(plan.folder.create()), 20 * (turn + 1), lambda trial: None)
        for number in range(20):
            found = chooser.suggest(f"{turn}-{number}")
            drawn.append(found["settings"])
            plan.locate_trial(found["trial"]).create().write_json(
                trainable.TRIAL_MARKER, {"status": "failed", "reason": "", "seconds": 0}
            )
            chooser.on_trial_complete(f"{turn}-{number}")
        assert chooser.suggest("more") == "FINISHED"
    assert len({json.dumps(settings) for settings in drawn}) == 40
    assert all(1e-4 <= settings["gan.lr"] <= 1e-3 for settings in drawn)
    assert all(("gan.beta1" in settings) == (settings["gan.preset"] == "dcgan") for settings in drawn)


@pytest.mark.parametrize("algorithm", ["tpe", "random"])
def test_search_ends_when_space_is_exhausted(copy: Run, tiny_job: Job, algorithm: str) -> None:
    """No setting is tried twice, and a search ends when there is none left."""
    rates = Dimension("gan.lr", "choice", (1e-4, 2e-4, 4e-4), {})
    preset = Dimension("gan.preset", "choice", ("dcgan", "scarce"), {})
    plan = plan_of(tiny_job, copy, "gan", rates, preset, algorithm=algorithm)
    drawn = []
    for turn in range(2):
        chooser = OptunaSearcher(plan, Ledger.from_folder(plan.folder.create()), 4 * (turn + 1), lambda trial: None)
        for number in range(4 if turn == 0 else 2):
            found = chooser.suggest(f"{turn}-{number}")
            drawn.append(json.dumps(found["settings"]))
            marker = {"status": "failed", "reason": "", "seconds": 0}
            plan.locate_trial(found["trial"]).create().write_json(trainable.TRIAL_MARKER, marker)
            chooser.on_trial_complete(f"{turn}-{number}")
    assert len(set(drawn)) == 6
    assert chooser.suggest("more") == "FINISHED"


def test_best_gan_includes_best_length(copy: Run, tiny_job: Job, tmp_path: Path) -> None:
    """The best GAN is written as a job with the length at which it was best."""
    space = SearchSpace("gan", (LR,), "gan.epochs", (1, 2, 4))
    plan = SearchPlan(tiny_job, space, str(copy.root))  # 80 images in batches of 16: five steps an epoch
    assert plan.list_budgets(plan.count_rows()) == (5, 10, 20)
    found = [
        Trial(
            "0001",
            {"gan.lr": 2e-4},
            "finished",
            None,
            (IntermediateResult(5, 0.4), IntermediateResult(10, 0.1), IntermediateResult(20, 0.2)),
            1,
            1,
            20,
        ),
        Trial("0002", {"gan.lr": 4e-4}, "stopped", "fell behind", (IntermediateResult(5, 0.3),), 1, 2, 5),
        Trial("0003", {"gan.lr": 9e-4}, "failed", "NaN", (IntermediateResult(5, 0.01),), 1, 3, 5),
    ]
    record = result.build_record(plan, found, plan.count_rows(), 3.0, 2)
    assert record["best"] == {"trial": "0001", "settings": {"gan.lr": 2e-4, "gan.epochs": 2}, "value": 0.1, "at": 10}
    assert (record["steps"], record["full_steps"]) == (30, 60)
    written = tmp_path / "best.yaml"
    driver.BestJobFile(written, DIGITS).write_job(plan, record)
    best = load_job(written)
    assert (best.gan.lr, best.gan.epochs, best.gan.steps) == (2e-4, 2, None)
    table = result.build_table(found)
    assert table.num_rows == 5
    assert set(table["status"].to_pylist()) == {"finished", "stopped", "failed"}


def test_useless_mix_recommends_baseline(copy: Run, tiny_job: Job) -> None:
    """Where no mix is better than the baseline, the result says so and recommends the baseline."""
    plan = plan_of(tiny_job, copy, "mix", RATIO, seeds=1)
    found = [
        Trial(BASELINE_TRIAL, {"augment.ratio": 0.0}, "finished", None, (IntermediateResult(1, 0.8, 0.8),)),
        Trial("0001", {"augment.ratio": 0.5}, "finished", None, (IntermediateResult(1, 0.9, 0.9),)),
        Trial("0002", {"augment.ratio": 0.25}, "stopped", "fell behind", ()),
    ]
    record = result.build_record(plan, found, plan.count_rows(), 3.0, 2)
    assert record["best"]["settings"] == {"augment.ratio": 0.0}
    assert "none of 2 mixes" in record["sentence"]
    nothing = result.build_record(plan, [found[2]], plan.count_rows(), 3.0, 2)
    assert nothing["best"] is None


def test_impossible_trial_resources_are_refused(copy: Run, tiny_job: Job) -> None:
    """A search whose trials can never start is refused with the number of CPUs that a trial needs."""
    search = tiny_job.search.model_copy(update={"workers": 4})
    plan = plan_of(tiny_job.model_copy(update={"search": search}), copy, "gan", LR)
    with pytest.raises(UserError, match=r"5 CPUs \(1 for its driver, 4 for search.workers\), and the cluster has 4"):
        plan_trials(plan, Hardware.of_one_machine(4))


def test_trial_resources_follow_worker_count(copy: Run, tiny_job: Job) -> None:
    """A trial of one process takes a share of a GPU; one with several workers takes a GPU for each."""

    def need(gpus: float, workers: int = 1) -> tuple[float, float, int]:
        gan = tiny_job.gan.model_copy(update={"gpu_share": 0.25, "workers": 8})  # of the job's own GAN
        search = tiny_job.search.model_copy(update={"workers": workers})
        plan = plan_of(tiny_job.model_copy(update={"gan": gan, "search": search}), copy, "gan", LR)
        trial = plan_trials(plan, Hardware.of_one_machine(16, gpus))
        return trial.unit_cpus, trial.unit_gpus, trial.at_once

    assert need(2) == (1, 0.25, 8)
    assert need(0) == (1, 0, 16)
    assert need(4, workers=2) == (3, 2, 2)


def test_folder_of_other_search_is_refused(copy: Run, tiny_job: Job) -> None:
    """The folder of a search with another space or job is refused and stays as it is."""
    pipeline = functools.partial(Pipeline, run=copy, terminal=Terminal())
    driver._claim_folder(plan_of(tiny_job, copy, "gan", LR))
    driver._claim_folder(plan_of(tiny_job, copy, "gan", LR, trials=99))
    with pytest.raises(UserError, match="another space"):
        driver.run_search(pipeline(tiny_job), SearchSpace("gan", (RATIO,)), None)
    with pytest.raises(UserError, match="another job"):
        driver._claim_folder(plan_of(tiny_job.model_copy(update={"seed": 7}), copy, "gan", LR))


def test_search_hours_are_counted_across_runs(copy: Run, tiny_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search whose hours are spent does not start again, and goes on when it is given more hours."""
    plan = plan_of(tiny_job, copy, "gan", LR)
    Ledger.from_folder(plan.folder.create()).write_trial(
        Trial("0001", {"gan.lr": 2e-4}, ended=3600.0)
    )  # under way when time was up
    plan.folder.write_json("search.json", {"sentence": "", "seconds": 3600.0, "best": None})
    searched: list[float | None] = []
    monkeypatch.setattr(driver, "_run_trials", lambda pipeline, plan, *rest: searched.append(plan.job.search.hours))
    for hours in (1.0, 1.5):
        job = plan_of(tiny_job, copy, "gan", LR, hours=hours).job
        driver.run_search(Pipeline(job, copy, Terminal()), plan.space, None)
    assert searched == [1.5]


def test_command_line_mistakes_are_reported_early(tmp_path: Path, tiny_job: Job) -> None:
    """Mistakes on the command line are reported before any work."""
    path = tmp_path / "space.yaml"
    path.write_text("space: {gan.lr: {uniform: [0.1, 0.2]}}")
    with pytest.raises(UserError, match="expected one of gan, mix, classifier"):
        driver.check_space("gann", path, tiny_job, None)
    with pytest.raises(UserError, match="already exists"):
        driver.check_space("gan", path, tiny_job, path)
    grid = tiny_job.model_copy(update={"search": tiny_job.search.model_copy(update={"algorithm": "grid"})})
    with pytest.raises(UserError, match=r"gan\.lr: search\.algorithm grid"):
        driver.check_space("gan", path, grid, None)
    pbt = tiny_job.model_copy(update={"search": tiny_job.search.model_copy(update={"algorithm": "pbt"})})
    driver.check_space("gan", path, pbt, None)
    path.write_text("space: {gan.lr: {uniform: [0.1, 0.2]}, gan.beta1: {choice: [0.0, 0.5]}}")
    with pytest.raises(UserError, match=r"pbt changes gan\.lr .* found gan\.beta1"):
        driver.check_space("gan", path, pbt, None)


def test_interrupted_mix_trial_is_not_chosen(copy: Run, tiny_job: Job) -> None:
    """A trial with an unfinished training counts as stopped and is not chosen as the best."""
    plan = plan_of(tiny_job, copy, "mix", RATIO, seeds=2)
    trial, _ = try_out(plan, "0001", {"augment.ratio": 0.5})
    (plan.locate_trial("0001") / "split-0-seed-1").delete_file("model.json")
    plan.locate_trial("0001").delete_file(trainable.TRIAL_MARKER)
    cut = determine_outcome(plan, Trial("0001", {}), 1.0, False, 2.0)
    assert (cut.status, len(cut.looks)) == ("stopped", 1)
    assert result.choose_trial(plan, [cut]) is None
    assert experiment_dir.read_marker(plan.locate_trial("0001") / "split-0-seed-0", "model.json")
    assert trial.status == "finished"


def test_mix_search_goes_by_smoother_score(copy: Run, tiny_job: Job) -> None:
    """Where accuracy decides, mixes are searched by the calibrated cross-entropy: lower is better, and it has no %."""
    plan = plan_of(tiny_job, copy, "mix", RATIO, seeds=2)
    assert (plan.objective, plan.direction) == ("calibrated_cross_entropy", "min")
    trials = [
        try_out(plan, number, {"augment.ratio": ratio})[0] for number, ratio in ((BASELINE_TRIAL, 0.0), ("0001", 0.5))
    ]
    best, value = min((trial.looks[-1].value, trial.trial) for trial in trials)[::-1]
    found = result.choose_trial(plan, trials)
    assert found is not None
    assert (found[0].trial, found[1].value) == (best, value)
    assert f"{value:.3f}" in result.compose_sentence(plan, trials, found)
    ledger = mock.Mock(ended_trials=trials, seconds=60.0)
    share, words = driver._measure_progress(plan, ledger, 2)
    assert share == pytest.approx(2 / 3), "with the baseline"
    assert words.startswith("2 of 3 trials ended, best")
    assert words.endswith(", about 30 s left")
    by_accuracy = mock.patch.object(search_plan, "get_choice_metric", lambda key: key)
    with by_accuracy:
        before = plan.compute_fingerprint()
    assert plan.compute_fingerprint() != before, "trials with other scores are another search's"


def test_sentence_says_where_a_score_is_of_one_training(copy: Run, tiny_job: Job) -> None:
    """One training has no standard error, and its score may be chance; of several the error is in the score."""
    look = IntermediateResult(6, 0.735)
    trial = Trial("0001", {"augment.ratio": 0.25}, "finished", looks=(look,))
    one, three = (
        result.compose_sentence(plan_of(tiny_job, copy, "mix", seeds=seeds), [trial], (trial, look)) for seeds in (1, 3)
    )
    assert one.endswith(" on validation, of a single training each, which may be chance)")
    assert "its standard error over 3 trainings" in three
