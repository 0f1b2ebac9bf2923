"""Says which tables lie beside images, list these and are not read, and with which setting they are."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from pyarrow import ArrowException

from ganaug_ray.config import ColumnsConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.sources.columns import has_image_and_label
from ganaug_ray.data.sources.label_tables import read_column_names
from ganaug_ray.data.sources.listing_tables import TABLE_SUFFIXES, is_small_file
from ganaug_ray.data.sources.paths import drop_suffix
from ganaug_ray.data.sources.raw import Label
from ganaug_ray.data.sources.remedies import write_setting
from ganaug_ray.data.sources.table_labels import TableLabels
from ganaug_ray.errors import UserError

MAX_TABLES = 8  # that are looked into for a remark


def describe_unread_tables(
    folder: str,
    paths: Sequence[str],
    images: Sequence[str],
    columns: ColumnsConfig,
    find_label: Callable[[str], Label],
) -> Iterator[str]:
    """Say which tables list images of a folder with other classes than those of the folders, which count.

    Args:
        folder: the source.
        paths: of all files in it.
        images: of these the images whose classes are those of their folders, normalised.
        columns: of tables.
        find_label: gives the label of an image by its folder.
    """
    stems = {drop_suffix(image) for image in images}
    tables = [path for path in paths if path.lower().endswith(TABLE_SUFFIXES) and drop_suffix(path) not in stems]
    for table in sorted(tables, key=lambda path: (path.count("/"), path))[:MAX_TABLES]:
        with suppress(UserError, OSError, ArrowException):  # it is none of labels: any program may have written it
            pairs = _pair_classes(folder, table, images, columns, find_label)
            if not _is_renaming(pairs):
                image, folder_class, table_class = min(
                    (image, *pair) for image, pair in pairs.items() if pair[0] != pair[1]
                )
                yield (
                    f"{table} lists {len(pairs)} of the images, such as {image} with {table_class} instead of "
                    f"{folder_class}, but is not read; to use its labels, set {_write_setting(folder, table)}"
                )


def _pair_classes(
    folder: str, table: str, images: Sequence[str], columns: ColumnsConfig, find_label: Callable[[str], Label]
) -> dict[str, tuple[str, str]]:
    """Return image -> its class by its folder and by a table, of those that have both."""
    place = Folder.from_uri(folder.rstrip("/"))
    address = str(place / table)
    if not is_small_file(place, table):
        return {}
    if not has_image_and_label(read_column_names(address, columns), columns):
        return {}
    labels = TableLabels(address, columns, images, below=table[: table.rfind("/") + 1])
    pairs = {}
    for image in images:
        names = find_label(image).name, labels.find_label(image).name
        if names[0] is not None and names[1] is not None:
            pairs[image] = (names[0], names[1])
    return pairs


def _is_renaming(pairs: dict[str, tuple[str, str]]) -> bool:
    """Whether a table has the classes of the folders, maybe by other names for all of them, such as numbers."""
    distinct = {*pairs.values()}
    folder_classes = {folder_class for folder_class, _ in distinct}
    table_classes = {table_class for _, table_class in distinct}
    if all(folder_class == table_class for folder_class, table_class in distinct):
        return True
    is_one_to_one = len(distinct) == len(folder_classes) == len(table_classes)
    return is_one_to_one and folder_classes.isdisjoint(table_classes)


def _write_setting(folder: str, table: str) -> str:
    return write_setting("data.label_from", csv=str(Folder.from_uri(folder.rstrip("/")) / table))
