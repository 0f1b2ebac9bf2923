"""Two ranks, in two real processes, without Ray."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing as mp
from torch.profiler import ProfilerActivity, profile

from ganaug_ray.augment import mixed_batches, strategies
from ganaug_ray.augment.arms import locate_teacher
from ganaug_ray.augment.soft_labels import SoftLabelFeed
from ganaug_ray.classify import networks
from ganaug_ray.classify import training_loop as classify_loop
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import ClassifierConfig, GanConfig
from ganaug_ray.core import checkpoint, eager_optimizers
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.finite_guard import DivergenceError
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.batch import BatchFeed
from ganaug_ray.data.loading.resident_loader import ResidentImages, open_real_feed
from ganaug_ray.gan import early_stopping, train_worker, training_loop
from ganaug_ray.gan.training_spec import GanTraining
from tests.helpers import records
from tests.unit.gan.test_snapshots import end_at_second_snapshot, open_late

GAN = GanConfig(steps=6, batch_size=16, filters=8, latent=16, log_every=2, checkpoint_every=3, snapshot_every=100)
PROCESSES: list[ProcessPoolExecutor] = []


def _rank(rank: int, function: Any, args: tuple[Any, ...], rendezvous: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    networks = training_loop.build_networks
    try:
        function(Place(rank, 2), *args)
        dist.barrier()
    finally:
        training_loop.build_networks = networks
        dist.destroy_process_group()


def _quiet() -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    # Past the work, torch's own threads were once seen to abort an interpreter that was taking itself down.
    Finalize(None, os._exit, (0,), exitpriority=0)


@pytest.fixture(scope="module", autouse=True)
def ranks() -> Iterator[None]:
    """Two processes for all of these tests: torch takes longer to import than a test to run."""
    PROCESSES[:] = [ProcessPoolExecutor(1, mp.get_context("spawn"), _quiet) for _ in range(2)]
    yield
    for process in PROCESSES:
        process.shutdown()


def on_two_ranks(function: Any, tmp_path: Path, *args: Any) -> None:
    rendezvous = str(tmp_path / "rendezvous")
    waiting = [process.submit(_rank, rank, function, args, rendezvous) for rank, process in enumerate(PROCESSES)]
    for one in waiting:
        one.result()


def _cnn() -> networks.CNN:
    torch.manual_seed(0)
    return networks.CNN(1, 10, 0.0)


def _train(
    network: networks.CNN, feed: BatchFeed, config: ClassifierConfig, place: Place, digits: str
) -> tuple[classify_loop.KeptEvaluation, list[dict[str, Any]]]:
    """What was kept, and the rows that were reported."""
    assert config.steps
    rows: list[dict[str, Any]] = []
    val = ResidentImages.load(Folder.from_uri(digits) / "val", place.device)
    return classify_loop.train_classifier(network, feed, val, config, config.steps, 0, place, rows.append), rows


def _classify(place: Place, digits: str, out: str) -> None:
    config = ClassifierConfig(steps=4, batch_size=16, dropout=0.0, log_every=2, evaluate_every=2)
    best, rows = _train(_cnn(), open_real_feed(digits, 16, 1.0, 0, place), config, place, digits)
    torch.save({"rows": rows, "best": (best.step, best.accuracy, best.loss)}, f"{out}/{place.world_size}-{place.rank}")


def test_ranks_agree_on_metrics(digits: Folder, tmp_path: Path) -> None:
    """All ranks report the same metrics and choose the same best step."""
    on_two_ranks(_classify, tmp_path, str(digits), str(tmp_path))
    one, two = (torch.load(tmp_path / f"2-{rank}", weights_only=True) for rank in range(2))
    assert one == two
    _classify(Place(), str(digits), str(tmp_path))
    alone = torch.load(tmp_path / "1-0", weights_only=True)
    # Batch norm sees half the rows on each of two ranks, so the figures are near, not equal.
    assert [row["step"] for row in alone["rows"]] == [row["step"] for row in one["rows"]]
    assert alone["rows"][0]["loss"] == pytest.approx(one["rows"][0]["loss"], rel=0.2)


def _goes_on(place: Place, digits: str, out: str) -> None:
    """Train to the end, then again from the checkpoint in the middle; with an average, whose statistics count too."""
    config = ClassifierConfig(steps=8, batch_size=16, log_every=4, evaluate_every=4, ema_half_life=16)
    val = ResidentImages.load(Folder.from_uri(digits) / "val", place.device)

    def save(step: int, parts: dict[str, checkpoint.Stateful], stand: checkpoint.Tensors) -> None:
        if place.is_first:
            checkpoint.save(
                Folder.from_uri(out), checkpoint.Checkpoint(step, {**checkpoint.pack_states(parts), **stand}), ""
            )
        dist.barrier()

    for start in (None, 4):
        feed = open_real_feed(digits, 16, 1.0, 0, place)
        kept = checkpoint.load_newest(Folder.from_uri(out), "", print) if start else None
        network = _cnn()
        classify_loop.train_classifier(network, feed, val, config, 8, 0, place, lambda row: None, start=kept, save=save)
        torch.save((start if kept is None else kept.step, network.state_dict()), f"{out}/{start}-{place.rank}")


def test_classifier_ranks_resume_bit_identically(digits: Folder, tmp_path: Path) -> None:
    """Two ranks that resume a classifier have the same bits as undisturbed ones, batch norm included."""
    on_two_ranks(_goes_on, tmp_path, str(digits), str(tmp_path))
    runs = [torch.load(tmp_path / f"{start}-{rank}", weights_only=True) for start in (None, 4) for rank in range(2)]
    assert [step for step, _ in runs] == [None, None, 4, 4]
    for name, value in runs[0][1].items():
        assert all(torch.equal(value, other[name]) for _, other in runs[1:]), name


def _soft(digits: str, upto: Callable[[int], int], place: Place) -> BatchFeed:
    """Rows of another order as the synthetic ones, and a network that has learned nothing as their teacher."""
    torch.manual_seed(1)
    spec = records.make_spec(classes=[str(k) for k in range(10)], resize="stretch")
    teacher = Classifier(spec, checkpoint.pack_states({"network": networks.CNN(1, 10, 0.0)}))
    return SoftLabelFeed(mixed_batches.open_pool_feed(f"{digits}/train", upto, 1.0, 1, place), teacher)


def _all_settings(place: Place, digits: str, out: str) -> None:
    """Thaws after two steps; without batch norm, which sees half the rows on each of two ranks."""
    config = ClassifierConfig(
        steps=5,
        batch_size=16,
        dropout=0.0,
        weights="of a file",
        freeze_steps=2,
        backbone_lr=0.5,
        optimizer="sgd",
        mixup=1.0,
        cutmix=1.0,
        label_smoothing=0.1,
        ema_half_life=16,
        accumulate=2,
        schedule="plateau",
        plateau_looks=1,
        log_every=1,
        evaluate_every=1,
    )
    network = _cnn()
    for index, layer in enumerate(network.blocks):
        if isinstance(layer, torch.nn.BatchNorm2d):
            network.blocks[index] = torch.nn.Identity()
    real = functools.partial(open_real_feed, digits, 16, 1.0, 0)
    fake = functools.partial(_soft, digits, strategies.Mixture(16, 0.33, 5, "anneal").count_synthetic_rows)
    feed = mixed_batches.open_mixed_feed(real, fake, place, weight=0.25, apart=True)
    best, rows = _train(network, feed, config, place, digits)
    torch.save(
        {"rows": rows, "best": best.weights, "last": network.state_dict()}, f"{out}/{place.world_size}-{place.rank}"
    )


def test_classifier_ranks_match_single_rank(digits: Folder, tmp_path: Path) -> None:
    """Frozen and thawed, rows blended across ranks, parts, averages, rates that follow looks, weights, soft labels."""
    on_two_ranks(_all_settings, tmp_path, str(digits), str(tmp_path))
    _all_settings(Place(), str(digits), str(tmp_path))
    alone, one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("1-0", "2-0", "2-1"))
    assert one["rows"] == two["rows"]
    assert all(torch.equal(one["last"][key], two["last"][key]) for key in one["last"])
    for ours, theirs in zip(alone["rows"], one["rows"], strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4)
    for part in ("last", "best"):
        for key, tensor in alone[part].items():
            torch.testing.assert_close(one[part][key], tensor, rtol=1e-4, atol=1e-5, msg=key)


def _hooks(
    saved: list[checkpoint.Checkpoint], report: Callable[[dict[str, Any]], None] = lambda row: None
) -> training_loop.Hooks:
    """What the GAN's loop calls: its checkpoints are gathered, its snapshots are not wanted."""
    return training_loop.Hooks(report, saved.append, lambda step, average, discriminator: None)


def _diverge(place: Place, digits: str, out: str) -> None:
    feed = open_real_feed(digits, GAN.batch_size, 1.0, 0, place)
    saved: list[checkpoint.Checkpoint] = []

    def poisoned(step: int) -> Any:
        batch = feed(step)
        if step == 4 and place.rank == 1:
            batch.x_BCHW.fill_(float("nan"))
        return batch

    try:
        training_loop.train_gan(poisoned, GAN, training_loop.ImageShape(10, 1, 32), 6, 0, place, None, _hooks(saved))
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
        training_loop.train_gan(batches, config, shape, 6, 0, place, None, _hooks([]))
    batches.assert_unchanged()
    Path(out, f"unchanged-{place.rank}").touch()


def _spoil_classifier(place: Place, digits: str, out: str) -> None:
    batches = _Spoiled(open_real_feed(digits, 16, 1.0, 0, place), place)
    network = _cnn()
    batches.watch(network.head[1].weight, network)
    config = ClassifierConfig(steps=6, batch_size=16, log_every=100, evaluate_every=100)
    with pytest.raises(DivergenceError, match="step 4"):
        _train(network, batches, config, place, digits)
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
    training_loop.train_gan(batches, config, training_loop.ImageShape(10, 1, 32), 6, 0, place, None, _hooks([]))
    assert batches.count() == {"c10d::allreduce_": 2 * 3}, "the gradients of either network, three steps"
    Path(out, f"counted-{place.rank}").touch()


def _exchange_classifier(place: Place, digits: str, out: str) -> None:
    batches = _Exchanges(open_real_feed(digits, 16, 1.0, 0, place))
    config = ClassifierConfig(steps=6, batch_size=16, log_every=100, evaluate_every=100)
    _train(networks.CNN(1, 10, 0.0, 8), batches, config, place, digits)  # small: its gradients fit into one bucket
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
        feed, config, training_loop.ImageShape(10, 1, 32), 6, 0, place, None, _hooks(saved, rows.append)
    )
    Path(out, f"saved-{place.rank}").write_text(f"{[c.step for c in saved]}")


def test_leaving_rank_makes_all_save(digits: Folder, tmp_path: Path) -> None:
    """When the machine of one rank will be taken away, all ranks save once at that step."""
    on_two_ranks(_is_told_that_it_will_be_taken_away, tmp_path, str(digits), str(tmp_path))
    assert [(tmp_path / f"saved-{rank}").read_text() for rank in range(2)] == ["[3, 5, 6]", "[3, 5, 6]"]


def _train_and_resume(place: Place, digits: str, out: str) -> None:
    feed = open_real_feed(digits, GAN.batch_size, 1.0, 0, place)

    def train(start: checkpoint.Checkpoint | None) -> list[checkpoint.Checkpoint]:
        saved: list[checkpoint.Checkpoint] = []
        training_loop.train_gan(feed, GAN, training_loop.ImageShape(10, 1, 32), 6, 0, place, start, _hooks(saved))
        return saved

    middle, last = train(None)
    folder = Folder.from_uri(out) / "checkpoints"
    if place.is_first:
        checkpoint.save(folder, middle, "same")
    dist.barrier()
    (again,) = train(checkpoint.load_newest(folder, "same", print))
    if place.is_first:
        assert last.tensors.keys() == again.tensors.keys()
        assert all(torch.equal(last.tensors[key], again.tensors[key]) for key in last.tensors)
        Path(out, "equal").touch()


def test_gan_ranks_resume_bit_identically(digits: Folder, tmp_path: Path) -> None:
    """Two ranks that resume a GAN training end with the same bits as undisturbed ones."""
    on_two_ranks(_train_and_resume, tmp_path, str(digits), str(tmp_path))
    assert (tmp_path / "equal").exists()


def _without_batch_statistics(make: Any) -> Any:
    """Give the generator norms that look at one image at a time, so that half a batch is normalised like a whole."""

    def networks(*args: Any) -> Any:
        generator, discriminator = make(*args)
        for layer in generator.norms:
            layer.norm = torch.nn.GroupNorm(1, layer.norm.num_features, affine=False)
        return generator, discriminator

    return networks


def _two_steps(place: Place, digits: str, out: str, batch: int) -> None:
    training_loop.build_networks = _without_batch_statistics(training_loop.build_networks)
    # Adam's first steps are the signs of the gradients, which for the smallest of them are chance: a large epsilon
    # makes steps that are proportional instead, and its averages are the gradients.
    adam = eager_optimizers.Adam
    eager_optimizers.Adam = functools.partial(adam, eps=1.0)  # type: ignore[assignment, misc]  # put back below
    config = GAN.model_copy(update={"lr": 1.0, "log_every": 1, "checkpoint_every": 1, "batch_size": batch})
    rows: list[dict[str, Any]] = []
    saved: list[checkpoint.Checkpoint] = []
    feed, hooks = open_real_feed(digits, batch, 1.0, 0, place), _hooks(saved, rows.append)
    training_loop.train_gan(feed, config, training_loop.ImageShape(10, 1, 32), 2, 0, place, None, hooks)
    eager_optimizers.Adam = adam  # type: ignore[misc]  # as above
    torch.save({"rows": rows, "tensors": [c.tensors for c in saved]}, f"{out}/steps-{place.world_size}-{place.rank}")


@pytest.mark.parametrize("batch", [16, 15])
def test_gan_ranks_match_single_rank(digits: Folder, tmp_path: Path, batch: int) -> None:
    """Also where their parts differ in size, as with workers that come and go.

    Latents, DiffAugment's draws, gradients, power iteration and averages included.

    The tolerance is a thousandth of each tensor's largest value: sums over halves round otherwise than sums over the
    whole, most where large terms cancel; where all do, as in a bias's first gradient, only zeros are left to compare.
    """
    on_two_ranks(_two_steps, tmp_path, str(digits), str(tmp_path), batch)
    make = training_loop.build_networks
    try:
        _two_steps(Place(), str(digits), str(tmp_path), batch)
    finally:
        training_loop.build_networks = make
    alone, one, two = (torch.load(tmp_path / f"steps-{name}", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    assert one["rows"] == two["rows"]
    for ours, theirs in zip(alone["rows"], one["rows"], strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4)
    for ours, theirs in zip(alone["tensors"], one["tensors"], strict=True):
        assert ours.keys() == theirs.keys()
        for key, tensor in ours.items():
            atol = max(1e-6, 1e-3 * tensor.abs().max().item())
            torch.testing.assert_close(theirs[key], tensor, rtol=1e-4, atol=atol, msg=key)


def _measure_late(place: Place, training: GanTraining) -> None:
    """Train twice, with snapshots that are waited for and with such whose figures come late; both end at the second."""
    find_stop_reason = early_stopping.find_stop_reason
    early_stopping.find_stop_reason = end_at_second_snapshot  # type: ignore[assignment]
    try:
        for name, open_executor in (("at_once", None), ("late", open_late)):
            one = replace(training, out=f"{training.out}/{name}")
            train_worker.train_and_finish(one, place, open_executor)
    finally:
        early_stopping.find_stop_reason = find_stop_reason


def test_late_figures_end_both_ranks(experiment: Run, tmp_path: Path) -> None:
    """Figures that rank 0 gets late end the training of both ranks, and leave the same files as such waited for."""
    config = GanConfig(**experiment.gan.read_json("gan.json")["config"])
    steps = {"steps": 9, "log_every": 1, "snapshot_every": 3, "checkpoint_every": 2, "cas_every": 9}
    dataset, teacher = str(experiment.dataset), str(locate_teacher(experiment))
    on_two_ranks(
        _measure_late,
        tmp_path,
        GanTraining(config.model_copy(update=steps), 32, 0, dataset, teacher, str(tmp_path), 1.0, {}),
    )
    at_once, late = (
        {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file() and path.name not in ("gan.json", "attempts.json")
        }
        for name in ("at_once", "late")
    )
    assert late == at_once
    assert Folder.from_uri(tmp_path / "late").read_json("gan.json")["steps"] == 6
