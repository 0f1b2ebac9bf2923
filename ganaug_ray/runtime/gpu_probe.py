"""Finds out whether torch can use the GPUs of this machine: it sees them, and each runs a kernel."""

from __future__ import annotations

import os

from ganaug_ray.core.wording import format_count, get_last_line
from ganaug_ray.errors import UserError
from ganaug_ray.runtime.hardware import Hardware, count_gpu_devices, has_apple_gpu

_IN_USE = ("out of memory", "busy or unavailable")  # in torch's error on a GPU that others use
INSTALL_PAGE = "https://pytorch.org/get-started/locally"


def find_gpu_fault(declared: int) -> str:
    """Return why torch cannot use the GPUs that this machine declares, and what to do; empty if it can.

    A GPU that others use, or whose memory they have filled, works. To be called in a process that ends then: a kernel
    leaves a CUDA context, which takes some hundred megabytes of the GPU's memory.

    Args:
        declared: number of GPUs that Ray was told of or has counted.
    """
    import torch

    if has_apple_gpu():
        return _find_apple_gpu_fault()
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":  # as Ray hides them from a task that reserves none
        del os.environ["CUDA_VISIBLE_DEVICES"]
    gpus = 0
    try:
        torch.cuda.init()
        gpus = torch.cuda.device_count()
        for number in range(gpus):
            try:
                _run_kernel(f"cuda:{number}")
            except RuntimeError as error:
                if not any(words in str(error) for words in _IN_USE):
                    raise
    except (RuntimeError, AssertionError) as error:  # AssertionError: of a torch that was built without CUDA
        return explain_cuda_error(str(error), torch.__version__, torch.version.cuda)
    if gpus < declared:
        return (
            f"Ray declares {format_count(declared, 'GPU')} there, but torch sees {gpus}; start Ray with --num-gpus "
            f"{gpus}, or see why nvidia-smi does not list the others"
        )
    return ""


def refuse_unseen_gpus(hardware: Hardware, without: str = "--cpu") -> None:
    """Refuse to leave GPUs of this machine unused that torch does not see, unless they are hidden on purpose.

    Args:
        hardware: of this machine, with the GPUs that torch sees.
        without: the option that leaves GPUs alone.

    Raises:
        UserError: what is wrong with torch or the driver, and what to do.
    """
    if hardware.has_gpus or "CUDA_VISIBLE_DEVICES" in os.environ:
        return
    devices = count_gpu_devices()
    if devices and (fault := find_gpu_fault(devices)):
        raise UserError(f"this machine has {format_count(devices, 'GPU')}, but {fault}; or give {without}")


def _find_apple_gpu_fault() -> str:
    import torch

    try:
        _run_kernel("mps")
    except RuntimeError as error:
        return f"torch {torch.__version__} cannot use Apple's GPU ({get_last_line(error)}); update macOS or torch"
    return ""


def _run_kernel(device: str) -> None:
    import torch

    ones = torch.ones(2, device=device)
    if (ones + ones).sum().item() != 4:
        raise RuntimeError(f"{device} computes wrong sums")


def explain_cuda_error(message: str, torch_version: str, cuda_version: str | None) -> str:
    """Say in one sentence why torch cannot use a GPU, and what to install.

    Args:
        message: of torch's error.
        torch_version: of the installed torch.
        cuda_version: for which that is built; None: for none.

    >>> explain_cuda_error("Torch not compiled with CUDA enabled", "2.14.1+cpu", None)
    'torch 2.14.1+cpu is built without CUDA; install the build for CUDA (https://pytorch.org/get-started/locally)'
    """
    if cuda_version is None and "not compiled with CUDA" in message:
        return f"torch {torch_version} is built without CUDA; install the build for CUDA ({INSTALL_PAGE})"
    built = f"torch {torch_version}, built for CUDA {cuda_version}, cannot use the GPUs"
    first_line = message.strip().splitlines()[0].strip() if message.strip() else "no reason given"
    if "driver" in message and "too old" in message:
        return (
            f"{built}, since the NVIDIA driver is too old for it; update the driver, or install torch for an older "
            f"CUDA ({INSTALL_PAGE})"
        )
    if "no NVIDIA driver" in message:
        return f"{built}, since there is no NVIDIA driver; install it (nvidia-smi then lists the GPUs)"
    if "no kernel image" in message:
        return f"{built}, since that build does not support this kind of GPU; install one that does ({INSTALL_PAGE})"
    return f"{built} ({first_line}); see whether nvidia-smi lists them"
