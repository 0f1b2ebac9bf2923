"""What the settings of a classifier's training do."""

from __future__ import annotations

import functools
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from ganaug_ray.classify import batch_augmentation, networks, train_worker, training_loop
from ganaug_ray.classify import launch as train_stage
from ganaug_ray.classify.optimization import OptimizerSchedule
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.core import heap_memory
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.finite_guard import DivergenceError
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.batch import Batch, BatchFeed
from ganaug_ray.data.loading.resident_loader import ResidentImages, open_real_feed

PLAIN: dict[str, Any] = {"batch_size": 16, "dropout": 0.0, "flip": False, "rotate": 0.0, "zoom": 0.0, "shift": 0.0}


def cnn(classes: int = 10) -> networks.CNN:
    torch.manual_seed(0)
    return networks.CNN(1, classes, 0.0)


def train(
    digits: Folder, network: networks.Network, **settings: Any
) -> tuple[training_loop.KeptEvaluation, list[dict[str, Any]]]:
    config = ClassifierConfig(**(PLAIN | {"steps": 4, "log_every": 1, "evaluate_every": 2} | settings))
    assert config.steps
    val, rows = ResidentImages.load(digits / "val", torch.device("cpu")), []
    feed = open_real_feed(str(digits), config.batch_size, 1.0, 0, Place())
    return training_loop.train_classifier(network, feed, val, config, config.steps, 0, Place(), rows.append), rows


def rates(tuning: OptimizerSchedule) -> list[float]:
    """Of the head and of the rest."""
    return [group["lr"].item() for group in tuning.optimizer.param_groups]


@pytest.mark.parametrize(("optimizer", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_chosen_optimizer_lowers_the_loss(digits: Folder, optimizer: str, kind: type) -> None:
    """The training uses the optimizer that the job names, and the network learns."""
    tuning = OptimizerSchedule(cnn(), ClassifierConfig(steps=4, optimizer=optimizer), 4, Place())
    assert isinstance(tuning.optimizer, kind)
    best, rows = train(digits, cnn(), optimizer=optimizer, steps=30, evaluate_every=30)
    assert best.accuracy > 0.5
    assert rows[-1]["loss"] < rows[0]["loss"] / 2


@pytest.mark.parametrize("side", [4, 5, 6, 7])
def test_average_pool_equals_torch(side: int) -> None:
    """The base CNN's pooling gives what torch's gives, also where its windows overlap."""
    x_BCHW = torch.rand(3, 8, side, side)
    pooled = networks.AveragePool(side, 4)(x_BCHW)
    torch.testing.assert_close(pooled, torch.nn.functional.adaptive_avg_pool2d(x_BCHW, 4))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_divergence_preserves_last_good_weights(digits: Folder, optimizer: str) -> None:
    """A loss that is not finite changes no weight, and the last good weights are handed out."""
    network, good = cnn(), []
    feed = open_real_feed(str(digits), 16, 1.0, 0, Place())

    def poisoned(step: int) -> Batch:
        batch = feed(step)
        if step == 3:
            batch.x_BCHW.fill_(float("nan"))
        return batch

    config = ClassifierConfig(steps=8, optimizer=optimizer, evaluate_every=2, log_every=8, batch_size=16)
    val = ResidentImages.load(digits / "val", torch.device("cpu"))
    with pytest.raises(DivergenceError):
        training_loop.train_classifier(network, poisoned, val, config, 8, 0, Place(), lambda row: None, good.append)
    assert good[-1].step == 2
    assert all(weight.isfinite().all() for weight in network.parameters())
    assert all(tensor.isfinite().all() for tensor in good[-1].weights.values())


def test_head_trains_before_the_backbone() -> None:
    """The head is trained first, and the rest follows at a lower learning rate."""
    network = cnn()
    config = ClassifierConfig(steps=20, weights="file", freeze_steps=5, lr=0.01)
    tuning = OptimizerSchedule(network, config, 20, Place())
    for step in range(20):
        tuning.begin_step(step)
        body, head = network.blocks[0].weight, network.head[1].weight
        assert body.requires_grad == (step >= 5)
        assert head.requires_grad
        assert network.blocks[1].training == (step >= 5), "frozen batch norm keeps its statistics"
        assert network.head.training
        head_rate, rest_rate = rates(tuning)
        assert rest_rate == pytest.approx(head_rate * 0.1)


def test_frozen_layers_stay_unchanged(digits: Folder) -> None:
    """Frozen layers change neither their weights nor their batch norm statistics."""
    network = cnn()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    train(digits, network, weights="file", freeze_steps=4)
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"head.1.weight", "head.1.bias"}
    train(digits, network, weights="file", freeze_steps=2)
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert {"blocks.0.weight", "blocks.1.running_mean"} <= changed


def test_fresh_network_trains_without_freezing() -> None:
    """A network from random weights is trained whole from the first step, at a single learning rate."""
    config = ClassifierConfig(steps=20)
    assert config.count_frozen_steps(20) == 0
    assert ClassifierConfig(steps=20, weights="file").count_frozen_steps(20) == 2
    tuning = OptimizerSchedule(cnn(), config, 20, Place())
    tuning.begin_step(7)
    assert rates(tuning)[0] == rates(tuning)[1]


def test_plateau_lowers_learning_rate() -> None:
    """Schedule plateau lowers the learning rate when the validation loss does not improve."""
    config = ClassifierConfig(steps=100, schedule="plateau", plateau_looks=2, lr=0.01)
    tuning = OptimizerSchedule(cnn(), config, 100, Place())
    seen = []
    for step, val_loss in enumerate([1.0] * 5 + [0.9, 0.8, 0.8, 0.8, 0.8, 0.8]):
        tuning.begin_step(step)
        seen.append(rates(tuning)[0])
        if step >= 5:
            tuning.update_plateau(val_loss)
    assert seen[:5] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01])
    assert seen[8] == pytest.approx(0.01)
    assert seen[9] == pytest.approx(0.001), "two looks without a lower loss"


def test_patience_ends_stalled_training(digits: Folder) -> None:
    """With patience a training that no longer improves ends early, and without it all steps are trained."""
    best, rows = train(digits, cnn(), steps=20, lr=1e-9, patience=3)
    assert rows[-1]["step"] == best.step + 3 * 2 < 20
    _, rows = train(digits, cnn(), steps=20, lr=1e-9)
    assert rows[-1]["step"] == 20


def test_last_weights_are_averaged_by_default() -> None:
    """The weights at the end are averaged over a tenth of the steps; those of the best look are as they were."""
    assert ClassifierConfig(steps=200).count_ema_steps(200) == pytest.approx(20)
    assert training_loop.build_average(cnn(), ClassifierConfig(steps=200), 200) is not None
    for settings in ({"keep": "best"}, {"patience": 9}, {"schedule": "plateau"}, {"ema_half_life": 0}):
        assert training_loop.build_average(cnn(), ClassifierConfig(steps=200, **settings), 200) is None, settings


def test_last_weights_are_kept_by_default() -> None:
    """The last weights are kept, and the best ones where asked for or where the learning rate does not fall to zero."""

    def find_kept(**settings: Any) -> int:
        config = ClassifierConfig(steps=6, **settings)
        history = training_loop.EvaluationHistory(lambda kept: None, config.keeps_last)
        for step, accuracy in ((2, 0.5), (4, 0.9), (6, 0.7)):
            history.add_evaluation(step, accuracy, 1.0, cnn())
        assert history.selected is not None
        return history.selected.step

    assert find_kept() == find_kept(schedule="plateau", keep="last") == 6
    for settings in ({"keep": "best"}, {"patience": 9}, {"schedule": "plateau"}):
        assert find_kept(**settings) == 4, settings
    with pytest.raises(ValueError, match="keep last and patience"):
        ClassifierConfig(steps=6, keep="last", patience=3)


def test_training_ignores_test_labels(digits: Folder, tmp_path: Path) -> None:
    """Shuffled, they give the same weights, of the same step, and the same answers."""
    shutil.copytree(digits.path, tmp_path / "dataset")
    other = Folder.from_uri(tmp_path / "dataset")
    rows = image_store.read_images(other / "test")
    shutil.rmtree((other / "test").path)
    shuffled = np.random.default_rng(0).permutation(rows.labels)
    image_store.write_images((other / "test").create(), replace(rows, labels=shuffled), "real")
    config, models = ClassifierConfig(**PLAIN, steps=6, evaluate_every=1, log_every=6), []
    for dataset, out in ((digits, tmp_path / "one"), (other, tmp_path / "other")):
        batches = functools.partial(open_real_feed, str(dataset), 16, 1.0, 0)
        train_worker.train_and_finish(
            train_worker.ClassifierTraining("real", 0, config, str(dataset), str(out), batches, {}), Place()
        )
        models.append(Folder.from_uri(out))
    one, two = (model.read_json("model.json") for model in models)
    for what in ("hash", "best_step", "val_accuracy", "val_loss"):
        assert one[what] == two[what], what
    first, second = (model.read_table("predictions.parquet") for model in models)
    assert first.drop_columns("label") == second.drop_columns("label")
    assert first["label"] != second["label"]


def test_smoothing_and_weights_enter_loss(digits: Folder) -> None:
    """Label smoothing and class weights are part of the loss."""
    network = cnn()
    batch = open_real_feed(str(digits), 16, 1.0, 0, Place())(0)
    weights_K = torch.linspace(0.1, 2, 10)
    expected = F.cross_entropy(
        network.train()(batch.x_BCHW), batch.y_B, reduction="none", label_smoothing=0.2
    ).mean().item()  # fmt: skip
    _, rows = train(digits, cnn(), steps=1, label_smoothing=0.2)
    assert rows[0]["loss"] == pytest.approx(expected, rel=1e-4)
    logits = cnn().train()(batch.x_BCHW)
    expected = (F.cross_entropy(logits, batch.y_B, reduction="none") * weights_K[batch.y_B]).mean().item()
    config = ClassifierConfig(**PLAIN, steps=1)
    rows = []
    val, feed = ResidentImages.load(digits / "val", torch.device("cpu")), lambda step: batch
    training_loop.train_classifier(cnn(), feed, val, config, 1, 0, Place(), rows.append, weights_K=weights_K)
    assert rows[0]["loss"] == pytest.approx(expected, rel=1e-4)


def test_balanced_weights_equalise_classes() -> None:
    """Balanced class weights give every class the same total weight."""
    counts = [90, 10, 50]
    weights = train_worker.balance_class_weights(counts)
    totals = weights * torch.tensor(counts)
    assert totals.tolist() == pytest.approx([50.0] * 3)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_blending_mixes_images_and_targets_alike(kind: str) -> None:
    """Mixup and cutmix give an image and its target the same shares of two rows."""
    n = 8
    x_BCHW = torch.arange(n).float().view(n, 1, 1, 1).expand(n, 1, 16, 16).contiguous()
    batch = Batch(x_BCHW, torch.arange(n), np.arange(n), n)
    config = ClassifierConfig(steps=1, **{kind: 1.0})
    shares = []
    for step in range(20):
        mixed, targets_BK, _ = batch_augmentation.blend_rows(x_BCHW, batch, config, n, Place(), (0, step))
        assert targets_BK.sum(1).tolist() == pytest.approx([1.0] * n)
        # Row k is all k, so the mean of a blended image is the mean of its targets.
        assert mixed.mean((1, 2, 3)).tolist() == pytest.approx(
            (targets_BK @ torch.arange(n).float()).tolist(), abs=1e-4
        )
        single = all(len(image.unique()) == 1 for image in mixed)
        assert single == (kind == "mixup") or targets_BK.max() == 1
        shares.append(targets_BK[3, 3].item())
    assert len({round(share, 3) for share in shares}) > 10
    plain, targets_BK, _ = batch_augmentation.blend_rows(x_BCHW, batch, ClassifierConfig(steps=1), n, Place(), (0, 0))
    assert torch.equal(plain, x_BCHW)
    assert torch.equal(targets_BK, torch.eye(n))


def test_mixup_and_cutmix_alternate_randomly() -> None:
    """With mixup and cutmix both on, every step draws one of them."""
    x_BCHW = torch.rand(4, 1, 16, 16)
    batch = Batch(x_BCHW, torch.arange(4), np.arange(4), 4)
    config = ClassifierConfig(steps=1, mixup=1.0, cutmix=1.0)
    blends = [batch_augmentation.blend_rows(x_BCHW, batch, config, 4, Place(), (0, step))[0] for step in range(20)]
    cut = [torch.isin(mixed, x_BCHW).all().item() for mixed in blends]
    assert 3 < sum(cut) < 17
    again = batch_augmentation.blend_rows(x_BCHW, batch, config, 4, Place(), (0, 7))[0]
    assert torch.equal(again, blends[7])


def test_averaged_network_is_saved(digits: Folder) -> None:
    """The averaged network is evaluated and saved, and the average leaves the training itself unchanged."""
    network = cnn()
    best, _ = train(digits, network, steps=2, ema_half_life=16, evaluate_every=2)
    plain = network.state_dict()
    # A half-life of one batch: half the weights after the first step, half those after the second.
    first = cnn()
    train(digits, first, steps=2, evaluate_every=2)
    after_two = first.state_dict()
    assert all(torch.allclose(plain[key], after_two[key]) for key in plain), "the average leaves training alone"
    assert not torch.equal(best.weights["network.head.1.weight"], plain["head.1.weight"])
    assert not torch.equal(best.weights["network.blocks.1.running_mean"], plain["blocks.1.running_mean"])
    last, _ = train(digits, cnn(), steps=2, ema_half_life=1, evaluate_every=2)
    assert torch.allclose(last.weights["network.head.1.weight"], plain["head.1.weight"], atol=1e-4)


def test_accumulation_equals_whole_batch(digits: Folder) -> None:
    """A batch that is processed in parts gives the training step of the whole batch."""

    def after_a_step(accumulate: int) -> dict[str, torch.Tensor]:
        network = cnn()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # it alone sees the parts
                module.forward = lambda x: x
        train(digits, network, steps=1, optimizer="sgd", accumulate=accumulate)
        return network.state_dict()

    whole, parts = after_a_step(1), after_a_step(3)
    for key, value in whole.items():
        assert torch.allclose(value, parts[key], atol=1e-5), key


def test_bfloat16_keeps_full_precision_weights(digits: Folder) -> None:
    """Mixed precision trains in bfloat16 and keeps the weights in full precision."""
    network = cnn()
    kinds = set()
    network.head.register_forward_hook(lambda module, inputs, output: kinds.add((module.training, output.dtype)))
    train(digits, network, precision="bf16")
    assert kinds == {(True, torch.bfloat16), (False, torch.float32)}
    assert all(weight.dtype == torch.float32 for weight in network.parameters())


@pytest.mark.parametrize("deterministic", [True, False])
def test_deterministic_training_asks_torch(
    digits: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deterministic: bool
) -> None:
    """With deterministic torch uses operators that give the same bits every time, while it trains and no longer."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    seen: list[tuple[bool, bool]] = []

    class Watched(BatchFeed):
        def __init__(self, place: Place) -> None:
            self._feed = open_real_feed(str(digits), 16, 1.0, 0, place)

        def __call__(self, step: int) -> Batch:
            is_set = os.environ.get("CUBLAS_WORKSPACE_CONFIG") == ":4096:8"
            seen.append((torch.are_deterministic_algorithms_enabled(), is_set))
            return self._feed(step)

    config = ClassifierConfig(**PLAIN, steps=2, deterministic=deterministic)
    fit = train_worker.ClassifierTraining("real", 0, config, str(digits), str(tmp_path), Watched, {})
    train_worker.train_and_finish(fit, Place())
    assert seen == [(deterministic, deterministic)] * 2
    assert not torch.are_deterministic_algorithms_enabled()


def test_steps_reuse_freed_memory(digits: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of a classifier take the memory of those before, which is returned when it is finished."""
    users: list[int] = []

    class Watched(BatchFeed):
        def __init__(self, place: Place) -> None:
            self._feed = open_real_feed(str(digits), 16, 1.0, 0, place)

        def __call__(self, step: int) -> Batch:
            users.append(heap_memory._uses)
            return self._feed(step)

    monkeypatch.setattr(heap_memory, "_load_libc", lambda device: Mock())
    fit = train_worker.ClassifierTraining(
        "real", 0, ClassifierConfig(**PLAIN, steps=2), str(digits), str(tmp_path), Watched, {}
    )
    train_worker.train_and_finish(fit, Place())
    assert users == [1, 1]
    assert heap_memory._uses == 0


def test_diverged_classifier_reports_good_weights(digits: Folder, tmp_path: Path) -> None:
    """A classifier that diverges leaves its last good weights in a file, and the message names that file."""

    class Poisoned(BatchFeed):
        def __init__(self, place: Place) -> None:
            self._feed = open_real_feed(str(digits), 16, 1.0, 0, place)

        def __call__(self, step: int) -> Batch:
            batch = self._feed(step)
            return replace(batch, x_BCHW=batch.x_BCHW * (float("nan") if step == 3 else 1.0))

    config = ClassifierConfig(**PLAIN, steps=8, evaluate_every=2, log_every=8)
    fit = train_worker.ClassifierTraining("real", 0, config, str(digits), str(tmp_path), Poisoned, {})
    with pytest.raises(DivergenceError) as diverged:
        train_worker.train_and_finish(fit, Place())
    assert train_stage._describe_failure(fit, diverged.value) == (
        f"real, seed 0: the gradients are not finite at step 3; the last good weights are kept in {tmp_path}/"
        "last_good.safetensors. Try a lower classifier.lr than 0.002"
    )
    kept = load_file(tmp_path / "last_good.safetensors")
    assert all(tensor.isfinite().all() for tensor in kept.values())
    assert not (tmp_path / "model.json").exists()
