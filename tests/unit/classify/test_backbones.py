"""Published networks behind the same door as the base CNN."""

from __future__ import annotations

import pytest
import torch

from ganaug_ray.classify import networks
from ganaug_ray.classify.network_check import check_network
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.config.loader import load_job
from ganaug_ray.errors import UserError
from tests.conftest import DIGITS

SMALL = [
    "torchvision:squeezenet1_1",
    "torchvision:shufflenet_v2_x0_5",
    "timm:test_resnet",
    "timm:test_resnet.r160_in1k",
]


def small(arch: str, size: int = 64, channels: int = 3, pretrained: bool = False) -> networks.Network:
    torch.manual_seed(0)
    wanted = networks.choose_input(arch, size, None, pretrained)
    return networks.build_network(arch, channels, 3, 0.1, wanted).eval()


@pytest.mark.parametrize("arch", ["cnn", *SMALL])
def test_logits_depend_on_feature_maps(arch: str) -> None:
    """The logits come from the features through the head, and depend on the feature maps."""
    network, x_BCHW = small(arch), torch.rand(2, 3, 64, 64) * 2 - 1
    features_BF = network.compute_features(x_BCHW)
    assert torch.allclose(network.head(features_BF), network(x_BCHW))
    logits_BK, maps_BFhw = network.compute_feature_maps(x_BCHW)
    assert torch.equal(logits_BK, network(x_BCHW))
    assert maps_BFhw.dim() == 4
    assert min(maps_BFhw.shape[2:]) > 1
    (slope,) = torch.autograd.grad(logits_BK[:, 1].sum(), maps_BFhw)
    assert slope.abs().sum() > 0


def test_grey_images_fit_pretrained_networks() -> None:
    """Grey images are repeated to three channels, and each channel is normalised as published."""
    network = small("torchvision:squeezenet1_1", channels=1)
    given = network.adaptor(torch.zeros(1, 1, 64, 64))  # mid-grey: pixels of one half
    published = [(0.5 - mean) / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    assert given.shape == (1, 3, 64, 64)
    assert given[0, :, 0, 0].tolist() == pytest.approx(published, rel=1e-5)
    white = network.adaptor(torch.ones(1, 1, 64, 64))
    assert white[0, 0, 0, 0].item() == pytest.approx((1 - 0.485) / 0.229, rel=1e-5)


@pytest.mark.parametrize(
    ("arch", "image_size", "wish", "pretrained", "given"),
    [
        ("cnn", 64, None, False, 64),
        ("torchvision:resnet18", 64, None, False, 64),  # from scratch: as small as the data
        ("torchvision:resnet18", 64, None, True, 224),  # its weights know objects of that size
        ("torchvision:resnet18", 512, None, False, 224),
        ("torchvision:resnet18", 64, 128, True, 128),
        ("torchvision:inception_v3", 32, None, False, 75),  # the least it can work with
        ("timm:inception_v3", 32, None, False, 75),
        ("torchvision:vit_b_16", 64, None, False, 224),  # no other
        ("timm:vit_base_patch16_224", 64, None, False, 224),
    ],
)
def test_input_size_follows_network_and_data(
    arch: str, image_size: int, wish: int | None, pretrained: bool, given: int
) -> None:
    """The input size follows from the network, the images, the pretrained weights and the setting."""
    assert networks.choose_input(arch, image_size, wish, pretrained).size == given


def test_images_are_resized_for_the_network() -> None:
    """Images of any size are resized to the input size of the network."""
    network = small("timm:test_resnet", size=32, pretrained=True)
    assert network.adaptor(torch.zeros(2, 3, 32, 32)).shape == (2, 3, 160, 160)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    assert network(torch.zeros(2, 3, 200, 200)).shape == (2, 3)


@pytest.mark.parametrize(("size", "blocks"), [(32, 3), (48, 3), (64, 4), (128, 5)])
def test_larger_images_deepen_base_cnn(size: int, blocks: int) -> None:
    """The base CNN has more blocks for larger images."""
    network = networks.CNN(3, 2, 0.0, size)
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in network.blocks) == blocks
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 2)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("classifier.arch=resnet18", ["classifier.arch", "'resnet18'", "torchvision:NAME"]),
        ("classifier.arch=torchvision:resnet81", ["classifier.arch", "'resnet81'", "did you mean resnet18"]),
        ("classifier.arch=timm:resnetv2_5", ["classifier.arch", "'resnetv2_5'", "resnetv2_50"]),
        ("classifier.arch=timm:test_resnet.nobody", ["classifier.arch", "'nobody'"]),
        ("classifier.weights=pretrained", ["classifier", "cnn has none"]),
        ("classifier.patience=3", ["classifier.patience 3", "augment.ratio 0"]),
        ("classifier.accumulate=40", ["classifier", "accumulate 40", "batch_size 64"]),
    ],
)
def test_wrong_setting_suggests_a_fix(override: str, words: list[str]) -> None:
    """A wrong classifier setting is an error that names the setting and says what to do."""
    with pytest.raises(UserError) as caught:
        load_job(DIGITS, [override], check_network)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_too_small_input_size_is_refused() -> None:
    """An input size below the network's minimum is refused."""
    with pytest.raises(ValueError, match=r"input_size 64.*inception_v3 needs at least 75"):
        networks.choose_input("torchvision:inception_v3", 64, 64, False)


def test_optimizer_sets_rate_and_decay() -> None:
    """The default learning rate and weight decay follow the chosen optimizer."""
    adamw, sgd = ClassifierConfig(steps=1), ClassifierConfig(steps=1, optimizer="sgd")
    assert (adamw.peak_lr, adamw.effective_weight_decay, sgd.peak_lr, sgd.effective_weight_decay) == (
        2e-3,
        0.01,
        0.05,
        5e-4,
    )
    assert ClassifierConfig(steps=1, lr=1e-4, weight_decay=0.0).effective_weight_decay == 0.0
