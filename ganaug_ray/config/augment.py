"""The section augment: how many synthetic images there are, which, and how they meet the real ones."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ganaug_ray.config.base import Config, Count, one_or_more

Source = Literal["pool", "live"]


def _pool() -> list[Source]:
    return ["pool"]


class ScreenConfig(Config):
    """Which synthetic images are rejected before a classifier sees them."""

    enabled: bool = True
    confidence: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Least probability that the teacher gives the asked class, besides it being the likeliest."""
    realism: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of each class's images to reject: those of the lowest discriminator score."""
    copy_distance: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Nearer to a training image than this share of what training images lie apart is a copy."""
    class_agreement: Annotated[float, Field(ge=0, le=1)] = 0.5
    """A class of whose images the teacher recognises a smaller share gets no synthetic images."""


class AugmentConfig(Config):
    """How many synthetic images there are and how they meet the real ones."""

    ratio: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Synthetic images per real one in each batch; 0 leaves the real arm alone. With strategy balance: per image that a
    class lacks to the largest."""
    strategy: Literal["mix", "pretrain", "anneal", "balance"] = "mix"
    """mix: as many in every batch. pretrain: half of the steps on synthetic images alone, then on real ones alone.
    anneal: ever fewer, none at the end. balance: rare classes are filled up to the largest."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """What a synthetic row counts in the loss, where a real one counts one."""
    batch_norm: Literal["shared", "separate"] = "shared"
    """separate: synthetic rows are normalised apart, and move none of the statistics that inference uses."""
    soft_labels: bool = False
    """Train synthetic rows towards the teacher's probabilities instead of the class that was asked for."""
    source: Annotated[list[Source], BeforeValidator(one_or_more)] = Field(default_factory=_pool, min_length=1)
    """pool: images made and screened once. live: new ones in every step, screened on the fly. Both: an arm for each."""
    per_class: Count | None = None
    """Size of the synthetic pool; absent: ratio times the class's training images, and at least 200."""
    screen: ScreenConfig = ScreenConfig()
    allow_copies: bool = False
    """Go on with a generator that was found to copy training images."""

    @field_validator("source")
    @classmethod
    def _each_once(cls, source: list[str]) -> list[str]:
        if len(set(source)) < len(source):
            raise ValueError(f"found {', '.join(source)}, expected pool, live or both, each once")
        return source

    @model_validator(mode="after")
    def _suits_the_strategy(self) -> Self:
        if self.strategy == "pretrain" and (self.weight != 1.0 or self.batch_norm == "separate"):
            key = "batch_norm separate" if self.weight == 1.0 else f"weight {self.weight:g}"
            raise ValueError(f"{key}: strategy pretrain has no batch with both real and synthetic rows; leave it out")
        if self.strategy == "balance" and self.per_class is not None:
            raise ValueError(
                f"per_class {self.per_class}: strategy balance goes by what each class lacks; leave it out"
            )
        return self
