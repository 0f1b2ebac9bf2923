"""The section compare."""

from typing import Annotated, Literal

from pydantic import Field

from ganaug_ray.config.base import Config


class CompareConfig(Config):
    """The section compare: how many trainings there are, and by which metric arms are compared."""

    splits: Annotated[int, Field(ge=1, le=20)] = 1
    """Times that the images are dealt out anew, with a data set, a teacher and a GAN for each; no two share a test
    image."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 3
    """Trainings of each arm on each split."""
    sizes: Annotated[list[Annotated[int, Field(ge=2)]], Field(max_length=10)] = Field(default_factory=list)
    """Other numbers of training images a class at which all is done again, to see how many real images the synthetic
    ones are worth."""
    metric: Literal["accuracy", "macro_f1", "rare_f1"] = "accuracy"
