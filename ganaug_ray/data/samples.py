"""Reads samples that do not fit a grey level - more than 8 bits, signed, floats - and scales them to grey levels.

Of colours of 16 bits Pillow keeps the high byte alone: read in the other order of bytes, they give the low one.
"""

import functools
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from ganaug_ray.core.records import ValueRange
from ganaug_ray.data.unreadable import SampleSpan, UnreadableError

_OTHER_ORDER = {"B": "L", "L": "B", "N": "B"}  # of bytes
_SWAPPED_BYTES = {
    f"{bands};16{order}": f"{bands};16{other}"
    for bands in ("RGB", "RGBA", "RGBX")
    for order, other in _OTHER_ORDER.items()
}
# Of compressed TIFF files, which come in this machine's order of bytes, whatever Pillow says of their samples.
_NATIVE_RAW_MODES = {"I;16S": "I;16NS", "I;16BS": "I;16NS", "I;32S": "I;32NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
UNKNOWN_RANGE = "unknown value range"
CUT_OFF = "values beyond the range cut off"  # notes
NARROW = "all values within a quarter of that range, as if written in a narrower one"
MIN_FILLED_SHARE = 0.25  # of a range: an image, or half of those of a data set, that fills less may have a narrower one
_OPAQUE = 65_535  # of a channel of transparency of 16 bits
_UNSIGNED = 1  # values of TIFF's SampleFormat, which says nothing where all are that
_SIGNED = 2
_WHITE_IS_ZERO = 0  # of TIFF's PhotometricInterpretation
_SEPARATE_PLANES = 2  # of TIFF's PlanarConfiguration
_EXTRA_SAMPLES_ALPHA = (1, 2, 999)  # of TIFF's ExtraSamples: multiplied with, not multiplied with, Corel Draw's


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


def read_samples(image: ImageFile.ImageFile, content: bytes) -> Samples | None:
    """Load an opened image; return its samples, or None where Pillow's grey levels and colours are all there is.

    Args:
        image: opened, not loaded.
        content: of its file.

    Raises:
        UnreadableError: some of them are no numbers, or colours of 16 bits cannot be had.
        Exception: whatever Pillow raises on damaged files.
    """
    samples = _read_wide_samples(image, content)
    if samples is not None and samples.kind == "float":
        is_finite = np.isfinite(samples.values)
        if not is_finite.all():
            raise UnreadableError("not a number", f"{(~is_finite).sum()} of {is_finite.size} samples are not finite")
    return samples


def _read_wide_samples(image: ImageFile.ImageFile, content: bytes) -> Samples | None:
    mode = image.mode
    if image.format == "JPEG":
        image.load()
        return None
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _read_tiff(image, content)
    if image.format == "PPM":
        return _read_pnm(image, content)
    if image.format == "PNG" and _list_raw_modes(image) == {"LA;16B"}:
        return _read_grey_with_alpha(image)
    if image.format == "PNG" and _list_raw_modes(image) <= _SWAPPED_BYTES.keys():
        return _read_colours(image, content)
    image.load()
    if mode.startswith("I;16") or mode in ("I", "F"):
        values = _to_native_order(np.asarray(image))
        return Samples(values, _find_declared_high(image, content), _find_transparent_value(image, values))
    return None


def _find_transparent_value(image: Image.Image, values: np.ndarray) -> np.ndarray | None:
    """Return what is transparent where a PNG file says so of a value, or of a colour; as Samples.alpha."""
    transparent = image.info.get("transparency") if image.format == "PNG" else None
    if transparent is None:
        return None
    is_opaque = values != transparent if values.ndim == 2 else (values != np.asarray(transparent)).any(2)
    return None if is_opaque.all() else is_opaque.astype(np.float32)


def _to_native_order(values: np.ndarray) -> np.ndarray:
    """Return values in this machine's order of bytes."""
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def has_unnamed_fourth_band(image: Image.Image) -> bool:
    """Whether Pillow takes a TIFF image's fourth band, say near infrared, for transparency, and nothing says so."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.mode != "RGBA":
        return False
    return image.tag_v2.get(TiffImagePlugin.EXTRASAMPLES, (0,))[0] not in _EXTRA_SAMPLES_ALPHA


def _read_tiff(image: TiffImagePlugin.TiffImageFile, content: bytes) -> Samples | None:
    tags = image.tag_v2
    # Pillow takes a directory that is cut off for a shorter one: without its last tags samples mean something else.
    entries = int.from_bytes(content[tags.offset : tags.offset + 2], "big" if content[:2] == b"MM" else "little")
    if tags.offset + 2 + 12 * entries > len(content):
        raise UnreadableError("truncated or damaged", "its directory is cut off")
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0]
    is_signed = tags.get(TiffImagePlugin.SAMPLEFORMAT, (_UNSIGNED,))[0] == _SIGNED
    is_inverted = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO
    mode = image.mode
    if bits == 16 and mode in ("RGB", "RGBA"):
        if tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == _SEPARATE_PLANES:
            raise UnreadableError("cannot be decoded", "16-bit colours in separate planes; save them interleaved")
        return _read_colours(image, content)
    for number, tile in enumerate(image.tile):
        raw_mode = _get_raw_mode(tile)
        if tile.codec_name == "libtiff" and raw_mode in _NATIVE_RAW_MODES:
            image.tile[number] = _set_raw_mode(tile, _NATIVE_RAW_MODES[raw_mode])
    image.load()
    if mode == "L" and is_signed:
        values = np.asarray(image).view(np.int8)
    elif mode.startswith("I;16") or mode in ("I", "F"):
        values = _to_native_order(np.asarray(image))
    else:
        return None
    if mode == "I" and bits == 16:
        values = values.astype(np.int16)
    elif mode == "I" and not is_signed:
        values = values.view(np.uint32)
    declared_high = 2**bits - 1 if mode != "F" and bits not in (8, 16, 32) else None
    return Samples(values, declared_high, is_inverted=is_inverted)


def _read_pnm(image: ImageFile.ImageFile, content: bytes) -> Samples | None:
    (tile,) = image.tile
    is_wide_colour = False
    maxval = 65_535
    if tile.codec_name != "raw":  # which is also the one of 65,535
        assert isinstance(tile.args, tuple), "raw mode and highest value"
        maxval = int(tile.args[1])
        is_wide_colour = maxval > 255 and image.mode == "RGB" and tile.codec_name == "ppm"
    declared_high = maxval if maxval != 65_535 else None
    if is_wide_colour:
        # Pillow would scale them to 8 bits by the highest value that the header allows.
        image.tile = [tile._replace(codec_name="raw", args="RGB;16B")]
        return Samples(_read_colours(image, content).values, declared_high)
    mode = image.mode
    image.load()
    if mode == "F":
        return Samples(_to_native_order(np.asarray(image)))
    if mode == "I":
        # Pillow has scaled them to 65,535.
        values = np.rint(np.asarray(image) * (maxval / 65_535)).astype(np.uint16)
        return Samples(values, declared_high)
    return None


def _read_grey_with_alpha(image: ImageFile.ImageFile) -> Samples:
    """Read grey and transparency of 16 bits: as four bands of 8 they are the high and the low byte of each."""
    image.tile = [tile._replace(args="RGBA") for tile in image.tile]
    image.load()
    pairs = np.asarray(image).astype(np.uint16)
    return Samples(pairs[..., 0] << 8 | pairs[..., 1], alpha=_scale_alpha(pairs[..., 2] << 8 | pairs[..., 3]))


def _read_colours(image: ImageFile.ImageFile, content: bytes) -> Samples:
    """Read colours of 16 bits: the high bytes, and once more the low ones."""
    assert image.format is not None, "it was opened"
    raw_modes = _list_raw_modes(image)
    is_premultiplied = raw_modes <= {"RGBa;16L", "RGBa;16B", "RGBa;16N"}
    if is_premultiplied:
        image.tile = [_set_raw_mode(tile, _get_raw_mode(tile).replace("a", "A")) for tile in image.tile]
    elif not raw_modes <= _SWAPPED_BYTES.keys():
        raise UnreadableError("cannot be decoded", f"16-bit colours as {', '.join(sorted(raw_modes))}")
    is_opaque = has_unnamed_fourth_band(image)
    with Image.open(io.BytesIO(content), formats=[image.format]) as other:
        other.tile = [_set_raw_mode(tile, _SWAPPED_BYTES[_get_raw_mode(tile)]) for tile in image.tile]
        image.load()
        other.load()
        values = np.asarray(image).astype(np.uint16) << 8
        values |= np.asarray(other)
    if is_opaque or values.shape[2] == 3:
        alpha = _find_transparent_value(image, values[..., :3])
    else:
        alpha = _scale_alpha(values[..., 3])
    return Samples(values[..., :3], alpha=alpha, is_premultiplied=is_premultiplied)


def _list_raw_modes(image: ImageFile.ImageFile) -> set[str]:
    return {_get_raw_mode(tile) for tile in image.tile}


def _get_raw_mode(tile: ImageFile._Tile) -> str:
    return str(tile.args[0] if isinstance(tile.args, tuple) else tile.args)


def _set_raw_mode(tile: ImageFile._Tile, raw_mode: str) -> ImageFile._Tile:
    args = (raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode
    return tile._replace(args=args)


def _scale_alpha(alpha: np.ndarray) -> np.ndarray | None:
    if (alpha == _OPAQUE).all():
        return None
    return alpha.astype(np.float32) / _OPAQUE


def _find_declared_high(image: ImageFile.ImageFile, content: bytes) -> int | None:
    """Find the value of white of a JPEG 2000 image of fewer than 16 bits, which Pillow has scaled to 16."""
    if image.format != "JPEG2000":
        return None
    size_marker = content.find(b"\xff\x4f\xff\x51")
    bits = (content[size_marker + 42] & 0x7F) + 1 if size_marker >= 0 else 16
    return 65_535 if bits < 16 else None
