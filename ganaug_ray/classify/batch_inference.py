"""Offline prediction: any number of images through Ray Data, with a row for each, even if it cannot be read.

Tasks read files, folders and archives; a pool of actors, each with the model, decodes and classifies what they read.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from pyarrow import fs as pafs

from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core.storage import Folder, split_address
from ganaug_ray.core.wording import get_last_line
from ganaug_ray.data import images, sources
from ganaug_ray.data.sources.paths import is_sidecar
from ganaug_ray.data.sources.raw import PASSED_OVER, REMARK, SIDECAR, PartReader, RawImage, cut_parts
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.runtime import cluster
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.runtime.resources import plan_stage

BATCH_IMAGES = 256  # images that travel together
CONTAINER_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".csv", ".tsv", ".parquet")  # files that hold or name others
IMAGE = "image"  # kinds of rows that are read: also REMARK, and
OTHER_FILE = "other file"
READ_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("part", pa.int64()),
        ("path", pa.string()),
        ("content", pa.binary()),
        ("error", pa.string()),
    ]
)


@dataclass(frozen=True)
class PredictedImages:
    """The answers for all images of some sources.

    Attributes:
        table: a row an image: path, label, probability, probabilities (class -> probability) and error, which is null
            where there is an answer and says why where there is none.
        passed_over: files that are no images.
        remarks: what is to be known of the sources, a sentence each.
    """

    table: pa.Table
    passed_over: int = 0
    remarks: tuple[str, ...] = ()


def predict_images(
    model: Folder, addresses: Sequence[str], hardware: Hardware, progress: Callable[[float, str], None]
) -> PredictedImages:
    """Classify images on the cluster that this process is connected to.

    Args:
        model: a model folder.
        addresses: files, folders and archives of images.
        hardware: of the cluster, as far as it is to be used.
        progress: called with a share of the work and a few words.

    Returns:
        A row an image. Those given as files come first, then folders and archives, in the order in which they were
        given.

    Raises:
        UserError: there is no such model, file or folder, or no image in it.
        StageFailed: Ray gave up.
    """
    classes = Classifier.load(model).classes
    named_parts = list_parts(addresses)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    reserved = plan_stage("predict", hardware)
    numbers = ray.data.from_items(
        [{"part": number} for number in range(len(named_parts))], override_num_blocks=len(named_parts)
    )
    answers = numbers.map_batches(
        # Reading waits for disks and networks; it must not wait for a CPU too.
        functools.partial(_read_parts, named_parts), batch_size=1, batch_format="pyarrow", num_cpus=0, concurrency=4
    ).map_batches(
        _Predictor, fn_constructor_args=(str(model), int(reserved.cpus)), batch_size=BATCH_IMAGES,
        batch_format="pyarrow", compute=ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, reserved.at_once)),
        **reserved.ray_options,
    )  # fmt: skip
    tables = [_build_answers(classes, READ_SCHEMA.empty_table(), [], [])]
    rows = 0
    try:
        for table in answers.iter_batches(batch_size=None, batch_format="pyarrow"):
            rows += len(table)
            progress((table["part"][-1].as_py() + 1) / len(named_parts), f"{rows} images")
            tables.append(table)
    except ray.exceptions.RayError as error:
        raise StageFailed(get_last_line(error)) from None
    return divide_answers(pa.concat_tables(tables))


def list_parts(addresses: Sequence[str]) -> list[PartReader]:
    """List the parts of files, folders and archives that are read; image paths begin with the address of theirs.

    Raises:
        UserError: one of them is not there or holds no files.
    """
    files = []
    container_parts = []
    for address in addresses:
        if _is_image_file(address):
            files.append(address)
            continue
        try:
            for part in sources.list_parts([address], None):
                container_parts.append(functools.partial(_read_named_part, address, part))
        except UserError as error:
            message = str(error).removeprefix("data.source ")
            raise UserError(message.replace("no such folder", "no such file or folder")) from None
    file_parts = [functools.partial(_read_files, part_files) for part_files in cut_parts(files)]
    return [*file_parts, *container_parts]


def divide_answers(answers: pa.Table) -> PredictedImages:
    """Divide the rows of all batches into those of images, remarks, and files that are no images."""
    remarks = answers.filter(pc.equal(answers["kind"], REMARK))["error"].to_pylist()
    passed_over = len(answers.filter(pc.equal(answers["kind"], OTHER_FILE)))
    table = answers.filter(pc.equal(answers["kind"], IMAGE)).drop_columns(["kind", "part"])
    return PredictedImages(table, passed_over, tuple(dict.fromkeys(remarks)))


def _is_image_file(address: str) -> bool:
    if address.lower().endswith(CONTAINER_SUFFIXES) or address.startswith(("http://", "https://")):
        return False
    folder, name = split_address(address)
    try:
        return folder.fs.get_file_info(f"{folder.path}/{name}").type == pafs.FileType.File
    except OSError:
        return False  # whoever lists it says what is wrong


def _read_files(addresses: Sequence[str]) -> Iterator[RawImage]:
    for address in addresses:
        folder, name = split_address(address)
        content: bytes | images.UnreadableError
        try:
            content = folder.read_bytes(name)
        except OSError as error:
            content = images.UnreadableError("cannot be read", error.strerror or str(error))
        yield RawImage(address, None, content)


def _read_named_part(address: str, part: PartReader) -> Iterator[RawImage]:
    try:
        for raw in part():
            content = raw.content
            if isinstance(content, bytes) and is_sidecar(raw.path) and not images.is_image(content):
                content = images.UnreadableError(SIDECAR)
            yield RawImage(f"{address.rstrip('/')}/{raw.path}", None, content)
    except UserError as error:  # an archive that breaks off: what came before it is kept
        yield RawImage(address, None, images.UnreadableError(str(error).removeprefix("data.source ")))


def _read_parts(parts: list[PartReader], part_numbers: pa.Table) -> Iterator[pa.Table]:
    """Yield tables of READ_SCHEMA with the files of the parts whose numbers are given, BATCH_IMAGES rows at most."""
    for number in part_numbers["part"].to_pylist():
        rows: list[dict[str, Any]] = []
        for raw in parts[number]():
            rows.append({"part": number, "kind": _find_kind(raw), "path": raw.path, **_encode_content(raw)})
            if len(rows) == BATCH_IMAGES:
                yield pa.Table.from_pylist(rows, READ_SCHEMA)
                rows = []
        yield pa.Table.from_pylist(rows, READ_SCHEMA)


def _find_kind(raw: RawImage) -> str:
    if not isinstance(raw.content, images.UnreadableError):
        return IMAGE
    if raw.content.reason == REMARK:
        return REMARK
    return OTHER_FILE if raw.content.reason in PASSED_OVER else IMAGE


def _encode_content(raw: RawImage) -> dict[str, Any]:
    if isinstance(raw.content, images.UnreadableError):
        is_remark = raw.content.reason == REMARK
        return {"error": raw.content.detail if is_remark else _describe_error(raw.content)}
    if isinstance(raw.content, bytes):
        return {"content": raw.content}
    return {"content": images.to_png(raw.content)}


def _describe_error(error: images.UnreadableError) -> str:
    return f"{error.reason} ({error.detail})" if error.detail else error.reason


class _Predictor:
    """The model, loaded once by each actor; decodes in as many threads as it has reserved CPUs."""

    def __init__(self, model: str, threads: int) -> None:
        self._classifier = Classifier.load(Folder.from_uri(model), cluster.get_reserved_device())
        self._threads = ThreadPoolExecutor(threads)

    def __call__(self, batch: pa.Table) -> pa.Table:
        opened = list(self._threads.map(self._preprocess, batch["content"].to_pylist(), batch["error"].to_pylist()))
        errors: list[str | None] = []
        readable_rows = []
        for row, result in enumerate(opened):
            if isinstance(result, str):
                errors.append(result)
            else:
                errors.append(None)
                readable_rows.append(row)
        probabilities: list[np.ndarray | None] = [None] * len(opened)
        if readable_rows:
            predicted = self._classifier.predict_probabilities(np.stack([opened[row] for row in readable_rows]))
            for row, class_probabilities in zip(readable_rows, predicted, strict=True):
                probabilities[row] = class_probabilities
        return _build_answers(self._classifier.classes, batch, probabilities, errors)

    def _preprocess(self, content: bytes | None, error: str | None) -> np.ndarray | str:
        if content is None:
            return error or "empty"
        try:
            return self._classifier.preprocess(content)
        except images.UnreadableError as unreadable:
            return _describe_error(unreadable)


def _describe_answer(classes: list[str], probabilities_K: np.ndarray | None) -> dict[str, Any]:
    """The class, its probability and those of all classes; nothing of an image that cannot be read."""
    if probabilities_K is None:
        return dict.fromkeys(("label", "probability", "probabilities"))
    return {
        "label": classes[probabilities_K.argmax()],
        "probability": probabilities_K.max(),
        "probabilities": dict(zip(classes, probabilities_K.tolist(), strict=True)),
    }


def _build_answers(
    classes: list[str], batch: pa.Table, probabilities: list[np.ndarray | None], errors: list[str | None]
) -> pa.Table:
    """Return the answers for a batch of READ_SCHEMA, with its kinds and parts."""
    by_class = pa.struct([(name, pa.float32()) for name in classes])
    answers = [_describe_answer(classes, row) for row in probabilities]
    return pa.table(
        {
            "kind": batch["kind"],
            "part": batch["part"],
            "path": batch["path"],
            "label": pa.array([answer["label"] for answer in answers], pa.string()),
            "probability": pa.array([answer["probability"] for answer in answers], pa.float32()),
            "probabilities": pa.array([answer["probabilities"] for answer in answers], by_class),
            "error": pa.array(errors, pa.string()),
        }
    )
