"""Reads the samples of image files that do not fit a grey level: more than 8 bits, signed, floats.

Of colours of 16 bits Pillow keeps the high byte alone: read in the other order of bytes, they give the low one.
"""

import io

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from ganaug_ray.data import jpeg2000
from ganaug_ray.data.samples import Samples
from ganaug_ray.data.unreadable import UnreadableError

_OTHER_ORDER = {"B": "L", "L": "B", "N": "B"}  # of bytes
_SWAPPED_BYTES = {
    f"{bands};16{order}": f"{bands};16{other}"
    for bands in ("RGB", "RGBA", "RGBX")
    for order, other in _OTHER_ORDER.items()
}
# Of compressed TIFF files, which come in this machine's order of bytes, whatever Pillow says of their samples.
_NATIVE_RAW_MODES = {"I;16S": "I;16NS", "I;16BS": "I;16NS", "I;32S": "I;32NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
_OPAQUE = 65_535  # of a channel of transparency of 16 bits
_WHITE_OF_16_BITS = 65_535
_UNSIGNED = 1  # values of TIFF's SampleFormat, which says nothing where all are that
_SIGNED = 2
_WHITE_IS_ZERO = 0  # of TIFF's PhotometricInterpretation
_SEPARATE_PLANES = 2  # of TIFF's PlanarConfiguration
_EXTRA_SAMPLES_ALPHA = (1, 2, 999)  # of TIFF's ExtraSamples: multiplied with, not multiplied with, Corel Draw's


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
    if image.format == "JPEG2000":
        return _read_jpeg2000(image, content)
    image.load()
    if mode.startswith("I;16") or mode in ("I", "F"):
        values = _to_native_order(np.asarray(image))
        return Samples(values, alpha=_find_transparent_value(image, values))
    return None


def _read_jpeg2000(image: ImageFile.ImageFile, content: bytes) -> Samples | None:
    """Read a JPEG 2000 image, whose samples Pillow shifts to 8 bits, and grey ones of more than 8 to 16."""
    depths = jpeg2000.read_bit_depths(content)
    most_bits = 16 if len(depths) == 1 else jpeg2000.LEVEL_BITS
    if max(depths, default=0) > most_bits:  # Pillow rounds as it shifts: white becomes 256, which is black in a byte
        raise UnreadableError(
            "cannot be decoded", f"JPEG 2000: {len(depths)} × {max(depths)} bits a pixel; save it as 16-bit PNG"
        )
    image.load()
    if image.mode.startswith("I;16"):
        return Samples(_to_native_order(np.asarray(image)), _WHITE_OF_16_BITS if min(depths, default=16) < 16 else None)
    jpeg2000.fill_levels(image, depths)
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
