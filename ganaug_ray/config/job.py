"""A whole job: its sections, and the checks that concern several of them."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from ganaug_ray.config.augment import (
    SYNTHETIC_ARM,
    ArmConfig,
    AugmentConfig,
    MixConfig,
    merge_arm_settings,
)
from ganaug_ray.config.base import Config, Seed
from ganaug_ray.config.classifier import ClassifierConfig, ModelName, merge_model_settings
from ganaug_ray.config.compare import CompareConfig
from ganaug_ray.config.data import DataConfig
from ganaug_ray.config.gan import GanConfig, PublishedConfig
from ganaug_ray.config.search import SearchConfig
from ganaug_ray.config.synthetic_sources import OWN_GAN, name_arm
from ganaug_ray.config.tracking import TrackingConfig

ArmName = Annotated[str, Field(pattern=r"^\w[\w+-]*$")]  # also the name of a folder
BASELINE_ARM = "real+classic"
# Trained like models of the baseline, but no members of the comparison:
TEACHER = "teacher"
AUGMENT_TRIALS = {"augment-light": "light", "augment-strong": "strong"}  # to choose what classifier.augment auto means


class Job(Config):
    """A complete experiment, as one YAML file describes it."""

    about: str = ""
    """What the experiment is about, in a sentence."""
    data: DataConfig
    """Where the images come from, and how they are split."""
    gan: GanConfig = Field(default_factory=GanConfig)
    """The generative network and its training."""
    augment: AugmentConfig = AugmentConfig()
    """How many synthetic images there are, and how they meet the real ones."""
    arms: dict[ArmName, ArmConfig] = Field(default_factory=dict)
    """What is compared with the baseline, real+classic: names, each with a kind and what differs from the augment
    section. Absent: one arm of kind synthetic, unless augment.ratio is 0."""
    classifier: ClassifierConfig = Field(default_factory=ClassifierConfig)
    """The network that is trained with and without synthetic images."""
    compare: CompareConfig = CompareConfig()
    """How many trainings are compared, and by which metric."""
    models: dict[ModelName, ClassifierConfig] = Field(default_factory=dict)
    """For compare-models: names, each with what differs from the classifier section; the first is the baseline. Not
    taken over are arch, input_size, weights, init_from and patience."""
    published: PublishedConfig | None = None
    """Figures of a publication, which the report shows beside this run's."""
    search: SearchConfig = SearchConfig()
    """How `ganaug search` spends its budget."""
    tracking: TrackingConfig | None = None
    """Servers that the run is logged to besides its folder: parameters, curves, pictures, the page and the champion."""
    registry: str | None = None
    """Where the champion goes: a folder that several experiments share, on any filesystem. Absent: the experiment's
    own folder."""
    seed: Seed = 0
    """Seed of all random draws but the split of the images, whose seed is data.split.seed."""
    _left_out: frozenset[str] = PrivateAttr(default=frozenset())

    @model_validator(mode="before")
    @classmethod
    def _merge_arms(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("arms"), Mapping):
            return value
        augment = value.get("augment") or {}
        if not isinstance(augment, Mapping):
            return value
        arms = {}
        for name, overrides in value["arms"].items():
            arms[name] = merge_arm_settings(augment, str(name), overrides)
        return value | {"arms": arms}

    @model_validator(mode="before")
    @classmethod
    def _merge_models(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("models"), Mapping):
            return value
        classifier = value.get("classifier")
        if not isinstance(classifier, Mapping):
            return value
        return value | {
            "models": {name: merge_model_settings(classifier, overrides) for name, overrides in value["models"].items()}
        }

    @field_validator("models")
    @classmethod
    def _check_models(cls, models: dict[str, ClassifierConfig]) -> dict[str, ClassifierConfig]:
        if len(models) == 1:
            raise ValueError(f"found {next(iter(models))} alone, expected two models or more")
        for name, model in models.items():
            if model.patience:
                raise ValueError(f"{name}: patience {model.patience}: models that are compared run all steps")
        return models

    @model_validator(mode="after")
    def _check_image_sizes(self) -> Self:
        if self.gan.image_size and self.gan.image_size > self.data.image_size:
            raise ValueError(
                f"gan.image_size {self.gan.image_size} is larger than data.image_size {self.data.image_size}"
            )
        return self

    @field_validator("arms")
    @classmethod
    def _check_arms(cls, arms: dict[str, ArmConfig]) -> dict[str, ArmConfig]:
        if BASELINE_ARM in arms:
            raise ValueError(f"{BASELINE_ARM} is in every comparison; leave it out")
        if TEACHER in arms:
            raise ValueError(f"{TEACHER} is the model that screens synthetic images; give the arm another name")
        for name in AUGMENT_TRIALS.keys() & arms.keys():
            raise ValueError(f"{name} is the model that tries an augmentation; give the arm another name")
        for name, arm in arms.items():
            if arm.classes == "gaining" and not any(arm.is_guided_by(other) for other in arms.values()):
                raise ValueError(
                    f"{name}: classes gaining means the classes that gained in an arm of kind {arm.kind} with classes "
                    "all; add such an arm"
                )
        return arms

    @model_validator(mode="after")
    def _check_gaining(self) -> Self:
        if self.augment.classes == "gaining" and self.all_arms and not self.arms:
            raise ValueError(
                "augment.classes gaining means the classes that gained in an arm with classes all, and there are no "
                "arms; give arms, one of them with classes all"
            )
        return self

    @model_validator(mode="after")
    def _refuse_streamed_sampling(self) -> Self:
        """Raise ValueError if a sampling other than natural is to be streamed."""
        trained = {"gan": self.gan, "classifier": self.classifier}
        trained |= {f"models.{name}": model for name, model in self.models.items()}
        for name, training in trained.items():
            if training.sampling != "natural" and self.data.loader == "stream":
                raise ValueError(
                    f"{name}.sampling {training.sampling} needs the images in memory; "
                    "take data.loader: resident, or auto with a data.resident_limit that they fit in"
                )
        return self

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        known = {OWN_GAN: None, **self.augment.sources}
        for source in self.augment.sources:
            for name in (source, name_arm(source)):
                if name in self.arms and self.arms[name].source != source:
                    raise ValueError(
                        f"arms.{name}: has the name of the source {source}, and images from {self.arms[name].source}; "
                        "rename one of the two"
                    )
        for name, arm in self.compared_arms.items():
            if arm.source not in known:
                raise ValueError(f"arms.{name}.source: found {arm.source!r}, expected one of {', '.join(known)}")
            if arm.traits.live and arm.source in self.augment.images:
                raise ValueError(
                    f"arms.{name}: kind live needs a generator, but augment.images has finished images; take kind "
                    "synthetic"
                )
            if arm.traits.transfer and self.augment.generator is None:
                raise ValueError(f"arms.{name}: kind transfer needs augment.generator, a pack with a classifier")
        return self

    @model_validator(mode="after")
    def _check_conditional(self) -> Self:
        if self.needs_gan and not self.gan.conditional:
            raise ValueError(
                "gan.conditional false: images of no class cannot be mixed with real ones; give augment.ratio 0, and "
                "no arms with synthetic images"
            )
        return self

    @model_validator(mode="after")
    def _check_unlabelled(self) -> Self:
        for name, arm in self.compared_arms.items():
            if arm.traits.pseudo and not self.data.unlabelled:
                raise ValueError(
                    f"arms.{name}.kind {arm.kind} needs images without labels; give data.unlabelled a source, or unused"
                )
        return self

    @model_validator(mode="after")
    def _check_patience(self) -> Self:
        if self.classifier.patience and self.compared_arms:
            raise ValueError(
                f"classifier.patience {self.classifier.patience}: arms that are compared run all steps; "
                "leave it out, or give augment.ratio 0 and no arms"
            )
        return self

    @model_validator(mode="after")
    def _check_compare_sizes(self) -> Self:
        sizes = self.compare.sizes
        if not sizes:
            return self
        base_size = self.data.train_per_class
        if self.compare.metric.startswith("calibrated"):
            raise ValueError(
                f"compare.sizes: needs a metric that rises where models get better, not {self.compare.metric}"
            )
        if base_size is None:
            raise ValueError("compare.sizes: give data.train_per_class too, the number of the comparison itself")
        if len(set(sizes)) < len(sizes) or base_size in sizes:
            raise ValueError(
                f"compare.sizes {sizes}: expected each number once, and other than data.train_per_class {base_size}"
            )
        if all(arm.traits.control for arm in self.compared_arms.values()):
            raise ValueError("compare.sizes: no arm adds images whose worth could be measured")
        return self

    @model_validator(mode="after")
    def _check_compare_splits(self) -> Self:
        self.data.refuse_split_count(self.compare.splits)
        return self

    @property
    def compared_arms(self) -> dict[str, ArmConfig]:
        """The arms that are compared with the baseline, by name; a source that no arm names has one of its own."""
        return {name: arm for name, arm in self.all_arms.items() if name not in self._left_out}

    def leave_out(self, arms: Iterable[str]) -> "Job":
        """Return the job without some of its arms: they are not compared, and job.yaml has them all the same."""
        job = self.model_copy()
        job._left_out = self._left_out.union(arms)
        return job

    @property
    def all_arms(self) -> dict[str, ArmConfig]:
        """The compared arms, and those that were left out."""
        if not self.augment.ratio:
            return self.arms
        mix = self.augment.model_dump(include=set(MixConfig.model_fields))
        named = {arm.source for arm in self.arms.values()}
        arms = {}
        for source in self.augment.sources:
            if source not in named:
                arms[name_arm(source)] = ArmConfig(kind="synthetic", source=source, **mix)
        if arms or self.arms:
            return {**arms, **self.arms}
        return {SYNTHETIC_ARM: ArmConfig(kind="synthetic", **mix)}

    @property
    def needs_gan(self) -> bool:
        """Whether an arm has images of a GAN that this job trains."""
        return any(arm.uses_gan for arm in self.compared_arms.values())

    @property
    def needs_synthetic_sources(self) -> bool:
        """Whether an arm has synthetic images, whatever their source, or goes on from a shared classifier."""
        return any(arm.traits.is_synthetic or arm.traits.transfer for arm in self.compared_arms.values())

    def describe_addition(self, arm: str) -> str:
        """Name in three words what an arm adds to the baseline, with its source if that is elsewhere and a single word.

        >>> job = Job.model_validate({"data": {"source": "pets"}, "augment": {"images": ["a.zip", "b.zip"]}})
        >>> job.describe_addition("real+classic+images")
        'images from elsewhere'
        """
        settings = self.all_arms[arm]
        if settings.traits.transfer:
            assert self.augment.generator is not None, "the job was refused without one"
            return f"weights from {_keep_one_word(self.augment.generator.short_name)}"
        if settings.source == OWN_GAN:
            return settings.added_images
        return f"images from {_keep_one_word(self.augment.sources[settings.source].short_name)}"

    def derive_split(self, number: int) -> "Job":
        """Return the job for one of its splits: with other images in each part, and another seed."""
        if self.compare.splits == 1:
            return self
        data = self.data.derive_fold(number, self.compare.splits)
        return self.model_copy(update={"data": data, "seed": self.seed + number})

    @property
    def gan_image_size(self) -> int:
        """Side of the images that the GAN generates, in pixels."""
        return self.gan.image_size or max(side for side in (16, 32, 64) if side <= self.data.image_size)


def _keep_one_word(name: str) -> str:
    """Return the name of a source; of several, or one with white space, a word in its place: answers have 25 words."""
    return name if name.split() == [name] else "elsewhere"
