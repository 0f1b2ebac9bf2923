"""Decodes image files and brings images to size. Pixels at rest are uint8 [0, 255], [H, W, C]."""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps

Resize = Literal["crop", "pad", "stretch"]

MAX_PIXELS = 100_000_000  # a larger image is refused before it is decoded
# By content, not by name. Not among them: formats that Pillow hands to other programs, such as EPS.
READABLE_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
# An image's id is the hash of its pixels; of a large JPEG's at the smallest of its scales that leaves so many a side,
# whatever size the data set is made in.
ID_SIDE_PX = 128
GREY_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"}


class UnreadableError(Exception):
    """Raised for an image that cannot be used, with the reason in a few words."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image: upright, in mode L (grey) or RGB.

    Attributes:
        image: its pixels; of a JPEG perhaps scaled down while it was decoded.
        width: of the file's own image, upright.
        height: likewise.
        format: what it really is, whatever its name says; "array" where it came as pixels.
    """

    image: Image.Image
    width: int
    height: int
    format: str

    @property
    def is_scaled(self) -> bool:
        """Whether the image was scaled down while it was decoded."""
        return self.image.size != (self.width, self.height)


def decode(content: bytes, min_side: int = ID_SIDE_PX, max_pixels: int | None = None) -> DecodedImage:
    """Decode an image file completely, so that a truncated one is noticed.

    Transparent pixels are laid on white. 16-bit grey is scaled to 8.

    Args:
        content: the bytes of an image file.
        min_side: pixels a side that are enough. A larger JPEG is scaled by 1/2, 1/4 or 1/8 in its frequency domain
            as far as that leaves as many, and ID_SIDE_PX: much cheaper than to decode it and to scale it afterwards.
        max_pixels: pixels; an image with more is refused before it is decoded. Absent: MAX_PIXELS.

    Raises:
        UnreadableError: empty, not an image, too large, or broken off.
    """
    if not content:
        raise UnreadableError("empty")
    max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
    try:
        image = Image.open(io.BytesIO(content), formats=READABLE_FORMATS)
    except Image.DecompressionBombError:
        raise UnreadableError("too large", f"more than {MAX_PIXELS} pixels") from None
    except Exception:  # Pillow's plugins raise many kinds on hostile bytes
        raise UnreadableError("not an image", f"begins with {content[:16]!r}") from None
    width, height = image.size
    kind = image.format or ""
    if width * height > max_pixels:
        raise UnreadableError("too large", f"more than {max_pixels} pixels")
    try:
        image.draft(None, (max(min_side, ID_SIDE_PX),) * 2)  # None keeps the mode
        image.load()
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        if 5 <= orientation <= 8:
            width, height = height, width
        upright = image if orientation == 1 else ImageOps.exif_transpose(image)
        return DecodedImage(to_grey_or_rgb(upright), width, height, kind)
    except Exception as error:
        raise UnreadableError("truncated or damaged", str(error)) from None


def from_array(pixels: np.ndarray) -> Image.Image:
    """Convert uint8 pixels [H, W], [H, W, 1] or [H, W, 3] to an image of mode L or RGB."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)):
        raise ValueError(f"expected uint8 [H, W], [H, W, 1] or [H, W, 3], found {pixels.dtype} {list(pixels.shape)}")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return Image.fromarray(pixels)


def to_grey_or_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to L or RGB; transparent pixels become white, 16-bit grey is scaled to 8."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        scale = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray(np.clip(values / scale * 255 + 0.5, 0, 255).astype(np.uint8))
    is_grey = image.mode in GREY_MODES
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return _convert_mode(image, "L" if is_grey else "RGB")


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
        scale = size / max(width, height)
        inner_size = (max(1, round(width * scale)), max(1, round(height * scale)))
        inner = image.resize(inner_size, _choose_filter(image, size))
        padded = Image.new(image.mode, (size, size))
        padded.paste(inner, ((size - inner.width) // 2, (size - inner.height) // 2))
        return padded
    box = None
    if resize == "crop":
        side = min(width, height)
        left = (width - side) / 2
        top = (height - side) / 2
        box = (left, top, left + side, top + side)
    return image.resize((size, size), _choose_filter(image, size), box=box)


def _choose_filter(image: Image.Image, size: int) -> Image.Resampling:
    """Hamming's window scales down as sharply as bicubic in two thirds of the time; enlarged it would show edges."""
    return Image.Resampling.HAMMING if min(image.size) >= size else Image.Resampling.BICUBIC


def to_pixels(image: Image.Image, channels: int) -> np.ndarray:
    """Convert an image to pixels, uint8 [H, W, channels]; colour turns grey, and grey is repeated, where asked."""
    array = np.asarray(_convert_mode(image, "L" if channels == 1 else "RGB"))
    return array.reshape(*array.shape[:2], channels)


def to_png(pixels: np.ndarray) -> bytes:
    """Encode uint8 pixels [H, W], [H, W, 1] or [H, W, 3] as a PNG, quickly rather than small."""
    sink = io.BytesIO()
    from_array(pixels).save(sink, "PNG", compress_level=1)
    return sink.getvalue()
