"""Lets work on the CPU take its memory again, instead of fresh memory from the system at every step.

glibc returns the memory of large tensors to the system when they are freed, and the next step asks for it anew, page by
page. Without that, batches of 256 images were classified in half the CPU time, and a GAN's step took a tenth less
(``tests/benchmarks/reused_memory.py``).
"""

import ctypes
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

# Parameters of glibc's mallopt, by their numbers -> bytes.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
KEEPING = {
    _TRIM_THRESHOLD: 1 << 30,
    _MMAP_THRESHOLD: 1 << 30,  # a tensor of this size still goes back at once
    _TOP_PAD: 64 << 20,  # of threads, whose memory comes in pieces of that size, each returned when it is empty
}
USUAL = {  # what glibc comes to by itself at the most, as tensors are freed
    _TRIM_THRESHOLD: 64 << 20,
    _MMAP_THRESHOLD: 32 << 20,
    _TOP_PAD: 128 << 10,
}

_lock = threading.Lock()
_uses = 0


def keep_freed_memory(device: torch.device | str) -> None:
    """Keep freed memory until this process ends: for an actor, which computes as long as it lives.

    Args:
        device: that computes; another one than the CPU has memory of its own, and nothing is changed.
    """
    global _uses
    libc = _load_libc(device)
    if libc is None:
        return
    with _lock:
        _uses += 1
        _set_parameters(libc, KEEPING)


@contextmanager
def reuse_freed_memory(device: torch.device | str) -> Iterator[None]:
    """Keep freed memory until the context ends, and then return it to the system; may be entered again inside.

    Args:
        device: see ``keep_freed_memory``.
    """
    global _uses
    keep_freed_memory(device)
    try:
        yield
    finally:
        libc = _load_libc(device)
        if libc is not None:
            with _lock:
                _uses -= 1
                if not _uses:
                    _set_parameters(libc, USUAL)
                    libc.malloc_trim(0)


def _load_libc(device: torch.device | str) -> ctypes.CDLL | None:
    """Return the C library if the CPU computes and the library is glibc; others have no such switch."""
    if torch.device(device).type != "cpu":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") else None


def _set_parameters(libc: ctypes.CDLL, parameters: Mapping[int, int]) -> None:
    for number, value in parameters.items():
        libc.mallopt(number, value)
