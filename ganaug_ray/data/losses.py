"""Tells what of an image file is left out when it becomes grey levels or colours: frames, bands, transparency."""

from collections.abc import Iterator

import numpy as np
from PIL import Image, TiffImagePlugin

from ganaug_ray.data.sample_readers import has_unnamed_fourth_band
from ganaug_ray.data.samples import Samples

GREY_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"}
_USED_BANDS = {"P": 1, "PA": 1, "CMYK": 4} | dict.fromkeys(GREY_MODES, 1)  # 3 in all other modes
FULLY_TRANSPARENT = "fully transparent and laid on white"
VOID_ALPHA = "transparency of 0 throughout ignored"
_ORDINALS = {1: "first", 3: "third", 4: "fourth"}


def has_void_alpha(image: Image.Image) -> bool:
    """Whether a loaded BMP file's fourth byte is 0 throughout: programs that leave it out mean no transparency."""
    return image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)


def list_losses(image: Image.Image, samples: Samples | None = None) -> Iterator[str]:
    """Yield what of a loaded file is left out: frames, bands, transparency.

    Args:
        image: loaded.
        samples: those of the file where they are wider than the image's, which then do not tell what is transparent.
    """
    if image.format == "JPEG":  # has none of them
        return
    try:
        has_more_frames = getattr(image, "is_animated", False)
    except Exception:  # the next frame is damaged
        has_more_frames = True
    if has_more_frames:
        yield "frames beyond the first left out"
    is_transparent = image.has_transparency_data and not has_unnamed_fourth_band(image)
    used_bands = _USED_BANDS.get(image.mode, 3)
    if _count_bands(image) > used_bands + is_transparent:
        yield f"bands beyond the {_ORDINALS[used_bands]} left out"
    if samples is not None:
        alpha = samples.alpha
        opaque = 1
    else:
        alpha = np.asarray(divide_by_alpha(image).convert("RGBA"))[..., 3] if is_transparent else None
        opaque = 255
    if alpha is not None and not alpha.any():
        yield FULLY_TRANSPARENT
    elif alpha is not None and alpha.min() < opaque:
        yield "transparent pixels laid on white"


def divide_by_alpha(image: Image.Image) -> Image.Image:
    """Return an image of mode LA for one whose grey levels are multiplied by alpha, which Pillow converts to no other.

    Any other image stays as it is.
    """
    return image.convert("LA") if image.mode == "La" else image


def _count_bands(image: Image.Image) -> int:
    """Count the bands of a TIFF image, of which Pillow may read fewer; 0 of others."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0
    return int(image.tag_v2.get(TiffImagePlugin.SAMPLESPERPIXEL, 1))
