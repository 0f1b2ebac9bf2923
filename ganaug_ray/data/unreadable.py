"""The error that says why an image cannot be used."""

from typing import NamedTuple


class SampleSpan(NamedTuple):
    """What is known of samples that are wider than 8 bits, signed or floats, before their scale is."""

    dtype: str
    low: float
    high: float


class UnreadableError(Exception):
    """Raised for an image that cannot be used, with the reason in a few words; and what its samples span, if known."""

    def __init__(self, reason: str, detail: str = "", span: SampleSpan | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.span = span
