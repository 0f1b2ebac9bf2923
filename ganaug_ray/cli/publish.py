"""The command that publishes a champion."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from ganaug_ray.cli.runs import RunName, open_home
from ganaug_ray.errors import UserError

FOLDER = "published"


def publish(
    run: RunName,
    target: Annotated[
        str, typer.Argument(metavar="hf:OWNER/NAME|DIR", help="A repository of the Hugging Face Hub, or a folder.")
    ],
) -> None:
    """Write the champion with a model card into a folder, or push both to the Hugging Face Hub."""
    from ganaug_ray.addresses import resolve_source
    from ganaug_ray.core.console import Terminal
    from ganaug_ray.core.storage import Folder
    from ganaug_ray.pipeline.experiments import open_found_experiment

    started = time.monotonic()
    experiment = open_found_experiment(run, open_home()).run
    terminal = Terminal()
    with terminal.show_progress("publish", lambda: (0.0, "starting")):
        from ganaug_ray.report import publication  # it imports torch
    repo = target.removeprefix(publication.HUB_PREFIX) if target.startswith(publication.HUB_PREFIX) else None
    if repo is not None and not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo):
        raise UserError(f"{target}: expected hf:OWNER/NAME, or a folder")
    out = Folder.from_uri(resolve_source(target)) if repo is None else experiment.root / FOLDER
    if repo is not None and out.local_path is None:
        raise UserError(
            f"{run}: is not on this machine; publish it to a folder here, and "
            f"`{publication.format_upload(repo, 'FOLDER')}` pushes that"
        )
    name = repo.rpartition("/")[2] if repo else experiment.root.name
    files = publication.write_publication(experiment, out, name)
    terminal.print_stage_line("publish", "done", f"{out}: {', '.join(files)}", time.monotonic() - started)
    if repo is not None and out.local_path is not None:
        with terminal.show_progress("publish", lambda: (0.0, f"pushing to {repo}")):
            url = publication.push_publication(out.local_path, repo)
        terminal.print_stage_line("publish", "done", f"{url}: a private repository until you change that")


COMMANDS = {"publish": publish}
