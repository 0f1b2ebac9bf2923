"""The page with every command of ``ganaug``: its arguments and its options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from page_parts import build_table, escape_text

from ganaug_ray import cli

INTRODUCTION = """# Command line

`ganaug COMMAND --help` prints the same in the terminal. Exit codes: 0 done, 1 a stage failed, 2 the input is wrong or
the disk is full, 130 interrupted by Ctrl-C, 143 ended by SIGTERM.
"""


def build_page() -> str:
    """Return the page as Markdown."""
    parts = [INTRODUCTION]
    for name, command, context in _iterate_commands(typer.main.get_command(cli.app), "ganaug", None):
        parts.append(f"## {name.removeprefix('ganaug ')}\n\n{escape_text(command.help or '')}\n")
        parts.append(f"```text\n{' '.join([name, *command.collect_usage_pieces(context)])}\n```\n")
        rows = [_build_row(parameter, context) for parameter in command.params]
        if rows:
            parts.append(build_table(["", "What it does"], rows))
    return "\n".join(parts)


def _iterate_commands(command: Any, name: str, parent: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the full name of each command, the command and its context; groups before what is in them."""
    context = command.context_class(command, info_name=name, parent=parent)
    if parent is not None:
        yield name, command, context
    for inner_name, inner in getattr(command, "commands", {}).items():
        yield from _iterate_commands(inner, f"{name} {inner_name}", context)


def _build_row(parameter: Any, context: Any) -> tuple[str, str]:
    names, text = parameter.get_help_record(context)
    if parameter.param_type_name == "argument":
        names = parameter.metavar or names
    return f"`{names}`", escape_text(text)
