"""Opens the experiment of a source without a job file: with the settings it was begun with, or with chosen ones."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ganaug_ray.addresses import expand_home, resolve_source
from ganaug_ray.config import Job
from ganaug_ray.config.classifier import CheckNetwork
from ganaug_ray.config.job_dump import dump_given_settings
from ganaug_ray.config.loader import build_job
from ganaug_ray.config.yaml_text import parse_yaml
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.output_dir import open_default_folder, open_experiment
from ganaug_ray.core.progress import Progress
from ganaug_ray.core.wording import exceeds_budget, format_count
from ganaug_ray.data.sources import json_lines
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline.comparison_plan import describe_plan, fit_plan_to_images
from ganaug_ray.pipeline.default_job import DEFAULT_MINUTES, DefaultJob, choose_default_job
from ganaug_ray.pipeline.job_facts import JobFacts
from ganaug_ray.pipeline.sequential_plan import allow_looks
from ganaug_ray.pipeline.split_plan import plan_given
from ganaug_ray.pipeline.step_timer import StepTimer

if TYPE_CHECKING:
    from ganaug_ray.pipeline.stage_times import RunTime

ARCHIVES_AND_TABLES = (".zip", ".tar", ".tar.gz", ".tgz", ".csv", ".tsv", *json_lines.SUFFIXES, ".parquet")


@dataclass(frozen=True)
class OpenExperiment:
    """An experiment that is asked for.

    Attributes:
        job: with its plan.
        run: its folder.
        facts: of the job; None where it goes on with settings that were chosen before.
    """

    job: Job
    run: Run
    facts: JobFacts | None


def is_source(argument: str) -> bool:
    """Whether an argument names images rather than a job file."""
    if re.match(r"\w[\w+.-]+:", argument):
        return True
    return argument.lower().endswith(ARCHIVES_AND_TABLES) or expand_home(argument).is_dir()


def name_source(source: str) -> str:
    """Return a name for an experiment on a source.

    >>> [name_source(source) for source in ("data/pets/", "pets.tar.gz", "sklearn:digits", "s3://bucket/cats?x=1")]
    ['pets', 'pets', 'digits', 'cats']
    """
    last = re.split(r"[/:\\]", re.sub(r"[?#].*", "", source).rstrip("/"))[-1]
    suffix = next((suffix for suffix in ARCHIVES_AND_TABLES if last.lower().endswith(suffix)), "")
    name = last.removesuffix(last[-len(suffix) :]) if suffix else last
    return name if name not in ("", ".", "..") else Path(source).absolute().resolve().name or "images"


def choose_source_job(
    source: str,
    overrides: list[str],
    minutes: float | None,
    check_network: CheckNetwork,
    terminal: Terminal,
    until_clear: bool = False,
    timer: StepTimer | None = None,
) -> DefaultJob:
    """Choose a job for a source, and say on the terminal what was chosen and why.

    Args:
        source: as ``data.source``, relative to the working directory.
        overrides: settings that the user gives.
        minutes: for the whole run; None: half an hour.
        check_network: as of ``load_job``.
        terminal: that shows it.
        until_clear: whether the verdict will be looked at several times.
        timer: of steps; absent: one that times them anew.

    Raises:
        UserError: there is no such source, or it cannot be prepared; or a setting is wrong.
    """
    minutes = DEFAULT_MINUTES if minutes is None else minutes
    content = {"about": "", "data": {"source": [resolve_source(source)]}}
    progress = Progress("finding the images")
    with terminal.show_progress("plan", progress.read):
        base = plan_given(build_job(content, source, Path.cwd(), overrides, check_network))
        if until_clear:
            base = allow_looks(base)
        progress.update(0.0, "reading the images")
        chosen = choose_default_job(base, minutes, lambda words: progress.update(0.0, words), timer)
        notify = functools.partial(terminal.print_stage_line, "plan", "note")
        job = fit_plan_to_images(chosen.job, chosen.facts, notify)
        time = chosen.facts.estimate(job)
    if not job.about:
        job = job.model_copy(update={"about": f"do synthetic images of {name_source(source)} help?"})
    for key, reason in chosen.reasons.items():
        terminal.print_stage_line("plan", "note", f"{key}: {reason}")
    if advice := _advise_metric(job, chosen.facts):
        notify(advice)
    reasons = dict(chosen.reasons)
    if job.compare.planned_seeds:
        reasons["compare.splits"] = f"{describe_plan(job)}; planned for {minutes:g} minutes"
    elif exceeds_budget(time.total_s, minutes):
        notify(_format_too_few(minutes, time))
    return DefaultJob(job, chosen.facts, reasons)


def describe_too_few_minutes(job: Job, facts: JobFacts) -> str | None:
    """Say that the planned job for a source takes longer than its budget; None where it fits, or is not planned."""
    minutes = job.compare.budget_minutes
    time = facts.estimate(job)
    return None if minutes is None or not exceeds_budget(time.total_s, minutes) else _format_too_few(minutes, time)


def _format_too_few(minutes: float, time: RunTime) -> str:
    return f"{minutes:g} minutes are too few: even the smallest run takes {time.describe()}"


def _advise_metric(job: Job, facts: JobFacts) -> str | None:
    """Say which metric lets rare classes count, where there are some and accuracy decides; else None."""
    from ganaug_ray.data.ingest.imbalance import list_rare_classes

    rare = list_rare_classes(facts.survey.count_images(), job.data)
    if not rare or job.compare.metric != "accuracy":
        return None
    classes = format_count(len(rare), "class", "classes")
    return f"{classes} with few images, such as {rare[0]}: --set compare.metric=macro_f1 lets every class count alike"


def open_source_experiment(
    source: str,
    out: str | None,
    environment: Mapping[str, str],
    overrides: list[str],
    minutes: float | None,
    check_network: CheckNetwork,
    terminal: Terminal,
    until_clear: bool = False,
    timer: StepTimer | None = None,
) -> OpenExperiment:
    """Open the experiment of a source: the one that its folder holds goes on, else its settings are chosen.

    Args:
        source: as of ``choose_source_job``, as are the others but the following.
        out: folder of the experiment; None: named after the source.
        environment: variables.
        overrides: likewise.
        minutes: likewise.
        check_network: likewise.
        terminal: likewise.
        until_clear: likewise.
        timer: likewise.

    Raises:
        UserError: as ``choose_source_job``; or the folder holds an experiment on other images, or for other minutes.
    """
    run = Run(open_experiment(Path(f"{name_source(source)}.yaml"), out, environment))
    if not run.root.has_file("job.yaml"):
        chosen = choose_source_job(source, overrides, minutes, check_network, terminal, until_clear, timer)
        return OpenExperiment(chosen.job, run, chosen.facts)
    name = str(run.root / "job.yaml")
    content = parse_yaml(run.root.read_bytes("job.yaml").decode(), name)
    job = build_job(content, name, Path.cwd(), overrides, check_network)
    _refuse_other_experiment(job, run, source, minutes)
    if until_clear:
        job = allow_looks(job)
    terminal.print_stage_line("plan", "note", f"continues with the settings in {name}")
    return OpenExperiment(job, run, None)


@dataclass(frozen=True)
class BegunJob:
    """The job that an experiment was begun with, and the experiment's folder."""

    job: Job
    folder: str


def find_begun_job(
    source: str,
    minutes: float | None,
    environment: Mapping[str, str],
    overrides: list[str],
    check_network: CheckNetwork,
) -> BegunJob | None:
    """Find the job that an experiment on a source was begun with, in the folder that is named after it by default.

    Args:
        source: as of ``choose_source_job``, as are the others but the following.
        minutes: likewise.
        environment: variables.
        overrides: likewise.
        check_network: likewise.

    Returns:
        The job with those settings alone that differ from their defaults; None: there is no such experiment, or it was
        begun for other minutes.
    """
    root = open_default_folder(Path(f"{name_source(source)}.yaml"), environment.get("GANAUG_HOME"))
    if not root.has_file("job.yaml"):
        return None
    content = parse_yaml(root.read_bytes("job.yaml").decode(), str(root / "job.yaml"))
    job = build_job(content, str(root / "job.yaml"), Path.cwd(), overrides, check_network)
    if job.data.source != [resolve_source(source)] or minutes not in (None, job.compare.budget_minutes):
        return None
    given = dump_given_settings(job, exclude_defaults=True)
    given["compare"] = {"splits": job.compare.splits, "seeds": job.compare.seeds} | given.get("compare", {})
    return BegunJob(Job.model_validate(given), str(root))


def _refuse_other_experiment(job: Job, run: Run, source: str, minutes: float | None) -> None:
    remedy = "give --out another folder, or remove that one"
    if job.data.source != [resolve_source(source)]:
        raise UserError(f"{run.root}: holds an experiment on {', '.join(job.data.source)}; {remedy}")
    planned_for = job.compare.budget_minutes
    if None not in (minutes, planned_for) and minutes != planned_for:
        begun = f"was begun for {planned_for:g} minutes"
        raise UserError(f"--minutes {minutes:g}: {run.root} {begun}; leave out --minutes to go on, or {remedy}")
