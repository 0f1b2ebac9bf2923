"""Recognises a full disk, in whatever error it comes, and says so with the path and the size."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ganaug_ray.errors import DiskFull

FULL_DISK_ERRNOS = {errno.ENOSPC, errno.EDQUOT}
# What libraries keep the error in that theirs is about: Ray's tasks, its controller and its workers' wrapper.
_WRAPPERS = ("__cause__", "__context__", "cause", "controller_failure", "_base_exc")
_NO_TEMPORARY_FOLDER = "No usable temporary directory"  # of Python's tempfile, which tries to write to some


@contextmanager
def explain_full_disk(path: object, size: int) -> Iterator[None]:
    """Raise DiskFull where writing these bytes to a path fails because the disk or the quota is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK_ERRNOS:
            raise
        raise DiskFull(_describe(str(path), size)) from error


def find_disk_full(error: BaseException) -> DiskFull | None:
    """Return the DiskFull that an error is or was caused by, or None."""
    waiting: list[BaseException] = [error]
    seen: list[BaseException] = []
    while waiting:
        current = waiting.pop()
        seen.append(current)
        if isinstance(current, DiskFull):
            return current
        causes = [getattr(current, name, None) for name in _WRAPPERS]
        causes += list(getattr(current, "worker_failures", {}).values())
        waiting += [cause for cause in causes if isinstance(cause, BaseException) and cause not in seen]
    for current in seen:
        if isinstance(current, OSError) and current.errno in FULL_DISK_ERRNOS:
            return DiskFull(_describe(current.filename and str(current.filename), None))
        if isinstance(current, FileNotFoundError) and _NO_TEMPORARY_FOLDER in str(current):
            return DiskFull(
                f"{current.strerror}: none of these folders can be written, so the disk may be full; make room there, "
                "or set TMPDIR to a folder on another disk, and the same command continues"
            )
    return None


def _describe(path: str | None, size: int | None) -> str:
    """Say what could not be written and where, if that is known, and what to do."""
    if path is None:
        return (
            "standard output or a temporary file: the disk is full, or the quota; make room, and the same command goes "
            "on"
        )
    loss = "not all could be written" if size is None else f"{size / 1e6:.3g} MB could not be written"
    with suppress(OSError):
        folder = next(folder for folder in Path(path).absolute().parents if folder.exists())
        loss += f", {shutil.disk_usage(folder).free / 1e6:.3g} MB are free there"
    return f"{path}: the disk is full, or the quota ({loss}); make room, and the same command continues"
