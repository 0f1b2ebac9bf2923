"""What archives of every kind have in common: limits, and what of their entries is never read.

Nothing is ever unpacked to disk, so no entry can write anywhere. Hostile archives are met with limits: on the number of
entries, and on what one entry may inflate to.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.sources import zip_names
from ganaug_ray.data.sources.paths import is_hidden
from ganaug_ray.data.sources.raw import RawImage, SourcePart, explain_hidden
from ganaug_ray.errors import UserError

MAX_ENTRIES = 500_000
READ_AHEAD_BYTES = 1024**2  # bytes: on an object store each read is a request


def refuse_many_entries(source: str, entries: int) -> None:
    """Raise UserError if an archive has more entries than are read."""
    if entries > MAX_ENTRIES:
        raise UserError(
            f"data.source {source}: has {entries:,} entries or more, and at most {MAX_ENTRIES:,} are read; "
            "divide it into several archives, and name them in a list"
        )


def check_path(path: str) -> UnreadableError | None:
    """Return what is wrong with an entry whose path leads out of its archive; None of any other."""
    if ".." in path.replace("\\", "/").split("/"):
        return UnreadableError("unsafe path", "leads out of the archive")
    return None


def describe_repeated_names(names: Sequence[str]) -> list[str]:
    """Say which files are more than once in an archive: whoever unpacks it is left with the last of each."""
    repeated = [name for name, n in Counter(names).items() if n > 1]
    if not repeated:
        return []
    return [
        f"{zip_names.count_names(repeated)} in the archive more than once, and every file of that name is read; if "
        "only the last one should count, unpack the archive and give the folder"
    ]


def list_hidden_parts(names: Iterable[str]) -> Iterator[SourcePart]:
    """Yield a part that names what is hidden, if anything is."""
    if hidden := explain_hidden(filter(is_hidden, names)):
        yield SourcePart(functools.partial(_name_hidden, hidden), frozenset(), 0)


def _name_hidden(hidden: Mapping[str, UnreadableError]) -> Iterator[RawImage]:
    for name, problem in hidden.items():
        yield RawImage(name, None, problem)
