"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from ganaug_ray.cli.completion import complete_run_folder

JobPath = Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.")]
Out = Annotated[
    str | None,
    typer.Option("--out", help="Folder of the experiment. Default: runs/<job name>, or $GANAUG_HOME/<job name>."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a setting, such as gan.lr=1e-4; repeat the option for more."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done and how long each stage would take, then stop.")
]
Settings = Annotated[bool, typer.Option("--settings", help="Print every setting of the job, then stop.")]
Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        metavar="N",
        help="Plan the whole run to take these minutes on this machine; nothing is cut off. Default for images: 30.",
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show what Ray and torch print, and write no log file.")]
Cpu = Annotated[bool, typer.Option("--cpu", help="Compute on the CPU even if there are GPUs.")]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="An experiment, a registry, one of its versions, or a model folder.",
        autocompletion=complete_run_folder,
    ),
]
