"""The advice in a message on a search, followed in its space file, its job or its folder."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.config.yaml_text import parse_yaml
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.search import driver, tracking
from ganaug_ray.search.search_plan import SearchPlan
from ganaug_ray.search.search_space import SearchKind, SearchSpace
from ganaug_ray.search.tune_runner import plan_trials
from tests.conftest import DIGITS, TINY

LR = "gan.lr: {uniform: [0.1, 0.2]}"
CHOSEN_LR = "gan.lr: {choice: [0.1]}"
RATIO = "augment.ratio: {choice: [0.5]}"
STRATEGY = "augment.strategy: {choice: [mix, pretrain]}"
WEIGHT = "augment.weight: {uniform: [0.2, 0.8]}"
WEIGHT_OF_MIX = "augment.weight: {uniform: [0.2, 0.8], when: {augment.strategy: [mix]}}"
CLASSIFIER_LR = "classifier.lr: {choice: [0.1]}"
STEPS = "gan.steps: {integers: [4, 8]}"
SPREAD = ["augment.per_class=null"]
ARMS = [*SPREAD, "arms.a.kind=synthetic", "arms.g.kind=synthetic", "arms.g.classes=gaining"]


def check_space(tmp_path: Path, kind: str, job: Job, *lines: str) -> SearchSpace:
    """Check a space of these lines, as a search does before any work."""
    path = tmp_path / "space.yaml"
    path.write_text("space:\n" + "".join(f"  {line}\n" for line in lines))
    return driver.check_space(kind, path, job, None)


@pytest.mark.parametrize(
    ("kind", "settings", "lines", "advice", "followed"),
    [
        ("gan", [], [CLASSIFIER_LR], "such as gan.lr", [LR]),
        ("mix", [], [LR], "such as augment.ratio", [RATIO]),
        ("classifier", [], [RATIO], "such as classifier.lr", [CLASSIFIER_LR]),
        ("gan", ["gan.gpu_share=0.5"], [LR, "gan.gpu_share: {choice: [0.5]}"], "set it in the job", [LR]),
        ("classifier", [], [CLASSIFIER_LR, "classifier.steps: {choice: [8, 9]}"], "set it in the job", [CLASSIFIER_LR]),
        ("gan", [], ["gan.lr: 0.1"], "such as {choice: [...]}", [CHOSEN_LR]),
        ("gan", [], ["gan.beta1: 0.1"], "or {uniform: [0, 1]}", ["gan.beta1: {uniform: [0, 0.9]}"]),
        ("gan", [], ["gan.lr: {log: [0.1, 0.2]}"], "choice, uniform, log_uniform, integers", [LR]),
        ("gan", [], ["gan.lr: {unifrom: [0.1, 0.2]}"], "did you mean uniform?", [LR]),
        ("mix", ARMS, [RATIO, "augment.classes: {choice: [all, gaining]}"], "give it to an arm of the job", [RATIO]),
        ("gan", [], ["gan.lr: {choice: [0.1, 0.1]}"], "one value or more, each once", [CHOSEN_LR]),
        ("gan", [], ["gan.lr: {uniform: [0.2, 0.1]}"], "the lower one first", [LR]),
        ("gan", [], [LR, "gan.steps: {integers: [4.5, 8]}"], "two whole numbers", [LR, STEPS]),
        ("gan", [], ["gan.lr: {log_uniform: [0, 0.2]}"], "above 0", ["gan.lr: {log_uniform: [0.1, 0.2]}"]),
        (
            "mix",
            SPREAD,
            [STRATEGY, "augment.weight: {uniform: [0.2, 0.8], when: [mix]}"],
            "when: expected keys with lists of values",
            [STRATEGY, WEIGHT_OF_MIX],
        ),
        ("mix", SPREAD, [WEIGHT_OF_MIX, STRATEGY], "is not a key above this one", [STRATEGY, WEIGHT_OF_MIX]),
        (
            "mix",
            SPREAD,
            [STRATEGY, "augment.weight: {uniform: [0.2, 0.8], when: {augment.strategy: [balance]}}"],
            "name a key that has a choice, and values of it",
            [STRATEGY, WEIGHT_OF_MIX],
        ),
        (
            "mix",
            SPREAD,
            [RATIO.replace("choice: [0.5]", "uniform: [0, 1]"), WEIGHT_OF_MIX.replace("strategy: [mix]", "ratio: [1]")],
            "name a key that has a choice, and values of it",
            [STRATEGY, WEIGHT_OF_MIX],
        ),
        (
            "gan",
            [],
            ["gan.steps: {choice: [4, 8]}", "gan.lr: {uniform: [0.1, 0.2], when: {gan.steps: [8]}}"],
            "gan.steps: is read off every trial's curve; leave it out of `when`",
            [STEPS, LR],
        ),
        ("gan", [], [LR, STEPS, "gan.epochs: {choice: [4]}"], "give one of gan.steps and gan.epochs", [LR, STEPS]),
        ("gan", [], [LR, "gan.steps: {uniform: [4, 8]}"], "give a choice or integers", [LR, STEPS]),
        ("mix", SPREAD, [STRATEGY, WEIGHT], "leave one out", [STRATEGY]),
        ("mix", SPREAD, [STRATEGY, WEIGHT], "or give it a `when`", [STRATEGY, WEIGHT_OF_MIX]),
        ("gan", ["search.algorithm=pbt"], [LR, "gan.beta1: {choice: [0.5]}"], "gan.lr while GANs train", [LR]),
        ("gan", ["search.algorithm=pbt"], [STEPS], "gan.lr while GANs train", [LR, STEPS]),
        ("gan", ["search.algorithm=grid"], [LR], "grid needs a choice", [CHOSEN_LR]),
    ],
)
def test_space_is_taken_once_advice_is(
    tmp_path: Path, kind: SearchKind, settings: list[str], lines: list[str], advice: str, followed: list[str]
) -> None:
    """A space file is searched once it is as the message says."""
    job = load_job(DIGITS, [*TINY, *settings])
    with pytest.raises(UserError, match=re.escape(advice)):
        check_space(tmp_path, kind, job, *lines)
    space = check_space(tmp_path, kind, job, *followed)
    assert len(space.dimensions) + bool(space.length) == len(followed)


@pytest.mark.parametrize(
    ("settings", "advice", "followed"),
    [
        (["search.workers=3"], "search.workers 3: .*; give 1$", "search.workers=1"),
        (["search.algorithm=pbt", "gan.then=[{after: 2, lr: 0.01}]"], "gan.then: .*; leave it out$", "gan.then=[]"),
    ],
)
def test_job_is_searched_once_advice_is(tmp_path: Path, settings: list[str], advice: str, followed: str) -> None:
    """A job is searched once its settings are as the message says."""
    with pytest.raises(UserError, match=advice):
        check_space(tmp_path, "gan", load_job(DIGITS, [*TINY, *settings]), LR)
    check_space(tmp_path, "gan", load_job(DIGITS, [*TINY, *settings, followed]), LR)


def test_command_is_taken_once_advice_is(tmp_path: Path, tiny_job: Job) -> None:
    """A kind that is listed is searched, and a file that is not there is written to."""
    path = tmp_path / "space.yaml"
    with pytest.raises(UserError, match="expected one of gan") as caught:
        check_space(tmp_path, "gans", tiny_job, LR)
    kind = str(caught.value).partition("expected one of ")[2].split(", ")[0]
    check_space(tmp_path, kind, tiny_job, LR)
    with pytest.raises(UserError, match=r"--write .*name another file"):
        driver.check_space(kind, path, tiny_job, write=path)
    driver.check_space(kind, path, tiny_job, write=tmp_path / "best.yaml")


def test_other_search_needs_another_folder(tmp_path: Path, tiny_job: Job) -> None:
    """With the settings of then the search goes on; another folder, or the removed one, takes the other search."""

    def claim(out: Path, line: str) -> None:
        plan = SearchPlan(tiny_job, check_space(tmp_path, "gan", tiny_job, line), str(Folder.from_uri(out)))
        driver._claim_folder(plan)

    claim(tmp_path / "run", LR)
    with pytest.raises(UserError, match="give the same settings as then, another --out, or remove") as caught:
        claim(tmp_path / "run", CHOSEN_LR)
    claim(tmp_path / "run", LR)
    claim(tmp_path / "other", CHOSEN_LR)
    shutil.rmtree(str(caught.value).partition(":")[0])
    claim(tmp_path / "run", CHOSEN_LR)


@pytest.mark.parametrize(
    ("workers", "cpus", "gpus"), [(4, 4, 0), (4, 8, 2), (8, 4, 8), (2, 1, 0), (2, 1, 1), (2, 8, 1)]
)
def test_fewer_workers_fit_the_cluster(tiny_job: Job, workers: int, cpus: float, gpus: float) -> None:
    """A cluster with too few CPUs or GPUs for a trial takes the number of workers that the message names."""

    def count_trials(workers: int) -> int:
        search = tiny_job.search.model_copy(update={"workers": workers})
        gan = tiny_job.gan.model_copy(update={"gpu_share": 1.0})
        plan = SearchPlan(tiny_job.model_copy(update={"search": search, "gan": gan}), SearchSpace("gan", ()), "")
        return plan_trials(plan, Hardware.of_one_machine(cpus, gpus)).at_once

    with pytest.raises(UserError, match=r"give search\.workers \d+ or fewer") as caught:
        count_trials(workers)
    match = re.search(r"search\.workers (\d+) or fewer", str(caught.value))
    assert match
    for fewer in range(1, int(match[1]) + 1):
        assert count_trials(fewer) >= 1


@pytest.mark.parametrize(
    ("text", "advice"), [("spaces: {gan.lr: 1}", "expected about and space"), ("space: 1", "space: expected keys of")]
)
def test_file_of_a_space_has_advised_keys(tmp_path: Path, tiny_job: Job, text: str, advice: str) -> None:
    """A file with other keys is a space once it has the two that the message names."""
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=advice):
        driver.check_space("gan", path, tiny_job, None)
    path.write_text(f"about: rates\nspace:\n  {LR}\n")
    assert len(driver.check_space("gan", path, tiny_job, None).dimensions) == 1


def test_augmentation_is_searched_among_advised_values(tmp_path: Path, tiny_job: Job) -> None:
    """A trial cannot have the augmentation chosen; each value that the message names is trained with."""
    job = load_job(DIGITS, [*TINY, "classifier.augment=auto"])
    plan = SearchPlan(job, SearchSpace("classifier", ()), str(Folder.from_uri(tmp_path / "search")))
    with pytest.raises(UserError, match="cannot be searched for; give") as caught:
        plan.build_job({"classifier.augment": "auto"})
    choice = parse_yaml(str(caught.value).partition("give ")[2], "the advice")["choice"]
    assert [plan.build_job({"classifier.augment": value}).classifier.augment for value in choice] == choice


def test_tracking_address_is_as_exemplified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of an address is taken; without the package the search begins once it is left out."""
    with pytest.raises(UserError, match="expected mlflow:URI, such as") as caught:
        tracking.build_trackers("http://host:5000", Folder.from_uri(tmp_path), "x")
    example = str(caught.value).partition("such as ")[2]
    monkeypatch.setattr(tracking, "MLflowTracker", lambda uri, *rest: uri)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert tracking.build_trackers(example, Folder.from_uri(tmp_path), "x")[1] == "http://host:5000"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install mlflow-skinny, or leave search\.tracking out"):
        tracking.build_trackers(example, Folder.from_uri(tmp_path), "x")
    assert len(tracking.build_trackers(load_job(DIGITS).search.tracking, Folder.from_uri(tmp_path), "x")) == 1


@pytest.mark.parametrize("key", ["augment.images", "augment.generator"])
def test_mix_is_searched_without_other_sources(tmp_path: Path, key: str) -> None:
    """The mix of images from elsewhere cannot be searched, and that of the job's own GAN is once they are left out."""
    job = load_job(DIGITS, [*TINY, f"{key}={tmp_path}"])
    with pytest.raises(UserError, match="mixes images of the GAN that the job trains; leave out") as caught:
        check_space(tmp_path, "mix", job, RATIO)
    named = str(caught.value).partition("leave out ")[2]
    assert named == key
    without = load_job(DIGITS, [*TINY, f"{key}={tmp_path}", f"{named}={'{}' if key.endswith('images') else 'null'}"])
    assert check_space(tmp_path, "mix", without, RATIO).dimensions
