"""The one inference path: the report, the registry, serving and other software all get the answers computed here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load as tensors_from_bytes

from ganaug_ray.classify import networks
from ganaug_ray.core import checkpoint
from ganaug_ray.core.records import ModelRecord, ModelSpec
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import images
from ganaug_ray.data.loading import tensors
from ganaug_ray.errors import UserError

ImageInput = np.ndarray | Image.Image | bytes | str | Path


@dataclass(frozen=True)
class Prediction:
    """A classifier's answer for one image: the likeliest class, and every class's probability."""

    label: str
    probabilities: dict[str, float]


class Classifier:
    """A trained classifier with its own preprocessing.

    Args:
        spec: of its network and its images; of a trained one its model.json.
        weights: of the network.
        device: where it runs.

    Raises:
        ValueError: the weights do not fit the spec.
    """

    def __init__(self, spec: ModelSpec, weights: checkpoint.Tensors, device: torch.device | str = "cpu") -> None:
        self.spec = spec
        self.classes = spec.classes
        self.device = torch.device(device)
        self.network = networks.build_network(
            spec.arch,
            spec.channels,
            len(self.classes),
            dropout=0.0,
            network_input=networks.NetworkInput.from_spec(spec),
        )
        try:
            checkpoint.unpack_states(weights, {"network": self.network})
        except RuntimeError as error:
            raise ValueError(f"the weights do not fit {spec.arch}: {str(error).splitlines()[1].strip()}") from None
        self.network.to(self.device).to(memory_format=torch.channels_last).eval()

    @classmethod
    def load(cls, folder: Folder, device: torch.device | str = "cpu") -> "Classifier":
        """Load a classifier from a model folder. Raises UserError if there is no finished, undamaged model."""
        try:
            weights = tensors_from_bytes(folder.read_bytes("model.safetensors"))
            return cls(ModelRecord.read(folder), weights, device)
        except FileNotFoundError:
            raise UserError(f"{folder}: no finished model here (model.json and model.safetensors)") from None
        except (ValueError, KeyError) as error:
            raise UserError(f"{folder}: not a model of this version of ganaug_ray ({error})") from None

    def predict(self, pictures: Sequence[ImageInput]) -> list[Prediction]:
        """Classify images of any size and kind.

        Args:
            pictures: each a path, the bytes of an image file, a PIL image, or uint8 pixels [H, W], [H, W, 1] or
                [H, W, 3].

        Raises:
            ganaug_ray.data.images.Unreadable: one of them is no image.
        """
        if not len(pictures):
            return []
        rows = np.stack([self.preprocess(picture) for picture in pictures])
        predictions = []
        for row in self.predict_probabilities(rows):
            by_class = dict(zip(self.classes, row.tolist(), strict=True))
            predictions.append(Prediction(self.classes[int(row.argmax())], by_class))
        return predictions

    def preprocess(self, picture: ImageInput) -> np.ndarray:
        """Decode and resize one image as training did: uint8 [size, size, C]."""
        if isinstance(picture, str | Path):
            picture = Path(picture).read_bytes()
        if isinstance(picture, bytes):
            image = images.decode(picture, self.spec.image_size, value_range=self.spec.value_range).image
        elif isinstance(picture, Image.Image):
            image = images.to_grey_or_rgb(picture, self.spec.value_range)
        else:
            image = images.from_array(picture)
        square = images.resize_to_square(image, self.spec.image_size, self.spec.resize)
        return images.to_pixels(square, self.spec.channels)

    @torch.inference_mode()
    def predict_probabilities(self, images_NHWC: tensors.PixelRows) -> np.ndarray:
        """Predict float32 [N, K], each row summing to one, from preprocessed images uint8 [N, size, size, C]."""
        parts = [torch.zeros(0, len(self.classes))]
        for start in range(0, len(images_NHWC), self.network.batch_size):
            rows = torch.tensor(images_NHWC[start : start + self.network.batch_size], device=self.device)
            x_BCHW = tensors.to_network(rows)
            parts.append(self.network(x_BCHW).softmax(1).cpu())
        return torch.cat(parts).numpy()
