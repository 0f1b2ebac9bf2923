"""Refuses classes with too few images for their splits."""

from collections.abc import Mapping, Sequence

from ganaug_ray.core.wording import format_count
from ganaug_ray.data.ingest.remarks import describe_similar_names
from ganaug_ray.errors import UserError


def refuse_small_classes(sizes: Mapping[str, int], classes: Sequence[str], needed: int, why: str) -> None:
    """Raise UserError if a class has too few images; what may be the same class is named with it.

    Args:
        sizes: class -> its usable images.
        classes: all of them.
        needed: least number of images of a class.
        why: that many are needed, in words.
    """
    poor = {name: n for name, n in sizes.items() if n < needed}
    if poor:
        name, n = min(poor.items(), key=lambda item: item[1])
        others = len(poor) - 1
        more_classes = f" (and {format_count(others, 'more class', 'more classes')})" if others else ""
        alike = "".join(f"; {sentence}" for sentence in describe_similar_names(classes, poor))
        raise UserError(
            f"class {name!r} has {format_count(n, 'usable image')}{more_classes}; {why}, so at least {needed} a class"
            f"{alike}"
        )
