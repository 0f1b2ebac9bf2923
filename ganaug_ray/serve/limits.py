"""The limits of one request, and of requests at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ganaug_ray.errors import UserError


@dataclass(frozen=True)
class RequestLimits:
    """The limits of one replica; what exceeds one is refused before the work that it limits.

    Attributes:
        bytes: of a request's body.
        pixels: of one image, before it is decoded.
        images: of one request.
        seconds: for sending a request.
        waiting: requests at a time; more are told to come back.
        memory: bytes of all bodies at a time; more are told to come back.
        stored: images with feedback in their folder.
        stored_bytes: of these images.
    """

    bytes: int = 20_000_000
    pixels: int = 50_000_000
    images: int = 32
    seconds: float = 30.0
    waiting: int = 256
    memory: int = 400_000_000
    stored: int = 100_000
    stored_bytes: int = 10_000_000_000

    @classmethod
    def from_settings(cls, settings: Sequence[str]) -> RequestLimits:
        """Parse NAME=VALUE settings.

        >>> RequestLimits.from_settings(["images=8", "bytes=1e6"]).bytes
        1000000

        Raises:
            UserError: an unknown name, or a value that is no positive number.
        """
        limits = cls()
        names = [field.name for field in fields(cls)]
        for setting in settings:
            name, _, text = setting.partition("=")
            if name not in names:
                raise UserError(f"--limit {setting}: there is no limit {name!r}; they are {', '.join(names)}")
            try:
                value = float(text)
            except ValueError:
                value = 0.0
            if not 0 < value < float("inf"):
                raise UserError(f"--limit {setting}: expected a positive number, found {text!r}")
            if name != "seconds":
                value = max(1, int(value))
            changes: dict[str, Any] = {name: value}
            limits = replace(limits, **changes)
        return limits
