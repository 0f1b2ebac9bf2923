"""Finds experiments below a folder, sums each up, and says in what two of them differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from ganaug_ray.config.loader import find_differences
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import FAILURE_FILE, Run
from ganaug_ray.core.model_registry import find_registry
from ganaug_ray.core.records import DatasetRecord, GanRecord, RunRecord, VerdictRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.evaluate.metric_register import get_metric
from ganaug_ray.report import gan_figures

MAX_DEPTH = 4  # folders below the one that is listed
PAGE = "report.html"
VERBS = {
    "dataset": "prepare",
    "pseudo": "label",
    "gan": "train-gan",
    "images": "import",
    "generator": "import",
    "synthetic": "generate",
    "models/teacher": "teach",
}
"""What run.json calls a stage -> its name on the terminal; models of arms are of the stage train."""


@dataclass(frozen=True)
class Experiment:
    """An experiment, finished or not.

    Attributes:
        name: its folder, as it was asked for or relative to the one that is listed.
        run: its folders.
        job: its settings, as they are stored.
        changed: when its verdict was reached or, before there is one, when it was begun.
        verdict: its verdict; None before there is one.
    """

    name: str
    run: Run
    job: dict[str, Any]
    changed: datetime
    verdict: VerdictRecord | None

    @property
    def state(self) -> str:
        """The verdict in a word or, before there is one, how far the experiment is."""
        if self.verdict is not None:
            return self.verdict.verdict or ("generator not usable" if self.verdict.left_out else "no comparison")
        if self.run.root.has_file(FAILURE_FILE):
            return f"{self.run.root.read_json(FAILURE_FILE)['stage']} failed"
        stages = RunRecord.find(self.run.root)
        if stages is None or not stages.stages:
            return "begun"
        name = list(stages.stages)[-1].removeprefix("splits/").lstrip("0123456789/").split("/seed")[0]
        return f"{VERBS.get(name.split('-')[0], 'train')} done"

    def describe_figures(self) -> str:
        """Return the deciding metric of the baseline and of the chosen arm; empty before there is a verdict."""
        verdict = self.verdict
        if verdict is None:
            return ""
        names = [verdict.baseline] + ([verdict.chosen.arm] if verdict.chosen else [])
        metric = get_metric(verdict.metric)
        values = [metric.format_with_unit(verdict.arms[name].mean[verdict.metric]) for name in names]
        return f"{metric.name} {' → '.join(values)}"

    def describe_champion(self, name_arm: Callable[[str], str] = str) -> str:
        """Return the arm of the promoted model, and its version; empty before there is one.

        Args:
            name_arm: says how the arm is called; absent: as in the job.
        """
        registry = find_registry(self.run.root)
        champion = experiment_dir.read_marker(registry, "champion.json") if registry else None
        if champion is None:
            return ""
        return f"{name_arm(champion['lineage']['arm'])}, version {champion['version']}"


def open_found_experiment(name: str, home: Folder) -> Experiment:
    """Open an experiment by its folder, or by its name in the folder that experiments are in.

    Raises:
        UserError: there is none.
    """
    for folder in (Folder.from_uri(name), home / name):
        if folder.has_file("job.yaml"):
            return _open(folder, name)
    raise UserError(f"{name}: no experiment here, and none of that name in {home}; `ganaug ls` lists them")


def find_experiments(home: Folder) -> Iterator[Experiment]:
    """Yield the experiments below a folder, each as soon as it is found: an object store takes a while for them."""
    for name, folder in _find(home, "", MAX_DEPTH):
        yield _open(folder, name)


def _find(folder: Folder, name: str, depth: int) -> Iterator[tuple[str, Folder]]:
    """Yield name and folder of every experiment; what is inside one is a part of it."""
    if folder.has_file("job.yaml"):
        yield name or folder.name, folder
    elif depth:
        for below in folder.list_folders():
            yield from _find(folder / below, f"{name}/{below}" if name else below, depth - 1)


def _open(folder: Folder, name: str) -> Experiment:
    verdict = VerdictRecord.find(folder)
    changed = verdict.find_time(folder) if verdict else folder.find_write_time("job.yaml")
    job = yaml.safe_load(folder.read_bytes("job.yaml"))
    return Experiment(name, Run(folder), job, changed, verdict)


def collect_figures(experiment: Experiment) -> dict[str, str]:
    """Return what came out of an experiment: name -> figure, in words; without what it has not reached."""
    figures: dict[str, str] = {}
    run = experiment.run
    if dataset := DatasetRecord.find(run.dataset):
        figures["images"] = ", ".join(
            f"{sum(n.values())} {part}" for part, n in dataset.counts.items() if any(n.values())
        )
        figures["classes"] = str(len(dataset.classes))
    if gan := GanRecord.find(run.gan):
        figures["GAN's steps"] = str(gan.steps)
        if gan.chosen.value is not None:
            key = gan.chosen.chosen_by or ""
            name = gan_figures.parse_name(key)
            figures[f"GAN's {name.describe() if name else key}"] = f"{gan.chosen.value:.4f}"
        figures["GAN's memorisation"] = gan.memorization.verdict
    if verdict := experiment.verdict:
        figures["verdict"] = experiment.state
        for judged in verdict.generators:
            figures[f"{judged.name}: verdict"] = judged.colour
        figures["splits × seeds"] = f"{verdict.splits} × {verdict.seeds}"
        for arm, its in verdict.arms.items():
            for metric, value in its.mean.items():
                figures[f"{arm}: {get_metric(metric).name}"] = get_metric(metric).format_with_unit(value)
    if champion := experiment.describe_champion():
        figures["champion"] = champion
    return figures


def compare_experiments(first: Experiment, second: Experiment) -> dict[str, dict[str, tuple[str, str]]]:
    """Return the settings and the figures in which two experiments differ, each with both values; absent: empty."""
    settings = {}
    for key, values in find_differences(first.job, second.job).items():
        before, after = (_format_setting(value) for value in values)
        settings[key] = (before, after)
    ours, theirs = collect_figures(first), collect_figures(second)
    figures = {}
    for name in ours | theirs:
        if ours.get(name) != theirs.get(name):
            figures[name] = (ours.get(name, ""), theirs.get(name, ""))
    return {"settings": settings, "figures": figures}


def _format_setting(value: Any) -> str:
    if value is None:
        return ""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()
