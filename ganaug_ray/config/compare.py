"""The section compare."""

from typing import Annotated, Literal

from pydantic import Field

from ganaug_ray.config.base import Config


class CompareConfig(Config):
    """How the verdict is reached."""

    seeds: Annotated[int, Field(ge=1, le=100)] = 3
    metric: Literal["accuracy", "macro_f1"] = "accuracy"
