"""The commands about job files: their schema, what a setting means, and the examples that come with the package."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ganaug_ray.cli.completion import complete_example, complete_setting
from ganaug_ray.errors import UserError

examples = typer.Typer(
    help="List the jobs and search spaces that come with ganaug, or copy one.",
    rich_markup_mode=None,
    add_completion=False,
)

OutFile = Annotated[
    Path | None, typer.Option("--out", metavar="FILE.yaml", help="Default: the example's name, in this folder.")
]


def schema(
    kind: Annotated[
        str, typer.Argument(metavar="job|space", help="The schema of job files, or of search spaces.")
    ] = "job",
) -> None:
    """Print the JSON schema with which editors complete and explain job files or search spaces."""
    from ganaug_ray.config.schema import build_job_schema
    from ganaug_ray.search.space_schema import build_space_schema

    builders = {"job": build_job_schema, "space": build_space_schema}
    if kind not in builders:
        raise UserError(f"schema {kind}: expected one of {' and '.join(builders)}")
    print(json.dumps(builders[kind](), indent=1, ensure_ascii=False))


def explain(
    setting: Annotated[
        str,
        typer.Argument(
            metavar="SETTING",
            help="A setting, such as gan.filters, or a section. Default: all sections.",
            autocompletion=complete_setting,
        ),
    ] = "",
) -> None:
    """Explain a setting of a job: what it does, its type, range and default; or all settings of a section."""
    from ganaug_ray.config.settings import explain_setting

    print(explain_setting(setting))


@examples.callback(invoke_without_command=True)
def _list_examples(context: typer.Context) -> None:
    if context.invoked_subcommand is not None:
        return
    from ganaug_ray.config.examples import KINDS, list_examples, needs_data, read_about

    for path in list_examples():
        needed = " (images in $GANAUG_DATA)" if needs_data(path) else ""
        print(f"{path.stem:<16} {KINDS[path.parent.name]:<6} {read_about(path)}{needed}")


@examples.command("copy")
def _copy_example(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="As `ganaug examples` lists it.", autocompletion=complete_example)
    ],
    out: OutFile = None,
) -> None:
    """Copy an example job or search space into this folder, to run or change it."""
    from ganaug_ray.config.examples import KINDS, copy_example, find_example

    target = copy_example(name, out)
    is_job = KINDS[find_example(name).parent.name] == "job"
    command = f"run {target}" if is_job else f"search {find_example(name).stem} JOB.yaml --space {target}"
    print(f"{target}; next: `ganaug {command}`")


COMMANDS: dict[str, Callable[..., None] | typer.Typer] = {
    "schema": schema,
    "explain": explain,
    "examples": examples,
}
