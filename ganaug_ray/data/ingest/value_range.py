"""Finds the one scale of a data set's samples that are wider than 8 bits, signed or floats.

A file of 16 bits may hold 10, 12 or 14; of floats not even that is known. So the samples of the whole data set are
looked at, and taken for what they fill: at least half of the images must reach beyond a quarter of a scale. Where some
images seem to have another scale than others, the data set is refused.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.config import DataConfig
from ganaug_ray.core.records import DatasetRecord, ValueRange
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import format_count
from ganaug_ray.data.samples import MIN_FILLED_SHARE, UNKNOWN_RANGE, get_default_range
from ganaug_ray.data.sources.raw import SINGLE_COLOUR
from ganaug_ray.errors import UserError

INTEGER_BITS = (8, 10, 12, 14)  # fewer than a file's samples have
# Of the images of a class: so many that end where a narrower scale does seem to have that one.
MIN_NARROW_SHARE = 0.2
MIN_NARROW_IMAGES = 4
MAX_BETWEEN_SHARE = 0.1  # of these: such images as end shortly behind it; more mean that its end is none
REMEDY = "set data.value_range: [low, high]"


def read_known_range(config: DataConfig) -> ValueRange | None:
    """Return the scale that is set, or else that of the data set that is extended."""
    if config.value_range != "auto":
        low, high = config.value_range
        return ValueRange(low=low, high=high, is_set=True)
    if config.extends:
        earlier = DatasetRecord.find(Folder.from_uri(config.extends))
        return earlier.value_range if earlier else None
    return None


def infer_range(records: pa.Table, where: str) -> ValueRange | None:
    """Return the scale of the images whose samples are wider than 8 bits, signed or floats; None without any.

    Args:
        records: the fields of audit.ImageRecord; masks, and images that are rejected for what else, tell nothing.
        where: the setting that names the source.

    Raises:
        UserError: it cannot be known.
    """
    counts = pc.or_(pc.is_null(records["reason"]), pc.fill_null(pc.equal(records["reason"], UNKNOWN_RANGE), False))
    # In the scale of its own format an image of few values looks like a single colour.
    is_flat = pc.fill_null(pc.equal(records["reason"], SINGLE_COLOUR), False)
    counts = pc.or_(counts, pc.and_(is_flat, pc.less(records["low"], records["high"])))
    wide = records.filter(pc.and_(counts, pc.not_equal(records["dtype"], "")))
    if not len(wide):
        return None
    kinds = {np.dtype(dtype).kind == "f" for dtype in pc.unique(wide["dtype"]).to_pylist()}
    if len(kinds) > 1:
        raise UserError(
            f"{where}: some images have floats and others integers of more than 8 bits; bring all to one of the two, "
            f"or, if they have one scale, {REMEDY}"
        )
    lows = wide["low"].to_numpy()
    highs = wide["high"].to_numpy()
    kind = "float" if kinds == {True} else "integer"
    for low, high in _list_scales(kind, pc.unique(wide["dtype"]).to_pylist(), lows.min() < 0):
        if low <= lows.min() and highs.max() <= high:
            reaches_high = np.median(highs) > MIN_FILLED_SHARE * high
            reaches_low = low == 0 or np.median(lows) < MIN_FILLED_SHARE * low
            if reaches_high and reaches_low:
                _refuse_unequal_classes(wide, low, high, where)
                _refuse_unequal_images(wide, low, high, where)
                return ValueRange(low=low, high=high, samples=[kind])
            break
    path = wide["path"][int(highs.argmax())].as_py()
    images = format_count(len(wide), "image")
    raise UserError(
        f"{where}: which values are black and white cannot be known: the {kind} samples of {images} reach "
        f"from {lows.min():.6g} to {highs.max():.6g} (in {path}), in half of them to {np.median(highs):.6g}; {REMEDY}"
    )


def _refuse_unequal_classes(wide: pa.Table, low: float, high: float, where: str) -> None:
    """Raise an error if all images of a class stay within a quarter of a scale that others fill, or have no sign.

    They may have been written in another scale: then the one of all would make them nearly black, and brightness alone
    would tell their class. Whether they are so dark in truth only the user knows.
    """
    classes = wide.group_by("label").aggregate([("low", "min"), ("high", "max"), ("path", "min")]).sort_by("label")
    rows = [row for row in classes.to_pylist() if row["label"] is not None]
    apart = [row for row in rows if _has_own_scale(row["low_min"], row["high_max"], low, high)]
    if apart and len(apart) < len(rows):
        row = apart[0]
        class_range = f"{row['low_min']:.6g} to {row['high_max']:.6g} (such as {row['path_min']})"
        raise UserError(
            f"{where}: the classes seem to have several scales: all samples of {row['label']} are from {class_range}, "
            f"those of others from {low:.6g} to {high:.6g}, so brightness alone would tell the class; "
            f"bring all images to one scale, or, if they have one, {REMEDY}"
        )


def _has_own_scale(lowest: float, highest: float, low: float, high: float) -> bool:
    """Whether the samples of a class fill another scale than the one from low to high."""
    if low < 0:
        return lowest >= 0
    return highest <= MIN_FILLED_SHARE * high


def _refuse_unequal_images(wide: pa.Table, low: float, high: float, where: str) -> None:
    """Raise an error if some images of a class seem to have another scale than its others."""
    names = pc.unique(wide["label"].drop_null())
    codes = pc.fill_null(pc.index_in(wide["label"], names), -1).to_numpy()
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(names) + 1))
    lows = wide["low"].to_numpy()
    highs = wide["high"].to_numpy()
    for number, name in enumerate(names.to_pylist()):
        rows = order[starts[number] : starts[number + 1]]
        narrow = _find_narrow_images(lows[rows], highs[rows], low, high)
        if narrow is None:
            continue
        narrow_rows = rows[narrow]
        path = wide["path"][int(narrow_rows[0])].as_py()
        class_words = f" of {name}" if name else ""
        raise UserError(
            f"{where}: the images{class_words} seem to have several scales: {len(narrow_rows)} of {len(rows)} stay "
            f"within {lows[narrow_rows].min():.6g} to {highs[narrow_rows].max():.6g} (such as {path}), others reach "
            f"from {lows[rows].min():.6g} to {highs[rows].max():.6g}, and hardly any end between; bring all images to "
            f"one scale, or, if they have one, {REMEDY}"
        )


def _find_narrow_images(lows: np.ndarray, highs: np.ndarray, low: float, high: float) -> np.ndarray | None:
    """Find images that seem to have a narrower scale than the others of their class: bool [N], or None without any.

    Args:
        lows: of N images the lowest sample.
        highs: the highest.
        low: of the scale of all.
        high: likewise.
    """
    least = max(MIN_NARROW_IMAGES, MIN_NARROW_SHARE * len(highs))
    if low < 0:
        narrow = lows >= 0
        return narrow if least <= narrow.sum() < len(lows) else None
    for bits in INTEGER_BITS if high > 1 else ():
        end = 2.0**bits - 1
        narrow = (end / 2 < highs) & (highs <= end)
        between = (end < highs) & (highs <= 2 * end + 1)
        is_step = between.sum() <= MAX_BETWEEN_SHARE * narrow.sum()
        if narrow.sum() >= least and is_step and highs.max() > 2 * end + 1:
            return highs <= end
    return None


def _list_scales(kind: str, dtypes: Sequence[str], is_signed: bool) -> list[tuple[float, float]]:
    """List the usual scales, the narrowest first."""
    if kind == "float":
        return [(-1.0, 1.0)] if is_signed else [(0.0, 1.0)]
    ranges = [get_default_range(dtype) for dtype in dtypes]
    widest = max(high for _, high in ranges)
    if is_signed:
        scales = [(-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) for bits in INTEGER_BITS]
        return [*scales, (-widest - 1, widest)]
    return [*[(0.0, 2.0**bits - 1) for bits in INTEGER_BITS if 2.0**bits - 1 < widest], (0.0, widest)]


def has_other_scale(records: pa.Table, chosen: ValueRange) -> bool:
    """Whether some rows of audit.ImageRecord were scaled by their own format, and that is another range than chosen."""
    dtypes = pc.unique(records["dtype"]).to_pylist()
    return any(dtype and get_default_range(dtype) != (chosen.low, chosen.high) for dtype in dtypes)
