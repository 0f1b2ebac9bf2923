"""A trained generator, whose images are each a pure function of (weights, class, seed, index)."""

import numpy as np
import torch
from safetensors.torch import load as tensors_from_bytes

from ganaug_ray.core import checkpoint, rng
from ganaug_ray.core.records import GanRecord, GeneratorSpec
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import tensors
from ganaug_ray.errors import UserError
from ganaug_ray.gan import networks

ANY_CLASS = "any"  # the one class of a generator that knows none
BLOCK_SIZE = 256  # latents are drawn, and images made, in blocks of this many indices of one class


class Generator:
    """A trained generator. It makes images without the data that it was trained on.

    Args:
        spec: of its network and its images; of a trained one its gan.json.
        weights: of the averaged generator.
        device: where it runs.
    """

    def __init__(self, spec: GeneratorSpec, weights: checkpoint.Tensors, device: torch.device | str = "cpu") -> None:
        self.spec = spec
        self.classes = spec.classes if spec.conditional else [ANY_CLASS]
        self.device = torch.device(device)
        classes = len(spec.classes) if spec.conditional else 0
        self.network = networks.Generator(spec.latent, classes, spec.channels, spec.size, spec.filters)
        checkpoint.unpack_states(weights, {"generator": self.network})
        self.network.to(self.device).to(memory_format=torch.channels_last).eval()

    @classmethod
    def load(cls, folder: Folder, device: torch.device | str = "cpu") -> "Generator":
        """Load a generator from a gan folder. Raises UserError where there is no finished one."""
        try:
            return cls(GanRecord.read(folder), tensors_from_bytes(folder.read_bytes("gan.safetensors")), device)
        except FileNotFoundError:
            raise UserError(f"{folder}: no finished generator here (gan.json and gan.safetensors)") from None

    def generate(self, label: str, n: int, seed: int = 0) -> np.ndarray:
        """Generate images of a class. With a larger n, the first images stay the same.

        Args:
            label: the class.
            n: number of images.
            seed: another seed gives other images.

        Returns:
            Pixels, uint8 [n, size, size, C].

        Raises:
            UserError: the generator has no such class.
        """
        if label not in self.classes:
            raise UserError(f"no class {label!r}; this generator draws {', '.join(self.classes)}")
        shape = (0, self.spec.size, self.spec.size, self.spec.channels)
        parts = [np.zeros(shape, np.uint8)]
        for block in range(-(-n // BLOCK_SIZE)):
            images = min(BLOCK_SIZE, n - block * BLOCK_SIZE)
            parts.append(self.generate_block(self.classes.index(label), block, images, seed))
        return np.concatenate(parts)

    @torch.inference_mode()
    def generate_block(self, label: int, block: int, n: int, seed: int) -> np.ndarray:
        """Generate the first n of a class's images in a block of 256, uint8 [n, size, size, C].

        The network always runs the whole block, so the result does not depend on n.
        """
        draw = rng.make_generator(seed, "generate", label, block)
        z_BZ = torch.randn(BLOCK_SIZE, self.spec.latent, generator=draw).to(self.device)
        y_B = torch.full((BLOCK_SIZE,), label, device=self.device)
        return tensors.from_network(self.network(z_BZ, y_B)).cpu().numpy()[:n]


def load_discriminator(folder: Folder, device: torch.device | str = "cpu") -> networks.Discriminator:
    """Load the discriminator that a finished generator was trained against, in evaluation mode."""
    record = GanRecord.read(folder)
    classes = len(record.classes) if record.conditional else 0
    network = networks.Discriminator(classes, record.channels, record.size, record.filters, record.recipe.norm)
    checkpoint.unpack_states(
        tensors_from_bytes(folder.read_bytes("discriminator.safetensors")), {"discriminator": network}
    )
    return network.to(device).to(memory_format=torch.channels_last).eval()
