"""The feature extractors in which images are compared; each has a name, which is part of every metric's name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn
from torch.nn import functional as F

from ganaug_ray.classify.networks import Network
from ganaug_ray.errors import UserError

BATCH_SIZE = 256
INCEPTION_BATCH_SIZE = 32
INCEPTION_SIZE_PX = 299
OUTPUTS_2015 = 1008  # of the weights file of 2015; torchvision's has 1000


@dataclass(frozen=True)
class FeatureExtractor:
    """A named function from images to feature vectors.

    Values in the features of one extractor cannot be compared with values in another's.

    Attributes:
        name: part of every metric's name.
        extract: float [B, C, H, W] in [-1, 1] -> float [B, F]; called without gradients.
        batch_size: B at most.
    """

    name: str
    extract: Callable[[torch.Tensor], torch.Tensor]
    batch_size: int = BATCH_SIZE

    @torch.no_grad()
    def __call__(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the features of any number of images, computed batch by batch.

        Args:
            x_BCHW: images, float [N, C, H, W] in [-1, 1]; one at least.

        Returns:
            float32 [N, F], on the images' device.

        >>> FeatureExtractor("channel means", lambda x_BCHW: x_BCHW.mean((2, 3)))(torch.ones(2, 3, 8, 8)).tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
        """
        return torch.cat([self.extract(part).float() for part in x_BCHW.split(self.batch_size)])


def build_teacher_extractor(network: Network, real_BCHW: torch.Tensor) -> FeatureExtractor:
    """Return an extractor of the penultimate features of a classifier that was trained on real images.

    The features are divided by their root mean square over the given real images. Without that the values of metrics
    would depend on the scale of a layer that no loss fixes.

    Args:
        network: the classifier; it is put into evaluation mode.
        real_BCHW: real images, float [B, C, H, W] in [-1, 1]; one at least.

    Returns:
        The extractor ``teacher``.
    """
    network.eval()
    bare = FeatureExtractor("teacher", network.compute_features, network.batch_size)
    scale = bare(real_BCHW).square().mean().sqrt()
    return FeatureExtractor("teacher", lambda x_BCHW: network.compute_features(x_BCHW) / scale, network.batch_size)


def load_inception_v3(path: Path, device: torch.device | str = "cpu") -> FeatureExtractor:
    """Load InceptionV3 as an extractor of its 2,048 pooled features (Szegedy et al. 2015, arXiv 1512.00567).

    Two weights files are known. That of 2015 (``weights-inception-2015-12-05-6726825d.pth`` of torch-fidelity, or
    pytorch-fid's) is the network of published FID and KID, and is called ``inception2015``: its average pools leave
    the padding out, its last block pools by maximum, and images are resized as TensorFlow 1 did. torchvision's own
    (``inception_v3_google-0cc3c7bd.pth``) is called ``inceptiontv``.

    Args:
        path: one of these two files, a state_dict that torch saved.
        device: where the network runs.

    Returns:
        An extractor for square images of any size, [B, 1 or 3, H, W]; grey ones are repeated to three channels.

    Raises:
        UserError: the file is not there, or does not hold these weights.
    """
    from torchvision.models import inception  # slow to import, and rarely wanted

    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        outputs = len(weights["fc.bias"])
        published = outputs == OUTPUTS_2015
        network = inception.Inception3(outputs, aux_logits=not published, init_weights=False)
        network.load_state_dict(weights, strict=True)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: no such file; it should hold the weights of InceptionV3") from None
    except (UnpicklingError, RuntimeError, KeyError, TypeError, EOFError) as error:
        raise UserError(f"{path}: not the weights of InceptionV3 ({str(error).splitlines()[0]})") from None
    network.fc = nn.Identity()
    if published:
        _use_tensorflow_pooling(network)
    network.eval().requires_grad_(False).to(device)

    def features(x_BCHW: torch.Tensor) -> torch.Tensor:
        x_BCHW = x_BCHW.expand(-1, 3, -1, -1)
        if published:
            return network((_resize_like_tensorflow(x_BCHW) * 127.5 - 0.5) / 128)  # of bytes: (byte - 128) / 128
        return network(F.interpolate(x_BCHW, (INCEPTION_SIZE_PX, INCEPTION_SIZE_PX), mode="bilinear", antialias=True))

    name = "inception2015" if published else "inceptiontv"
    return FeatureExtractor(name, features, INCEPTION_BATCH_SIZE)


def _use_tensorflow_pooling(network: nn.Module) -> None:
    """Make each block's pooling branch pool as TensorFlow's network of 2015 does, in place.

    Its average pools leave the padding out, and the last block's is a maximum pool.
    """
    from torchvision.models import inception

    def average(x_BCHW: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x_BCHW, 3, stride=1, padding=1, count_include_pad=False)

    def maximum(x_BCHW: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(x_BCHW, 3, stride=1, padding=1)

    def rewire(block: nn.Module, pool: Callable[[torch.Tensor], torch.Tensor]) -> None:
        pooled: list[torch.Tensor] = []
        block.register_forward_pre_hook(lambda module, inputs: pooled.append(pool(inputs[0])))
        block.get_submodule("branch_pool").register_forward_pre_hook(lambda module, inputs: pooled.pop())

    for name, block in network.named_children():
        if name == "Mixed_7c":
            rewire(block, maximum)
        elif isinstance(block, inception.InceptionA | inception.InceptionC | inception.InceptionE):
            rewire(block, average)


def _resize_like_tensorflow(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Resize bilinearly to 299 pixels as TensorFlow 1 does: output pixel i looks at input coordinate i · size / 299."""
    pixels = torch.arange(INCEPTION_SIZE_PX, device=x_BCHW.device)
    axes = [pixels * (2 * size / INCEPTION_SIZE_PX / (size - 1)) - 1 for size in x_BCHW.shape[-2:]]
    grid_HW2 = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)
    grid = grid_HW2.expand(len(x_BCHW), -1, -1, -1)
    return F.grid_sample(x_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=True)
