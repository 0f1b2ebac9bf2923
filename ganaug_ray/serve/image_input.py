"""Decodes the images of a request to pixels, off the event loop, by content and within the limits."""

from __future__ import annotations

import numpy as np

from ganaug_ray.core.records import ModelSpec
from ganaug_ray.data import images, undecoded_files
from ganaug_ray.data.samples import UNKNOWN_RANGE, advise_sender
from ganaug_ray.serve import body_kinds
from ganaug_ray.serve.live_model import ModelVersion
from ganaug_ray.serve.problem_details import ProblemError

# Of a file's bytes: more are worth a thread of their own; fewer are decoded with the batch, since handing a small image
# from thread to thread costs more than decoding it.
MAX_SMALL_BYTES = 65_536


class RequestImage:
    """One encoded image of a request.

    Args:
        content: the bytes of an image file.
        name: as the caller calls it.
        max_pixels: a larger one is refused before it is decoded.
    """

    def __init__(self, content: bytes, name: str, max_pixels: int) -> None:
        self.content = content
        self.name = name
        self._max_pixels = max_pixels
        self._preprocessed: tuple[tuple[object, ...], np.ndarray] | None = None
        self._notes: dict[tuple[object, ...], tuple[str, ...]] = {}  # by the kind of input: a candidate's may differ

    @property
    def is_small(self) -> bool:
        """Whether the image is decoded together with the batch, rather than before."""
        return len(self.content) <= MAX_SMALL_BYTES

    def decode_pixels(self, model: ModelVersion) -> np.ndarray:
        """Return the pixels as a model takes them, uint8 [H, W, C]; they are decoded once for each kind of input.

        Raises:
            ProblemError: no image, a damaged one, or a larger one than allowed.
        """
        if self._preprocessed is None or self._preprocessed[0] != model.input:
            decoded_image = decode_image(self.content, self.name, self._max_pixels, model.record)
            self._preprocessed = model.input, model.classifier.preprocess(decoded_image.image)
            self._notes[model.input] = decoded_image.notes
        return self._preprocessed[1]

    def get_notes(self, model: ModelVersion) -> tuple[str, ...]:
        """Return what was left out of the file or changed for a model that has answered."""
        return self._notes[model.input]


class RequestPixels:
    """Images of a request that came as pixels, in one array.

    Args:
        images_NHWC: uint8.
    """

    is_small = True

    def __init__(self, images_NHWC: np.ndarray) -> None:
        self.images_NHWC = images_NHWC

    def check_pixels(self, model: ModelVersion) -> np.ndarray:
        """Return the pixels, uint8 [N, H, W, C]. Raises ProblemError if the model takes another shape."""
        if self.images_NHWC.shape[1:] != model.shape:
            raise ProblemError(400, f"image: expected shape [-1, {', '.join(map(str, model.shape))}]")
        return self.images_NHWC


def decode_image(content: bytes, name: str, max_pixels: int, model: ModelSpec) -> images.DecodedImage:
    """Decode an image. Raises ProblemError, which begins with ``name``, if it is none or too large."""
    try:
        return images.decode(content, model.image_size, max_pixels, model.value_range)
    except images.UnreadableError as error:
        explanation = _explain_refusal(error, content, model)
        sentence = f"{name}: {error.reason}" + (f" ({explanation})" if explanation else "")
        raise ProblemError(_STATUS_BY_REASON.get(error.reason, 422), sentence) from None


def _explain_refusal(error: images.UnreadableError, content: bytes, model: ModelSpec) -> str | None:
    """Return what to do about an image that cannot be read, if that is known, and nothing of the decoder's insides."""
    if error.reason == "unsupported format":
        return error.detail
    if error.reason == UNKNOWN_RANGE:
        return f"{error.detail}; {advise_sender(model.value_range)}"
    if error.reason == "empty":
        return body_kinds.HOW_TO_SEND
    if error.reason == "not an image":
        return body_kinds.explain_content(content)
    if error.reason == undecoded_files.COPIED_AS_TEXT and not body_kinds.has_lost_line_ends(content):
        return f"{error.detail.partition(';')[0]}; {body_kinds.HOW_TO_SEND}"
    if error.reason == undecoded_files.TEXT_BEFORE_IMAGE:
        return body_kinds.explain_content(content) or error.detail
    if error.reason != "too large" and body_kinds.has_lost_line_ends(content):
        return "its line ends are missing, as after curl -d; send it with curl --data-binary @cat.jpg"
    return None


_STATUS_BY_REASON = {
    "too large": 413,
    "empty": 400,
    "not an image": 415,
    "unsupported format": 415,
    undecoded_files.TEXT_BEFORE_IMAGE: 415,
}
