"""Published networks by name, from torchvision and timm, each imported only when one of its networks is asked for."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")  # of torchvision
DEEP_STEM_NAMES = ("inception", "xception")  # of timm's networks those that shrink small images away
MIN_DEEP_STEM_SIZE_PX = 75
MIN_SIZE_PX = 32


@dataclass(frozen=True)
class BackboneFacts:
    """The input that a backbone was made for.

    Attributes:
        size: side of its input, in pixels.
        min_size: the smallest side it works with.
        mean: of each channel of its input, for pixels in [0, 1].
        std: likewise.
        interpolation: how images are brought to its size.
    """

    size: int
    min_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str


@dataclass(frozen=True)
class Trunk:
    """A backbone without its classification head.

    Attributes:
        network: normalised float [B, 3, H, W] -> features, float [B, width].
        width: number of features.
        head: what the head that was taken off is called in weights files.
        auxiliary: prefixes of further heads in weights files, which only help early layers of very deep networks learn.
    """

    network: nn.Module
    width: int
    head: str
    auxiliary: tuple[str, ...] = ("AuxLogits.", "aux1.", "aux2.")


class _Library(Protocol):
    def read_facts(self, name: str) -> BackboneFacts: ...

    def build_trunk(self, name: str) -> Trunk: ...

    def fetch_weights(self, name: str) -> dict[str, Tensor]: ...


class _Torchvision:
    """Classification networks of torchvision.models."""

    def __init__(self) -> None:
        from torchvision import models

        self._models = models

    def read_facts(self, name: str) -> BackboneFacts:
        names = self._models.list_models(module=self._models)
        if name not in names:
            raise ValueError(_describe_unknown("torchvision", name, names))
        weights = self._models.get_model_weights(name).DEFAULT
        inputs = weights.transforms()
        return BackboneFacts(
            inputs.crop_size[0],
            max(weights.meta["min_size"]),
            tuple(inputs.mean),
            tuple(inputs.std),
            inputs.interpolation.value,
        )

    def build_trunk(self, name: str) -> Trunk:
        # The two with auxiliary heads also turn ImageNet's normalisation into their own, as their weights expect.
        extra: dict[str, Any] = {}
        if name in WITH_AUXILIARY_HEADS:
            extra = {"aux_logits": False, "transform_input": True, "init_weights": True}
        network = self._models.get_model(name, weights=None, **extra)
        # The last layer with weights is the head, whatever it is called. Without it the network gives what the head
        # was given; of SqueezeNet, whose head is a convolution before the mean over space, the mean features.
        head, layer = [item for item in network.named_modules() if isinstance(item[1], nn.Linear | nn.Conv2d)][-1]
        network.set_submodule(head, nn.Identity())
        features = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
        return Trunk(network, features, head)

    def fetch_weights(self, name: str) -> dict[str, Tensor]:
        return self._models.get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True)


class _Timm:
    """Networks of timm, optionally with a tag for their weights: resnetv2_50, resnetv2_50.a1h_in1k."""

    def __init__(self) -> None:
        import timm

        self._timm = timm

    def _read_config(self, name: str) -> Any:
        architecture, _, tag = name.partition(".")
        if not self._timm.is_model(architecture):
            raise ValueError(_describe_unknown("timm", architecture, self._timm.list_models()))
        try:
            config = self._timm.models.get_pretrained_cfg(name)
        except RuntimeError:
            raise ValueError(f"timm's {architecture} has no weights with the tag {tag!r}") from None
        if config is None:
            raise ValueError(f"timm does not say what its {architecture} is to be given")
        return config

    def read_facts(self, name: str) -> BackboneFacts:
        config = self._read_config(name)
        size = config.input_size[-1]
        min_size = MIN_SIZE_PX
        if config.fixed_input_size:
            min_size = size
        elif any(stem in name for stem in DEEP_STEM_NAMES):
            min_size = MIN_DEEP_STEM_SIZE_PX
        return BackboneFacts(size, min_size, config.mean, config.std, config.interpolation)

    def build_trunk(self, name: str) -> Trunk:
        network: Any = self._timm.create_model(name, num_classes=0)
        return Trunk(network, network.head_hidden_size, self._read_config(name).classifier)

    def fetch_weights(self, name: str) -> dict[str, Tensor]:
        return self._timm.create_model(name, pretrained=True, num_classes=0).state_dict()


_LIBRARIES: dict[str, Callable[[], _Library]] = {"torchvision": _Torchvision, "timm": _Timm}


def read_facts(arch: str) -> BackboneFacts:
    """Return the input that a backbone was made for, such as ``torchvision:resnet18`` or ``timm:resnetv2_50``.

    Raises ValueError if there is no such backbone.
    """
    library, name = _resolve_arch(arch)
    return library.read_facts(name)


def build_trunk(arch: str) -> Trunk:
    """Build a backbone with fresh weights and without its head."""
    library, name = _resolve_arch(arch)
    return library.build_trunk(name)


def fetch_weights(arch: str) -> dict[str, Tensor]:
    """Return the published weights of a backbone, from the library's cache or the network.

    Raises:
        OSError: they are not in the cache, and there is no network to fetch them by.
        RuntimeError: there are none.
    """
    library, name = _resolve_arch(arch)
    return library.fetch_weights(name)


def _resolve_arch(arch: str) -> tuple[_Library, str]:
    library, _, name = arch.partition(":")
    if library not in _LIBRARIES or not name:
        raise ValueError(f"found {arch!r}, expected cnn, torchvision:NAME or timm:NAME, such as torchvision:resnet18")
    return _LIBRARIES[library](), name


def _describe_unknown(library: str, name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=3)
    return f"{library} has no network {name!r}" + (f"; did you mean {' or '.join(close)}?" if close else "")
