"""Explains a trained network: class-activation heat maps, first filters, feature maps, penultimate features.

Nothing here knows an architecture: a network says which maps it decides by.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ganaug_ray.classify.networks import Network
from ganaug_ray.data import images
from ganaug_ray.data.loading import tensors

BATCH_SIZE = 64


def compute_heat_maps(network: Network, images_NHWC: np.ndarray, classes_N: np.ndarray) -> np.ndarray:
    """Compute where in each image the evidence for a class lies: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391).

    The maps of the last convolution are added up, each weighted by the mean gradient of the class's logit, and only
    what speaks for the class is kept.

    Args:
        network: in eval mode.
        images_NHWC: uint8, as stored.
        classes_N: int64, the class each image is asked about.

    Returns:
        float32 [N, H, W] in [0, 1], one at each map's hottest point; all zero where nothing speaks for the class.
    """
    device = _get_device(network)
    parts = [np.zeros((0, *images_NHWC.shape[1:3]), np.float32)]
    for start in range(0, len(images_NHWC), BATCH_SIZE):
        x_BCHW = tensors.to_network(
            torch.tensor(images_NHWC[start : start + BATCH_SIZE], device=device)
        ).requires_grad_()
        with torch.enable_grad():
            logits_BK, maps_BFhw = network.compute_feature_maps(x_BCHW)
        y_B = torch.as_tensor(classes_N[start : start + BATCH_SIZE], device=device)
        (gradient,) = torch.autograd.grad(logits_BK.gather(1, y_B[:, None]).sum(), maps_BFhw)
        weights = gradient.mean((2, 3), keepdim=True)
        heat_B1hw = F.relu((weights * maps_BFhw).sum(1, keepdim=True)).detach()
        heat_BHW = F.interpolate(heat_B1hw, x_BCHW.shape[2:], mode="bilinear")[:, 0]
        parts.append((heat_BHW / heat_BHW.amax((1, 2), keepdim=True).clamp_min(1e-12)).cpu().numpy())
    return np.concatenate(parts)


def overlay_heat_map(pixels: np.ndarray, heat_HW: np.ndarray) -> np.ndarray:
    """Lay a heat map over a grey version of an image: dark violet is cold, yellow is hot.

    Args:
        pixels: uint8 [H, W, 1 or 3].
        heat_HW: float in [0, 1].

    Returns:
        uint8 [H, W, 3].
    """
    import matplotlib as mpl  # here, since prediction and serving do without it until a heat map is asked for

    grey = np.asarray(images.from_array(pixels).convert("L"), np.float32)[..., None] / 255
    colours = mpl.colormaps["plasma"](heat_HW)[..., :3]
    return (255 * (0.45 * grey + 0.55 * colours) + 0.5).astype(np.uint8)


def extract_first_filters(network: Network) -> np.ndarray | None:
    """Return the weights of the first convolution, float32 [filters, channels, h, w]; None where there is none."""
    first_layer = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    return None if first_layer is None else first_layer.weight.detach().cpu().numpy()


class _OutputRecorder:
    """A forward hook that keeps a copy of a convolution's last output, as a later layer may work in place."""

    def __init__(self) -> None:
        self.output_BFhw: torch.Tensor | None = None

    def __call__(self, module: nn.Module, inputs: Any, output_BFhw: torch.Tensor) -> None:
        self.output_BFhw = output_BFhw.clone()


@torch.no_grad()
def extract_feature_maps(network: Network, image_HWC: np.ndarray) -> list[np.ndarray]:
    """Return an image's maps of the first convolution and the last maps before the head, float32 [C, h, w] each.

    The image is uint8 [H, W, C].
    """
    first_layer = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    recorder = _OutputRecorder()
    hook = None
    if first_layer is not None:
        hook = first_layer.register_forward_hook(recorder)
    try:
        _, last_BFhw = network.compute_feature_maps(
            tensors.to_network(torch.tensor(image_HWC[None], device=_get_device(network)))
        )
    finally:
        if hook is not None:
            hook.remove()
    recorded = [last_BFhw]
    if recorder.output_BFhw is not None:
        recorded = [recorder.output_BFhw, last_BFhw]
    return [maps_BFhw[0].float().cpu().numpy() for maps_BFhw in recorded]


@torch.inference_mode()
def extract_features(network: Network, images_NHWC: tensors.PixelRows, max_images: int | None = None) -> np.ndarray:
    """Return the penultimate features of images, uint8 [N, H, W, C], or of the first ones: float32 [N, F]."""
    n = len(images_NHWC) if max_images is None else min(len(images_NHWC), max_images)
    if n == 0:
        return np.zeros((0, 1), np.float32)
    device = _get_device(network)
    parts = []
    for start in range(0, n, BATCH_SIZE):
        pixels = torch.tensor(images_NHWC[start : min(start + BATCH_SIZE, n)], device=device)
        parts.append(network.compute_features(tensors.to_network(pixels)))
    return torch.cat(parts).float().cpu().numpy()


def _get_device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
