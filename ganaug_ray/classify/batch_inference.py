"""Offline prediction: any number of images through Ray Data, with a row for each, even if it cannot be read.

Tasks read files, folders and archives; a pool of actors, each with the model, decodes and classifies what they read.
A row of the data set is a batch of images that travel together, so that no block boundary changes what is computed
together: answers are the same to the bit on any number of CPUs, and in a single process.
"""

import functools
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import ray

from ganaug_ray.classify.image_answers import BatchPredictor, PredictedImages, divide_answers
from ganaug_ray.classify.image_files import read_batches
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core.heap_memory import keep_freed_memory
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import get_last_line
from ganaug_ray.data.sources.raw import SourcePart
from ganaug_ray.errors import StageFailed
from ganaug_ray.runtime import cluster
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.runtime.resources import plan_stage


def predict_images(
    model: Folder, parts: Sequence[SourcePart], hardware: Hardware, progress: Callable[[float, str], None]
) -> PredictedImages:
    """Classify images on the cluster that this process is connected to.

    Args:
        model: a model folder.
        parts: as ``list_parts`` returns them.
        hardware: of the cluster, as far as it is to be used.
        progress: called with a share of the work and a few words.

    Returns:
        A row an image, in the order of the parts.

    Raises:
        UserError: there is no such model.
        StageFailed: Ray gave up.
    """
    classes = Classifier.load(model).classes
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    reserved = plan_stage("predict", hardware)
    numbers = ray.data.from_items([{"part": number} for number in range(len(parts))], override_num_blocks=len(parts))
    answers = numbers.map_batches(
        # Reading waits for disks and networks; it must not wait for a CPU too.
        functools.partial(_read_parts, parts), batch_size=1, batch_format="pyarrow", num_cpus=0, concurrency=4
    ).map_batches(
        _Predictor, fn_constructor_args=(str(model), int(reserved.cpus)), batch_size=1,
        batch_format="pyarrow", compute=ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, reserved.at_once)),
        **reserved.ray_options,
    )  # fmt: skip
    tables = []
    files = 0
    try:
        table: pa.Table
        for table in answers.iter_batches(batch_size=None, batch_format="pyarrow"):
            files += len(table)
            progress((table["part"][-1].as_py() + 1) / len(parts), f"{files} images")
            tables.append(table.drop_columns(["part"]))
    except ray.exceptions.RayError as error:
        raise StageFailed(get_last_line(error)) from None
    return divide_answers(classes, tables)


def _read_parts(parts: Sequence[SourcePart], part_numbers: pa.Table) -> Iterator[pa.Table]:
    """Yield tables of one row: the number of a part, and a batch of its files."""
    for number in part_numbers["part"].to_pylist():
        for batch in read_batches(parts[number]):
            files = pa.ListArray.from_arrays([0, len(batch)], batch.to_struct_array().combine_chunks())
            yield pa.table({"part": [number], "files": files})


class _Predictor:
    """The model, loaded once by each actor; decodes in as many threads as it has reserved CPUs."""

    def __init__(self, model: str, threads: int) -> None:
        device = cluster.get_reserved_device()
        keep_freed_memory(device)
        self._predict = BatchPredictor(Folder.from_uri(model), device, threads)

    def __call__(self, row: pa.Table) -> pa.Table:
        files = pa.Table.from_struct_array(row["files"].combine_chunks().flatten())
        parts = pa.array([row["part"][0].as_py()] * len(files), pa.int64())
        return self._predict(files).append_column("part", parts)
