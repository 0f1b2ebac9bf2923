"""Heat maps, filters and features mean what they say, whatever the network."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from ganaug_ray.classify import explain, networks, train_worker
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.resident_loader import open_real_feed

CONFIG = ClassifierConfig(steps=80, batch_size=32, flip=False, log_every=40, evaluate_every=40)


@pytest.fixture(scope="module")
def trained(digits: Folder, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    out = Folder.from_uri(tmp_path_factory.mktemp("model") / "model").create()
    batches = functools.partial(open_real_feed, str(digits), 32, 1.0, 0)
    train_worker.train_and_finish(
        train_worker.ClassifierTraining("real+classic", 0, CONFIG, str(digits), str(out), batches, {}), Place()
    )
    return Classifier.load(out)


def hide(images_NHWC: np.ndarray, scores_NHW: np.ndarray, share: float) -> np.ndarray:
    """Paint the share of each image's pixels with the highest scores in the mean grey of all images."""
    flat = scores_NHW.reshape(len(scores_NHW), -1)
    top = np.argsort(-flat, axis=1, kind="stable")[:, : round(share * flat.shape[1])]
    hidden = np.zeros(flat.shape, bool)
    np.put_along_axis(hidden, top, True, axis=1)
    mean = np.uint8(images_NHWC.mean())
    return np.where(hidden.reshape(*scores_NHW.shape, 1), mean, images_NHWC)


def test_heat_maps_mark_decisive_pixels(trained: Classifier, digits: Folder) -> None:
    """Hiding what a heat map marks lowers the probability more than hiding as many random pixels."""
    images = image_store.read_images(digits / "test", 200).images
    probabilities = trained.predict_probabilities(images)
    classes = probabilities.argmax(1)
    maps = explain.compute_heat_maps(trained.network, images, classes)
    assert maps.shape == images.shape[:3]
    assert maps.min() >= 0
    assert maps.max(axis=(1, 2)) == pytest.approx(1.0)

    def drop(scores: np.ndarray) -> float:
        rows = np.arange(len(images))
        return float((probabilities - trained.predict_probabilities(hide(images, scores, 0.2)))[rows, classes].mean())

    random = np.random.default_rng(0).random(maps.shape)
    assert drop(maps) > 1.2 * drop(random) > 0


def test_heat_maps_differ_by_class(trained: Classifier, digits: Folder) -> None:
    """A heat map explains the class that was requested."""
    images = image_store.read_images(digits / "test", 20).images
    one, other = (explain.compute_heat_maps(trained.network, images, np.full(20, label)) for label in (3, 7))
    assert np.abs(one - other).mean() > 0.05


@pytest.mark.parametrize(
    ("arch", "channels", "filters"), [("torchvision:resnet18", 3, (64, 3, 7, 7)), ("cnn", 1, (32, 1, 3, 3))]
)
def test_backbones_with_maps_are_explainable(arch: str, channels: int, filters: tuple[int, ...]) -> None:
    """Any backbone with feature maps can be explained, also while it is frozen."""
    torch.manual_seed(0)
    network = networks.build_network(arch, channels, 4, 0.0, networks.choose_input(arch, 64, None, pretrained=False))
    network.eval().requires_grad_(False)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, channels), np.uint8)
    assert explain.compute_heat_maps(network, images, np.array([0, 1, 2])).shape == (3, 64, 64)
    found = explain.extract_first_filters(network)
    assert found is not None
    assert found.shape == filters
    first, last = explain.extract_feature_maps(network, images[0])
    assert first.shape[0] == filters[0]
    assert last.shape[1] > 1
    assert len(explain.extract_features(network, images)) == 3
    assert not [module for module in network.modules() if module._forward_hooks], "hooks are taken off again"
