"""The commands that look at experiments: what there is, what came out, in what two differ."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ganaug_ray.cli.completion import complete_run
from ganaug_ray.errors import UserError

if TYPE_CHECKING:
    from ganaug_ray.core.experiment_dir import Run
    from ganaug_ray.core.storage import Folder
    from ganaug_ray.pipeline.experiments import Experiment

RunName = Annotated[
    str,
    typer.Argument(metavar="RUN", help="An experiment's folder, or its name in runs/.", autocompletion=complete_run),
]
LABEL_WIDTH = 11


def list_runs(
    folder: Annotated[
        str | None, typer.Argument(metavar="DIR", help="Default: runs/, or $GANAUG_HOME.", show_default=False)
    ] = None,
) -> None:
    """List the experiments in a folder: name, date, verdict, figures, champion."""
    from ganaug_ray.core.console import Terminal
    from ganaug_ray.core.storage import Folder
    from ganaug_ray.pipeline.experiments import find_experiments

    home = Folder.from_uri(folder) if folder else open_home()
    rows: list[tuple[datetime, tuple[str, ...]]] = []
    shown = Terminal().show_progress("ls", lambda: (0.0, f"{len(rows)} experiments found in {home}"))
    with shown if sys.stdout.isatty() else nullcontext():  # a file or a pipe gets the table alone
        for experiment in find_experiments(home):
            when, figures = f"{experiment.changed:%Y-%m-%d %H:%M}", experiment.describe_figures()
            row = (experiment.name, when, experiment.state, figures, experiment.describe_champion())
            rows.append((experiment.changed, row))
    if not rows:
        print(f"{home}: there is no experiment in it")
        return
    newest_first = sorted(rows, key=lambda dated: dated[0], reverse=True)
    print(_align([("NAME", "WHEN", "VERDICT", "FIGURES", "CHAMPION"), *(row for _, row in newest_first)]))


def show(
    run: RunName,
    open_: Annotated[
        bool, typer.Option("--open", help="Open the report in the browser; while trainings run, their curves.")
    ] = False,
) -> None:
    """Print the answer of an experiment, and where its page, its figures and its model are."""
    from ganaug_ray.core.console import Terminal
    from ganaug_ray.core.records import DatasetRecord
    from ganaug_ray.pipeline.experiments import PAGE, collect_figures, open_found_experiment
    from ganaug_ray.tracking import follow, live_page

    experiment = open_found_experiment(run, open_home())
    root = experiment.run.root
    lines = [("run", f"{root.name}, {experiment.changed:%Y-%m-%d %H:%M}")]
    if about := experiment.job.get("about"):
        lines.append(("about", about))
    if dataset := DatasetRecord.find(experiment.run.dataset):
        figures = collect_figures(experiment)
        lines.append(("images", f"{figures['images']}; {len(dataset.classes)} classes"))
    lines += _describe_answer(experiment)
    if champion := experiment.describe_champion(experiment.verdict.name_arm if experiment.verdict else str):
        lines.append(("champion", champion))
    files = {"page": PAGE, "curves": live_page.FILE}
    files |= {"verdict": "verdict.json", "settings": "job.yaml", "log": "log.txt"}
    for label, name in files.items():
        if root.has_file(name):
            lines.append((label, str(root / name)))
    if follow.TENSORBOARD_FOLDER in root.list_folders():
        lines.append(("tensorboard", follow.format_command(root)))
    text = "\n".join(f"{label:<{LABEL_WIDTH}} {text}" for label, text in lines)
    Terminal().print_labelled_lines(text, LABEL_WIDTH + 1)
    if open_:
        _open_page(experiment.run)


def _describe_answer(experiment: Experiment) -> list[tuple[str, str]]:
    """Return the answer with its figures and generators, or how far the experiment is; label and text each."""
    verdict = experiment.verdict
    if verdict is None:
        return [("state", f"{experiment.state}; `{experiment.run.format_command('run')}` continues it")]
    lines = [("answer", f"{verdict.sentence} {verdict.action}".rstrip()), ("figures", experiment.describe_figures())]
    lines += [("generator", f"{judged.colour}: {judged.sentence}") for judged in verdict.generators]
    if verdict.left_out:
        lines.append(("left out", "; ".join(map(verdict.name_arm, verdict.left_out))))
    return lines


def diff(first: RunName, second: RunName) -> None:
    """Show in which settings and figures two experiments differ."""
    from ganaug_ray.pipeline.experiments import compare_experiments, open_found_experiment

    home = open_home()
    experiments = [open_found_experiment(name, home) for name in (first, second)]
    differences = compare_experiments(*experiments)
    if not any(differences.values()):
        print("no difference")
        return
    for kind, changed in differences.items():
        rows = [(kind.upper(), first, second)]
        rows += [(key, before or "–", after or "–") for key, (before, after) in changed.items()]
        if changed:
            print(_align(rows) + "\n")


def open_home() -> Folder:
    """Return the folder that experiments are in without --out."""
    from ganaug_ray.core.storage import Folder

    return Folder.from_uri(os.environ.get("GANAUG_HOME") or "runs")


def _open_page(run: Run) -> None:
    from ganaug_ray.pipeline.experiments import PAGE
    from ganaug_ray.tracking import live_page

    root = run.root
    page = PAGE if root.has_file(PAGE) else live_page.FILE  # while it runs
    if not root.has_file(page):
        raise UserError(f"{root}: has no page yet; `{run.format_command('run')}` continues the run")
    if root.local_path is None:
        raise UserError(f"--open: {root / page} is not on this machine")
    webbrowser.open((root.local_path.absolute() / page).as_uri())


def _align(rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table whose columns are as wide as what is in them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


COMMANDS = {"ls": list_runs, "show": show, "diff": diff}
