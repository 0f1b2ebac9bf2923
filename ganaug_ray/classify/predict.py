"""The one inference path: the report, the registry, serving and other software all get the answers computed here."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load as tensors_from_bytes

from ganaug_ray.classify import image_files, networks
from ganaug_ray.core import checkpoint
from ganaug_ray.core.records import ModelRecord, ModelSpec
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import images
from ganaug_ray.data.loading import tensors
from ganaug_ray.data.samples import UNKNOWN_RANGE, advise_sender
from ganaug_ray.errors import UserError

ImageInput = np.ndarray | Image.Image | bytes | str | Path
MAX_NAMED_CLASSES = 5


@dataclass(frozen=True)
class Prediction:
    """A classifier's answer for one image: the likeliest class, and every class's probability.

    Attributes:
        label: the likeliest class.
        probabilities: class -> probability.
        path: of the image's file; None if the image was not given as a path.
    """

    label: str
    probabilities: dict[str, float]
    path: str | None = None


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

    def predict(self, pictures: ImageInput | Sequence[ImageInput]) -> list[Prediction]:
        """Classify images of any size and kind.

        Args:
            pictures: one of the following, or a list of them: the path of an image; the path of a folder or archive of
                images, which are taken in the order of their paths; the bytes of an image file; a PIL image; or uint8
                pixels [H, W], [H, W, 1] or [H, W, 3].

        Returns:
            A prediction for each image.

        Raises:
            UserError: a file does not exist or is not an image; the message names it.
        """
        paths = []
        rows = []
        for name, picture in _iter_pictures(pictures):
            try:
                if isinstance(picture, images.UnreadableError):
                    raise picture
                rows.append(self.preprocess(picture))
            except images.UnreadableError as error:
                raise UserError(f"{name or f'image {len(rows)}'}: {image_files.describe_error(error)}") from None
            paths.append(name)
        if not rows:
            return []
        predictions = []
        for path, row in zip(paths, self.predict_probabilities(np.stack(rows)), strict=True):
            by_class = dict(zip(self.classes, row.tolist(), strict=True))
            predictions.append(Prediction(self.classes[int(row.argmax())], by_class, path))
        return predictions

    def __repr__(self) -> str:
        names = ", ".join(self.classes[:MAX_NAMED_CLASSES])
        more = ", ..." if len(self.classes) > MAX_NAMED_CLASSES else ""
        return f"Classifier({self.spec.arch}, {self.spec.image_size} px, {len(self.classes)} classes: {names}{more})"

    def decode(self, content: bytes) -> images.DecodedImage:
        """Decode an image file as training did. Raises UnreadableError: it cannot be read."""
        with self._advise_sender():
            return images.decode(content, self.spec.image_size, value_range=self.spec.value_range)

    @contextmanager
    def _advise_sender(self) -> Iterator[None]:
        """Say which samples the model takes where others are refused."""
        try:
            yield
        except images.UnreadableError as error:
            if error.reason != UNKNOWN_RANGE:
                raise
            detail = f"{error.detail}; {advise_sender(self.spec.value_range)}"
            raise images.UnreadableError(error.reason, detail, error.span) from None

    def preprocess(self, picture: ImageInput) -> np.ndarray:
        """Decode and resize one image as training did, to uint8 pixels [size, size, C].

        Raises:
            UnreadableError: it is not an image, or has samples of another range than the model's.
        """
        if isinstance(picture, str | Path):
            picture = Path(picture).read_bytes()
        if isinstance(picture, bytes):
            image = self.decode(picture).image
        elif isinstance(picture, Image.Image):
            with self._advise_sender():
                image = images.to_grey_or_rgb(picture, self.spec.value_range)
        else:
            image = images.from_array(picture)
        square = images.resize_to_square(image, self.spec.image_size, self.spec.resize)
        return images.to_pixels(square, self.spec.channels)

    @torch.inference_mode()
    def predict_probabilities(self, images_NHWC: tensors.PixelRows) -> np.ndarray:
        """Predict the probability of each class for images of the model's own size.

        Args:
            images_NHWC: pixels as ``preprocess`` returns them, uint8 [N, size, size, C].

        Returns:
            Probabilities, float32 [N, K]; each row sums to one.
        """
        parts = [torch.zeros(0, len(self.classes))]
        for start in range(0, len(images_NHWC), self.network.batch_size):
            batch_NHWC = np.asarray(images_NHWC[start : start + self.network.batch_size])
            rows = torch.tensor(batch_NHWC, device=self.device)
            x_BCHW = tensors.to_network(rows)
            parts.append(self.network(x_BCHW).softmax(1).cpu())
        return torch.cat(parts).numpy()


def _iter_pictures(
    pictures: ImageInput | Sequence[ImageInput],
) -> Iterator[tuple[str | None, ImageInput | images.UnreadableError]]:
    """Yield path and content of each image, those in folders and archives too; the path of one in memory is None."""
    if isinstance(pictures, str | Path | bytes | Image.Image) or _is_one_image(pictures):
        pictures = [pictures]  # type: ignore[list-item]  # mypy does not see that an array is one image
    for picture in pictures:
        if not isinstance(picture, str | Path):
            yield None, picture
            continue
        for part in image_files.list_parts([str(picture)]):
            for raw in part():
                if image_files.find_kind(raw) == image_files.IMAGE:
                    yield raw.path, raw.content


def _is_one_image(pictures: object) -> bool:
    """Whether an array is the pixels of one image, rather than of several."""
    return isinstance(pictures, np.ndarray) and (
        pictures.ndim == 2 or (pictures.ndim == 3 and pictures.shape[-1] in (1, 3))
    )
