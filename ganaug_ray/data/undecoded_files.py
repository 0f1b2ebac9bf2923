"""Says why a file gives no image: what it really is, what became of it, or what its decoder says."""

import io

from PIL import Image

from ganaug_ray.data import image_formats, tiff_tags
from ganaug_ray.data.unreadable import UnreadableError

COPIED_AS_TEXT = "copied as text"  # reasons of rejection
TEXT_BEFORE_IMAGE = "text before the image"


def explain_unopened(content: bytes, kind: str | None) -> UnreadableError:
    """Say why a file cannot be opened; ``kind`` is the format that its first bytes say, if they say one."""
    if damage := image_formats.find_text_damage(content):
        return UnreadableError(COPIED_AS_TEXT, f"{damage}; copy it once more, as it is")
    if kind is not None:
        reason = _describe_compression(content, kind) or f"{kind}: {_ask_decoder(content, kind)}"
        if kind == "TIFF" and (description := tiff_tags.describe_tiff(content)):
            reason += f" ({description})"
        return UnreadableError("cannot be decoded", reason)
    if pointer := image_formats.find_pointer(content):
        return UnreadableError(
            f"{pointer} pointer", "stands for a file that was not fetched; fetch it in its repository"
        )
    if behind := image_formats.find_image_behind_text(content):
        name, at = behind
        detail = f"a {name} image begins at byte {at}, behind {content[: min(at, 16)]!r}; remove what is before it"
        return UnreadableError(TEXT_BEFORE_IMAGE, detail)
    return UnreadableError("not an image", image_formats.explain_wrapping(content) or f"begins with {content[:16]!r}")


def explain_undecoded(content: bytes, kind: str, error: Exception) -> UnreadableError:
    """Say why a file that was opened cannot be decoded; ``error`` is what its decoder raised."""
    if compression := _describe_compression(content, kind):
        return UnreadableError("cannot be decoded", f"{compression}; save it in another, such as LZW")
    return UnreadableError("truncated or damaged", str(error) or type(error).__name__)


def _describe_compression(content: bytes, kind: str) -> str | None:
    compression = tiff_tags.find_unread_compression(content) if kind == "TIFF" else None
    return f"TIFF: its compression, {compression}, is not read" if compression else None


def _ask_decoder(content: bytes, kind: str) -> str:
    """Return why a decoder refuses a file, which Image.open does not say."""
    try:
        Image.OPEN[kind][0](io.BytesIO(content), "")
    except Exception as error:
        return str(error) or type(error).__name__
    return "is of a kind that cannot be decoded"
