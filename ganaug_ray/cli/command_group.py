"""The commands of ``ganaug``, each imported and built when it is asked for.

Typer builds every command before it prints the help of any; here the help needs no more than this list.
"""

import importlib
from collections.abc import Iterator, MutableMapping
from typing import Any

import typer
from typer.core import TyperGroup

# Command: the module in ganaug_ray.cli whose COMMANDS has it, and its line in `ganaug --help`, which fits 80 columns.
OUTLINE = {
    "run": ("experiments", "Run all stages, from raw images to a promoted model."),
    "prepare": ("experiments", "Read, check, split and resize the images."),
    "train-gan": ("experiments", "Train the GAN; first the teacher, if there is none."),
    "generate": ("experiments", "Make synthetic images with the trained GAN."),
    "train": ("experiments", "Train classifiers with and without synthetic images."),
    "compare": ("experiments", "Reach the verdict from the models' predictions."),
    "sizes": ("experiments", "Repeat the comparison with other numbers of images."),
    "compare-models": ("experiments", "Train and compare several networks."),
    "report": ("experiments", "Write report.html."),
    "promote": ("experiments", "Make the best-supported model the champion."),
    "init": ("experiments", "Write the job that `run IMAGES` would choose."),
    "evaluate": ("experiments", "Measure a model on test images or on other images."),
    "search": ("experiments", "Search for good settings of GAN, mix or classifier."),
    "predict": ("models", "Classify images with a trained model."),
    "rollback": ("models", "Make the previous champion the champion again."),
    "serve": ("models", "Serve the champion: a web page and an HTTP API."),
    "export": ("models", "Write a trained classifier as an ONNX file."),
    "share": ("models", "Pack a generator, not its images, for another site."),
    "publish": ("publish", "Publish the champion with a model card."),
    "submit": ("submit", "Run a job on a Ray cluster."),
    "jobs": ("submit", "List the jobs of a cluster."),
    "stop": ("submit", "Stop a job of a cluster."),
    "show": ("runs", "Print the answer of an experiment."),
    "diff": ("runs", "Show in what two experiments differ."),
    "schema": ("job_files", "Print the JSON schema of jobs or search spaces."),
    "explain": ("job_files", "Explain a setting of a job."),
    "ls": ("runs", "List the experiments in a folder."),
    "examples": ("job_files", "List or copy the examples that come with ganaug."),
}


class BuiltCommands(MutableMapping[str, Any]):
    """The commands of OUTLINE by name, each built when it is first read."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            module, _ = OUTLINE[name]
            self._built[name] = _build_command(name, module)
        return self._built[name]

    def __contains__(self, name: object) -> bool:
        return name in self._built or name in OUTLINE

    def __iter__(self) -> Iterator[str]:
        return iter(OUTLINE | self._built)

    def __len__(self) -> int:
        return len(OUTLINE | self._built)

    def __setitem__(self, name: str, command: Any) -> None:
        self._built[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError("no command of ganaug is ever taken away")


def _build_command(name: str, module: str) -> Any:
    target = importlib.import_module(f"ganaug_ray.cli.{module}").COMMANDS[name]
    if not isinstance(target, typer.Typer):
        function = target
        target = typer.Typer(rich_markup_mode=None, add_completion=False)
        target.command(name)(function)
    command = typer.main.get_command(target)
    command.name = name
    return command


class CommandGroup(TyperGroup):
    """``ganaug`` itself."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = BuiltCommands()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the names and lines of the commands, and build none."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in OUTLINE.items()])
