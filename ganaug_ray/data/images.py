"""From bytes to pixels: decoding, and bringing images to size. Pixels at rest are uint8 [0, 255], [H, W, C]."""

import io
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

Resize = Literal["crop", "pad", "stretch"]

MOST_PIXELS = 100_000_000  # a larger image is refused before it is decoded
# By content, not by name. Not among them: formats that Pillow hands to other programs, such as EPS.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
GREY_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"}


class Unreadable(Exception):
    """An image that cannot be used, with the reason in few words."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def decode(content: bytes) -> Image.Image:
    """Decode one image whole, upright, to mode L (grey) or RGB.

    Transparent pixels are laid on white. 16-bit grey is scaled to 8.

    Raises:
        Unreadable: empty, not an image, larger than MOST_PIXELS, or broken off.
    """
    if not content:
        raise Unreadable("empty")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise Unreadable("too large", str(error)) from None
    except Exception as error:  # Pillow's plugins raise many kinds on hostile bytes
        raise Unreadable("not an image", str(error)) from None
    if image.width * image.height > MOST_PIXELS:
        raise Unreadable("too large", f"{image.width} × {image.height} pixels")
    try:
        image.load()
        return to_grey_or_rgb(ImageOps.exif_transpose(image))
    except Exception as error:
        raise Unreadable("truncated or damaged", str(error)) from None


def from_array(pixels: np.ndarray) -> Image.Image:
    """Wrap uint8 pixels [H, W], [H, W, 1] or [H, W, 3] as an image of mode L or RGB."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)):
        raise ValueError(f"expected uint8 [H, W], [H, W, 1] or [H, W, 3], found {pixels.dtype} {list(pixels.shape)}")
    return Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def to_grey_or_rgb(image: Image.Image) -> Image.Image:
    """Bring an image of any mode to L or RGB; transparent pixels on white, 16-bit grey scaled to 8."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        scale = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray(np.clip(values / scale * 255 + 0.5, 0, 255).astype(np.uint8))
    grey = image.mode in GREY_MODES
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if grey else "RGB")


def square(image: Image.Image, size: int, resize: Resize) -> Image.Image:
    """Bring an image to size × size: crop its middle, pad it with black, or stretch it. Bicubic, antialiased."""
    if image.size == (size, size):
        return image
    target = (size, size)
    if resize == "crop":
        return ImageOps.fit(image, target, Image.Resampling.BICUBIC)
    if resize == "pad":
        return ImageOps.pad(image, target, Image.Resampling.BICUBIC)
    return image.resize(target, Image.Resampling.BICUBIC)


def pixels(image: Image.Image, channels: int) -> np.ndarray:
    """Return uint8 [H, W, channels]; colour turns grey and grey is repeated, as asked."""
    array = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return array.reshape(*array.shape[:2], channels)
