"""Two ranks, in two real processes, without Ray: they agree with one, with each other and with themselves resumed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist

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
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.batch import BatchFeed
from ganaug_ray.data.loading.resident_loader import ResidentImages, open_real_feed
from ganaug_ray.gan import early_stopping, train_worker, training_loop
from ganaug_ray.gan.training_spec import GanTraining
from tests.helpers import records
from tests.helpers.two_ranks import GAN, build_cnn, make_hooks, on_two_ranks, ranks, train_cnn  # noqa: F401  # ranks: a fixture
from tests.unit.gan.test_snapshots import end_at_second_snapshot, open_late


def _classify(place: Place, digits: str, out: str) -> None:
    config = ClassifierConfig(steps=4, batch_size=16, dropout=0.0, log_every=2, evaluate_every=2)
    best, rows = train_cnn(build_cnn(), open_real_feed(digits, 16, 1.0, 0, place), config, place, digits)
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
        network = build_cnn()
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
    network = build_cnn()
    for index, layer in enumerate(network.blocks):
        if isinstance(layer, torch.nn.BatchNorm2d):
            network.blocks[index] = torch.nn.Identity()
    real = functools.partial(open_real_feed, digits, 16, 1.0, 0)
    fake = functools.partial(_soft, digits, strategies.Mixture(16, 0.33, 5, "anneal").count_synthetic_rows)
    feed = mixed_batches.open_mixed_feed(real, fake, place, weight=0.25, apart=True)
    best, rows = train_cnn(network, feed, config, place, digits)
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


def _train_and_resume(place: Place, digits: str, out: str) -> None:
    feed = open_real_feed(digits, GAN.batch_size, 1.0, 0, place)

    def train(start: checkpoint.Checkpoint | None) -> list[checkpoint.Checkpoint]:
        saved: list[checkpoint.Checkpoint] = []
        training_loop.train_gan(feed, GAN, training_loop.ImageShape(10, 1, 32), 6, 0, place, start, make_hooks(saved))
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
    feed, hooks = open_real_feed(digits, batch, 1.0, 0, place), make_hooks(saved, rows.append)
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
