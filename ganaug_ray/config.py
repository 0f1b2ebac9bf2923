"""One typed, frozen model a stage. The same field names serve YAML, --set and search spaces."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ganaug_ray.gan.presets import PRESETS, Preset

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Score = Annotated[float, Field(ge=0, le=1)]
ModelName = Annotated[str, Field(pattern=r"^\w[\w.+-]*$")]  # also the name of a folder


class Config(BaseModel):
    """What all stages' settings have in common: no unknown keys, no silent conversion, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SplitConfig(Config):
    """Shares of each class that go to validation and test; the rest is for training. In a job also ``given``."""

    given: bool = False
    """Take the folders train, val and test as they are; without a val folder, its share is taken from train."""
    val: Share = 0.1
    test: Share = 0.2
    seed: int = 0
    """Another seed deals the images out anew."""

    @model_validator(mode="before")
    @classmethod
    def _one_word_will_do(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value != "given":
                raise ValueError(f"found {value!r}, expected given, or a section with val and test")
            return {"given": True}
        return value

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Self:
        if self.val + self.test >= 0.95:
            raise ValueError(f"val {self.val} + test {self.test} leave nothing to train on")
        return self


class LabelFrom(Config):
    """Where the label of an image file comes from; in a job ``parent``, ``{regex: ...}`` or ``{csv: ...}``."""

    regex: str | None = None
    """Searched in the file's name; its group ``label`` is the label."""
    csv: str | None = None
    """A file with the columns image (path or name) and label."""

    @model_validator(mode="before")
    @classmethod
    def _parent_is_the_default(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value != "parent":
                raise ValueError(f"found {value!r}, expected parent, {{regex: ...}} or {{csv: ...}}")
            return {}
        return value

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        if self.regex is not None and self.csv is not None:
            raise ValueError("give one of regex and csv")
        if self.regex is not None:
            try:
                groups = re.compile(self.regex).groupindex
            except re.error as error:
                raise ValueError(f"{self.regex!r} is no regular expression ({error})") from None
            if "label" not in groups:
                raise ValueError(f"{self.regex!r} has no group named label, such as '^(?P<label>cat|dog)'")
        return self


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class DataConfig(Config):
    """Where the images come from and what is kept of them."""

    source: Annotated[list[str], Field(min_length=1), BeforeValidator(_one_or_more)]
    """One or a list: folder, archive, CSV manifest, Parquet, idx:FOLDER, sklearn:digits, torchvision:NAME."""
    label_from: LabelFrom = LabelFrom()
    extends: str | None = None
    """An earlier experiment's dataset folder: its images stay in their splits, new ones fill up the shares."""
    max_rejected: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the images that may be unusable before the stage stops."""
    smallest: Count = 8
    """Images with a shorter side, in pixels, are rejected."""
    image_size: Annotated[int, Field(ge=32, le=512)] = 32
    """Side of the stored square, in pixels: what the classifier sees."""
    resize: Literal["crop", "pad", "stretch"] = "crop"
    channels: Literal[1, 3] | None = None
    """1 grey, 3 colour; absent: colour if any image has some."""
    store: Literal["raw", "encoded"] = "raw"
    """Pixels as they are, or losslessly compressed for large sets: less disk, slower to read."""
    loader: Literal["auto", "resident", "stream"] = "auto"
    """Keep the training images in each worker's memory, or stream them; auto: in memory up to resident_limit."""
    resident_limit: Annotated[float, Field(gt=0)] = 2.0
    """GB of uint8 training images that each worker may keep in memory."""
    metadata: str | None = None
    """A CSV file of facts on the classes, such as artists.csv, for the data set's card."""
    train_per_class: Count | None = None
    """Scarcity made on purpose: at most this many training images a class."""
    val_per_class: Count | None = None
    """At most this many validation images a class; follows train_per_class unless set."""
    split: SplitConfig = SplitConfig()

    @property
    def resident_gb(self) -> float:
        """GB of a store that a worker keeps in memory; a larger one is streamed."""
        return {"resident": math.inf, "stream": 0.0, "auto": self.resident_limit}[self.loader]

    @property
    def val_cap(self) -> int | None:
        """Validation images a class at most: who has 100 labels does not validate on 6,000."""
        if self.val_per_class is None and self.train_per_class is not None:
            return max(5, self.train_per_class // 4)
        return self.val_per_class


class TrainingConfig(Config):
    """What the training of a GAN and of a classifier have in common: exactly one of steps and epochs is set."""

    steps: Count | None = None
    epochs: Count | None = None
    batch_size: Annotated[int, Field(ge=2)] = 64
    workers: Count = 1

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


class GanConfig(TrainingConfig):
    """The GAN: a preset, its size, and how long it is trained. What is absent is the preset's."""

    preset: Literal["dcgan", "scarce"] = "scarce"
    """dcgan: as published. scarce: for few images."""
    conditional: bool = True
    """Draw images of a class that is asked for; without classes, images cannot help a classifier."""
    image_size: Literal[32, 64, 128] | None = None
    """Absent: 64, or 32 where the data are smaller."""
    lr: Rate | None = None
    """The generator's; the discriminator's follows in the preset's proportion, unless lr_d is given."""
    lr_d: Rate | None = None
    beta1: Annotated[float, Field(ge=0, lt=1)] | None = None
    ema_half_life: Annotated[int, Field(ge=0)] | None = None
    """Of the averaged generator, which is the one sampled and saved; in images seen. 0: no average."""
    latent: Count = 100
    """Length of the latent vector."""
    filters: Annotated[int, Field(ge=4, le=512)] = 32
    """Filters of the layer next to the image; each layer inwards has twice as many."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of layers, not of weights; auto: bf16 on GPUs."""
    compile: bool = False
    """Compile the networks: faster steps after a minute or more of compiling."""
    log_every: Count = 20
    checkpoint_every: Count = 200
    snapshot_every: Count = 500
    """Steps between looks: pictures, and the figures of quality."""
    cas_every: Count = 2000
    """Steps between classification accuracy scores, on those that are looks; they cost more than other figures."""
    cas_steps: Count = 300
    """Steps of the classifier behind that score."""
    inception: str | None = None
    """File with the weights of InceptionV3, whose features then take the place of the teacher's in all figures."""
    early_end: bool = True
    """End when the images have collapsed, or the discriminator has won and they get worse."""

    @property
    def recipe(self) -> Preset:
        """The preset with what this job sets itself."""
        preset = PRESETS[self.preset]
        lr_g = self.lr or preset.lr_g
        return replace(
            preset,
            lr_g=lr_g,
            lr_d=self.lr_d or lr_g * (preset.lr_d / preset.lr_g),
            beta1=preset.beta1 if self.beta1 is None else self.beta1,
            ema_half_life=preset.ema_half_life if self.ema_half_life is None else self.ema_half_life,
        )


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
    source: Annotated[list[Literal["pool", "live"]], Field(min_length=1), BeforeValidator(_one_or_more)] = ["pool"]
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


class ClassifierConfig(TrainingConfig):
    """The classifier and its classic augmentation, the same in every arm."""

    arch: str = "cnn"
    """cnn, torchvision:NAME or timm:NAME, such as torchvision:resnet18 or timm:resnetv2_50."""
    input_size: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Side of what the network is given; absent: with pretrained weights the size they were made for, else the data's,
    within what the network works with and was made for."""
    weights: str | None = None
    """File of pretrained weights (safetensors or a state_dict), or pretrained: fetched by the network's name."""
    init_from: str | None = None
    """A model of the same classes to go on from: its folder, an experiment, or champion: that of the experiment which
    data.extends, or else of this one."""
    freeze_steps: Annotated[int, Field(ge=0)] | None = None
    """First steps in which the head alone is trained; absent: a tenth of all, of what starts from weights; else 0."""
    backbone_lr: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Factor on lr for all but the head, of what starts from weights."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Rate | None = None
    """Absent: 2e-3 with adamw, 0.05 with sgd."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    """Absent: 0.01 with adamw, 5e-4 with sgd."""
    schedule: Literal["cosine", "plateau"] = "cosine"
    """After a short warm-up: half a cosine to zero, or a tenth of lr each time validation has long not got better."""
    plateau_looks: Count = 5
    """Looks at validation without a lower loss before schedule plateau lowers lr."""
    patience: Count | None = None
    """Looks at validation without a better model after which training ends; only where no arms are compared."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of MixUp; 0: none. With cutmix too, each step draws one of them."""
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of CutMix; 0: none."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: rows of rare classes count for more in the loss, so that all classes count alike."""
    ema_half_life: Annotated[int, Field(ge=0)] = 0
    """Of the averaged network, which then is the one looked at and saved; in images seen. 0: no average."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of layers in training, not of weights; auto: bf16 on GPUs."""
    accumulate: Count = 1
    """Parts in which a batch goes through the network: more need less memory."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    flip: bool = True
    """Mirror left-right; wrong for digits and letters."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Degrees, at most, either way."""
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the size, at most, either way."""
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the size, at most, in each direction."""
    log_every: Count = 20
    evaluate_every: Count = 50
    """Steps between looks at validation; the best of them is the model."""

    @field_validator("arch")
    @classmethod
    def _is_known(cls, arch: str) -> str:
        if arch != "cnn":
            from ganaug_ray.classify import backbones  # it imports torch

            backbones.facts(arch)
        return arch

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.weights and self.init_from:
            raise ValueError("give one of weights and init_from")
        if self.arch == "cnn" and self.weights == "pretrained":
            raise ValueError("weights pretrained: cnn has none; give an arch of torchvision or timm, or a file")
        if self.arch != "cnn" and self.input_size:
            from ganaug_ray.classify import networks

            networks.input_of(self.arch, self.input_size, self.input_size, self.pretrained)
        if self.batch_size < 2 * self.accumulate * self.workers:
            raise ValueError(
                f"accumulate {self.accumulate}: leaves fewer than two rows a part of batch_size {self.batch_size} "
                f"on {self.workers} workers"
            )
        return self

    @property
    def pretrained(self) -> bool:
        """Whether it starts from weights that were trained for something else, so that the head is new."""
        return self.weights is not None

    @property
    def peak_lr(self) -> float:
        """The head's learning rate after the warm-up."""
        return self.lr or {"adamw": 2e-3, "sgd": 0.05}[self.optimizer]

    @property
    def decay(self) -> float:
        """Weight decay."""
        default = {"adamw": 0.01, "sgd": 5e-4}[self.optimizer]
        return default if self.weight_decay is None else self.weight_decay

    def frozen_steps(self, steps: int) -> int:
        """First steps, of so many, in which the head alone is trained."""
        if self.freeze_steps is None:
            return steps // 10 if self.pretrained else 0
        return self.freeze_steps


# Which network it is and where it starts: each compared model has its own, and takes the rest from classifier.
OWN = ("arch", "input_size", "weights", "init_from", "patience")


def _model_settings(classifier: Mapping[str, Any], own: Any) -> Any:
    """Put a compared model's settings over those of the classifier section; steps replace epochs and the reverse."""
    if not isinstance(own, Mapping):
        return own
    lengths = {"steps", "epochs"} if {"steps", "epochs"} & own.keys() else set()
    return {key: value for key, value in classifier.items() if key not in {*OWN, *lengths}} | dict(own)


class CompareConfig(Config):
    """How the verdict is reached."""

    seeds: Annotated[int, Field(ge=1, le=100)] = 3
    metric: Literal["accuracy", "macro_f1"] = "accuracy"


class PublishedConfig(Config):
    """What a publication reports for such a GAN: the report shows it beside this run's own figures."""

    source: str
    """Who reports it, in words."""
    loss_g: float | None = None
    loss_d: float | None = None
    real_score: Score | None = None
    fake_score: Score | None = None


class Job(Config):
    """A complete experiment, as one YAML file describes it."""

    about: str = ""
    data: DataConfig
    gan: GanConfig
    augment: AugmentConfig = AugmentConfig()
    classifier: ClassifierConfig
    compare: CompareConfig = CompareConfig()
    models: dict[ModelName, ClassifierConfig] = {}
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
        return value | {"models": {name: _model_settings(classifier, own) for name, own in value["models"].items()}}

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
