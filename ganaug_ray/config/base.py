"""The base classes of all sections."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Score = Annotated[float, Field(ge=0, le=1)]


SCALING_KEYS = {"workers", "min_workers", "gpu_share", "placement"}
"""Settings that say how a training is spread over machines, and change nothing of what it makes."""


MIN_ROWS_PER_WORKER = 16  # that go through the network at once: batch norm's statistics are of these alone


def _check_workers(value: Any) -> Any:
    if value == "auto" or (type(value) is int and value >= 1):
        return value
    raise ValueError(f"found {value!r}, expected a whole number of at least 1, or auto")


def _check_gpu_share(value: Any) -> Any:
    if value == "auto" or (type(value) in (int, float) and 0 < value <= 1):
        return value
    raise ValueError(f"found {value!r}, expected a number above 0 and up to 1, or auto")


Workers = Annotated[
    int | Literal["auto"], PlainValidator(_check_workers, json_schema_input_type=Count | Literal["auto"])
]
GpuShare = Annotated[
    float | Literal["auto"], PlainValidator(_check_gpu_share, json_schema_input_type=Rate | Literal["auto"])
]


class Config(BaseModel):
    """Base class of every section: no unknown keys, no silent conversion, no change after loading."""

    # What stands below a field describes it: in the schema that editors read, and in `ganaug explain`.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, defer_build=True)


def is_falsy(value: Any) -> bool:
    """Whether a value says nothing, so that it is left out of what is stored and hashed: that is as before it was."""
    return not value


class TrainingConfig(Config):
    """The settings that the trainings of a GAN and of a classifier share; exactly one of steps and epochs is set."""

    epochs: Count | None = None
    """Length of the training in passes over the training images, in place of steps."""
    steps: Count | None = None
    """Length of the training in optimizer steps."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Real images in a step, of all workers together."""
    workers: Workers = 1
    """Processes that share a training; where there is room for fewer, fewer are used. auto: as many as the cluster has
    room for and the batch divides into, with at least 16 rows for each, since batch norm uses a worker's own rows
    alone; but one on a machine of two CPUs."""
    min_workers: Count | None = None
    """The fewest workers to train with while the cluster has no room for all; others join later. Absent: all."""
    placement: Literal["pack", "spread"] = "pack"
    """Where several workers go. pack: on as few nodes as they fit on; spread: on as many as there are."""
    gpu_share: GpuShare = "auto"
    """Share of a GPU that a training of one worker takes, so that several small ones run side by side. auto: by the
    size of the networks, the batch and the images."""
    sampling: Literal["natural", "balanced"] = "natural"
    """How real rows are drawn. natural: each once in a pass; balanced: every class as often as the largest one."""
    deterministic: bool = False
    """Make repeated trainings on a GPU give exactly the same weights, with slower steps; on a CPU they always do."""

    @model_validator(mode="after")
    def _check_length_and_workers(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of steps and epochs")
        if self.workers != "auto" and self.batch_size % self.workers:
            raise ValueError(
                f"batch_size {self.batch_size} is not divisible by workers {self.workers}: "
                f"take {self.batch_size // self.workers * self.workers or self.workers} "
                "or another number of workers"
            )
        if self.min_workers and self.workers != "auto" and self.min_workers > self.workers:
            raise ValueError(f"min_workers {self.min_workers}: found workers {self.workers}, expected as many or more")
        return self

    def fit_workers(self, slots: int) -> int:
        """Return how many workers ``auto`` means where ``slots`` fit, each with MIN_ROWS_PER_WORKER rows or more."""
        rows = self.batch_size // self.microbatch_count
        fitting = [n for n in range(1, slots + 1) if self.batch_size % n == 0 and rows >= MIN_ROWS_PER_WORKER * n]
        return max(fitting, default=1)

    @property
    def microbatch_count(self) -> int:
        """Number of parts in which a worker's rows of a batch go through the network one after another."""
        return 1

    def count_steps(self, rows: int) -> int:
        """Return the number of optimizer steps, given the number of training images."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return math.ceil(self.epochs * rows / self.batch_size)


def steps_field(default: int) -> Any:
    """Return the field of a training's steps, with a default where the job gives no epochs either."""
    return Field(
        default_factory=lambda given: None if given.get("epochs") else default, json_schema_extra={"default": default}
    )


def wrap_single_text(value: Any) -> Any:
    """Wrap a single text into a list; any other value is returned as it is."""
    return [value] if isinstance(value, str) else value


Texts = Annotated[
    list[str],
    Field(min_length=1),
    BeforeValidator(wrap_single_text, json_schema_input_type=str | Annotated[list[str], Field(min_length=1)]),
]
"""One text, or a list of them."""
