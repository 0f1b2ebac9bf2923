"""Opens the experiment that a command is about, plans it, and does in it what the command asks for."""

from __future__ import annotations

import functools
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ganaug_ray.errors import Interrupted, UserError

if TYPE_CHECKING:
    from ganaug_ray.config import Job
    from ganaug_ray.core.console import Terminal
    from ganaug_ray.core.experiment_dir import Run
    from ganaug_ray.pipeline.job_facts import JobFacts
    from ganaug_ray.pipeline.pipeline import Pipeline


@dataclass(frozen=True)
class RunOptions:
    """What a command was given.

    Attributes:
        what: a job file; of `run` also images, or the folder of an experiment.
        out: folder of the experiment.
        overrides: key=value, of the job.
        dry_run: whether to say what would be done, and do nothing.
        settings: whether to print all settings, and do nothing.
        verbose: whether the output of libraries is shown.
        cpu_only: whether GPUs are left alone, also where there are some.
        until_clear: whether the verdict is looked at several times.
        minutes: for the whole run.
        takes_images: whether ``what`` may be images.
    """

    what: str
    out: str | None = None
    overrides: tuple[str, ...] = ()
    dry_run: bool = False
    settings: bool = False
    verbose: bool = False
    cpu_only: bool = False
    until_clear: bool = False
    minutes: float | None = None
    takes_images: bool = False


def run_action(action: Callable[[Pipeline], None], options: RunOptions) -> None:
    """Open the job, and do something with its pipeline, unless it is only to be described.

    Raises:
        UserError: the job, its source or its folder is wrong.
        Interrupted: Ctrl-C or SIGTERM.
    """
    from ganaug_ray.core.console import Terminal
    from ganaug_ray.pipeline.pipeline import Pipeline
    from ganaug_ray.pipeline.sequential_plan import resume_look

    terminal = Terminal()
    notify = functools.partial(terminal.print_stage_line, "plan", "note")
    job, run, facts = _open_experiment(options, terminal)
    if options.settings or options.dry_run:
        _describe(job, run, facts, options)
        return
    try:
        with run.hold_lock():
            run.claim_folder(resume_look(job, run) if options.until_clear else job, notify)
            pipeline = Pipeline(job, run, terminal, options.cpu_only, _quote_arguments(options, run), facts)
            _act_on_run(action, pipeline, options.verbose)
    except KeyboardInterrupt:  # caught here, since typer would end the program without a word
        raise Interrupted("interrupted; the same command goes on from here") from None


def _open_experiment(options: RunOptions, terminal: Terminal) -> tuple[Job, Run, JobFacts | None]:
    """Return the job with its plan, its folder, and the facts that the plan needed."""
    from ganaug_ray.classify.network_check import check_network
    from ganaug_ray.config.addresses import expand_home
    from ganaug_ray.core.experiment_dir import LOCK_FILE
    from ganaug_ray.pipeline import source_job

    what = options.what
    overrides = list(options.overrides)
    folder = expand_home(what)
    if options.takes_images and (folder / "job.yaml").is_file() and (folder / LOCK_FILE).is_file():
        if options.minutes is not None:
            raise UserError(
                f"--minutes: {what} has its plan already; leave it out to go on, or start from the images with another "
                "--out"
            )
        out = what if options.out is None else options.out
        return _open_job(options, folder / "job.yaml", out, overrides, terminal)
    if options.takes_images and source_job.is_source(what):
        experiment = source_job.open_source_experiment(
            what,
            options.out,
            os.environ,
            overrides,
            options.minutes,
            check_network,
            terminal,
            options.until_clear,
            options.cpu_only,
        )
        return experiment.job, experiment.run, experiment.facts
    if options.takes_images and not folder.exists() and folder.suffix not in (".yaml", ".yml"):
        raise UserError(f"{what}: there is no such job file, folder or archive")
    if options.minutes is not None:
        overrides.append(f"compare.budget_minutes={options.minutes:g}")
    return _open_job(options, Path(what), options.out, overrides, terminal)


def _open_job(
    options: RunOptions, path: Path, out: str | None, overrides: list[str], terminal: Terminal
) -> tuple[Job, Run, JobFacts | None]:
    """Open a job file, and plan its comparison."""
    from ganaug_ray.classify.network_check import check_network
    from ganaug_ray.config.loader import load_job
    from ganaug_ray.core.experiment_dir import Run
    from ganaug_ray.core.output_dir import open_experiment
    from ganaug_ray.pipeline.comparison_plan import plan_comparison
    from ganaug_ray.pipeline.job_facts import JobFacts
    from ganaug_ray.pipeline.sequential_plan import allow_looks
    from ganaug_ray.pipeline.split_plan import plan_given

    job = load_job(path, overrides, check_network)
    run = Run(open_experiment(path, out, os.environ))
    job = plan_given(job, run)  # before any fact or plan: images that stay in their splits have one split
    if options.until_clear:
        job = allow_looks(job)  # before the plan: with several looks it sees less
    facts = JobFacts(job, cpu_only=options.cpu_only)
    is_described = options.dry_run or options.settings
    notify = functools.partial(terminal.print_stage_line, "plan", "note")
    with terminal.show_progress("plan", lambda: (0.0, "reading the images, and timing some steps of each training")):
        job = plan_comparison(job, run, facts, (lambda text: None) if is_described else notify)
    return job, run, facts


def _describe(job: Job, run: Run, facts: JobFacts | None, options: RunOptions) -> None:
    """Print the settings of a job, or what a run of it would do, or both."""
    if options.settings:
        from ganaug_ray.config.loader import dump_job

        print(dump_job(job))
    if options.dry_run:
        from ganaug_ray.pipeline.dry_run import describe_job
        from ganaug_ray.pipeline.job_facts import JobFacts

        print(describe_job(job, run, facts or JobFacts(job, cpu_only=options.cpu_only)))


def _quote_arguments(options: RunOptions, run: Run) -> str:
    """Return the arguments with which any verb finds the same job and folder again, as a shell takes them."""
    if Path(options.what).suffix in (".yaml", ".yml"):
        arguments = [options.what]
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


def _act_on_run(action: Callable[[Pipeline], None], pipeline: Pipeline, verbose: bool) -> None:
    from ganaug_ray.pipeline.followed import follow_pipeline

    log_file = nullcontext() if verbose else pipeline.run.open_log_file()
    with log_file as log, pipeline.terminal.redirect_output(log):
        try:
            with follow_pipeline(pipeline):
                action(pipeline)
        finally:
            if "ray" in sys.modules:
                from ganaug_ray.runtime import cluster

                cluster.disconnect()


def write_job_file(source: str, out: Path | None, overrides: list[str], minutes: float | None) -> None:
    """Write the job that `run` would choose for a source as YAML with comments.

    Raises:
        UserError: there is no such source, or the file is there already.
    """
    from ganaug_ray.classify.network_check import check_network
    from ganaug_ray.config.examples import write_new_file
    from ganaug_ray.config.job_text import format_job
    from ganaug_ray.core.console import Terminal
    from ganaug_ray.core.wording import format_time
    from ganaug_ray.pipeline import source_job

    if not source_job.is_source(source):
        raise UserError(f"{source}: there is no such folder, archive or table")
    path = out or Path(f"{source_job.name_source(source)}.yaml")
    if path.exists():
        raise UserError(f"{path}: is there already; give --out another name")
    terminal = Terminal()
    chosen = source_job.choose_source_job(source, overrides, minutes, check_network, terminal)
    duration = format_time(chosen.facts.estimate(chosen.job).total_s)
    remarks = [
        f"`ganaug run {path}` runs it: about {duration} on the machine that this was written on.",
        "`ganaug explain gan.filters` explains a setting. Whatever is not here has its default.",
    ]
    write_new_file(path, format_job(chosen.job, chosen.reasons, remarks, path.parent))
    terminal.print_stage_line("init", "done", f"{path}: about {duration}; `ganaug run {path}` runs it")
