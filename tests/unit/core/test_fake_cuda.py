"""What the training loops do on a GPU, as far as shapes and types tell: no GPU is needed."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ganaug_ray.augment import screening_rules
from ganaug_ray.augment.live_generation import LiveFeed, LiveScreener
from ganaug_ray.augment.mixed_batches import MixedFeed
from ganaug_ray.augment.screening import Examiner
from ganaug_ray.classify import networks as classifier_networks
from ganaug_ray.classify import strong_augmentation
from ganaug_ray.classify import training_loop as classifier_loop
from ganaug_ray.config import ClassifierConfig, GanConfig
from ganaug_ray.config.gan_presets import PRESETS
from ganaug_ray.core import checkpoint
from ganaug_ray.core.distributed import Place, copy_to_device
from ganaug_ray.core.records import GeneratorSpec
from ganaug_ray.data.loading.batch import Batch, BatchFeed
from ganaug_ray.data.loading.image_store import LabelledImages
from ganaug_ray.data.loading.resident_loader import ResidentFeed, ResidentImages
from ganaug_ray.gan import networks, sampler, training_loop
from ganaug_ray.gan.metrics import features
from ganaug_ray.gan.metrics.memorization import PIXEL_EXTRACTOR
from ganaug_ray.gan.metrics.nearest_neighbors import NeighborSpacing
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


class Images(BatchFeed):
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

    def count_rows(self, step: int) -> int:
        return BATCH

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


@pytest.mark.parametrize("preset", PRESETS)
def test_gan_steps_never_wait(monkeypatch: pytest.MonkeyPatch, preset: Any) -> None:
    """In the steps of the GAN's loop between two that are logged, the host never waits for the GPU."""
    never = dict.fromkeys(("steps", "log_every", "checkpoint_every", "snapshot_every"), NEVER)
    config = GanConfig(preset=preset, batch_size=BATCH, latent=8, **never)
    images = Images(STEPS)
    pair = OneLayer(8, 3 * 16 * 16), OneLayer(3 * 16 * 16, 1)
    monkeypatch.setattr(training_loop, "build_networks", lambda *args: pair)
    hooks = training_loop.Hooks(pytest.fail, pytest.fail, pytest.fail)
    with fake_cuda() as gpu:
        images.move_to_cuda()
        for network in pair:
            move_to_cuda(network)
        with pytest.raises(EnoughSteps):
            training_loop.train_gan(images, config, training_loop.ImageShape(10, 3, 16), NEVER, 0, PLACE, None, hooks)
    assert images.begun == STEPS
    assert gpu.waits == {}


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2, "ema_half_life": 0}], ids=["plain", "accumulated"])
def test_classifier_steps_never_wait(settings: dict[str, Any]) -> None:
    """In the steps of the classifier's loop between two that are logged, the host never waits for the GPU."""
    config = ClassifierConfig(steps=NEVER, batch_size=BATCH, log_every=NEVER, evaluate_every=NEVER, **settings)
    images = Images(STEPS)
    network = classifier_networks.CNN(3, 10, 0.3, 8)
    with fake_cuda() as gpu:
        images.move_to_cuda()
        move_to_cuda(network)
        with pytest.raises(EnoughSteps):
            classifier_loop.train_classifier(network, images, images.rows, config, NEVER, 0, PLACE, pytest.fail)
    assert images.begun == STEPS
    assert gpu.waits == {}


@pytest.mark.parametrize("operation", strong_augmentation.COLOUR_OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_strong_augmentation_never_waits(operation: strong_augmentation.ColourOperation, channels: int) -> None:
    """No operation on colours brings anything of its own to the GPU, or back."""
    with fake_cuda() as gpu:
        x_RCHW, strength_R111 = torch.rand(4, channels, 16, 16).cuda(), torch.rand(4, 1, 1, 1).cuda()
        gpu.waits.clear()
        assert operation(x_RCHW, strength_R111).shape == x_RCHW.shape
        assert gpu.waits == {}


@pytest.mark.parametrize("keeps_last", [True, False])
def test_kept_evaluation_stays_on_device(keeps_last: bool) -> None:
    """The weights of the evaluation that is kept are copied on the GPU: the host waits for none of them."""
    network = classifier_networks.CNN(3, 10, 0.3, 8)
    history = classifier_loop.EvaluationHistory(lambda kept: None, keeps_last)
    with fake_cuda() as gpu:
        move_to_cuda(network)
        history.add_evaluation(2, 0.5, 1.0, network)
        history.add_evaluation(4, 0.9, 1.0, network)
    assert history.selected is not None
    assert history.selected.step == 4
    assert {weight.device.type for weight in history.selected.weights.values()} == {"cuda"}
    assert history.selected.weights["network.head.1.weight"] is not network.head[1].weight, "training goes on"
    assert gpu.waits == {}


@pytest.fixture
def no_limits_cached() -> Iterator[None]:
    """Limits that were put on the fake device are of no use to other tests."""
    yield
    screening_rules._put_on_device.cache_clear()


def build_generator() -> sampler.Generator:
    """A generator of ten classes with random weights, still on the CPU."""
    spec = GeneratorSpec(
        hash="", classes=list("abcdefghij"), channels=3, size=16, latent=8, filters=4, conditional=True
    )
    return sampler.Generator(spec, checkpoint.pack_states({"generator": networks.Generator(8, 10, 3, 16, 4)}))


class FakeExaminer(Examiner):
    """An examiner on the fake device, with networks and training images that know nothing."""

    def __init__(self, teacher: classifier_networks.Network) -> None:
        self._teacher = SimpleNamespace(device=CUDA, network=teacher.eval())
        self._size = 16
        real_NCHW = torch.empty(ROWS, 3, 16, 16, device=CUDA)
        self._spaces = [features.build_teacher_extractor(teacher, real_NCHW), PIXEL_EXTRACTOR]
        self._yardsticks = []
        for space in self._spaces:
            yardstick = NeighborSpacing(space(real_NCHW), torch.zeros(ROWS, dtype=torch.int64, device=CUDA))
            yardstick.__dict__["spacing_N"] = torch.empty(ROWS, device=CUDA)  # computed once, before the first step
            self._yardsticks.append(yardstick)
        self._discriminator = lambda x_BCHW, y_B: x_BCHW.mean((1, 2, 3))


@pytest.mark.parametrize(("is_screened", "waits"), [(True, {"aten.index.Tensor by a mask": STEPS}), (False, {})])
def test_live_images_wait_once_a_step(is_screened: bool, waits: dict[str, int], no_limits_cached: None) -> None:
    """The host waits once a step for how many live images were rejected, and for unscreened ones never."""
    limits = screening_rules.ScreeningLimits(0.5, 0.5, (0.0,) * 10, (1.0,) * 10, (True,) * 10, (True,) * 10)
    images = Images(STEPS)
    teacher, generator = classifier_networks.CNN(3, 10, 0.3, 8), build_generator()
    with fake_cuda() as gpu:
        images.move_to_cuda()
        move_to_cuda(teacher)
        move_to_cuda(generator.network)
        screener = LiveScreener(FakeExaminer(teacher), limits) if is_screened else None
        pool = dict.fromkeys(generator.classes, 6)
        mixed = MixedFeed(images, LiveFeed(generator, pool, screener, lambda step: BATCH * step, PLACE, 0))
        mixed(0)  # the first one puts the limits on the device
        gpu.waits.clear()
        for step in range(STEPS):
            assert len(mixed(step).y_B) == 2 * BATCH
    assert gpu.waits == waits


def test_waits_are_noticed(gpu: FakeCuda) -> None:
    """Copies from unpinned memory and to the host, values and counts are waits; copies from pinned memory are none."""
    copy_to_device(torch.zeros(3), CUDA)
    assert gpu.waits == {}
    on_gpu = torch.zeros(3).to(CUDA)
    on_gpu.cpu()
    torch.empty(3).copy_(on_gpu)
    with pytest.raises(Exception, match="_local_scalar_dense"):
        on_gpu.sum().item()
    with pytest.raises(Exception, match="nonzero"):
        on_gpu.nonzero()
    with pytest.raises(Exception, match="unique"):
        on_gpu.unique()
    assert on_gpu[on_gpu > 0].shape == on_gpu.shape
    assert gpu.waits == {
        "aten._to_copy.default from unpinned memory": 1,
        "aten._to_copy.default to the host": 1,
        "aten.copy_.default to the host": 1,
        "aten._local_scalar_dense.default": 1,
        "aten.nonzero.default": 1,
        "aten._unique2.default": 1,
        "aten.index.Tensor by a mask": 1,
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
