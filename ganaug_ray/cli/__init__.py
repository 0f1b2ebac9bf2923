"""The command line. Nothing heavy is imported before a command runs."""

import sys
from typing import Annotated

import typer

from ganaug_ray.cli import experiments, job_files, models, publish, runs, submit
from ganaug_ray.core import interrupts
from ganaug_ray.core.full_disk import find_disk_full
from ganaug_ray.core.worker_log import replace_unencodable
from ganaug_ray.errors import Interrupted, StageFailed, UserError
from ganaug_ray.version import __version__

TYPER_INTERRUPTED = 130  # its exit code after a KeyboardInterrupt that no command has caught

app = typer.Typer(
    help="Find out whether GAN images make your image classifier better, with evidence, on Ray.",
    no_args_is_help=True,
    rich_markup_mode=None,
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
    experiments.init,
    experiments.evaluate,
    experiments.search,
    models.predict,
    models.rollback,
    models.serve,
    models.export,
    models.share,
    publish.publish,
    submit.submit,
    submit.jobs,
    submit.stop,
    runs.show,
    runs.diff,
    job_files.schema,
    job_files.explain,
):
    app.command()(_verb)
app.command("ls")(runs.list_runs)
app.add_typer(job_files.examples, name="examples")


def main() -> None:
    """Run the command line and exit: 0 done, 1 a stage failed, 2 the input or the disk, 130 and 143 interrupted."""
    replace_unencodable()
    interrupts.raise_interrupts()
    try:
        app()
    except (Interrupted, KeyboardInterrupt) as error:
        interrupts.exit_interrupted(str(error) or "interrupted")
    except SystemExit as end:
        if end.code == TYPER_INTERRUPTED:
            interrupts.exit_interrupted("interrupted")
        raise
    except Exception as error:
        if interrupts.is_interrupted():
            interrupts.exit_interrupted("interrupted")
        explained = error if isinstance(error, (UserError, StageFailed)) else find_disk_full(error)
        if explained is None:
            raise
        print(explained, file=sys.stderr)
        sys.exit(explained.exit_code)
