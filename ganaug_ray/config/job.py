"""A whole job: its sections, and what they must agree on."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from ganaug_ray.config.augment import AugmentConfig
from ganaug_ray.config.base import Config
from ganaug_ray.config.classifier import ClassifierConfig, ModelName, model_settings
from ganaug_ray.config.compare import CompareConfig
from ganaug_ray.config.data import DataConfig
from ganaug_ray.config.gan import GanConfig, PublishedConfig


class Job(Config):
    """A complete experiment, as one YAML file describes it."""

    about: str = ""
    data: DataConfig
    gan: GanConfig
    augment: AugmentConfig = AugmentConfig()
    classifier: ClassifierConfig
    compare: CompareConfig = CompareConfig()
    models: dict[ModelName, ClassifierConfig] = Field(default_factory=dict)
    """For compare-models: names, each with what differs from the classifier section; the first is the baseline. The
    network's own settings (arch, input_size, weights, init_from) are not taken over."""
    published: PublishedConfig | None = None
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _models_are_variants_of_the_classifier(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("models"), Mapping):
            return value
        classifier = value.get("classifier")
        if not isinstance(classifier, Mapping):
            return value
        return value | {"models": {name: model_settings(classifier, own) for name, own in value["models"].items()}}

    @field_validator("models")
    @classmethod
    def _can_be_compared(cls, models: dict[str, ClassifierConfig]) -> dict[str, ClassifierConfig]:
        if len(models) == 1:
            raise ValueError(f"found {next(iter(models))} alone, expected two models or more")
        for name, model in models.items():
            if model.patience:
                raise ValueError(f"{name}: patience {model.patience}: models that are compared run all steps")
        return models

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.gan.image_size and self.gan.image_size > self.data.image_size:
            raise ValueError(
                f"gan.image_size {self.gan.image_size} is larger than data.image_size {self.data.image_size}"
            )
        return self

    @model_validator(mode="after")
    def _sampled_in_memory(self) -> Self:
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
    def _synthetic_images_have_a_class(self) -> Self:
        if self.augment.ratio and not self.gan.conditional:
            raise ValueError(
                "gan.conditional false: images of no class cannot be mixed with real ones; give augment.ratio 0"
            )
        return self

    @model_validator(mode="after")
    def _arms_run_all_steps(self) -> Self:
        if self.classifier.patience and self.augment.ratio:
            raise ValueError(
                f"classifier.patience {self.classifier.patience}: arms that are compared run all steps; "
                "leave it out, or give augment.ratio 0"
            )
        return self

    @property
    def gan_size(self) -> int:
        """Side of the images that the GAN draws, in pixels."""
        return self.gan.image_size or (64 if self.data.image_size >= 64 else 32)
