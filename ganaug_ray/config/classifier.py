"""The section classifier, and the section models, whose models are compared with it."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ganaug_ray.config.base import Count, Rate, TrainingConfig, is_falsy, steps_field

DEFAULT_CLASSIFIER_STEPS = 1500
AVERAGED_SHARE = 0.1  # of a training: half-life of the averaged network (measured: docs/results/verdict-checks.md)
ModelName = Annotated[str, Field(pattern=r"^\w[\w.+-]*$")]  # also the name of a folder


CheckNetwork = Callable[[str, int | None], None]
"""Raises ValueError: there is no such network, or it cannot work at that input size. The schema itself knows none: it
is handed in as ``check_network`` of the validation's context, since looking a network up imports torch."""


class ClassifierConfig(TrainingConfig):
    """The section classifier: the network, its training and its classic augmentation, the same in every arm."""

    steps: Count | None = steps_field(DEFAULT_CLASSIFIER_STEPS)
    """Length of the training in optimizer steps, where epochs is absent."""
    arch: str = "cnn"
    """The network: cnn, torchvision:NAME or timm:NAME, such as torchvision:resnet18 or timm:resnetv2_50."""
    input_size: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Side of the network's input, in pixels; absent: with pretrained weights the size that they were trained at, else
    the data's, within the limits of the network."""
    weights: str | None = None
    """File of pretrained weights (safetensors or a state_dict), or the word pretrained: the network's published
    weights, which are downloaded."""
    init_from: str | None = None
    """A model of the same classes to start from: its folder, an experiment, or the word champion: that of the
    experiment that data.extends names, else of this one."""
    freeze_steps: Annotated[int, Field(ge=0)] | None = None
    """Number of first steps in which only the head is trained. Absent: a tenth of all where weights are given, else
    0."""
    backbone_lr: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Factor on lr for all layers but the head, where weights are given."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with Nesterov momentum."""
    lr: Rate | None = None
    """Highest learning rate. Absent: 2e-3 with adamw, 0.05 with sgd."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    """Pull of the weights towards zero. Absent: 0.01 with adamw, 5e-4 with sgd."""
    schedule: Literal["cosine", "plateau"] = "cosine"
    """What lr does after a short warm-up. cosine: it falls to zero along half a cosine. plateau: it falls to a tenth
    each time that validation has not improved for plateau_looks evaluations."""
    plateau_looks: Count = 5
    """Evaluations on validation without a lower loss after which schedule plateau lowers lr."""
    patience: Count | None = None
    """Evaluations on validation without a better model after which training ends; only where no arms are compared."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread over all classes."""
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of MixUp; 0: none. With cutmix too, each step draws one of them."""
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    """Alpha of CutMix; 0: none."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: rows of rare classes count for more in the loss, so that all classes count alike."""
    ema_half_life: Annotated[int, Field(ge=0)] | None = None
    """Half-life, in images seen, of the average of the weights that is evaluated and saved. 0: no average. Absent: a
    tenth of the images that the training sees if the last weights are kept, else no average."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of layers in training, not of weights; auto: bf16 on GPUs that have it."""
    compile: Literal["auto"] | bool = Field(default=False, exclude_if=is_falsy)
    """Compile the network for its training, on a GPU with CUDA graphs: faster steps after a minute or more of
    compiling. auto: if a few timed steps show that it saves time; never on the CPU."""
    accumulate: Count = 1
    """Number of parts in which a batch goes through the network; more parts need less memory."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of the features that are dropped before dense layers in training."""
    augment: Literal["light", "strong", "auto"] = "light"
    """Classic augmentation of training images. light: flip, rotate, zoom and shift as set here. strong: also one random
    change of shape or colour for each image, and an erased rectangle in every second image. auto: whichever does better
    on validation with real images alone; it is chosen once, and all arms train with it."""
    flip: bool = True
    """Mirror training images left-right at random; wrong for digits and letters."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Random rotation in training: at most this many degrees in either direction."""
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Random zoom in training: at most this share of the size, in or out."""
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Random shift in training: at most this share of the size in each direction."""
    log_every: Count = 20
    """Steps between lines of the log."""
    evaluate_every: Count = 50
    """Steps between evaluations on validation."""
    keep: Literal["auto", "last", "best"] = "auto"
    """Which weights become the model: those of the last step, or of the best evaluation. auto: best with schedule
    plateau or with patience, else last."""

    @field_validator("arch")
    @classmethod
    def _check_arch(cls, arch: str, info: ValidationInfo) -> str:
        if info.context and arch != "cnn":
            info.context["check_network"](arch, None)
        return arch

    @model_validator(mode="after")
    def _check_combination(self, info: ValidationInfo) -> Self:
        if self.weights and self.init_from:
            raise ValueError("give one of weights and init_from")
        if self.keep == "last" and self.patience:
            raise ValueError(
                "keep last and patience: patience ends a training that no longer improves; give one of the two"
            )
        if self.sampling == "balanced" and self.class_weights == "balanced":
            raise ValueError("sampling and class_weights are both balanced: rare classes would count twice; give one")
        if self.arch == "cnn" and self.weights == "pretrained":
            raise ValueError("weights pretrained: cnn has none; give an arch of torchvision or timm, or a file")
        if info.context and self.arch != "cnn" and self.input_size:
            info.context["check_network"](self.arch, self.input_size)
        if self.workers != "auto" and self.batch_size < 2 * self.accumulate * self.workers:
            raise ValueError(
                f"accumulate {self.accumulate}: leaves fewer than two rows a part of batch_size {self.batch_size} "
                f"on {self.workers} workers"
            )
        return self

    @property
    def microbatch_count(self) -> int:
        """Number of parts in which a worker's rows of a batch go through the network one after another."""
        return self.accumulate

    @property
    def keeps_last(self) -> bool:
        """Whether the weights of the last step are the model, rather than those of the best evaluation."""
        if self.keep == "auto":
            return self.schedule == "cosine" and self.patience is None
        return self.keep == "last"

    def count_ema_steps(self, steps: int) -> float:
        """Return the half-life of the averaged network in steps, given the number of all steps; 0: no average."""
        if self.ema_half_life is None:
            return AVERAGED_SHARE * steps if self.keeps_last else 0.0
        return self.ema_half_life / self.batch_size

    @property
    def is_pretrained(self) -> bool:
        """Whether the training starts from weights that were trained for another task, so that the head is new."""
        return self.weights is not None

    @property
    def peak_lr(self) -> float:
        """The learning rate of the head after the warm-up."""
        return self.lr or {"adamw": 2e-3, "sgd": 0.05}[self.optimizer]

    @property
    def effective_weight_decay(self) -> float:
        """The weight decay: the configured one, or the optimizer's default."""
        default = {"adamw": 0.01, "sgd": 5e-4}[self.optimizer]
        return default if self.weight_decay is None else self.weight_decay

    def count_frozen_steps(self, steps: int) -> int:
        """Return the number of first steps in which only the head is trained, given the number of all steps."""
        if self.freeze_steps is None:
            return steps // 10 if self.is_pretrained else 0
        return self.freeze_steps


# Which network it is and where it starts: each compared model has its own, and takes the rest from classifier.
NETWORK_KEYS = ("arch", "input_size", "weights", "init_from", "patience")


def merge_model_settings(classifier: Mapping[str, Any], overrides: Any) -> Any:
    """Merge a compared model's settings over the classifier section, whose NETWORK_KEYS are not taken over.

    Steps replace epochs, and the reverse.
    """
    if not isinstance(overrides, Mapping):
        return overrides
    lengths = {"steps", "epochs"} if {"steps", "epochs"} & overrides.keys() else set()
    return {key: value for key, value in classifier.items() if key not in {*NETWORK_KEYS, *lengths}} | dict(overrides)
