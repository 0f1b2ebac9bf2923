"""The section augment: how many synthetic images there are, of which classes, and how they meet the real ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, model_validator

from ganaug_ray.config.base import Config, Count, is_falsy
from ganaug_ray.config.synthetic_sources import (
    GENERATOR,
    OWN_GAN,
    NamedImages,
    SharedGenerator,
    SourceConfig,
    find_source_of_arm,
)

Kind = Literal[
    "real",
    "oversample",
    "synthetic",
    "live",
    "synthetic-only",
    "noise",
    "shuffled-labels",
    "pseudo",
    "pseudo+synthetic",
    "transfer",
]
"""What an arm's batches hold; in each but real the real rows get the classic augmentation.

real: the real rows without classic augmentation. oversample: the real rows, and others of them in place of synthetic
ones. synthetic: beside stored images of the GAN, or of another source. live: beside images made in every step.
synthetic-only: such stored images alone. noise, shuffled-labels: controls that cannot help, with noise for images, or
with the labels of the stored images shuffled. pseudo: beside unlabelled images with the labels that the teacher is sure
of. pseudo+synthetic: beside those, and beside stored images of a GAN that was trained on both. transfer: the real rows
alone, from the weights of the classifier that came with a shared generator.
"""


@dataclass(frozen=True)
class KindTraits:
    """The properties of a kind of arm that decide which stages a job needs.

    Attributes:
        control: compared to learn from it, and never promoted.
        stored: has synthetic images that were there, or made, beforehand.
        live: has images that a generator makes in training.
        pseudo: has pseudo-labelled images; its GAN, if any, is trained on them too.
        transfer: goes on from a classifier that came with a shared generator.
    """

    control: bool = False
    stored: bool = False
    live: bool = False
    pseudo: bool = False
    transfer: bool = False

    @property
    def is_synthetic(self) -> bool:
        """Whether arms of this kind have synthetic images."""
        return self.stored or self.live


KIND_TRAITS: dict[Kind, KindTraits] = {
    "real": KindTraits(control=True),
    "oversample": KindTraits(control=True),
    "synthetic": KindTraits(stored=True),
    "live": KindTraits(live=True),
    "synthetic-only": KindTraits(control=True, stored=True),
    "noise": KindTraits(control=True),
    "shuffled-labels": KindTraits(control=True, stored=True),
    "pseudo": KindTraits(pseudo=True),
    "pseudo+synthetic": KindTraits(stored=True, pseudo=True),
    "transfer": KindTraits(transfer=True),
}
"""What a job must know of each kind; all else is in ``augment.arm_kinds``."""

SYNTHETIC_ARM = "real+classic+synthetic"
LIVE_ARM = "real+classic+live"
_KIND_BY_ARM_NAME = {kind: kind for kind in get_args(Kind)} | {SYNTHETIC_ARM: "synthetic", LIVE_ARM: "live"}


StrategyName = Literal["mix", "pretrain", "anneal", "balance"]
IDLE_SETTINGS: dict[StrategyName, tuple[tuple[str, ...], str]] = {
    "pretrain": (("weight", "batch_norm"), "has no batch with both real and synthetic rows"),
    "balance": (("per_class",), "goes by what each class lacks"),
}
"""Settings that would change nothing with a strategy, and why."""


class ScreenConfig(Config):
    """Which synthetic images are rejected before a classifier is trained on them."""

    enabled: bool = True
    """Whether any image is rejected."""
    confidence: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Least probability that the teacher must give the requested class, which must also be the likeliest."""
    realism: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of each class's images to reject: those with the lowest discriminator scores."""
    copy_distance: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """An image counts as a copy if its distance to a training image is below this share of the usual distance between
    training images."""
    class_agreement: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of a class's images that the teacher must recognise; a class below it gets no synthetic images. If the
    teacher recognises a smaller share of the class's validation images, it does not judge the class, and all its
    synthetic images are taken."""


class MixConfig(Config):
    """How synthetic images are screened, and how they are mixed with the real ones in an arm's batches."""

    ratio: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Synthetic images for each real one in a batch; 0 trains the baseline alone. With strategy balance: synthetic
    images for each image that a class lacks compared with the largest class."""
    strategy: StrategyName = "mix"
    """How synthetic images meet the real ones. mix: the same number in every batch. pretrain: half of the steps on
    synthetic images alone, then on real ones alone. anneal: fewer and fewer, none at the end. balance: rare classes are
    filled up to the largest one."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of a synthetic row in the loss; a real row has weight 1."""
    batch_norm: Literal["shared", "separate"] = "shared"
    """separate: batch norm treats synthetic rows separately, and they do not change the statistics that inference
    uses."""
    soft_labels: bool = False
    """Train synthetic rows towards the teacher's probabilities instead of the requested class."""
    classes: Literal["all", "rare", "gaining"] | list[str] = "all"
    """Which classes get synthetic images: all; rare, those with fewer than half of the mean number of images, or those
    that data.imbalance.rare names; a list of names; or gaining, those that gained on validation in the best arm with
    classes all."""
    per_class: Count | None = None
    """Synthetic images to make of each class; absent: ratio times the class's training images, and at least 200."""
    screen: ScreenConfig = ScreenConfig()
    """Which synthetic images are rejected."""

    @model_validator(mode="after")
    def _refuse_unused_settings(self) -> Self:
        """Raise ValueError if a setting that the strategy does not use differs from its default."""
        keys, reason = IDLE_SETTINGS.get(self.strategy, ((), ""))
        for key in keys:
            value = getattr(self, key)
            if value != type(self).model_fields[key].default:
                setting = f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
                raise ValueError(f"{setting}: strategy {self.strategy} {reason}; leave it out")
        return self


class AugmentConfig(MixConfig):
    """The section augment: the settings that arms have in common; each may override them."""

    allow_copies: bool = False
    """Use a generator even if it was found to copy training images."""
    use_anyway: bool = Field(default=False, exclude_if=is_falsy)
    """Train arms even with a generator that was judged not usable yet; by default those arms are left out."""
    pseudo_confidence: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Least probability that the teacher gives a class for an unlabelled image to get its label."""
    images: NamedImages = Field(default_factory=dict, exclude_if=is_falsy)
    """Synthetic images of any origin: a source as for data.source, a section with a source, or several of these, each
    under a name. Each source becomes an arm of its own, and no GAN is trained for that arm."""
    generator: SharedGenerator | None = Field(default=None, exclude_if=is_falsy)
    """A pack that `ganaug share` wrote at another site, or a section with such a source. It becomes an arm of its
    own."""

    @property
    def sources(self) -> dict[str, SourceConfig]:
        """The sources of synthetic images that this job does not make itself, by name."""
        shared = {} if self.generator is None else {GENERATOR: self.generator}
        return {**shared, **self.images}


def _describe_overrides(schema: dict[str, Any]) -> None:
    """Say what a job may leave out of an arm: all that the section augment has, and a kind that is the arm's name."""
    schema["type"] = ["object", "null"]
    schema.pop("required", None)
    for setting in schema["properties"].values():
        setting.pop("default", None)


class ArmConfig(MixConfig):
    """An arm beside real+classic: its kind, and the settings in which it differs from the section augment."""

    kind: Kind
    """What each batch holds besides the real rows."""
    source: str = Field(default=OWN_GAN, exclude_if=lambda source: source == OWN_GAN)
    """Where the arm's synthetic images come from: gan, the one that this job trains; generator, that of
    augment.generator; or a name in augment.images (the name is images if there is a single source)."""
    model_config = ConfigDict(json_schema_extra=_describe_overrides)

    @model_validator(mode="after")
    def _refuse_unused_source(self) -> Self:
        """Raise ValueError if a source is named for an arm that has no synthetic images."""
        if self.source != OWN_GAN and not self.traits.is_synthetic:
            raise ValueError(f"source {self.source}: an arm of kind {self.kind} has no synthetic images; leave it out")
        return self

    @property
    def uses_gan(self) -> bool:
        """Whether the arm has images of a GAN that this job trains."""
        return self.traits.is_synthetic and self.source == OWN_GAN

    @property
    def traits(self) -> KindTraits:
        """The properties of the arm's kind."""
        return KIND_TRAITS[self.kind]

    @property
    def added_images(self) -> str:
        """What the arm adds to the real images, in words."""
        if self.traits.pseudo and self.traits.is_synthetic:
            return "the extra images"  # synthetic and pseudo-labelled ones
        return "the pseudo-labelled images" if self.traits.pseudo else "the synthetic images"

    @property
    def is_from_elsewhere(self) -> bool:
        """Whether what the arm adds was made before the experiment."""
        return self.traits.transfer or self.source != OWN_GAN

    def is_guided_by(self, other: "ArmConfig") -> bool:
        """Whether ``other`` can tell the gaining classes: an arm of the same kind and source, with all classes."""
        return (other.kind, other.source) == (self.kind, self.source) and other.classes == "all"


def merge_arm_settings(augment: Mapping[str, Any], name: str, overrides: Any) -> Any:
    """Merge an arm's settings over those of the augment section; an arm named after a kind or a source is of that."""
    if overrides is not None and not isinstance(overrides, Mapping):
        return overrides
    named: dict[str, str] = {}
    if name in _KIND_BY_ARM_NAME:
        named = {"kind": _KIND_BY_ARM_NAME[name]}
    elif source := find_source_of_arm(augment, name):
        named = {"kind": "synthetic", "source": source}
    return (
        named | {key: value for key, value in augment.items() if key in MixConfig.model_fields} | dict(overrides or {})
    )


def drop_implied_settings(augment: Mapping[str, Any], name: str, arm: Mapping[str, Any]) -> dict[str, Any]:
    """Return an arm's settings without those that ``merge_arm_settings`` gives it in any case.

    >>> augment = {"ratio": 1.0, "per_class": 50}
    >>> drop_implied_settings(augment, "live", {"kind": "live", "ratio": 0.5, "per_class": 50})
    {'ratio': 0.5}
    """
    return drop_equal_settings(merge_arm_settings(augment, name, {}), arm)


def drop_equal_settings(implied: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without those that have the same value in another section, which they are merged over."""
    return {key: value for key, value in settings.items() if key not in implied or implied[key] != value}
