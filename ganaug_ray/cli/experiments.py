"""The commands that take a job file: the stages, and other work on an experiment."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganaug_ray.cli.options import Cpu, DryRun, JobPath, Minutes, Out, Set, Settings, Verbose
from ganaug_ray.cli.run_job import run_action, write_job_file
from ganaug_ray.errors import Interrupted, UserError
from ganaug_ray.pipeline.run_job import RunOptions

if TYPE_CHECKING:
    from ganaug_ray.pipeline.pipeline import Pipeline

Count = Annotated[
    list[str] | None,
    typer.Option(
        "--count", metavar="CLASS=N", help="With a folder: number of images of a class; repeat the option for others."
    ),
]
Png = Annotated[str | None, typer.Option("--png", metavar="DIR", help="With a folder: write the PNG files here.")]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="With a folder: the same seed gives the same images. Default: 0.")
]

VERBS: dict[str, tuple[str, Callable[[Pipeline], None]]] = {
    "run": ("Run all stages, from raw images to a promoted model.", lambda p: p.run_all()),
    "prepare": ("Read, check, split and resize the images.", lambda p: p.prepare_data()),
    "train-gan": (
        "Train the GAN; first the teacher, the classifier that judges its images, if there is none.",
        lambda p: p.train_gan(),
    ),
    "generate": (
        "Make synthetic images with the trained GAN; given the folder of a finished GAN, PNG files to look at.",
        lambda p: p.generate_images(),
    ),
    "train": ("Train classifiers with and without synthetic images.", lambda p: p.train_classifiers()),
    "compare": ("Reach the verdict from the models' predictions.", lambda p: p.compare_arms()),
    "sizes": (
        "Repeat the comparison with each number of training images in compare.sizes.",
        lambda p: p.run_size_experiments(),
    ),
    "compare-models": (
        "Train and compare the networks of the job's models section.",
        lambda p: p.reach_model_comparison(),
    ),
    "report": ("Write report.html.", lambda p: p.build_report()),
    "promote": ("Make the best-supported model the champion.", lambda p: p.promote_champion()),
}


def build_command(name: str) -> Callable[..., None]:
    """Return the function of a command that does something with the pipeline of a job."""

    def command(
        job: JobPath,
        out: Out = None,
        set_: Set = None,
        dry_run: DryRun = False,
        settings: Settings = False,
        verbose: Verbose = False,
        cpu: Cpu = False,
    ) -> None:
        run_action(VERBS[name][1], RunOptions(str(job), out, tuple(set_ or ()), dry_run, settings, verbose, cpu))

    return command


def _generate(
    target: Annotated[
        str, typer.Argument(metavar="JOB.yaml|GAN_DIR", help="The job file, or the folder of an experiment or GAN.")
    ],
    out: Out = None,
    set_: Set = None,
    dry_run: DryRun = False,
    settings: Settings = False,
    verbose: Verbose = False,
    cpu: Cpu = False,
    count: Count = None,
    png: Png = None,
    seed: Seed = None,
) -> None:
    from ganaug_ray.addresses import expand_home

    flags = {"--dry-run": dry_run, "--settings": settings, "--verbose": verbose, "--cpu": cpu}
    of_job = {"--out": out, "--set": set_, **{flag: is_set or None for flag, is_set in flags.items()}}
    of_folder = {"--count": count, "--png": png, "--seed": seed}
    if "://" in target or expand_home(target).is_dir():
        _refuse_options(of_job, f"goes with a job file; {target} is a folder, and takes --count, --png and --seed")
        _export_images(target, count or [], png, seed or 0)
    else:
        _refuse_options(of_folder, f"goes with the folder of an experiment or of a finished GAN, which {target} is not")
        run_action(VERBS["generate"][1], RunOptions(target, out, tuple(set_ or ()), dry_run, settings, verbose, cpu))


def _run(
    job_or_images: Annotated[
        str,
        typer.Argument(
            metavar="JOB.yaml|IMAGES", help="A job file; or images: a folder, an archive, or another data.source."
        ),
    ],
    minutes: Minutes = None,
    out: Out = None,
    set_: Set = None,
    dry_run: DryRun = False,
    settings: Settings = False,
    verbose: Verbose = False,
    cpu: Cpu = False,
    until_clear: Annotated[
        bool,
        typer.Option(
            "--until-clear", help="Add seeds, then splits, until the verdict is helped, no worthwhile gain or hurt."
        ),
    ] = False,
    hours: Annotated[
        float | None, typer.Option("--hours", help="With --until-clear: add nothing that would end after these hours.")
    ] = None,
) -> None:
    for name, limit in (("--minutes", minutes), ("--hours", hours)):
        if limit is not None and not limit > 0:
            raise UserError(f"{name}: found {limit:g}, expected more than 0")
    options = RunOptions(
        job_or_images, out, tuple(set_ or ()), dry_run, settings, verbose, cpu, until_clear, minutes, takes_images=True
    )
    if until_clear:
        run_action(lambda p: p.run_until_clear(hours), options)
    else:
        _refuse_options({"--hours": hours}, "goes with --until-clear")
        run_action(VERBS["run"][1], options)


def init(
    images: Annotated[str, typer.Argument(metavar="IMAGES", help="A folder, an archive, or another data.source.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="JOB.yaml", help="Default: named after the images, in this folder.")
    ] = None,
    minutes: Minutes = None,
    set_: Set = None,
) -> None:
    """Write the job that `run IMAGES` would choose, as a YAML file with comments."""
    write_job_file(images, out, set_ or [], minutes)


def _promote(
    job: JobPath,
    out: Out = None,
    set_: Set = None,
    dry_run: DryRun = False,
    settings: Settings = False,
    verbose: Verbose = False,
    cpu: Cpu = False,
    force: Annotated[
        bool, typer.Option("--force", help="Promote it even if the champion does better on the test images.")
    ] = False,
) -> None:
    options = RunOptions(str(job), out, tuple(set_ or ()), dry_run, settings, verbose, cpu)
    run_action(lambda p: p.promote_champion(force), options)


def evaluate(
    job: JobPath,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="DIR", help="A model's folder. Default: the champion, else every model."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="SOURCE", help="Labelled images, as for data.source. Default: the test images."),
    ] = None,
    out: Out = None,
    set_: Set = None,
    dry_run: DryRun = False,
    settings: Settings = False,
    verbose: Verbose = False,
    cpu: Cpu = False,
) -> None:
    """Measure the champion, or another model, on test images or on another data set."""
    from ganaug_ray.addresses import resolve_source

    source = None if data is None else resolve_source(data)
    options = RunOptions(str(job), out, tuple(set_ or ()), dry_run, settings, verbose, cpu)
    run_action(lambda p: p.evaluate_models(model, source), options)


def search(
    kind: Annotated[str, typer.Argument(metavar="gan|mix|classifier", help="Whose settings to search.")],
    job: JobPath,
    space: Annotated[
        Path | None,
        typer.Option(
            "--space", metavar="SPACE.yaml", help="Settings to search, and their ranges. Default: an example."
        ),
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="NEW.yaml", help="New job file, with the best settings.")
    ] = None,
    out: Out = None,
    set_: Set = None,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    cpu: Cpu = False,
) -> None:
    """Search for good settings of the GAN, of the mix with synthetic images or of the classifier, by validation."""
    from ganaug_ray.classify.network_check import check_network
    from ganaug_ray.cli.file_formats import check_suffix
    from ganaug_ray.config.examples import find_example
    from ganaug_ray.config.loader import load_job
    from ganaug_ray.core.console import Terminal

    if write is not None:
        check_suffix("--write", str(write), [".yaml", ".yml"])
    with Terminal().show_progress("search", lambda: (0.0, "starting")):
        loaded = load_job(job, set_ or [], check_network)
        from ganaug_ray.search import driver  # it imports torch
        from ganaug_ray.search.dry_run import describe_search

        driver.check_kind(kind)
        # Before anything is written.
        checked_space = driver.check_space(kind, space or find_example(kind), loaded, write)
    options = RunOptions(str(job), out, tuple(set_ or ()), dry_run=dry_run, verbose=verbose, cpu_only=cpu)
    describe = functools.partial(describe_search, space=checked_space)
    best_job = None if write is None else driver.BestJobFile(write, job)
    run_action(lambda p: driver.run_search(p, checked_space, best_job), options, describe)


def _refuse_options(options: Mapping[str, object], why: str) -> None:
    """Raise UserError if any of the options was given."""
    for name, value in options.items():
        if value not in (None, []):
            raise UserError(f"{name}: {why}")


def _export_images(address: str, counts: list[str], png: str | None, seed: int) -> None:
    """Write images of a finished generator to a folder, without Ray."""
    from ganaug_ray.core.console import Terminal
    from ganaug_ray.core.progress import Progress
    from ganaug_ray.core.records import GanRecord
    from ganaug_ray.core.storage import Folder

    terminal = Terminal()
    with terminal.show_progress("generate", lambda: (0.0, "loading the generator")):
        from ganaug_ray.gan import png_export
        from ganaug_ray.gan.sampler import Generator

        folder = png_export.find_gan_folder(address)
        generator = Generator.load(folder)
    counts_by_class = png_export.parse_counts(counts, generator.classes)
    if png is None:
        raise UserError("--png: give the folder to write the images to")
    out = Folder.from_uri(png)
    started = time.monotonic()
    total = sum(counts_by_class.values())
    progress = Progress(words=f"0 of {total} images")
    written = 0

    def count(images: int) -> None:
        nonlocal written
        written = images
        progress.update(images / total, f"{images} of {total} images")

    memorization = GanRecord.read(folder).memorization
    if memorization.verdict == "copies":
        terminal.print_stage_line("generate", "note", f"this generator copies training images: {memorization.reason}")
    try:
        with terminal.show_progress("generate", progress.read):
            png_export.export_images(generator, counts_by_class, seed, out, count)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {written} of {total} images are in {out}") from None
    text = f"{total} PNG in {out}; the images are unscreened, as the generator draws them"
    terminal.print_stage_line("generate", "done", text, time.monotonic() - started)


COMMANDS: dict[str, Callable[..., None]] = {
    **{name: build_command(name) for name in VERBS},
    "run": _run,
    "generate": _generate,
    "promote": _promote,
    "init": init,
    "evaluate": evaluate,
    "search": search,
}
for _name, (_help, _) in VERBS.items():
    COMMANDS[_name].__doc__ = _help
