"""The command line. Nothing heavy is imported before a command runs."""

import sys
from typing import Annotated

import typer

from ganaug_ray.addresses import refuse_undecodable
from ganaug_ray.cli.command_group import CommandGroup
from ganaug_ray.core import interrupts
from ganaug_ray.errors import Interrupted, StageFailed, UserError
from ganaug_ray.version import __version__

TYPER_INTERRUPTED = 130  # its exit code after a KeyboardInterrupt that no command has caught

app = typer.Typer(
    cls=CommandGroup,
    help="Find out whether GAN images make your image classifier better, with evidence, on Ray.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"ganaug {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and exit: 0 done, 1 a stage failed, 2 the input or the disk, 130 and 143 interrupted."""
    from ganaug_ray.core import standard_streams
    from ganaug_ray.core.worker_log import replace_unencodable

    standard_streams.open_closed_streams()
    replace_unencodable()
    interrupts.raise_interrupts()
    try:
        try:
            for argument in sys.argv[1:]:
                refuse_undecodable(argument)
            app()
        finally:
            standard_streams.flush_output()
    except (Interrupted, KeyboardInterrupt) as error:
        interrupts.exit_interrupted(str(error) or "interrupted")
    except SystemExit as end:
        if end.code == TYPER_INTERRUPTED:
            interrupts.exit_interrupted("interrupted")
        raise
    except Exception as error:
        if interrupts.is_interrupted():
            interrupts.exit_interrupted("interrupted")
        from ganaug_ray.core.full_disk import find_disk_full

        explained = error if isinstance(error, (UserError, StageFailed)) else find_disk_full(error)
        if explained is None:
            raise
        print(explained, file=sys.stderr)
        sys.exit(explained.exit_code)
