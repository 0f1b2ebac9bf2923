"""Finds labels in metadata.csv or metadata.jsonl in a folder of images, as Hugging Face's image folders have them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from ganaug_ray.config import ColumnsConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import format_count
from ganaug_ray.data.sources.columns import has_image_and_label
from ganaug_ray.data.sources.label_tables import read_column_names
from ganaug_ray.data.sources.listing_tables import find_nearest_label
from ganaug_ray.data.sources.raw import Label
from ganaug_ray.data.sources.table_labels import TableLabels
from ganaug_ray.errors import UserError

METADATA_NAMES = ("metadata.csv", "metadata.jsonl")
PATH_COLUMN = "file_name"  # relative to the table


class MetadataLabels:
    """The labels in such tables of a source: each is of the images in its own folder, and below.

    Args:
        source: the folder.
        columns: of the tables.
        paths: of all files in it.
        images: of these the images, normalised.
        asides: see TableLabels.

    Attributes:
        remarks: what is to be known of them, a sentence each.

    Raises:
        UserError: a table cannot be read, or a folder has two.
    """

    def __init__(
        self,
        source: str,
        columns: ColumnsConfig,
        paths: Sequence[str],
        images: Sequence[str],
        asides: Mapping[str, Label],
    ) -> None:
        self._tables: dict[str, TableLabels] = {}  # by the folder, with a slash at its end
        self.remarks: list[str] = []
        names = [path for path in paths if path.rpartition("/")[2] in METADATA_NAMES]
        for name in names:
            below = name[: name.rfind("/") + 1]
            address = str(Folder.from_uri(source.rstrip("/")) / name)
            if not _lists_labels(address, columns):
                continue
            if below in self._tables:
                raise UserError(
                    f"data.source {source}: has both {below}metadata.csv and metadata.jsonl; keep one of them"
                )
            remedy = f"; to use the folders' names as labels, move {name} out of the folder"
            self._tables[below] = TableLabels(address, columns, images, asides, below, remedy)
            self.remarks += self._tables[below].remarks
        if self._tables:
            tables = format_count(len(self._tables), f"table such as {names[0]}", f"tables such as {names[0]}")
            self.remarks.append(
                f"labels are those of {tables}, as in Hugging Face's image folders; to use the folders' names as "
                "labels, move such tables out of the folder"
            )

    def find_label(self, path: str) -> Label | None:
        """Return the label of an image by the nearest table above it; None where there is no table above it."""
        return find_nearest_label(self._tables, path)


def _lists_labels(table: str, columns: ColumnsConfig) -> bool:
    """Whether a table has a column of paths as these have it, and one of labels; many have captions alone."""
    with suppress(UserError):  # it is no table: other programs have files of such names, too
        names = read_column_names(table, columns)
        return PATH_COLUMN in names and has_image_and_label(names, columns)
    return False
