"""What all sections have in common."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Score = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """What all stages' settings have in common: no unknown keys, no silent conversion, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TrainingConfig(Config):
    """What the training of a GAN and of a classifier have in common: exactly one of steps and epochs is set."""

    steps: Count | None = None
    epochs: Count | None = None
    batch_size: Annotated[int, Field(ge=2)] = 64
    workers: Count = 1
    gpu_share: Rate = 1.0
    """Of a GPU, what a training of one worker takes: several small ones run side by side on one."""
    sampling: Literal["natural", "balanced"] = "natural"
    """Of real rows. natural: each once a pass; balanced: every class as often as the largest has rows."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of steps and epochs")
        if self.batch_size % self.workers:
            raise ValueError(
                f"batch_size {self.batch_size} is not divisible by workers {self.workers}: "
                f"take {self.batch_size // self.workers * self.workers or self.workers} "
                "or another number of workers"
            )
        return self

    def total_steps(self, rows: int) -> int:
        """Optimizer steps in all, for so many training rows."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return math.ceil(self.epochs * rows / self.batch_size)


def one_or_more(value: Any) -> Any:
    """Take a single text for a list of one."""
    return [value] if isinstance(value, str) else value
