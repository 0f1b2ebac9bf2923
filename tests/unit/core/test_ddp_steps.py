"""The steps of two ranks, in two real processes: what they exchange, and how they end together."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from ganaug_ray.classify import networks
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.core import checkpoint
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.finite_guard import DivergenceError
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.batch import BatchFeed
from ganaug_ray.data.loading.resident_loader import open_real_feed
from ganaug_ray.gan import training_loop
from tests.helpers.two_ranks import GAN, build_cnn, make_hooks, on_two_ranks, ranks, train_cnn  # noqa: F401  # ranks: a fixture


def _diverge(place: Place, digits: str, out: str) -> None:
    feed = open_real_feed(digits, GAN.batch_size, 1.0, 0, place)
    saved: list[checkpoint.Checkpoint] = []

    def poisoned(step: int) -> Any:
        batch = feed(step)
        if step == 4 and place.rank == 1:
            batch.x_BCHW.fill_(float("nan"))
        return batch

    try:
        training_loop.train_gan(
            poisoned, GAN, training_loop.ImageShape(10, 1, 32), 6, 0, place, None, make_hooks(saved)
        )
    except DivergenceError as error:
        Path(out, f"diverged-{place.rank}").write_text(f"{error.step} {[c.step for c in saved]}")


def test_bad_loss_stops_all_ranks(digits: Folder, tmp_path: Path) -> None:
    """A loss that is not finite on one rank stops all ranks at that step."""
    on_two_ranks(_diverge, tmp_path, str(digits), str(tmp_path))
    assert [(tmp_path / f"diverged-{rank}").read_text() for rank in range(2)] == ["4 [3]", "4 [3]"]


class _Spoiled:
    """Batches of a feed; from step 4 on a gradient of the second rank is infinite, though the loss is finite."""

    def __init__(self, feed: BatchFeed, place: Place) -> None:
        self._feed = feed
        self._place = place
        self._step = 0
        self._networks: list[torch.nn.Module] = []
        self._before: list[dict[str, torch.Tensor]] = []

    def watch(self, weight: torch.nn.Parameter, *networks: torch.nn.Module) -> None:
        weight.register_hook(self._spoil)
        self._networks = list(networks)

    def _spoil(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * float("inf") if self._place.rank == 1 and self._step >= 4 else gradient

    def __call__(self, step: int) -> Any:
        self._step = step
        if step == 4:
            self._before = [self._copy_weights(network) for network in self._networks]
        return self._feed(step)

    def _copy_weights(self, network: torch.nn.Module) -> dict[str, torch.Tensor]:
        return {name: weight.detach().clone() for name, weight in network.named_parameters()}

    def assert_unchanged(self) -> None:
        for network, before in zip(self._networks, self._before, strict=True):
            for name, weight in network.named_parameters():
                assert torch.equal(weight, before[name]), name


def _spoil_gan(place: Place, digits: str, out: str) -> None:
    batches = _Spoiled(open_real_feed(digits, GAN.batch_size, 1.0, 0, place), place)
    make = training_loop.build_networks

    def make_watched(*args: Any) -> Any:
        generator, discriminator = make(*args)
        batches.watch(discriminator.score.bias, generator, discriminator)
        return generator, discriminator

    training_loop.build_networks = make_watched
    config = GAN.model_copy(update={"log_every": 100, "checkpoint_every": 100})
    shape = training_loop.ImageShape(10, 1, 32)
    with pytest.raises(DivergenceError, match="step 4"):
        training_loop.train_gan(batches, config, shape, 6, 0, place, None, make_hooks([]))
    batches.assert_unchanged()
    Path(out, f"unchanged-{place.rank}").touch()


def _spoil_classifier(place: Place, digits: str, out: str) -> None:
    batches = _Spoiled(open_real_feed(digits, 16, 1.0, 0, place), place)
    network = build_cnn()
    batches.watch(network.head[1].weight, network)
    config = ClassifierConfig(steps=6, batch_size=16, log_every=100, evaluate_every=100)
    with pytest.raises(DivergenceError, match="step 4"):
        train_cnn(network, batches, config, place, digits)
    batches.assert_unchanged()
    Path(out, f"unchanged-{place.rank}").touch()


@pytest.mark.parametrize("train", [_spoil_gan, _spoil_classifier])
def test_infinite_gradient_changes_no_rank(digits: Folder, tmp_path: Path, train: Any) -> None:
    """A gradient that is not finite on one rank, of a loss that is, changes the weights of no rank."""
    on_two_ranks(train, tmp_path, str(digits), str(tmp_path))
    assert len(list(tmp_path.glob("unchanged-*"))) == 2


class _Exchanges:
    """Batches of a feed, which count what the ranks exchange from step 2 to 5: DDP takes a step to settle."""

    def __init__(self, feed: BatchFeed) -> None:
        self._feed = feed
        self._profiler = profile(activities=[ProfilerActivity.CPU])

    def __call__(self, step: int) -> Any:
        if step == 2:
            self._profiler.start()
        if step == 5:
            self._profiler.stop()
        return self._feed(step)

    def count(self) -> Counter[str]:
        return Counter(event.name for event in self._profiler.events() if event.name.startswith("c10d::"))


def _exchange_gan(place: Place, digits: str, out: str) -> None:
    batches = _Exchanges(open_real_feed(digits, GAN.batch_size, 1.0, 0, place))
    config = GAN.model_copy(update={"log_every": 100, "checkpoint_every": 100})
    training_loop.train_gan(batches, config, training_loop.ImageShape(10, 1, 32), 6, 0, place, None, make_hooks([]))
    assert batches.count() == {"c10d::allreduce_": 2 * 3}, "the gradients of either network, three steps"
    Path(out, f"counted-{place.rank}").touch()


def _exchange_classifier(place: Place, digits: str, out: str) -> None:
    batches = _Exchanges(open_real_feed(digits, 16, 1.0, 0, place))
    config = ClassifierConfig(steps=6, batch_size=16, log_every=100, evaluate_every=100)
    train_cnn(networks.CNN(1, 10, 0.0, 8), batches, config, place, digits)  # small: its gradients fit into one bucket
    assert batches.count() == {"c10d::allreduce_": 3}, "the gradients, three steps"
    Path(out, f"counted-{place.rank}").touch()


@pytest.mark.parametrize("train", [_exchange_gan, _exchange_classifier])
def test_steps_exchange_gradients_only(digits: Folder, tmp_path: Path, train: Any) -> None:
    """Between logged steps the ranks exchange one bucket of gradients a network, and nothing else."""
    on_two_ranks(train, tmp_path, str(digits), str(tmp_path))
    assert len(list(tmp_path.glob("counted-*"))) == 2


def _is_told_that_it_will_be_taken_away(place: Place, digits: str, out: str) -> None:
    config = GAN.model_copy(update={"log_every": 1, "checkpoint_every": 5})
    place = replace(place, is_leaving=lambda: place.rank == 1 and len(rows) >= 2)
    rows: list[dict[str, Any]] = []
    saved: list[checkpoint.Checkpoint] = []
    feed = open_real_feed(digits, GAN.batch_size, 1.0, 0, place)
    training_loop.train_gan(
        feed, config, training_loop.ImageShape(10, 1, 32), 6, 0, place, None, make_hooks(saved, rows.append)
    )
    Path(out, f"saved-{place.rank}").write_text(f"{[c.step for c in saved]}")


def test_leaving_rank_makes_all_save(digits: Folder, tmp_path: Path) -> None:
    """When the machine of one rank will be taken away, all ranks save once at that step."""
    on_two_ranks(_is_told_that_it_will_be_taken_away, tmp_path, str(digits), str(tmp_path))
    assert [(tmp_path / f"saved-{rank}").read_text() for rank in range(2)] == ["[3, 5, 6]", "[3, 5, 6]"]


def _compile(place: Place, digits: str, out: str) -> None:
    """Train both networks plainly, and by graphs that were traced, without the minute of code generation."""
    graphs: list[object] = []

    def keep_graph(graph: torch.fx.GraphModule, inputs: object) -> Any:
        graphs.append(graph)
        return graph.forward

    compile_in_place = torch.nn.Module.compile
    results = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Module, "compile", lambda module, mode: compile_in_place(module, backend=keep_graph))
        for compiled in (False, True):
            saved: list[checkpoint.Checkpoint] = []
            config = GAN.model_copy(update={"compile": compiled})
            shape = training_loop.ImageShape(10, 1, 32)
            feed = open_real_feed(digits, GAN.batch_size, 1.0, 0, place)
            training_loop.train_gan(feed, config, shape, 6, 0, place, None, make_hooks(saved))
            classifier = ClassifierConfig(steps=4, batch_size=16, log_every=2, evaluate_every=2, compile=compiled)
            feed = open_real_feed(digits, 16, 1.0, 0, place)
            evaluation, _ = train_cnn(build_cnn(), feed, classifier, place, digits)
            results.append(saved[-1].tensors | evaluation.weights)
            assert bool(graphs) == compiled
    torch.save(results, f"{out}/weights-{place.rank}")


def test_compiled_ranks_train_alike(digits: Folder, tmp_path: Path) -> None:
    """Compiled networks on two ranks have the weights of plain ones; their averaged gradients too."""
    on_two_ranks(_compile, tmp_path, str(digits), str(tmp_path))
    (plain, compiled), (other_plain, other) = (torch.load(tmp_path / f"weights-{k}", weights_only=True) for k in (0, 1))
    assert plain.keys() == compiled.keys()
    for name, weight in plain.items():
        torch.testing.assert_close(compiled[name], weight, msg=name)
    assert len(plain) > 20
    for name in compiled.keys() & dict(build_cnn().named_parameters()).keys():
        assert torch.equal(compiled[name], other[name]), name
    assert other_plain.keys() == other.keys()
