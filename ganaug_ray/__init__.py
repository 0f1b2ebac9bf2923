"""Does a GAN trained on your few labelled images make your classifier better? Evidence first, on Ray."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ganaug_ray.version import __version__

if TYPE_CHECKING:
    from ganaug_ray.classify.predict import Classifier
    from ganaug_ray.gan.sampler import Generator

__all__ = ["__version__", "load"]


def load(path: str | Path, device: str = "cpu") -> Classifier | Generator:
    """Load a trained model or generator, for use in other software. Needs no Ray.

    Args:
        path: an experiment or registry (its champion is loaded), a model folder, or a gan folder; local or a URI.
        device: where it runs, such as "cpu" or "cuda".

    Raises:
        ganaug_ray.errors.UserError: there is nothing finished at the path.

    >>> model = load(EXPERIMENT)
    >>> answer = model.predict([some_image])[0]
    >>> answer.label in model.classes, round(sum(answer.probabilities.values()), 3)
    (True, 1.0)
    >>> generator = load(EXPERIMENT + "/gan")
    >>> images = generator.generate(model.classes[0], n=3, seed=7)
    >>> images.dtype, images.shape
    (dtype('uint8'), (3, 32, 32, 1))
    """
    from ganaug_ray.classify.predict import Classifier
    from ganaug_ray.core import model_registry
    from ganaug_ray.core.records import GanRecord
    from ganaug_ray.core.storage import Folder
    from ganaug_ray.gan.sampler import Generator

    folder = Folder.from_uri(path)
    if folder.has_file(GanRecord.FILE):
        return Generator.load(folder, device)
    return Classifier.load(model_registry.resolve_model(path), device)
