"""Does what a command asks for in an experiment, or only describes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ganaug_ray.errors import Interrupted, UserError
from ganaug_ray.pipeline.run_job import PLANNING, READING, RunOptions, act_on_experiment, open_experiment

if TYPE_CHECKING:
    from ganaug_ray.config import Job
    from ganaug_ray.core.console import Terminal
    from ganaug_ray.core.experiment_dir import Run
    from ganaug_ray.pipeline.job_facts import JobFacts
    from ganaug_ray.pipeline.pipeline import Pipeline
    from ganaug_ray.pipeline.source_job import OpenExperiment


def run_action(
    action: Callable[[Pipeline], None], options: RunOptions, describe: Callable[[Job, Run, JobFacts], str] | None = None
) -> None:
    """Open the job, and do something with its pipeline, unless it is only to be described.

    Args:
        action: what to do.
        options: what is asked for.
        describe: says what it would do; absent: what `run` would do.

    Raises:
        UserError: the job, its source or its folder is wrong.
        Interrupted: Ctrl-C or SIGTERM.
    """
    from ganaug_ray.core.console import Terminal

    terminal = Terminal()
    experiment = open_experiment(options, terminal)
    if options.is_described:
        _describe(experiment, options, terminal, describe)
        return
    try:
        act_on_experiment(action, experiment, options, terminal)
    except KeyboardInterrupt:  # caught here, since typer would end the program without a word
        raise Interrupted("interrupted; the same command continues from here") from None


def _describe(
    experiment: OpenExperiment,
    options: RunOptions,
    terminal: Terminal,
    describe: Callable[[Job, Run, JobFacts], str] | None,
) -> None:
    """Print the settings of a job, or what would be done with it, or both."""
    job = experiment.job
    if options.settings:
        from ganaug_ray.config.loader import dump_job

        print(dump_job(job))
    if options.dry_run:
        with terminal.show_progress("plan", lambda: (0.0, PLANNING)):
            from ganaug_ray.pipeline.dry_run import LABEL_WIDTH, describe_job
            from ganaug_ray.pipeline.job_facts import JobFacts
            from ganaug_ray.pipeline.sequential_plan import resume_look

            experiment.run.check_folder(resume_look(job, experiment.run) if options.until_clear else job)
            facts = experiment.facts or JobFacts(job, timer=options.make_timer())
            text = (describe or describe_job)(job, experiment.run, facts)
        terminal.print_labelled_lines(text, LABEL_WIDTH + 1)


def write_job_file(source: str, out: Path | None, overrides: list[str], minutes: float | None) -> None:
    """Write the job that `run` would choose for a source as YAML with comments, or the one that it has chosen there.

    Raises:
        UserError: there is no such source, or the file is there already.
    """
    from ganaug_ray.config.examples import write_new_file
    from ganaug_ray.core.console import Terminal

    terminal = Terminal()
    with terminal.show_progress("plan", lambda: (0.0, READING)):
        path, text, line = _choose_job_text(source, out, overrides, minutes, terminal)
    write_new_file(path, text)
    terminal.print_stage_line("init", "done", f"{path}: {line}")


def _choose_job_text(
    source: str, out: Path | None, overrides: list[str], minutes: float | None, terminal: Terminal
) -> tuple[Path, str, str]:
    """Return the path and the text of the file that ``write_job_file`` writes, and a line on it."""
    from ganaug_ray.classify.network_check import check_network
    from ganaug_ray.config.job_text import format_job
    from ganaug_ray.core.wording import format_time
    from ganaug_ray.pipeline import source_job
    from ganaug_ray.pipeline.kept_times import KeptTimes
    from ganaug_ray.pipeline.step_timer import StepTimer

    if not source_job.is_source(source):
        raise UserError(f"{source}: there is no such folder, archive or table")
    path = out or Path(f"{source_job.name_source(source)}.yaml")
    if path.exists():
        raise UserError(f"{path}: already exists; give --out another name")
    explained = "`ganaug explain gan.filters` explains a setting. A setting that is not here has its default."
    begun = source_job.find_begun_job(source, minutes, os.environ, overrides, check_network)
    if begun is not None:
        remarks = [f"The job of the experiment in {begun.folder}: `ganaug run {path}` goes on with it.", explained]
        text = format_job(begun.job, {}, remarks, path.parent)
        return path, text, f"the job of the experiment in {begun.folder}"
    timer = StepTimer(kept=KeptTimes.open_user_cache(os.environ, is_dry_run=True))
    chosen = source_job.choose_source_job(source, overrides, minutes, check_network, terminal, timer=timer)
    if too_few := source_job.describe_too_few_minutes(chosen.job, chosen.facts):
        terminal.print_stage_line("plan", "note", too_few)
    duration = format_time(chosen.facts.estimate(chosen.job).total_s)
    remarks = [f"`ganaug run {path}` runs it: about {duration} on the machine that this was written on.", explained]
    text = format_job(chosen.job, chosen.reasons, remarks, path.parent)
    return path, text, f"about {duration}; `ganaug run {path}` runs it"
