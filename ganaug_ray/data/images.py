"""Decodes image files and brings images to size. Pixels at rest are uint8 [0, 255], [H, W, C]."""

import io
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile

from ganaug_ray.core.records import ValueRange
from ganaug_ray.data import file_repair, image_formats, jpeg2000
from ganaug_ray.data.losses import GREY_MODES, VOID_ALPHA, divide_by_alpha, has_void_alpha, list_losses
from ganaug_ray.data.sample_readers import has_unnamed_fourth_band, read_samples
from ganaug_ray.data.samples import Samples
from ganaug_ray.data.undecoded_files import explain_undecoded, explain_unopened
from ganaug_ray.data.unreadable import SampleSpan, UnreadableError

__all__ = ["UnreadableError"]

Resize = Literal["crop", "pad", "stretch"]

NOTE_SEPARATOR = "; "  # of several notes in a column of a table
MAX_PIXELS = 100_000_000  # a larger image is refused before it is decoded
_PNG_BIT_DEPTH_AT = 24  # of the file's bytes, in its first chunk
# An image's id is the hash of its pixels; of a large JPEG's at the smallest of its scales that leaves so many a side,
# whatever size the data set is made in.
ID_SIDE_PX = 128
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # orientation, as EXIF numbers it -> what brings the image upright


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image: upright, in mode L (grey) or RGB.

    Attributes:
        image: its pixels; of a JPEG perhaps scaled down while it was decoded.
        width: of the file's own image, upright.
        height: likewise.
        format: what it really is, whatever its name says; "array" where it came as pixels.
        notes: what was left out or changed on the way, such as frames, bands and scales.
        span: of samples that a data set's range of values scales; None where they are plain 8 bits.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    notes: tuple[str, ...] = ()
    span: SampleSpan | None = None

    @property
    def is_scaled(self) -> bool:
        """Whether the image was scaled down while it was decoded."""
        return self.image.size != (self.width, self.height)


def decode(
    content: bytes, min_side: int = ID_SIDE_PX, max_pixels: int | None = None, value_range: ValueRange | None = None
) -> DecodedImage:
    """Decode an image file completely, so that a truncated one is noticed.

    Transparent pixels are laid on white. Samples that are wider than 8 bits, signed or floats are scaled to 8 bits.
    Damage to what is not pixels, such as metadata, is skipped.

    Args:
        content: the bytes of an image file.
        min_side: pixels a side that are enough. A larger JPEG is scaled by 1/2, 1/4 or 1/8 in its frequency domain
            as far as that leaves as many, and ID_SIDE_PX: much cheaper than to decode it and to scale it afterwards.
        max_pixels: pixels; an image with more is refused before it is decoded. Absent: MAX_PIXELS.
        value_range: of the data set's or the model's samples. Absent: each file's is what its format says.

    Raises:
        UnreadableError: empty, not an image, too large, broken off, or with samples of an unknown scale.
    """
    if not content:
        raise UnreadableError("empty")
    max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
    if blank_bytes := image_formats.count_blank_bytes(content):
        decoded = decode(content[blank_bytes:], min_side, max_pixels, value_range)
        return replace(decoded, notes=("blank bytes before the image ignored", *decoded.notes))
    try:
        return _decode_file(content, min_side, max_pixels, value_range)
    except UnreadableError as unreadable:
        error = unreadable
        if error.reason not in ("cannot be decoded", "truncated or damaged"):
            raise
    for repaired, note in file_repair.list_repairs(content):
        try:
            decoded = _decode_file(repaired, min_side, max_pixels, value_range, file_repair.find_orientation(content))
        except UnreadableError:
            continue
        return replace(decoded, notes=(note, *decoded.notes))
    raise error


def _decode_file(
    content: bytes, min_side: int, max_pixels: int, value_range: ValueRange | None, orientation: int | None = None
) -> DecodedImage:
    image = _open_image(content)
    _scale_transparent_value(image, content)
    width, height = image.size
    kind = image.format or ""
    if width * height > max_pixels:
        raise UnreadableError("too large", f"more than {max_pixels} pixels")
    if kind == "JPEG2000" and jpeg2000.is_cut_off(content):
        raise UnreadableError("truncated or damaged", "the codestream breaks off")
    side = max(min_side, ID_SIDE_PX)
    try:
        image.draft(None, (side, side))  # None keeps the mode
        samples = read_samples(image, content)
        if kind in ("JPEG", "MPO") and file_repair.lacks_pixels(content, image, side):
            raise UnreadableError("truncated or damaged", "its pixels break off before its end mark")
        orientation = orientation or _read_orientation(image)
        is_void = has_void_alpha(image)
        notes = [VOID_ALPHA] if is_void else list(list_losses(image, samples))
        if samples is None:
            upright = image.convert("RGB") if is_void else to_grey_or_rgb(image)
            span = None
        else:
            low, high = samples.choose_range(value_range)
            upright = samples.to_grey_levels(low, high)
            is_by_file = samples.declared_high is not None and not (value_range and value_range.is_set)
            span = None if is_by_file else samples.span
            notes += samples.describe_scale(low, high)
    except UnreadableError:
        raise
    except Exception as error:
        raise explain_undecoded(content, kind, error) from None
    if orientation in _TURNS:
        upright = upright.transpose(_TURNS[orientation])
    if orientation >= 5:
        width, height = height, width
    return DecodedImage(upright, width, height, kind, tuple(notes), span)


def _open_image(content: bytes) -> ImageFile.ImageFile:
    """Open a file by its content, not by its name."""
    kind = image_formats.find_format(content)
    if unread := image_formats.find_unread_format(content):
        raise UnreadableError("unsupported format", image_formats.advise_conversion(unread))
    try:
        return Image.open(io.BytesIO(content), formats=image_formats.READABLE_FORMATS)
    except Image.DecompressionBombError:
        raise UnreadableError("too large", f"more than {MAX_PIXELS} pixels") from None
    except Exception:  # Pillow's plugins raise many kinds on hostile bytes
        pass
    raise explain_unopened(content, kind)


def _scale_transparent_value(image: Image.Image, content: bytes) -> None:
    """Scale a grey PNG's transparent value as Pillow scales its pixels of 2 or 4 bits: to 8; it leaves that value."""
    transparent = image.info.get("transparency")
    if image.format == "PNG" and image.mode == "L" and isinstance(transparent, int):
        bits = content[_PNG_BIT_DEPTH_AT]
        image.info["transparency"] = transparent * 255 // (2**bits - 1)


def _read_orientation(image: Image.Image) -> int:
    """Read how a loaded image is to be turned; 1, upright, where its metadata do not say or are damaged."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow's parsers raise many kinds on damaged metadata
        return 1
    return orientation if orientation in _TURNS else 1


def from_array(pixels: np.ndarray) -> Image.Image:
    """Convert uint8 pixels [H, W], [H, W, 1] or [H, W, 3] to an image of mode L or RGB."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)):
        raise ValueError(f"expected uint8 [H, W], [H, W, 1] or [H, W, 3], found {pixels.dtype} {list(pixels.shape)}")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return Image.fromarray(pixels)


def to_grey_or_rgb(image: Image.Image, value_range: ValueRange | None = None) -> Image.Image:
    """Convert an image of any mode to L or RGB; transparent pixels become white.

    Args:
        image: of any mode.
        value_range: as in ``decode``, for samples of more than 8 bits.
    """
    if image.mode.startswith("I") or image.mode == "F":
        samples = Samples(np.asarray(image))
        return samples.to_grey_levels(*samples.choose_range(value_range))
    if image.mode == "LAB":
        return _convert_lab(image)
    if has_unnamed_fourth_band(image):
        return image.convert("RGBX").convert("RGB")
    is_grey = image.mode in GREY_MODES
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = divide_by_alpha(image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return _convert_mode(image, "L" if is_grey else "RGB")


def _convert_lab(image: Image.Image) -> Image.Image:
    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "LAB", "RGB"))
    assert converted is not None, "it was not asked to be in place"
    return converted


def _convert_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode:
        return image  # convert would copy it
    return image.convert(mode)


def resize_to_square(image: Image.Image, size: int, resize: Resize) -> Image.Image:
    """Resize an image to size × size: crop its middle, pad it with black, or stretch it; antialiased."""
    if image.size == (size, size):
        return image
    width, height = image.size
    if resize == "pad":
        inner_box = fit_into_square(width, height, size)
        inner_size = (inner_box[2] - inner_box[0], inner_box[3] - inner_box[1])
        padded = Image.new(image.mode, (size, size))
        padded.paste(image.resize(inner_size, _choose_filter(image, size)), inner_box)
        return padded
    box = None
    if resize == "crop":
        side = min(width, height)
        left = (width - side) / 2
        top = (height - side) / 2
        box = (left, top, left + side, top + side)
    return image.resize((size, size), _choose_filter(image, size), box=box)


def fit_into_square(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """Return where an image that is padded lies in its square of size × size: left, top, right and bottom, in pixels.

    >>> fit_into_square(200, 100, 64)
    (0, 16, 64, 48)
    """
    scale = size / max(width, height)
    inner_width = max(1, round(width * scale))
    inner_height = max(1, round(height * scale))
    left = (size - inner_width) // 2
    top = (size - inner_height) // 2
    return left, top, left + inner_width, top + inner_height


def _choose_filter(image: Image.Image, size: int) -> Image.Resampling:
    """Hamming's window scales down as sharply as bicubic in two thirds of the time; enlarged it would show edges."""
    return Image.Resampling.HAMMING if min(image.size) >= size else Image.Resampling.BICUBIC


def to_pixels(image: Image.Image, channels: int) -> np.ndarray:
    """Convert an image to pixels, uint8 [H, W, channels]; colour turns grey, and grey is repeated, where asked."""
    content = _convert_mode(image, "L" if channels == 1 else "RGB").tobytes()  # asarray takes twice the time
    return np.frombuffer(content, np.uint8).reshape(image.height, image.width, channels)


def to_png(pixels: np.ndarray) -> bytes:
    """Encode uint8 pixels [H, W], [H, W, 1] or [H, W, 3] as a PNG, quickly rather than small."""
    sink = io.BytesIO()
    from_array(pixels).save(sink, "PNG", compress_level=1)
    return sink.getvalue()
