"""The command line. Nothing heavy is imported before a command runs."""

import atexit
import signal
import sys
from typing import Annotated

import typer

from ganaug_ray.cli import experiments, models, submit
from ganaug_ray.core.full_disk import find_disk_full
from ganaug_ray.core.worker_log import replace_unencodable
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.version import __version__

INTERRUPTED = 130  # exit codes: 128 and the number of the signal
TERMINATED = 143
_was_terminated = False

app = typer.Typer(
    help="Find out whether GAN images make your image classifier better, with evidence, on Ray.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"ganaug {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    pass


for _name, (_text, _) in experiments.VERBS.items():
    app.command(_name, help=_text)(experiments.build_command(_name))
for _verb in (
    experiments.evaluate,
    experiments.search,
    models.predict,
    models.rollback,
    models.serve,
    models.export,
    submit.submit,
    submit.jobs,
    submit.stop,
):
    app.command()(_verb)


def main() -> None:
    """Run the command line and exit: 0 done, 1 a stage failed, 2 the input or the disk, 130 and 143 interrupted."""
    replace_unencodable()
    signal.signal(signal.SIGTERM, _interrupt)  # ends like Ctrl-C: what is done is kept
    try:
        app()
    except (UserError, StageFailed) as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            # A second Ctrl-C, or Python's own end after an interrupt within exec, would end this without an exit code.
            atexit.register(signal.pthread_sigmask, signal.SIG_BLOCK, [signal.SIGINT])
        if end.code == INTERRUPTED and _was_terminated:
            sys.exit(TERMINATED)
        raise
    except Exception as error:
        full = find_disk_full(error)
        if full is None:
            raise
        print(full, file=sys.stderr)
        sys.exit(full.exit_code)


def _interrupt(number: int, frame: object) -> None:
    global _was_terminated
    _was_terminated = True
    raise KeyboardInterrupt
