"""Finds the files of a data set that Hugging Face's datasets has saved with ``save_to_disk``.

Each split has a folder with ``state.json``, which names its Arrow files; others there are the library's cache.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ganaug_ray.core.storage import Folder
from ganaug_ray.data.sources.table_file import ARROW_SUFFIX
from ganaug_ray.errors import UserError

STATE_FILE = "state.json"
MAX_STATE_BYTES = 10 * 1024**2


def is_arrow(name: str) -> bool:
    """Whether a file is an Arrow file by its name."""
    return name.lower().endswith(ARROW_SUFFIX)


def list_saved_files(source: str, folder: Folder, names: Sequence[str]) -> list[str]:
    """Return the Arrow files that hold the rows of a saved data set, in order; none where there is no such data set.

    Args:
        source: what to call the folder in messages.
        folder: that the names are relative to.
        names: of all files below it.

    Raises:
        UserError: a state.json cannot be read, names a file that is not there, or rows that are chosen by an index.
    """
    files = []
    present = set(names)
    for state in sorted(name for name in names if name.rpartition("/")[2] == STATE_FILE):
        place = state.removesuffix(STATE_FILE)
        if not any(is_arrow(name) and name.startswith(place) for name in names):
            continue  # other programs have files of this name
        content = _read_state(source, folder, state)
        if content.get("_indices_data_files"):
            raise UserError(
                f"data.source {source}: {place or 'it'} was saved with an index of rows by an old version of datasets; "
                "load it there, call flatten_indices(), and save it again"
            )
        for entry in content["_data_files"]:
            name = f"{place}{entry['filename']}"
            if name not in present:
                raise UserError(
                    f"data.source {source}: {name} is missing, but {state} names it; save the data set again"
                )
            files.append(name)
    return files


def _read_state(source: str, folder: Folder, name: str) -> dict:
    try:
        if folder.fs.get_file_info(f"{folder.path}/{name}").size > MAX_STATE_BYTES:
            raise ValueError("it is too large")
        content = json.loads(folder.read_bytes(name))
        if not all(isinstance(entry["filename"], str) for entry in content["_data_files"]):
            raise ValueError("a file name is not text")
        return content
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"data.source {source}: {name} is not a file that datasets wrote ({error!r:.100}); save the data set again"
        ) from None
