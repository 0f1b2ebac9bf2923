"""Times that a dry run measured, kept for the run that follows: so that it makes the plan that the dry run showed.

They lie in one small JSON file of the user's. A file that cannot be read or written is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, ValidationError

from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.runtime import hardware
from ganaug_ray.version import __version__

FILE = "times.json"
MAX_AGE_S = 24 * 3600.0


class _Measurement(BaseModel):
    """What was measured once, in seconds and numbers by name, and when."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    kept_at: float
    figures: dict[str, NonNegativeFloat]


class _TimesFile(BaseModel):
    """The content of the file: the hash of what was measured -> its time."""

    model_config = ConfigDict(frozen=True, strict=True)

    times: dict[str, _Measurement]


class KeptTimes:
    """Times by what was measured, on this machine with this version.

    Args:
        folder: where the file is or will be; None: times are kept by this process alone.
        is_dry_run: whether times are measured anew, for the run that follows; else those of the file are taken.
    """

    def __init__(self, folder: Folder | None, is_dry_run: bool) -> None:
        self._folder = folder
        self._is_dry_run = is_dry_run
        self._times: dict[str, _Measurement] = {} if is_dry_run else self._read_file()

    @classmethod
    def open_user_cache(cls, environment: Mapping[str, str], is_dry_run: bool) -> KeptTimes:
        """Open the times in $GANAUG_CACHE, or in the folder ``ganaug`` where programs of this user keep such things."""
        given = environment.get("GANAUG_CACHE")
        try:
            home = Path(environment.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ganaug"
            return cls(Folder.from_uri(given or home), is_dry_run)
        except (RuntimeError, UserError):  # there is no home folder, or no such filesystem
            return cls(None, is_dry_run)

    def find(self, measured: Mapping[str, Any]) -> dict[str, float] | None:
        """Return the figures of what was measured; None where it was not, or too long ago.

        Args:
            measured: all that they depend on beside the machine, JSON-like.
        """
        measurement = self._times.get(_hash_measured(measured))
        return dict(measurement.figures) if measurement and _is_fresh(measurement) else None

    def keep(self, measured: Mapping[str, Any], figures: Mapping[str, float]) -> None:
        """Keep the figures of what was measured: in a dry run in the file too, without those that are too old."""
        self._times[_hash_measured(measured)] = _Measurement(kept_at=time.time(), figures=dict(figures))
        if self._folder is None or not self._is_dry_run:
            return
        known = self._read_file() | self._times
        times = {key: measurement for key, measurement in known.items() if _is_fresh(measurement)}
        with suppress(OSError, UserError):
            self._folder.write_json(FILE, _TimesFile(times=times).model_dump())

    def _read_file(self) -> dict[str, _Measurement]:
        if self._folder is None:
            return {}
        try:
            return _TimesFile.model_validate(self._folder.read_json(FILE)).times
        except (OSError, ValueError, ValidationError, RecursionError):
            return {}


def _is_fresh(measurement: _Measurement) -> bool:
    return 0 <= time.time() - measurement.kept_at < MAX_AGE_S


def _hash_measured(measured: Mapping[str, Any]) -> str:
    """Hash what was measured and the machine: a home folder may be that of several."""
    machine = [platform.node(), platform.machine(), hardware.count_usable_cores(), __version__]
    return hashlib.sha256(json.dumps([machine, measured], sort_keys=True).encode()).hexdigest()[:16]
