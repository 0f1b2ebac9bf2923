"""The commands that take a trained model."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ganaug_ray.cli.completion import complete_run_folder
from ganaug_ray.cli.options import Cpu, Model, Verbose
from ganaug_ray.errors import Interrupted, UserError


def predict(
    model: Model,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGES...", help="Files, folders, archives and tables of images.")
    ],
    out: Annotated[
        str, typer.Option("--out", metavar="FILE", help="File for the answers: .parquet, .csv, .jsonl or .json.")
    ] = "predictions.parquet",
    verbose: Verbose = False,
    cpu: Cpu = False,
) -> None:
    """Classify images with a trained model; write one row for each image to a Parquet, CSV, JSON or JSONL file."""
    from ganaug_ray.cli.predict import write_predictions

    try:
        write_predictions(model, images, out, verbose, cpu)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; nothing was written") from None


def rollback(
    where: Annotated[
        str,
        typer.Argument(metavar="DIR", help="An experiment or a registry.", autocompletion=complete_run_folder),
    ],
    to: Annotated[
        int | None, typer.Option("--to", metavar="N", help="Version to go back to. Default: the previous champion.")
    ] = None,
) -> None:
    """Make the previous champion the champion again; servers switch to it."""
    from ganaug_ray.addresses import resolve_source
    from ganaug_ray.core import model_registry
    from ganaug_ray.core.console import Terminal
    from ganaug_ray.core.storage import Folder

    registry = model_registry.find_registry(Folder.from_uri(resolve_source(where)))
    if registry is None:
        raise UserError(f"{where}: no experiment with a promoted model, and no registry")
    record = model_registry.roll_back(registry, to)
    change = record["changes"][-1]
    Terminal().print_stage_line(
        "rollback", "done", f"version {change['version']} is champion instead of {change['instead_of']}"
    )


def serve(
    model: Annotated[
        str,
        typer.Argument(
            metavar="DIR",
            help="An experiment, a registry or a model folder.",
            autocompletion=complete_run_folder,
        ),
    ],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on. Any but this machine's own needs an API key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 8000,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the model in the API. Default: the folder's.")
    ] = None,
    key_file: Annotated[
        str | None, typer.Option("--key-file", help="File of API keys, one a line, besides those of $GANAUG_API_KEY.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=VALUE",
            help="Set a limit: bytes, pixels, images, seconds, waiting, memory, stored, stored_bytes; may be repeated.",
        ),
    ] = None,
    replicas: Annotated[
        str,
        typer.Option(
            "--replicas",
            metavar="N|MIN:MAX",
            help="Number of replicas, or its range. Default: from one to as many as fit on the CPUs or GPUs.",
        ),
    ] = "",
    cpus: Annotated[int, typer.Option("--cpus", min=1, help="Threads of each replica.")] = 1,
    gpus: Annotated[
        float | None,
        typer.Option(
            "--gpus",
            min=0,
            help="GPUs of each replica: 0.5 puts two replicas on one, 0 uses none. Default: 1 if there are GPUs.",
        ),
    ] = None,
    tls_cert: Annotated[str | None, typer.Option("--tls-cert", metavar="PEM", help="Certificate for HTTPS.")] = None,
    tls_key: Annotated[str | None, typer.Option("--tls-key", metavar="PEM", help="Its private key.")] = None,
    shadow: Annotated[
        str | None,
        typer.Option(
            "--shadow",
            metavar="MODEL[:SHARE]",
            help="A candidate that also answers a share of the requests; clients do not see its answers.",
        ),
    ] = None,
    canary: Annotated[
        str | None,
        typer.Option(
            "--canary",
            metavar="MODEL:SHARE",
            help="A candidate that answers a share of the requests in place of the champion.",
        ),
    ] = None,
    feedback: Annotated[
        str | None,
        typer.Option("--feedback", metavar="DIR", help="Folder to store images in that clients send with a label."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="serve.yaml", help="Write this file for Ray's `serve deploy`, and stop."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Serve the champion over HTTP, with a web page and an API; a newly promoted model takes over."""
    from ganaug_ray.cli.file_formats import check_suffix
    from ganaug_ray.serve import launch
    from ganaug_ray.serve.serve_config import ListenAddress

    if config is not None and not _is_stream(config):
        check_suffix("--config", config, [".yaml", ".yml"])
    where = ListenAddress(host, port, tls_cert, tls_key)
    try:
        launch.serve_model(
            model,
            where,
            name=name,
            key_file=key_file,
            limits=limit,
            replicas=replicas,
            cpus=cpus,
            gpus=gpus,
            config=config,
            shadow=shadow,
            canary=canary,
            feedback=feedback,
            verbose=verbose,
        )
    except KeyboardInterrupt:
        raise Interrupted("stopped") from None


def _is_stream(address: str) -> bool:
    """Whether a file's address is that of a pipe or a device, such as /dev/stdout, whose name says no format."""
    from ganaug_ray.addresses import resolve_source
    from ganaug_ray.core.storage import split_address

    folder, name = split_address(resolve_source(address))
    return folder.is_stream(name)


def export(
    model: Model,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE.onnx", help="Default: model.onnx beside the weights.")
    ] = None,
) -> None:
    """Write a trained classifier as an ONNX file, checked to give the same outputs."""
    from ganaug_ray.addresses import resolve_source
    from ganaug_ray.cli.file_formats import check_suffix
    from ganaug_ray.core import model_registry
    from ganaug_ray.core.console import Terminal

    if out is not None:
        check_suffix("--out", out, [".onnx"])
    started = time.monotonic()
    folder = model_registry.resolve_model(resolve_source(model))
    path = str(folder / "model.onnx") if out is None else resolve_source(out)
    terminal = Terminal()
    with terminal.show_progress("export", lambda: (0.0, "writing the network, and checking its answers")):
        from ganaug_ray.classify.onnx_export import export_onnx

        difference = export_onnx(folder, path)
    text = f"{path}; its logits are the model's to within {difference:.1g}"
    terminal.print_stage_line("export", "done", text, time.monotonic() - started)


def share(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="The folder of an experiment with a finished GAN.",
            autocompletion=complete_run_folder,
        ),
    ],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="A new folder for the pack.")],
    classifier: Annotated[
        bool, typer.Option("--classifier", help="Share the promoted classifier too, for a site with the same classes.")
    ] = False,
) -> None:
    """Write an experiment's generator as a pack, which another site can use without seeing your images."""
    from ganaug_ray.addresses import resolve_source
    from ganaug_ray.core.console import Terminal
    from ganaug_ray.core.experiment_dir import Run
    from ganaug_ray.core.storage import Folder

    started = time.monotonic()
    experiment = Run(Folder.from_uri(resolve_source(run)))
    terminal = Terminal()
    with terminal.show_progress("share", lambda: (0.0, "hashing the images that the generator has seen")):
        from ganaug_ray.augment import generator_pack

        pack = generator_pack.write_pack(
            experiment, Folder.from_uri(resolve_source(out)), experiment.read_about(), classifier
        )
    if pack.memorization.verdict != "does not copy":
        terminal.print_stage_line("share", "note", f"copying test: {pack.memorization.verdict}")
    text = (
        f"{out}: a generator of {len(pack.classes)} classes, and hashes of the {pack.seen.images} images that it has "
        f"seen; {generator_pack.CARD_FILE} there says what it reveals"
    )
    terminal.print_stage_line("share", "done", text, time.monotonic() - started)


COMMANDS = {"predict": predict, "rollback": rollback, "serve": serve, "export": export, "share": share}
