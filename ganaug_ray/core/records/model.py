"""model.json: a trained classifier, what it takes, and how good it was on validation images."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from ganaug_ray.core.records.stored_record import Occupied, Part, StageRecord
from ganaug_ray.core.records.value_range import ValueRange


class ModelSpec(Part):
    """What is needed to build a classifier's network and to prepare its images."""

    hash: str
    """Of the weights: 16 hex digits."""
    arch: str
    """cnn, torchvision:NAME or timm:NAME."""
    classes: list[str]
    """Names, in order of their numbers."""
    channels: int
    """1: grey, 3: RGB."""
    image_size: int
    """Side of the square that an image is brought to, in pixels."""
    resize: Literal["crop", "pad", "stretch"]
    """How images are made square."""
    value_range: ValueRange | None = None
    """Of samples of more than 8 bits, signed or floats; None: of each file as its format says."""
    input_size: int
    """Side of what the network's first layer is given, in pixels."""
    mean: list[float]
    """Of each channel, for pixels in [0, 1]: what the network's first layer expects."""
    std: list[float]
    """Likewise."""
    interpolation: str
    """bilinear or bicubic, from the image's size to the input's."""


class ModelRecord(ModelSpec, StageRecord):
    """A model folder."""

    FILE: ClassVar[str] = "model.json"

    arm: str
    """The arm, or the compared model, that it is one of."""
    seed: int
    """Which of the arm's trainings."""
    steps: int
    """Optimizer steps in all."""
    train_seconds: float
    """What the loop took, with its evaluations on validation images."""
    occupied: Occupied | None = None
    """What it occupied; None in files from before this was recorded."""
    best_step: int
    """The step whose weights are kept: the last one, or that of the best evaluation."""
    val_accuracy: float
    """Of these weights, in [0, 1]."""
    val_loss: float | None
    """Mean cross-entropy of these weights; None where it was not finite."""
    parameters: int
    """Numbers in the network."""
    start: dict[str, Any] | None = None
    """start.json of the weights that it started from; None: fresh ones."""
    config: dict[str, Any]
    """The classifier's settings."""
    tally: dict[str, int] | None = None
    """Of images that were made in training: generated, rejected and let_through."""
