"""Searches on a cluster of two nodes: what is tried, and that nothing is lost with a process or a node."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from ganaug_ray.config import Job
from ganaug_ray.core import metrics_log
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.search import result
from ganaug_ray.search.search_plan import BASELINE_TRIAL, SearchPlan
from ganaug_ray.search.search_space import Dimension, SearchSpace
from ganaug_ray.search.trial_log import Ledger, Trial
from ganaug_ray.search.tune_runner import plan_trials, run_trials
from tests.conftest import PATIENCE

LR = Dimension("gan.lr", "log_uniform", (1e-4, 1e-3), {})


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A head and another node; the dashboard is on, as trials with workers of their own need it."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": 0},
    )
    cluster.add_node(num_cpus=2)
    context = ray.init(address=cluster.address, log_to_driver=False)
    assert context.dashboard_url, "single-process trials run beside it too"  # those of e2e/test_search.py without
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def copy(experiment: Run, tmp_path: Path) -> Run:
    root = tmp_path / "run"
    shutil.copytree(experiment.root.path, root)
    shutil.rmtree(root / "dataset" / "test")  # whatever would look at a test image fails
    return Run(Folder.from_uri(root))


@dataclass(frozen=True)
class Strike:
    """What is done to a search once these trials have logged so many steps."""

    trials: tuple[str, ...]
    step: int
    act: Callable[[], None]


def gan_plan(job: Job, run: Run, steps: int, workers: int = 1) -> SearchPlan:
    gan = job.gan.model_copy(update={"steps": steps, "checkpoint_every": 20, "log_every": 1})
    settings = job.search.model_copy(update={"stop_early": False, "workers": workers})
    job = job.model_copy(update={"gan": gan, "search": settings})
    return SearchPlan(job, SearchSpace("gan", (LR,), "gan.steps", (steps // 2, steps)), str(run.root))


def run_search(plan: SearchPlan, most: int | None, at_once: int = 2) -> Ledger:
    ledger, told = Ledger.from_folder(plan.folder.create()), []
    before = len(ledger.ended_trials)
    run_trials(plan, ledger, most, at_once, plan_trials(plan, Hardware.of_one_machine(4)), told.append)
    in_order = sorted(ledger.ended_trials, key=lambda trial: trial.ended)[before:]
    assert [trial.trial for trial in told] == [trial.trial for trial in in_order]
    return Ledger.from_folder(plan.folder)


def while_searching(plan: SearchPlan, most: int, strikes: list[Strike]) -> Ledger:
    """Search, and strike once when the two trials of each strike have come so far."""
    over = threading.Event()
    struck: list[Strike] = []

    def watch() -> None:
        for strike in strikes:
            while count_steps(plan, strike.trials) < strike.step:
                if over.wait(0.02):
                    return
            strike.act()
            struck.append(strike)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        ledger = run_search(plan, most)
    finally:
        over.set()
        thread.join()
    assert struck == strikes, "it was over before all of them could be made"
    return ledger


def count_steps(plan: SearchPlan, trials: tuple[str, ...]) -> int:
    """The steps that each of these trials has logged at least."""
    folders = [plan.locate_trial(name) for name in trials]
    return min(max((row["step"] for row in metrics_log.read_metrics(folder)), default=0) for folder in folders)


def all_accounted_for(plan: SearchPlan, trials: list[Trial], n: int) -> None:
    assert [trial.trial for trial in trials] == [f"{number:04d}" for number in range(1, n + 1)]
    assert [(trial.status, trial.reason) for trial in trials] == [("finished", None)] * n
    marks = list(plan.list_marks(plan.count_rows()))
    assert [[look.at for look in trial.looks] for trial in trials] == [marks] * n


def workers() -> list[psutil.Process]:
    """The processes that trials run in."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if re.match(r"ray::(trial|ImplicitFunc)\b", " ".join(process.info["cmdline"] or [])):
            found.append(process)
    return found


def test_mix_search_stops_early_on_cluster(nodes: Cluster, copy: Run, tiny_job: Job) -> None:
    """A mix search on a cluster stops trials that fall behind and writes a complete table of trials."""
    job = tiny_job.model_copy(update={"search": tiny_job.search.model_copy(update={"seeds": 3})})
    ratio = Dimension("augment.ratio", "choice", (0.125, 0.25, 0.5, 1.0), {})
    weight = Dimension("augment.weight", "uniform", (0.2, 1.0), {})
    plan = SearchPlan(job, SearchSpace("mix", (ratio, weight)), str(copy.root))
    ledger = run_search(plan, 5, at_once=3)
    trials = list(ledger.trials.values())
    assert [trial.trial for trial in trials] == [BASELINE_TRIAL, "0001", "0002", "0003", "0004", "0005"]
    assert {trial.status for trial in trials} <= {"finished", "stopped"}
    assert all(len(trial.looks) == 3 for trial in trials if trial.status == "finished")
    record = result.build_record(plan, trials, plan.count_rows(), ledger.seconds, 3)
    assert record["best"] is not None
    assert record["steps"] <= record["full_steps"] == 6 * 3 * 8
    assert result.build_table(trials)["augment.weight"].null_count == 3 if trials[0].status == "finished" else True


def test_search_stops_after_hours_and_resumes(nodes: Cluster, copy: Run, tiny_job: Job) -> None:
    """A search ends when its hours are spent and goes on when it is given more."""
    plan = gan_plan(tiny_job, copy, 60)
    seconds = 4.0
    in_time = plan.job.search.model_copy(update={"hours": seconds / 3600})
    brief = replace(plan, job=plan.job.model_copy(update={"search": in_time}))
    cut = run_search(brief, None)
    assert cut.unfinished_trials, "without a number of trials there is always another one"
    assert cut.seconds >= seconds
    told = {
        trial["trial"]: trial for trial in result.build_record(plan, list(cut.trials.values()), 80, 4.0, 2)["trials"]
    }
    assert all("the time was up" in told[trial.trial]["reason"] for trial in cut.unfinished_trials)
    assert run_search(brief, None).trials == cut.trials, "the same command has no time left"
    whole = run_search(plan, len(cut.trials))
    assert {trial.trial: trial for trial in whole.ended_trials}.items() >= {
        one.trial: one for one in cut.ended_trials
    }.items()
    all_accounted_for(plan, list(whole.trials.values()), len(cut.trials))


def test_trial_runs_with_several_workers(nodes: Cluster, copy: Run, tiny_job: Job) -> None:
    """A search runs a trial that has several workers, and what they took is free again."""
    plan = gan_plan(tiny_job, copy, 6, workers=2)
    ledger = run_search(plan, 1, at_once=1)
    all_accounted_for(plan, list(ledger.trials.values()), 1)
    wait_until_free()


def wait_until_free() -> None:
    """Wait until nothing is reserved any more, of which Ray learns a little later."""
    deadline = time.monotonic() + PATIENCE
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
        assert time.monotonic() < deadline, ray.available_resources()
        time.sleep(0.1)


def test_killed_trials_resume_and_none_is_lost(nodes: Cluster, copy: Run, tiny_job: Job) -> None:
    """A trial whose process is killed goes on from its checkpoint, and a lost node loses no trial."""
    plan = gan_plan(tiny_job, copy, 400)
    other = next(node for node in nodes.list_all_nodes() if node != nodes.head_node)
    kill_one = Strike(("0001", "0002"), 30, lambda: workers()[0].kill())
    lose_node = Strike(("0003", "0004"), 30, lambda: nodes.remove_node(other, allow_graceful=False))
    ledger = while_searching(plan, 4, [kill_one, lose_node])
    all_accounted_for(plan, list(ledger.trials.values()), 4)
    attempts = [plan.locate_trial(name).read_json("attempts.json")["from_step"] for name in ("0001", "0002")]
    assert sorted(map(len, attempts)) == [1, 2]
    assert max(attempts, key=len)[1] >= 20, "it did not start anew"
