"""Scales samples that do not fit a grey level - more than 8 bits, signed, floats - to grey levels."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ganaug_ray.core.records import ValueRange
from ganaug_ray.data.unreadable import SampleSpan, UnreadableError

UNKNOWN_RANGE = "unknown value range"
CUT_OFF = "values beyond the range cut off"  # notes
NARROW = "all values within a quarter of that range, as if written in a narrower one"
MIN_FILLED_SHARE = 0.25  # of a range: an image, or half of those of a data set, that fills less may have a narrower one


@dataclass(frozen=True)
class Samples:
    """The samples of an image as they are in its file.

    Attributes:
        values: integers or floats, [H, W] or [H, W, 3].
        declared_high: the value of white, where the format says it.
        alpha: float32 [H, W] in [0, 1], where pixels are transparent.
        is_premultiplied: the values are multiplied with alpha already.
        is_inverted: the lowest value is white.
    """

    values: np.ndarray
    declared_high: int | None = None
    alpha: np.ndarray | None = None
    is_premultiplied: bool = False
    is_inverted: bool = False

    @property
    def kind(self) -> str:
        """Whether they are of the kind integer or float."""
        return "float" if self.values.dtype.kind == "f" else "integer"

    @functools.cached_property
    def span(self) -> SampleSpan:
        """The lowest and the highest."""
        return SampleSpan(self.values.dtype.name, float(self.values.min()), float(self.values.max()))

    def choose_range(self, known: ValueRange | None) -> tuple[float, float]:
        """Return the values of black and of white.

        Args:
            known: of the data set. It gives way to a file that says itself what is white, unless a job sets it.

        Raises:
            UnreadableError: these samples are of another kind, or nothing says what they are scaled by.
        """
        if self.declared_high is not None and not (known and known.is_set):
            return 0.0, float(self.declared_high)
        if known is not None and self.kind in known.samples:
            return known.low, known.high
        dtype, low, high = self.span
        range_words = f"{self.kind} samples from {low:g} to {high:g}"
        if known is not None:
            raise UnreadableError(UNKNOWN_RANGE, f"{range_words}; the known range is one of {known.samples[0]} samples")
        default = get_default_range(dtype)
        if not default[0] <= low <= high <= default[1]:
            raise UnreadableError(UNKNOWN_RANGE, range_words, self.span)
        return default

    def to_grey_levels(self, low: float, high: float) -> Image.Image:
        """Scale ``low`` to 0 and ``high`` to 255, and lay transparent pixels on white."""
        levels = self.values.astype(np.float32)
        levels -= low
        levels *= 255 / (high - low)
        np.clip(levels, 0, 255, out=levels)
        if self.is_inverted:
            levels = 255 - levels
        if self.alpha is not None:
            alpha = self.alpha if levels.ndim == 2 else self.alpha[..., None]
            if not self.is_premultiplied:
                levels *= alpha
            levels += 255 * (1 - alpha)
        levels += 0.5
        return Image.fromarray(levels.astype(np.uint8))

    def describe_scale(self, low: float, high: float) -> Iterator[str]:
        """Yield notes on what ``to_grey_levels`` does with this range."""
        yield f"values {low:.9g} to {high:.9g} scaled to 0 to 255"
        if self.declared_high is not None and (low, high) != (0, self.declared_high):
            yield f"its file says 0 to {self.declared_high}, which data.value_range overrules"
        if self.span.low < low or self.span.high > high:
            yield CUT_OFF
        if max(abs(self.span.low), abs(self.span.high)) <= MIN_FILLED_SHARE * max(abs(low), abs(high)):
            yield NARROW


def get_default_range(dtype: str) -> tuple[float, float]:
    """Return the whole range of an integer type, and [0, 1] of a float type.

    >>> get_default_range("uint16"), get_default_range("float32")
    ((0.0, 65535.0), (0.0, 1.0))
    """
    if np.dtype(dtype).kind == "f":
        return 0.0, 1.0
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def advise_sender(known: ValueRange | None) -> str:
    """Say which samples a model takes, to whoever cannot change its scale.

    Args:
        known: of the model; None where it was trained on plain 8 bits.

    >>> advise_sender(None)
    'send plain 8 bits, or floats from 0 to 1'
    """
    if known is None:
        return "send plain 8 bits, or floats from 0 to 1"
    return f"send plain 8 bits, or {known.samples[0]} samples from {known.low:.6g} to {known.high:.6g}"
