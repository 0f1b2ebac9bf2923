"""Decides what a file that stands beside images by its name is, once its content is read: an image too, or none."""

from dataclasses import replace

from ganaug_ray.data import image_formats
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.sources.paths import is_raw_name, is_sidecar
from ganaug_ray.data.sources.raw import RAW_BESIDE, SIDECAR, UNREAD_BESIDE, RawImage


def settle_companion(raw: RawImage) -> RawImage:
    """Return an image as it is, and what stands beside images with the reason why it is skipped.

    One of a format that is read is an image, whatever its name.
    """
    if not raw.is_beside:
        return raw
    if isinstance(raw.content, bytes):
        reason = _find_reason(raw.path, raw.content)
    else:
        is_too_large = isinstance(raw.content, UnreadableError) and raw.content.reason == "too large"
        reason = _find_reason(raw.path, b"") if is_too_large else None
    return raw if reason is None else replace(raw, content=UnreadableError(reason))


def _find_reason(path: str, content: bytes) -> str | None:
    unread = image_formats.find_unread_format(content)
    if unread is None and image_formats.find_format(content):
        return None
    if is_sidecar(path):  # a suffix that no image has
        return SIDECAR
    if is_raw_name(path) or (unread and image_formats.is_camera_raw(unread)):
        return RAW_BESIDE
    return UNREAD_BESIDE if unread and image_formats.name_image_format(content) else SIDECAR
