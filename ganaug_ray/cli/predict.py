"""``ganaug predict``: classifies images, writes the answers to a file, and prints one line."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from ganaug_ray.addresses import resolve_source
from ganaug_ray.cli import file_formats
from ganaug_ray.core import model_registry
from ganaug_ray.core.console import Terminal, create_log_file
from ganaug_ray.core.progress import Progress
from ganaug_ray.core.storage import Folder, split_address
from ganaug_ray.core.wording import describe_unwritable, format_count
from ganaug_ray.errors import StageFailed, UserError

if TYPE_CHECKING:  # it imports torch
    from ganaug_ray.classify.image_answers import PredictedImages

MAX_IMAGES_IN_PROCESS = 500  # more than that Ray is started for
MAX_CLASSES_NAMED = 5  # classes that the line counts
MAX_NOTES_NAMED = 3  # likewise, notes on images


def write_predictions(model: str, images: list[str], out: str, verbose: bool, cpu_only: bool = False) -> None:
    """Classify images, write the answers to a file, and print one line on the terminal.

    Few images are classified in this process, on its CPUs; Ray would take longer to start.

    Args:
        model: as in ``ganaug_ray.load``.
        images: files, folders, archives and tables of images.
        out: the file; its suffix decides the format, see ``file_formats``.
        verbose: show what Ray prints.
        cpu_only: leave GPUs alone, also where there are some.

    Raises:
        UserError: there is no such model or image, or the file cannot be written or has
            another suffix.
        StageFailed: Ray gave up; the message names its log, if there is one.
    """
    terminal = Terminal()
    started = time.monotonic()
    progress = Progress(words="starting")
    log = None if verbose else create_log_file("predict")
    with terminal.redirect_output(log):
        try:
            with terminal.show_progress("predict", progress.read):
                addresses = [resolve_source(image) for image in images]
                target, name, suffix = _open_output(out, addresses)
                folder = model_registry.resolve_model(resolve_source(model))
                predicted = _predict_images(folder, addresses, progress, cpu_only)
                _write_file(out, target, name, file_formats.encode_table(predicted.table, suffix))
        except StageFailed as error:
            raise StageFailed(f"{error}; see {log}" if log else str(error)) from None
        except UserError:
            if log is not None:
                log.unlink()
            raise
        text = f"{summarize_predictions(predicted.table, predicted.passed_over, predicted.count_notes())} -> {out}"
        terminal.print_stage_line("predict", "done", text, time.monotonic() - started)
        for remark in predicted.remarks:
            terminal.print_stage_line("predict", "note", remark)
    if log is not None:
        log.unlink()


def _predict_images(model: Folder, addresses: list[str], progress: Progress, cpu_only: bool) -> PredictedImages:
    """Classify images in this process where they are few, else with Ray."""
    from ganaug_ray.classify import image_files

    parts = image_files.list_parts(addresses)
    if not image_files.has_more_images(parts, MAX_IMAGES_IN_PROCESS):
        from ganaug_ray.classify.image_answers import predict_in_process

        return predict_in_process(model, parts, progress.update)
    progress.update(0.0, "starting Ray")
    from ganaug_ray.classify import batch_inference
    from ganaug_ray.runtime import cluster

    try:
        hardware = cluster.connect(cpu_only=cpu_only)
        return batch_inference.predict_images(model, parts, hardware, progress.update)
    finally:
        cluster.disconnect()


def summarize_predictions(table: pa.Table, passed_over: int = 0, notes: Mapping[str, int] | None = None) -> str:
    """Summarise a table of answers, the number of files that are no images, and notes on images, in one line.

    >>> summarize_predictions(pa.table({"label": ["cat", "dog", "cat", None], "error": [None, None, None, "empty"]}))
    '4 images: 2 × cat, 1 × dog; 1 could not be read (see error)'
    """
    labels = Counter(table["label"].drop_null().to_pylist())
    named = labels.most_common(MAX_CLASSES_NAMED)
    parts = [f"{n} × {name}" for name, n in named] or ["no answer"]
    unnamed = labels.total() - sum(n for _, n in named)
    if unnamed:
        parts.append(f"{unnamed} of other classes")
    summary = f"{format_count(len(table), 'image')}: {', '.join(parts)}"
    unreadable = table["label"].null_count
    if unreadable:
        summary += f"; {unreadable} could not be read (see error)"
    if passed_over:
        summary += f"; {format_count(passed_over, 'other file')} skipped"
    if notes:
        named_notes = [f"{n} × {note}" for note, n in list(notes.items())[:MAX_NOTES_NAMED]]
        more = " and others" if len(notes) > MAX_NOTES_NAMED else ""
        summary += f"; notes: {', '.join(named_notes)}{more} (see note)"
    return summary


def _open_output(out: str, images: Sequence[str] = ()) -> tuple[Folder, str, str]:
    """Create the folder of the file; return it, the file's name and its suffix.

    Raises:
        UserError: it cannot be written, has another suffix, or is a table of the images that are read.
    """
    address = resolve_source(out)
    target, name = split_address(address)
    if target.local_path is not None and (target.local_path / name).is_dir():
        raise UserError(f"--out {out}: is a folder; name a file, such as {out.rstrip('/')}/predictions.parquet")
    suffix = file_formats.check_suffix("--out", name if "://" in out else out, file_formats.TABLE_ENCODERS)
    if any(_is_same_file(address, image) for image in images):
        raise UserError(f"--out {out}: is the table that names the images, and would be overwritten; give another name")
    try:
        target.create()
    except OSError as error:
        raise UserError(describe_unwritable("--out", out, error)) from None
    if target.local_path is not None and not os.access(target.local_path, os.W_OK):
        denied = PermissionError(errno.EACCES, f"no permission to write in {target.local_path}")
        raise UserError(describe_unwritable("--out", out, denied))
    return target, name, suffix


def _is_same_file(address: str, other: str) -> bool:
    """Whether two addresses name the same file, also by a link."""
    if address == other:
        return True
    return "://" not in address + other and os.path.realpath(address) == os.path.realpath(other)


def _write_file(out: str, target: Folder, name: str, content: bytes) -> None:
    try:
        target.write_bytes(name, content)
    except OSError as error:
        raise UserError(describe_unwritable("--out", out, error)) from None
