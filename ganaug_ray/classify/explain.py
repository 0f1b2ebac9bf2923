"""What a trained network looks at: class-activation heat maps, first filters, feature maps, penultimate features.

Nothing here knows an architecture: layers are found by what they give while an image passes through.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ganaug_ray.data import tensors

BATCH = 64


@contextmanager
def _watched(network: nn.Module, seen: Callable[[nn.Module, torch.Tensor], None]) -> Iterator[None]:
    """Call back with every module and the map [B, C, h, w] it gives, if it gives one of more than a pixel."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            seen(module, output)

    handles = [module.register_forward_hook(hook) for module in network.modules() if module is not network]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def heat_maps(network: nn.Module, images_NHWC: np.ndarray, classes_N: np.ndarray) -> np.ndarray:
    """Where in each image the evidence for a class lies: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391).

    The maps of the last convolution are added up, each weighted by the mean gradient of the class's logit, and only
    what speaks for the class is kept.

    Args:
        network: in eval mode; calling it on float [-1, 1] [B, C, H, W] gives logits [B, K].
        images_NHWC: uint8, as stored.
        classes_N: int64, the class each image is asked about.

    Returns:
        float32 [N, H, W] in [0, 1], one at each map's hottest point; all zero where nothing speaks for the class.

    Raises:
        ValueError: no layer of the network gives maps.
    """
    device, parts = _device(network), []
    for start in range(0, len(images_NHWC), BATCH):
        x_BCHW = tensors.to_network(torch.tensor(images_NHWC[start : start + BATCH], device=device)).requires_grad_()
        last: list[torch.Tensor] = []
        with _watched(network, lambda _, output: last.__setitem__(slice(None), [output])), torch.enable_grad():  # noqa: B023
            logits_BK = network(x_BCHW)
        if not last:
            raise ValueError(f"{type(network).__name__}: no layer gives maps [B, C, h, w]")
        y_B = torch.as_tensor(classes_N[start : start + BATCH], device=device)
        (gradient,) = torch.autograd.grad(logits_BK.gather(1, y_B[:, None]).sum(), last[0])
        weights = gradient.mean((2, 3), keepdim=True)
        heat_B1hw = F.relu((weights * last[0]).sum(1, keepdim=True)).detach()
        heat_BHW = F.interpolate(heat_B1hw, x_BCHW.shape[2:], mode="bilinear")[:, 0]
        parts.append((heat_BHW / heat_BHW.amax((1, 2), keepdim=True).clamp_min(1e-12)).cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros(images_NHWC.shape[:3], np.float32)


def first_filters(network: nn.Module) -> np.ndarray | None:
    """The weights of the first convolution, float32 [filters, channels, h, w]; None where there is none."""
    found = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    return None if found is None else found.weight.detach().cpu().numpy()


@torch.no_grad()
def feature_maps(network: nn.Module, image_HWC: np.ndarray) -> list[np.ndarray]:
    """Return the first convolution's maps of an image, uint8 [H, W, C], and the last ones: float32 [C, h, w] each."""
    first: list[torch.Tensor] = []
    last: list[torch.Tensor] = []

    def seen(module: nn.Module, output: torch.Tensor) -> None:
        if not first and isinstance(module, nn.Conv2d):
            first.append(output.clone())  # a later layer may work in place
        last[:] = [output]

    with _watched(network, seen):
        network(tensors.to_network(torch.tensor(image_HWC[None], device=_device(network))))
    return [found[0][0].float().cpu().numpy() for found in (first, last) if found]


@torch.inference_mode()
def penultimate(network: nn.Module, images_NHWC: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, C] -> what the network's head sees of each image, float32 [N, F]."""
    features: Any = network.features
    parts = [
        features(tensors.to_network(torch.tensor(images_NHWC[start : start + BATCH], device=_device(network))))
        for start in range(0, len(images_NHWC), BATCH)
    ]
    return torch.cat(parts).float().cpu().numpy() if parts else np.zeros((0, 1), np.float32)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
