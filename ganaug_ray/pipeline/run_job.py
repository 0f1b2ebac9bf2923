"""Opens the experiment of a job or of images, plans it, and does in it what a command or Python asks for."""

from __future__ import annotations

import functools
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganaug_ray.errors import UserError

if TYPE_CHECKING:
    from ganaug_ray.config import Job
    from ganaug_ray.core.console import Terminal
    from ganaug_ray.core.experiment_dir import Run
    from ganaug_ray.pipeline.pipeline import Pipeline
    from ganaug_ray.pipeline.source_job import OpenExperiment
    from ganaug_ray.pipeline.step_timer import StepTimer

READING = "reading the job"
LISTING = "finding the images"
PLANNING = "reading the images, and timing some steps of each training"

# Imported where it is needed: the mistakes of a job are told before anything else is loaded.


@dataclass(frozen=True)
class RunOptions:
    """What is asked for.

    Attributes:
        images_or_job: a job file, or its content; of `run` also images, or the folder of an experiment.
        out: folder of the experiment.
        overrides: key=value, of the job.
        dry_run: whether to say what would be done, and do nothing.
        settings: whether to print all settings, and do nothing.
        verbose: whether the output of libraries is shown.
        cpu_only: whether GPUs are left alone, also where there are some.
        until_clear: whether the verdict is looked at several times.
        minutes: for the whole run.
        takes_images: whether ``images_or_job`` may be images.
    """

    images_or_job: str | Mapping[str, Any]
    out: str | None = None
    overrides: tuple[str, ...] = ()
    dry_run: bool = False
    settings: bool = False
    verbose: bool = False
    cpu_only: bool = False
    until_clear: bool = False
    minutes: float | None = None
    takes_images: bool = False

    @property
    def is_described(self) -> bool:
        """Whether the job is only to be described."""
        return self.dry_run or self.settings

    def make_timer(self) -> StepTimer:
        """Make the timer of steps: what only describes a job keeps its times, and what runs it goes by these."""
        from ganaug_ray.pipeline.kept_times import KeptTimes
        from ganaug_ray.pipeline.step_timer import StepTimer

        return StepTimer(self.cpu_only, KeptTimes.open_user_cache(os.environ, self.is_described))


def read_given_job(options: RunOptions) -> Job | None:
    """Read the job that is given; None where images are given, or an experiment's folder.

    Raises:
        UserError: the job is wrong, or there is nothing of what is given.
    """
    from ganaug_ray.classify.network_check import check_network
    from ganaug_ray.config.loader import build_job, load_job

    overrides = list(options.overrides)
    if options.minutes is not None:
        overrides.append(f"compare.budget_minutes={options.minutes:g}")
    if not isinstance(options.images_or_job, str):
        return build_job(_copy_plainly(options.images_or_job), "job", Path.cwd(), overrides, check_network)
    if options.takes_images and _names_no_job(options.images_or_job):
        return None
    return load_job(Path(options.images_or_job), overrides, check_network)


def _copy_plainly(value: Any) -> Any:
    """Copy the content of a job, which is changed while it is read, as if it came out of a file."""
    if isinstance(value, Mapping):
        return {str(key): _copy_plainly(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copy_plainly(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _names_no_job(argument: str) -> bool:
    """Whether an argument names images or an experiment's folder. Raises UserError where there is nothing."""
    from ganaug_ray.addresses import expand_home

    path = expand_home(argument)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return False
    from ganaug_ray.pipeline import source_job

    if source_job.is_source(argument):
        return True
    if path.exists():
        return False
    what = "job file" if path.suffix in (".yaml", ".yml") else "job file, folder or archive"
    raise UserError(f"{argument}: there is no such {what}{_offer_example(path.stem)}")


def _offer_example(name: str) -> str:
    """Say how to get the example of a name, where there is one."""
    from ganaug_ray.config.examples import list_examples

    if not any(path.parent.name == "jobs" and path.stem == name for path in list_examples()):
        return ""
    return f"; `ganaug examples copy {name}` writes the example of that name"


def open_experiment(options: RunOptions, terminal: Terminal) -> OpenExperiment:
    """Read the job that is given, and return it with its plan, its folder, and the facts that the plan needed.

    Args:
        options: what is asked for.
        terminal: that shows how it is planned, from the beginning on: a job may name networks, which torch is loaded
            for, and sources that are listed for long or downloaded.

    Raises:
        UserError: the job, its source or its folder is wrong.
    """
    with terminal.show_progress("plan", lambda: (0.0, READING)):
        return _open_given(options, read_given_job(options), terminal)


def _open_given(options: RunOptions, job: Job | None, terminal: Terminal) -> OpenExperiment:
    """Open the experiment of a job, or of images or a folder where there is none."""
    from ganaug_ray.addresses import expand_home
    from ganaug_ray.classify.network_check import check_network
    from ganaug_ray.config.loader import load_job
    from ganaug_ray.core.experiment_dir import LOCK_FILE
    from ganaug_ray.pipeline import source_job

    if job is not None:
        return _plan_job(options, job, _name_job(options, job), options.out, terminal)
    argument = str(options.images_or_job)
    folder = expand_home(argument)
    if not ((folder / "job.yaml").is_file() and (folder / LOCK_FILE).is_file()):
        experiment = source_job.open_source_experiment(
            argument,
            options.out,
            os.environ,
            list(options.overrides),
            options.minutes,
            check_network,
            terminal,
            options.until_clear,
            options.make_timer(),
        )
        facts = None if options.is_described else experiment.facts  # a dry run says it among its lines
        if facts and (too_few := source_job.describe_too_few_minutes(experiment.job, facts)):
            terminal.print_stage_line("plan", "note", too_few)
        return experiment
    if options.minutes is not None:
        raise UserError(
            f"--minutes: {argument} already has its plan; leave out --minutes to go on, or start from the images with "
            "another --out"
        )
    path = folder / "job.yaml"
    out = argument if options.out is None else options.out
    return _plan_job(options, load_job(path, list(options.overrides), check_network), path, out, terminal)


def _name_job(options: RunOptions, job: Job) -> Path:
    """Return the job file that the experiment's folder is named after by default."""
    if isinstance(options.images_or_job, str):
        return Path(options.images_or_job)
    from ganaug_ray.pipeline import source_job

    return Path(f"{source_job.name_source(job.data.source[0])}.yaml")


def _plan_job(options: RunOptions, job: Job, path: Path, out: str | None, terminal: Terminal) -> OpenExperiment:
    """Open the folder of a job, and plan its comparison."""
    from ganaug_ray.core.experiment_dir import Run
    from ganaug_ray.core.output_dir import open_experiment
    from ganaug_ray.data.sources.listing import SourceListing
    from ganaug_ray.pipeline.comparison_plan import fit_plan_to_images, plan_comparison
    from ganaug_ray.pipeline.job_facts import JobFacts
    from ganaug_ray.pipeline.sequential_plan import allow_looks
    from ganaug_ray.pipeline.source_job import OpenExperiment
    from ganaug_ray.pipeline.split_plan import plan_given

    run = Run(open_experiment(path, out, os.environ))
    listing = SourceListing(job.data)
    with terminal.show_activity(LISTING):
        job = plan_given(job, run, listing)  # before any fact or plan: images that stay in their splits have one split
    if options.until_clear:
        job = allow_looks(job)  # before the plan: with several looks it sees less
    facts = JobFacts(job, timer=options.make_timer(), listing=listing)
    notify = functools.partial(terminal.print_stage_line, "plan", "note")
    with terminal.show_activity(PLANNING):
        job = plan_comparison(job, run, facts, (lambda text: None) if options.is_described else notify)
        if facts.is_surveyed or options.dry_run:  # else the images are read once, when the data set is prepared
            job = fit_plan_to_images(job, facts, notify)
    return OpenExperiment(job, run, facts)


def act_on_experiment(
    action: Callable[[Pipeline], None], experiment: OpenExperiment, options: RunOptions, terminal: Terminal
) -> None:
    """Do something with the pipeline of an experiment; its folder is locked in the meantime.

    What libraries print goes to the experiment's log. A Ray that was started for it ends with it.

    Raises:
        UserError: the folder is not the job's, or another process works in it; or what ``action`` raises.
    """
    with terminal.show_progress("plan", lambda: (1.0, "starting")):
        from ganaug_ray.pipeline.comparison_plan import lower_plan
        from ganaug_ray.pipeline.followed import follow_pipeline
        from ganaug_ray.pipeline.job_facts import JobFacts
        from ganaug_ray.pipeline.pipeline import Pipeline
        from ganaug_ray.pipeline.sequential_plan import resume_look
        from ganaug_ray.pipeline.stage import PlanTooLarge

    job = experiment.job
    run = experiment.run
    notify = functools.partial(terminal.print_stage_line, "plan", "note")
    with run.hold_lock():
        run.claim_folder(resume_look(job, run) if options.until_clear else job, notify)
        pipeline = Pipeline(job, run, terminal, options.cpu_only, _quote_arguments(options, run), experiment.facts)
        log_file = nullcontext() if options.verbose else run.open_log_file()
        with log_file as log, terminal.redirect_output(log):
            try:
                try:
                    with follow_pipeline(pipeline):
                        action(pipeline)
                except PlanTooLarge as error:
                    job = lower_plan(job, error.cause, experiment.facts or JobFacts(job), notify)
                    run.claim_folder(job)
                    pipeline = replace(pipeline, job=job)
                    with follow_pipeline(pipeline):  # anew: trackers are sent the settings that are run
                        action(pipeline)
            finally:
                if "ray" in sys.modules:
                    from ganaug_ray.runtime import cluster

                    with terminal.show_progress("end", lambda: (1.0, "leaving Ray")):
                        cluster.disconnect()


def _quote_arguments(options: RunOptions, run: Run) -> str:
    """Return the arguments with which any verb finds the same job and folder again, as a shell takes them."""
    if isinstance(options.images_or_job, str) and Path(options.images_or_job).suffix in (".yaml", ".yml"):
        arguments = [options.images_or_job]
        for override in options.overrides:
            arguments += ["--set", override]
        if options.minutes is not None:
            arguments += ["--set", f"compare.budget_minutes={options.minutes:g}"]
        if options.out is not None:
            arguments += ["--out", options.out]
    else:  # images, or an experiment's folder, which other verbs than run do not take
        arguments = [f"{run.root}/job.yaml", "--out", str(run.root)]
    if options.cpu_only:
        arguments.append("--cpu")
    return shlex.join(arguments)
