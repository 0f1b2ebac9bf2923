"""What the training loops do on a GPU, as far as shapes and types tell: no GPU is needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ganaug_ray.classify import networks as classifier_networks
from ganaug_ray.classify import training_loop as classifier_loop
from ganaug_ray.config import ClassifierConfig, GanConfig
from ganaug_ray.config.gan_presets import PRESETS
from ganaug_ray.core.distributed import Place, copy_to_device
from ganaug_ray.data.loading.batch import Batch
from ganaug_ray.data.loading.image_store import LabelledImages
from ganaug_ray.data.loading.resident_loader import ResidentFeed, ResidentImages
from ganaug_ray.gan import networks, training_loop
from tests.helpers.fake_cuda import CUDA, FakeCuda, fake_cuda, move_to_cuda

ROWS = 60
BATCH = 8
STEPS = 100
NEVER = 10_000
PLACE = Place(device=CUDA)


@pytest.fixture
def gpu() -> Iterator[FakeCuda]:
    with fake_cuda() as mode:
        yield mode


class EnoughSteps(Exception):
    """Ends a training before its first logged step."""


class Images:
    """Sixty images of 16 pixels in ten classes, kept on the fake device."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        texts = [""] * ROWS
        pixels = np.zeros((ROWS, 16, 16, 3), np.uint8)
        self.rows = ResidentImages(LabelledImages(pixels, np.arange(ROWS) % 10, texts, texts, texts), Place().device)
        self._feed = ResidentFeed(self.rows, lambda step: BATCH * step, PLACE, (0,))
        self.begun = 0

    def move_to_cuda(self) -> None:
        self.rows.images_NHWC = torch.empty_like(self.rows.images_NHWC, device=CUDA)
        self.rows.labels_N = torch.empty_like(self.rows.labels_N, device=CUDA)

    def __call__(self, step: int) -> Batch:
        if step == self._steps:
            raise EnoughSteps
        self.begun = step + 1
        return self._feed(step)


class OneLayer(nn.Module):
    """As little of a network as the loop runs with: what real ones do is counted elsewhere, a pass of each."""

    has_batch_norm = False

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def list_learning_weights(self, frozen_layers: int) -> list[nn.Parameter]:
        return list(self.parameters())

    def forward(self, x_BF: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
        values = self.layer(x_BF.flatten(1)).float()
        return values.flatten() if values.shape[1] == 1 else values.view(len(y_B), 3, 16, 16)


@pytest.mark.parametrize(("preset", "steps"), [("dcgan", STEPS), ("scarce", 10)])
def test_gan_steps_never_wait(monkeypatch: pytest.MonkeyPatch, preset: Any, steps: int) -> None:
    """In the steps of the GAN's loop between two that are logged, the host never waits for the GPU."""
    never = dict.fromkeys(("steps", "log_every", "checkpoint_every", "snapshot_every"), NEVER)
    config = GanConfig(preset=preset, batch_size=BATCH, latent=8, **never)
    images = Images(steps)
    pair = OneLayer(8, 3 * 16 * 16), OneLayer(3 * 16 * 16, 1)
    monkeypatch.setattr(training_loop, "build_networks", lambda *args: pair)
    hooks = training_loop.Hooks(pytest.fail, pytest.fail, pytest.fail)
    with fake_cuda() as gpu:
        images.move_to_cuda()
        for network in pair:
            move_to_cuda(network)
        with pytest.raises(EnoughSteps):
            training_loop.train_gan(images, config, training_loop.ImageShape(10, 3, 16), NEVER, 0, PLACE, None, hooks)
    assert images.begun == steps
    assert gpu.waits == {}


def test_classifier_steps_never_wait() -> None:
    """In the steps of the classifier's loop between two that are logged, the host never waits for the GPU."""
    config = ClassifierConfig(steps=NEVER, batch_size=BATCH, log_every=NEVER, evaluate_every=NEVER)
    images = Images(STEPS)
    network = classifier_networks.CNN(3, 10, 0.3, 8)
    with fake_cuda() as gpu:
        images.move_to_cuda()
        move_to_cuda(network)
        with pytest.raises(EnoughSteps):
            classifier_loop.train_classifier(network, images, images.rows, config, NEVER, 0, PLACE, pytest.fail)
    assert images.begun == STEPS
    assert gpu.waits == {}


def test_waits_are_noticed(gpu: FakeCuda) -> None:
    """Copies from unpinned memory and to the host are waits; those from pinned memory are none."""
    copy_to_device(torch.zeros(3), CUDA)
    assert gpu.waits == {}
    on_gpu = torch.zeros(3).to(CUDA)
    on_gpu.cpu()
    torch.empty(3).copy_(on_gpu)
    with pytest.raises(Exception, match="_local_scalar_dense"):
        on_gpu.sum().item()
    assert gpu.waits == {
        "aten._to_copy.default from unpinned memory": 1,
        "aten._to_copy.default to the host": 1,
        "aten.copy_.default to the host": 1,
        "aten._local_scalar_dense.default": 1,
    }


def note_dtypes(network: nn.Module) -> dict[str, torch.dtype]:
    """The type of what each layer gives, as it runs."""
    dtypes: dict[str, torch.dtype] = {}

    def note(name: str, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            dtypes[name] = output.dtype

    for name, layer in network.named_modules():
        layer.register_forward_hook(lambda layer, inputs, output, name=name: note(name, output))
    return dtypes


def select_dtypes(network: nn.Module, dtypes: dict[str, torch.dtype], *kinds: type[nn.Module]) -> set[torch.dtype]:
    return {dtypes[name] for name, layer in network.named_modules() if isinstance(layer, kinds) and name in dtypes}


def assert_full_precision_state(network: nn.Module) -> None:
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.dtype == weight.grad.dtype == torch.float32, name
    assert {buffer.dtype for buffer in network.buffers()} <= {torch.float32, torch.int64}


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("preset", PRESETS)
def test_gan_autocast_types(preset: Any, conditional: bool) -> None:
    """Under CUDA's autocast layers and norms are in bf16; images, logits, spectral norm and gradients in fp32."""
    config = GanConfig(steps=1, preset=preset, filters=4, latent=8, conditional=conditional)
    generator, discriminator = training_loop.build_networks(config, training_loop.ImageShape(3, 3, 32), 0, Place())
    layers, judged = note_dtypes(generator), note_dtypes(discriminator)
    with fake_cuda() as gpu:
        move_to_cuda(generator)
        move_to_cuda(discriminator)
        y_B = torch.empty(2, dtype=torch.int64, device=CUDA)
        with PLACE.autocast("auto"):
            x_BCHW = generator(torch.empty(2, 8, device=CUDA), y_B)
            logits_B = discriminator(x_BCHW, y_B)
        logits_B.mean().backward()
    assert x_BCHW.dtype == logits_B.dtype == torch.float32
    norms = (networks.ConditionalBatchNorm, networks.BatchNorm, nn.BatchNorm2d)
    assert select_dtypes(generator, layers, nn.ConvTranspose2d) == {torch.bfloat16}
    assert select_dtypes(generator, layers, *norms) == {torch.bfloat16}
    assert select_dtypes(discriminator, judged, nn.Conv2d) == {torch.bfloat16}
    assert select_dtypes(discriminator, judged, nn.BatchNorm2d) <= {torch.bfloat16}
    spectral = select_dtypes(discriminator, judged, networks.SpectralNorm)
    assert spectral == ({torch.float32} if config.recipe.norm == "spectral" else set())
    assert_full_precision_state(generator)
    assert_full_precision_state(discriminator)
    assert gpu.waits == {}


def test_power_iteration_stays_in_full_precision() -> None:
    """Within spectral norm nothing is computed in bf16, which CUDA's autocast would do to its products."""
    config = GanConfig(steps=1, preset="scarce", filters=4, latent=8)
    _, discriminator = training_loop.build_networks(config, training_loop.ImageShape(3, 3, 32), 0, Place())
    with fake_cuda() as gpu:
        move_to_cuda(discriminator)
        with PLACE.autocast("bf16"):
            for layer in discriminator.modules():
                if isinstance(layer, networks.SpectralNorm):
                    layer(torch.empty(len(layer._u), len(layer._v), device=CUDA))
    assert gpu.dtypes["aten.mv.default"] == {torch.float32}


@pytest.mark.parametrize("arch", ["cnn", "torchvision:resnet18", "timm:convnext_atto"])
def test_classifier_autocast_types(arch: str) -> None:
    """Under CUDA's autocast convolutions are in bf16, and weights, statistics and gradients in fp32."""
    network_input = classifier_networks.choose_input(arch, 32, None, False)
    network = classifier_networks.build_network(arch, 3, 5, 0.1, network_input)
    dtypes = note_dtypes(network)
    with fake_cuda() as gpu:
        move_to_cuda(network)
        with PLACE.autocast("auto"):
            logits_BK = network(torch.empty(2, 3, 32, 32, device=CUDA))
        nn.functional.cross_entropy(logits_BK.float(), torch.zeros(2, dtype=torch.int64, device=CUDA)).backward()
    assert logits_BK.dtype == torch.bfloat16
    assert select_dtypes(network, dtypes, nn.Conv2d) == {torch.bfloat16}
    assert select_dtypes(network, dtypes, nn.BatchNorm2d) <= {torch.bfloat16}
    assert_full_precision_state(network)
    assert gpu.waits == {}
