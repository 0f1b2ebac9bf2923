"""The verbs. Nothing heavy is imported before one of them runs."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganaug_ray import submitting
from ganaug_ray.errors import StageFailed, UserError

if TYPE_CHECKING:
    from ganaug_ray.config import Job
    from ganaug_ray.pipeline import Pipeline
    from ganaug_ray.runs import Run

app = typer.Typer(
    help="Find out whether GAN images make your image classifier better, with evidence, on Ray.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

JobPath = Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.")]
Out = Annotated[
    str | None,
    typer.Option("--out", help="Folder of the experiment. Default: runs/<job name>, or in $GANAUG_HOME."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as gan.lr=1e-4."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved job and what it would do, then stop.")]
Count = Annotated[
    list[str] | None,
    typer.Option("--count", metavar="CLASS=N", help="Of a folder: how many images of a class; again for each class."),
]
Png = Annotated[str | None, typer.Option("--png", metavar="DIR", help="Of a folder: where the PNG files go.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Of a folder: another seed draws other images.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show what Ray and torch print; no log file.")]

VERBS: dict[str, tuple[str, Callable[[Pipeline], None]]] = {
    "run": ("All stages below, from raw images to a promoted model.", lambda p: p.all()),
    "prepare": ("Read, judge, split and resize the images.", lambda p: p.prepare()),
    "train-gan": (
        "Train the GAN; first the teacher, if there is none.",
        lambda p: p.train_gan(),
    ),
    "generate": (
        "Make synthetic images with the trained GAN; of a finished GAN's folder, PNG files to look at.",
        lambda p: p.generate(),
    ),
    "train": ("Train classifiers with and without synthetic images.", lambda p: p.train()),
    "compare": ("Reach the verdict from the models' predictions.", lambda p: p.compare()),
    "sizes": ("Compare at the job's other numbers of training images, too.", lambda p: p.sizes()),
    "compare-models": (
        "Train and compare the networks of the job's models section.",
        lambda p: p.models(),
    ),
    "report": ("Write report.html.", lambda p: p.report()),
    "promote": ("Make the best-supported model the champion.", lambda p: p.promote()),
}


def _add(name: str, text: str, action: Callable[[Pipeline], None]) -> None:
    if name == "generate":
        app.command(name, help=text)(_generate)
        return
    if name == "promote":
        app.command(name, help=text)(_promote)
        return

    @app.command(name, help=text)
    def verb(
        job: JobPath, out: Out = None, set_: Set = None, dry_run: DryRun = False, verbose: Verbose = False
    ) -> None:
        _execute(action, job, out, set_ or [], dry_run, verbose)


def _generate(
    what: Annotated[
        str, typer.Argument(metavar="JOB.yaml|GAN_DIR", help="The job file, or the folder of an experiment or GAN.")
    ],
    out: Out = None,
    set_: Set = None,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    count: Count = None,
    png: Png = None,
    seed: Seed = None,
) -> None:
    of_job = {"--out": out, "--set": set_, "--dry-run": dry_run or None, "--verbose": verbose or None}
    of_folder = {"--count": count, "--png": png, "--seed": seed}
    if "://" in what or Path(what).expanduser().is_dir():
        _refuse(of_job, f"goes with a job file; {what} is a folder, and takes --count, --png and --seed")
        _export(what, count or [], png, seed or 0)
    else:
        _refuse(of_folder, f"goes with the folder of an experiment or of a finished GAN; {what} is none")
        _execute(VERBS["generate"][1], Path(what), out, set_ or [], dry_run, verbose)


def _promote(
    job: JobPath,
    out: Out = None,
    set_: Set = None,
    dry_run: DryRun = False,
    verbose: Verbose = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even if the champion does better on the test images.")
    ] = False,
) -> None:
    _execute(lambda p: p.promote(force), job, out, set_ or [], dry_run, verbose)


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Raise UserError if any of the options was given."""
    for name, value in options.items():
        if value not in (None, []):
            raise UserError(f"{name}: {why}")


def _export(address: str, counts: list[str], png: str | None, seed: int) -> None:
    """Write images of a finished generator to a folder, without Ray."""
    from ganaug_ray.console import Terminal
    from ganaug_ray.gan import export
    from ganaug_ray.gan.sample import Generator
    from ganaug_ray.storage import Folder

    generator = Generator.load(export.find(address))
    wanted = export.wanted(counts, generator.classes)
    if png is None:
        raise UserError("--png: name the folder that the images are to go to")
    out, terminal, started = Folder.at(png), Terminal(), time.monotonic()
    total, written = sum(wanted.values()), [0]
    found = generator.spec["memorization"]
    if found["verdict"] == "copies":
        terminal.line("generate", "note", f"this generator copies training images: {found['reason']}")
    try:
        with terminal.watching("generate", lambda: (written[0] / total, f"{written[0]} of {total} images")):
            export.export(generator, wanted, seed, out, functools.partial(written.__setitem__, 0))
    except KeyboardInterrupt:
        print(f"interrupted; {written[0]} of {total} images are in {out}", file=sys.stderr)
        raise typer.Exit(130) from None
    text = f"{total} PNG in {out}; the images are unscreened, as the generator draws them"
    terminal.line("generate", "done", text, time.monotonic() - started)


for _name, (_text, _action) in VERBS.items():
    _add(_name, _text, _action)


@app.command("evaluate", help="Measure the champion, or another model, on test images or on another data set.")
def _evaluate(
    job: JobPath,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="DIR", help="A model's folder. Default: the champion, else every model."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="SOURCE", help="Labelled images, as data.source. Default: the test images."),
    ] = None,
    out: Out = None,
    set_: Set = None,
    dry_run: DryRun = False,
    verbose: Verbose = False,
) -> None:
    from ganaug_ray.jobfile import source_here

    source = None if data is None else source_here(data)
    _execute(lambda p: p.evaluate(model, source), job, out, set_ or [], dry_run, verbose)


@app.command("search", help="Look for settings of the GAN, of the mix or of the classifier, on validation images.")
def _search(
    kind: Annotated[str, typer.Argument(metavar="gan|mix|classifier", help="What is searched.")],
    job: JobPath,
    space: Annotated[Path, typer.Option("--space", metavar="SPACE.yaml", help="Keys of the job, and their ranges.")],
    write: Annotated[
        Path | None, typer.Option("--write", metavar="NEW.yaml", help="Write the job with the best settings here.")
    ] = None,
    out: Out = None,
    set_: Set = None,
    verbose: Verbose = False,
) -> None:
    from ganaug_ray import searching
    from ganaug_ray.jobfile import load_job

    found = searching.check(kind, space, load_job(job, set_ or []), write)  # before anything is written
    _execute(lambda p: searching.search(p, found, write), job, out, set_ or [], False, verbose)


@app.command("predict", help="Classify images with a trained model: one row an image in a Parquet file.")
def _predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An experiment, a registry version or a model folder.")],
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", help="Files, folders and archives of images.")],
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Where the answers go.")] = "predictions.parquet",
    verbose: Verbose = False,
) -> None:
    from ganaug_ray.predicting import predict

    try:
        predict(model, images, out, verbose)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        raise typer.Exit(130) from None


@app.command("rollback", help="Make the champion before this one the champion again; what serves it follows.")
def _rollback(
    where: Annotated[str, typer.Argument(metavar="DIR", help="An experiment or a registry.")],
    to: Annotated[int | None, typer.Option("--to", metavar="N", help="A version. Default: the one before.")] = None,
) -> None:
    from ganaug_ray import registry
    from ganaug_ray.console import Terminal
    from ganaug_ray.jobfile import source_here
    from ganaug_ray.storage import Folder

    place = registry.find_registry(Folder.at(source_here(where)))
    if place is None:
        raise UserError(f"{where}: no experiment with a promoted model, and no registry")
    record = registry.rollback(place, to)
    change = record["changes"][-1]
    Terminal().line("rollback", "done", f"version {change['version']} is champion instead of {change['instead_of']}")


@app.command("serve", help="Answer over HTTP with the champion: a web page, an API; a promoted model takes over.")
def _serve(
    model: Annotated[str, typer.Argument(metavar="DIR", help="An experiment, a registry or a model folder.")],
    host: Annotated[
        str, typer.Option("--host", help="Where to listen; others than this machine need a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8000,
    name: Annotated[str | None, typer.Option("--name", help="Of the model in the API. Default: the folder's.")] = None,
    key_file: Annotated[
        str | None, typer.Option("--key-file", help="API keys, one a line, beside those of $GANAUG_API_KEY.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="NAME=VALUE", help="bytes, pixels, images, seconds, waiting, memory, stored."),
    ] = None,
    replicas: Annotated[str, typer.Option("--replicas", metavar="N|MIN:MAX", help="Default: one to all CPUs.")] = "",
    tls_cert: Annotated[str | None, typer.Option("--tls-cert", metavar="PEM")] = None,
    tls_key: Annotated[str | None, typer.Option("--tls-key", metavar="PEM")] = None,
    shadow: Annotated[
        str | None,
        typer.Option(
            "--shadow", metavar="MODEL[:SHARE]", help="A candidate that answers a share too, and is not heard."
        ),
    ] = None,
    canary: Annotated[
        str | None, typer.Option("--canary", metavar="MODEL:SHARE", help="A candidate that answers a share.")
    ] = None,
    feedback: Annotated[
        str | None, typer.Option("--feedback", metavar="DIR", help="Store images there that come back with a label.")
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="serve.yaml", help="Write this for `serve deploy` and stop.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    from ganaug_ray import serving
    from ganaug_ray.serve.deploy import Listening

    where = Listening(host, port, tls_cert, tls_key)
    try:
        serving.serve(
            model,
            where,
            name=name,
            key_file=key_file,
            limits=limit,
            replicas=replicas,
            config=config,
            shadow=shadow,
            canary=canary,
            feedback=feedback,
            verbose=verbose,
        )
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise typer.Exit(130) from None


@app.command("export", help="Write a trained classifier as an ONNX file, checked to give the same outputs.")
def _export_onnx(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An experiment, a registry version or a model folder.")],
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE.onnx", help="Default: model.onnx beside the weights.")
    ] = None,
) -> None:
    from ganaug_ray import registry
    from ganaug_ray.classify.export import export
    from ganaug_ray.console import Terminal
    from ganaug_ray.jobfile import source_here

    started, folder = time.monotonic(), registry.model_folder(source_here(model))
    path = f"{folder}/model.onnx" if out is None else source_here(out)
    difference = export(folder, path)
    text = f"{path}; its logits are the model's to within {difference:.1g}"
    Terminal().line("export", "done", text, time.monotonic() - started)


for _verb in (submitting.submit, submitting.jobs, submitting.stop):
    app.command()(_verb)


def main() -> None:
    """Run the command line and exit: 0 done, 1 a stage failed, 2 the input is wrong, 130 interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: what is done is kept
    try:
        app()
    except (UserError, StageFailed) as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


def _execute(
    action: Callable[[Pipeline], None],
    path: Path,
    out: str | None,
    overrides: list[str],
    dry_run: bool,
    verbose: bool,
) -> None:
    from ganaug_ray.jobfile import load_job
    from ganaug_ray.outputs import experiment
    from ganaug_ray.runs import Run

    job = load_job(path, overrides)
    run = Run(experiment(path, out, os.environ))
    if dry_run:
        from ganaug_ray.dryrun import describe

        print(describe(job, run))
        return
    run.claim(job)
    try:
        with run.lock():
            _work(action, job, run, verbose)
    except KeyboardInterrupt:  # caught here, since typer would end the program without a word
        print("interrupted; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None


def _work(action: Callable[[Pipeline], None], job: Job, run: Run, verbose: bool) -> None:
    from ganaug_ray.console import Terminal
    from ganaug_ray.pipeline import Pipeline

    terminal = Terminal()
    with nullcontext() if verbose else run.log_file() as log, terminal.chatter_to(log):
        try:
            action(Pipeline(job, run, terminal))
        finally:
            if "ray" in sys.modules:
                from ganaug_ray import cluster

                cluster.disconnect()
