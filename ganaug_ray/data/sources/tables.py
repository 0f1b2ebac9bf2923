"""Tables that list images: a CSV manifest beside the files, or Parquet with the encoded images inside."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from ganaug_ray.config import LabelFrom
from ganaug_ray.data.images import Unreadable
from ganaug_ray.data.sources.raw import Raw, open_file, read_labels
from ganaug_ray.errors import UserError
from ganaug_ray.storage import Folder

ROWS = 256  # of a Parquet file in memory at a time


def read_csv(source: str, label_from: LabelFrom) -> Iterator[Raw]:
    """Read the images that a CSV file names in its column image, relative to the file, with the label beside it."""
    folder, _ = open_file(source)
    for path, label in read_labels(source):
        yield Raw(path, label, _listed(folder, path))


def _listed(folder: Folder, path: str) -> bytes | Unreadable:
    if "://" in path:
        return Unreadable("unsafe path", "a manifest's images lie beside it; none is fetched")
    try:
        if path.startswith("/") and folder.local is not None:
            return Folder.at("/").read(path.lstrip("/"))
        return folder.read(path)
    except OSError as error:
        return Unreadable("cannot be read", error.strerror or str(error))


def read_parquet(source: str, label_from: LabelFrom) -> Iterator[Raw]:
    """Read the rows of a Parquet file with the columns image (encoded bytes, or a struct with bytes) and label."""
    folder, name = open_file(source)
    with folder.fs.open_input_file(f"{folder.path}/{name}") as stream:
        try:
            table = pq.ParquetFile(stream)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"data.source {source}: is no readable Parquet file ({error})") from None
        names = table.schema_arrow.names
        if not {"image", "label"} <= set(names):
            raise UserError(f"data.source {source}: found the columns {', '.join(names)}; expected image and label")
        number = 0
        for batch in table.iter_batches(ROWS, columns=["image", "label"]):
            for row in batch.to_pylist():
                content = row["image"].get("bytes") if isinstance(row["image"], dict) else row["image"]
                label = None if row["label"] is None else str(row["label"])
                found = content if isinstance(content, bytes) else Unreadable("not an image", "no bytes in the row")
                yield Raw(f"{name}#{number}", label, found)
                number += 1
