"""Training the GAN: gradients, divergence, resume, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from ganaug_ray.augment.arms import locate_teacher
from ganaug_ray.config import GanConfig
from ganaug_ray.config.gan import LaterRate
from ganaug_ray.config.gan_presets import PRESETS, LossName
from ganaug_ray.core import checkpoint, metrics_log
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.finite_guard import DivergenceError, FiniteGuard
from ganaug_ray.core.records import GeneratorSpec
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.batch import Batch
from ganaug_ray.data.loading.resident_loader import open_real_feed
from ganaug_ray.data.loading.sampler import Sampling
from ganaug_ray.errors import UserError
from ganaug_ray.gan import ema, image_grid, losses, networks, train_worker, training_loop
from ganaug_ray.gan.metrics import overfitting
from ganaug_ray.gan.sampler import BLOCK_SIZE, Generator

CONFIG = GanConfig(
    steps=8, batch_size=16, filters=8, latent=16, log_every=2, checkpoint_every=4, snapshot_every=100, lr=1e-3
)
SHAPE = training_loop.ImageShape(classes=10, channels=1, size=32)


def train(digits: Folder, start: checkpoint.Checkpoint | None = None, config: GanConfig = CONFIG) -> dict[str, Any]:
    """Run the bare loop and return what it gave to its hooks."""
    seen: dict[str, Any] = {"rows": [], "checkpoints": []}
    hooks = training_loop.Hooks(
        seen["rows"].append, seen["checkpoints"].append, lambda step, average, discriminator: None
    )
    batches = open_real_feed(str(digits), config.batch_size, 1.0, 0, Place())
    seen["average"] = training_loop.train_gan(
        batches, config, SHAPE, 8, 0, Place(), start, hooks, factors=config.compute_lr_factors(0)
    )
    return seen


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [16, 32, 64, 128])
@pytest.mark.parametrize(("channels", "conditional"), [(1, True), (3, False)])
def test_every_preset_trains_every_size(preset: Any, size: Any, channels: int, conditional: bool) -> None:
    """Every preset trains at every image size, in grey with labels and in colour without."""
    config = GanConfig(
        steps=2, batch_size=4, filters=4, latent=8, preset=preset, conditional=conditional, snapshot_every=2
    )
    batch = Batch(torch.rand(4, channels, size, size) * 2 - 1, torch.tensor([0, 1, 2, 2]), np.arange(4), 4)
    rows: list[dict[str, Any]] = []
    seen: list[checkpoint.Checkpoint] = []
    hooks = training_loop.Hooks(rows.append, seen.append, lambda step, average, discriminator: None)
    average = training_loop.train_gan(
        lambda step: batch, config, training_loop.ImageShape(3, channels, size), 2, 0, Place(), None, hooks
    )
    assert all(torch.isfinite(torch.tensor(list(row.values()))).all() for row in rows)
    settled = ema.refresh_batch_norm(average.module, np.full(3, 1 / 3), 8, seed=0)
    assert settled(torch.randn(2, 8), torch.tensor([0, 2])).shape == (2, channels, size, size)
    assert all(torch.isfinite(tensor).all() for tensor in seen[-1].tensors.values())


def test_labels_condition_both_networks() -> None:
    """Generator and discriminator depend on the label if and only if they are conditional."""
    z_BZ = torch.randn(1, 16)
    for classes, matters in ((3, True), (0, False)):
        generator = networks.Generator(16, classes, 1, 32, 8).eval()
        one, two = (generator(z_BZ, torch.tensor([label])) for label in (0, 1))
        assert torch.equal(one, two) != matters
        for norm in ("batch", "spectral"):
            discriminator = networks.Discriminator(classes, 1, 32, 8, norm).eval()
            assert (discriminator(one, torch.tensor([0])) != discriminator(one, torch.tensor([1]))) == matters


class PixelDiscriminator(networks.Discriminator):
    """Its logits are the images, of one pixel each."""

    def forward(self, x_BCHW: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
        return x_BCHW.flatten()


def test_schema_lists_every_loss() -> None:
    """The schema of a job cannot import the losses, which need torch."""
    assert get_args(LossName) == tuple(losses.LOSSES)


@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_losses_equal_hand_calculation(norm: str) -> None:
    """Both losses have the values that a calculation by hand gives."""
    real_B, fake_B = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])
    discriminator = losses.AutocastDiscriminator(PixelDiscriminator(0, 1, 32, 4, norm), Place().autocast("fp32"))
    images = real_B.reshape(2, 1, 1, 1), fake_B.reshape(2, 1, 1, 1), torch.tensor([0, 1])
    logistic, hinge = losses.LOSSES["non_saturating"], losses.LOSSES["hinge"]
    # sigmoid: 0.880797, 0.268941 for real; 0.622459, 0.047426 for fake
    by_hand = (0.126928 + 1.313262) / 2 + (0.974077 + 0.048587) / 2  # -log of those, and of one minus those
    assert logistic.compute_discriminator_loss(discriminator, *images).loss.item() == pytest.approx(by_hand)
    assert logistic.compute_generator_loss(discriminator, *images).item() == pytest.approx((0.474077 + 3.048587) / 2)
    assert hinge.compute_discriminator_loss(discriminator, *images).loss.item() == (0 + 2) / 2 + (1.5 + 0) / 2
    assert hinge.compute_generator_loss(discriminator, *images).item() == 1.25
    for loss in losses.LOSSES.values():
        judged = loss.compute_discriminator_loss(discriminator, *images)
        assert torch.equal(judged.real_B, real_B)
        assert torch.equal(judged.fake_B, fake_B)
    assert losses.compute_realness(torch.tensor([0.0])) == 0.5
    assert losses.compute_realness(real_B).item() == pytest.approx((0.880797 + 0.268941) / 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_unstepped_network_gets_no_gradient(digits: Folder, monkeypatch: pytest.MonkeyPatch, preset: Any) -> None:
    """Looked at where both backward passes have just been done and nothing has been stepped yet."""
    made: list[tuple[torch.nn.Module, torch.nn.Module]] = []
    grads: list[tuple[list[torch.Tensor | None], list[torch.Tensor | None]]] = []
    make, check = training_loop.build_networks, FiniteGuard.check_gradients

    def networks_noted(*args: Any) -> Any:
        made.append(make(*args))
        return made[-1]

    def check_noted(self: FiniteGuard, optimizer: torch.optim.Optimizer) -> None:
        generator, discriminator = (
            [None if weight.grad is None else weight.grad.clone() for weight in network.parameters()]
            for network in made[0]
        )
        grads.append((generator, discriminator))
        check(self, optimizer)

    monkeypatch.setattr(training_loop, "build_networks", networks_noted)
    monkeypatch.setattr(FiniteGuard, "check_gradients", check_noted)
    train(digits, config=CONFIG.model_copy(update={"preset": preset}))
    (generator_d, discriminator_d), (generator_g, discriminator_g) = grads[:2]
    assert all(grad is None for grad in generator_d)
    assert all(grad is not None for grad in discriminator_d)
    assert all(grad is not None for grad in generator_g)
    assert all(torch.equal(a, b) for a, b in zip(discriminator_d, discriminator_g, strict=True))
    assert all(weight.requires_grad for network in made[0] for weight in network.parameters())


def test_every_log_step_is_reported_once(digits: Folder) -> None:
    """Every log step is reported once, with both losses and both scores."""
    rows = train(digits)["rows"]
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert [row["images_seen"] for row in rows] == [32, 64, 96, 128]
    assert all(0 <= row[name] <= 1 for row in rows for name in ("real_score", "fake_score"))
    assert all(-1 <= row[name] <= 1 for row in rows for name in ("real_sign", "fake_sign"))
    assert all(row["loss_d"] > 0 for row in rows)


@pytest.mark.parametrize("preset", PRESETS)
def test_resumed_training_is_bit_identical(digits: Folder, preset: Any) -> None:
    """A training resumed from a checkpoint ends with the same weights, to the bit, as an undisturbed one."""
    config = CONFIG.model_copy(update={"preset": preset})
    undisturbed = train(digits, config=config)
    middle = undisturbed["checkpoints"][0]
    assert middle.step == 4
    resumed = train(digits, start=middle, config=config)
    last, again = undisturbed["checkpoints"][-1].tensors, resumed["checkpoints"][-1].tensors
    assert last.keys() == again.keys()
    assert all(torch.equal(last[key], again[key]) for key in last)
    assert resumed["rows"] == undisturbed["rows"][2:]


def test_training_updates_networks_and_average(digits: Folder) -> None:
    """Training changes the generator, the discriminator and the averaged generator."""
    first, last = (checkpoint.tensors for checkpoint in train(digits)["checkpoints"])
    score = "discriminator.score.parametrizations.weight.original"
    for name in ("generator.first.weight", score, "average.module.first.weight"):
        assert not torch.equal(first[name], last[name]), name
    assert not torch.equal(last["average.module.first.weight"], last["generator.first.weight"])


def test_zero_half_life_disables_averaging(digits: Folder) -> None:
    """With a half-life of zero the averaged generator is the generator itself."""
    last = train(digits, config=CONFIG.model_copy(update={"ema_half_life": 0}))["checkpoints"][-1].tensors
    assert torch.equal(last["average.module.first.weight"], last["generator.first.weight"])


def test_scheduled_rate_equals_resumed_rate(digits: Folder) -> None:
    """A learning rate scheduled for later gives the weights of a training that is resumed with that rate."""
    both = train(digits, config=CONFIG.model_copy(update={"then": [LaterRate(after=4, lr=5e-4)]}))
    first = train(digits)
    other = train(digits, first["checkpoints"][0], CONFIG.model_copy(update={"lr": 5e-4}))
    weights = [seen["checkpoints"][-1].tensors for seen in (both, other, first)]
    assert all(torch.equal(tensor, weights[1][key]) for key, tensor in weights[0].items())
    assert not all(torch.equal(tensor, weights[2][key]) for key, tensor in weights[0].items())


def test_scheduled_epochs_convert_to_steps() -> None:
    """Later learning rates given in epochs begin at the steps where those epochs begin."""
    config = GanConfig(epochs=300, batch_size=128, lr=2e-4, then=[LaterRate(after=200, lr=1e-4)])
    assert config.compute_lr_factors(8000) == {12_500: 0.5}


def test_bf16_keeps_full_precision_weights(digits: Folder) -> None:
    """In bf16 the weights stay in full precision, and losses and scores stay close to those of fp32."""
    whole, half = (train(digits, config=CONFIG.model_copy(update={"precision": name})) for name in ("fp32", "bf16"))
    assert {t.dtype for t in half["checkpoints"][-1].tensors.values()} <= {torch.float32, torch.int64}
    for name in ("loss_g", "loss_d", "real_score", "fake_score"):
        assert half["rows"][0][name] == pytest.approx(whole["rows"][0][name], abs=0.05)
        assert half["rows"][0][name] != whole["rows"][0][name]


@pytest.mark.parametrize("preset", PRESETS)
def test_compiled_networks_train_alike(digits: Folder, monkeypatch: pytest.MonkeyPatch, preset: Any) -> None:
    """The tracing half of torch.compile, without the minute of code generation."""
    compile_in_place = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, mode: compile_in_place(module, backend="eager"))
    one, two = (
        train(digits, config=CONFIG.model_copy(update={"preset": preset, "compile": compiled}))
        for compiled in (False, True)
    )
    assert one["rows"] == two["rows"]
    assert one["checkpoints"][-1].tensors.keys() == two["checkpoints"][-1].tensors.keys()


def test_divergence_stops_before_update(digits: Folder) -> None:
    """A training that diverges stops before that step changes the weights, and the error names the step."""
    feed = open_real_feed(str(digits), CONFIG.batch_size, 1.0, 0, Place())
    seen: dict[str, Any] = {"checkpoints": []}

    def poisoned(step: int) -> Any:
        batch = feed(step)
        if step == 5:
            batch.x_BCHW[0, 0, 0, 0] = float("inf")
        return batch

    hooks = training_loop.Hooks(lambda row: None, seen["checkpoints"].append, lambda step, average, discriminator: None)
    with pytest.raises(DivergenceError) as caught:
        training_loop.train_gan(poisoned, CONFIG, SHAPE, 8, 0, Place(), None, hooks)
    assert caught.value.step == 5
    assert [checkpoint.step for checkpoint in seen["checkpoints"]] == [4]
    assert all(torch.isfinite(t).all() for t in seen["checkpoints"][0].tensors.values() if t.is_floating_point())


def test_early_stop_holds_after_resume(digits: Folder) -> None:
    """The training ends after the measurement that asks for it, and ends at once when it is resumed."""
    config = CONFIG.model_copy(update={"snapshot_every": 3})
    feed = open_real_feed(str(digits), CONFIG.batch_size, 1.0, 0, Place())
    looked: list[int] = []
    rows: list[dict[str, Any]] = []
    hooks = training_loop.Hooks(
        rows.append,
        lambda checkpoint: None,
        lambda step, average, discriminator: looked.append(step),
        lambda: len(looked) >= 2,
    )
    training_loop.train_gan(feed, config, SHAPE, 100, 0, Place(), None, hooks)
    assert looked == [3, 6]
    assert [row["step"] for row in rows] == [2, 4, 6]
    start = checkpoint.Checkpoint(6, train(digits)["checkpoints"][0].tensors)
    training_loop.train_gan(feed, config, SHAPE, 100, 0, Place(), start, hooks)
    assert looked == [3, 6]


def test_average_refreshes_batch_norm_statistics(digits: Folder) -> None:
    """The averaged generator samples with batch norm statistics of its own."""
    average = train(digits)["average"]
    settled = ema.refresh_batch_norm(average.module, np.full(10, 0.1), CONFIG.latent, seed=0)
    z_BZ = torch.randn(512, CONFIG.latent)
    normed = settled.norms[0].norm(settled.first(z_BZ[:, :, None, None]))
    assert normed.mean().abs() < 0.1
    assert abs(normed.std().item() - 1) < 0.15
    assert not settled.training


def test_batch_norm_statistics_follow_class_shares(digits: Folder) -> None:
    """The averaged generator's batch norm is set on classes in the shares that training drew, and on no others."""
    average = train(digits)["average"]
    drawn: list[torch.Tensor] = []
    hook = average.module.register_forward_hook(lambda network, inputs, images: drawn.append(inputs[1]))
    shares_K = Sampling().compute_class_shares([30, 10, *[0] * 8])
    ema.refresh_batch_norm(average.module, shares_K, CONFIG.latent, seed=0)
    hook.remove()
    counts = torch.cat(drawn).bincount(minlength=10) / sum(len(y_B) for y_B in drawn)
    assert counts[2:].sum() == 0
    assert counts[0].item() == pytest.approx(0.75, abs=0.05)


def test_judging_changes_nothing_of_the_discriminator() -> None:
    """Images are judged in evaluation mode, in parts, and neither its mode nor its state changes."""
    for norm in ("batch", "spectral"):
        discriminator = networks.Discriminator(10, 1, 32, 4, norm).train()
        before = {key: value.clone() for key, value in discriminator.state_dict().items()}
        x_NCHW = torch.rand(300, 1, 32, 32) * 2 - 1
        y_N = torch.arange(300) % 10
        logits_N = overfitting.judge_images(discriminator, x_NCHW, y_N)
        torch.testing.assert_close(overfitting.judge_images(discriminator, x_NCHW[290:], y_N[290:]), logits_N[290:])
        assert discriminator.training
        assert all(torch.equal(value, before[key]) for key, value in discriminator.state_dict().items())


def test_validation_gap_equals_hand_calculation() -> None:
    """The gap is 0 at the training images' mean logit, 1 at the generated ones', and absent where these are higher."""
    train, fake = torch.tensor([1.0, 3.0]), torch.tensor([-4.0, 0.0])
    assert overfitting.compute_validation_gap(train, torch.tensor([2.0]), fake) == 0
    assert overfitting.compute_validation_gap(train, torch.tensor([-1.0, -3.0]), fake) == 1
    assert overfitting.compute_validation_gap(fake, torch.tensor([2.0]), train) is None


def test_training_writes_all_outputs(experiment: Run) -> None:
    """A training writes the generator, its pictures, its metrics and the two newest checkpoints."""
    gan = experiment.gan
    record = gan.read_json("gan.json")
    assert record["steps"] == 6
    assert (gan / "samples").list_files(".png") == ["step-00000004.png", "step-00000006.png"]
    assert (gan / "checkpoints").list_files(".json") == ["step-00000004.json", "step-00000006.json"]
    rows = metrics_log.read_metrics(gan)
    assert [row["step"] for row in rows if "loss_d" in row] == [2, 4, 6]
    assert [row["step"] for row in rows if "kid_teacher_n80" in row] == [4, 6]
    assert [row["step"] for row in rows if "val_gap" in row] == [4, 6]
    named = {"kid_teacher_n80", "coverage_teacher_k5_n80", "val_kid_teacher_n50v80", "val_recall_teacher_k3_n50v80"}
    assert named < record["quality"].keys()
    kid, recall = "val_conditional_kid_teacher_n50v80", "val_recall_teacher_k3_n50v80"
    looks = {row["step"]: row for row in rows if kid in row}
    chosen, other = looks[record["chosen"]["step"]], looks[10 - record["chosen"]["step"]]
    assert record["chosen"]["chosen_by"] == kid
    assert record["chosen"]["value"] == pytest.approx(max(0.0, chosen[kid]), abs=1e-5)
    assert chosen[kid] <= max(0.0, other[kid]) + max(chosen[f"{kid}_std"], other[f"{kid}_std"])
    assert other[kid] > chosen[kid] or other[recall] <= chosen[recall]
    assert record["memorization"]["verdict"] == "does not copy"
    assert record["ended_early"] is None
    assert 0 <= record["quality"]["cas_cnn_s4_n80"] <= 1
    assert 0 <= record["quality"]["agreement_teacher_n80"] <= 1
    assert {"discriminator.safetensors", "closest_pairs.png", "film.gif", "gan.json"} < set(gan.list_files())


def test_recall_decides_between_generators_within_error(
    experiment: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Distances and recalls of six looks, each with an error of 0.02; the third has the lowest and is not kept."""
    from ganaug_ray.gan.metrics.evaluator import GanEvaluator

    looks = iter([(0.5, 0.9), (0.11, 0.6), (0.10, 0.5), (0.3, 0.9), (0.115, 0.6), (0.13, 0.8)])

    def measure(self: GanEvaluator, generator: Generator, by_class: bool = False) -> dict[str, float]:
        distance, recall = next(looks, (0.0, 0.0))
        figures = {"val_conditional_kid_x_n9": distance, "val_conditional_kid_x_n9_std": 0.02, "val_recall_x": recall}
        return figures | {"val_kid_x_n9": 1.0, "val_kid_x_n9_std": 0.1, "coverage_x": 1.0}

    monkeypatch.setattr(GanEvaluator, "measure_quality", measure)
    dataset, teacher = str(experiment.dataset), str(experiment.locate_model("real+classic", 0))
    config = GanConfig(**experiment.gan.read_json("gan.json")["config"]).model_copy(update={"snapshot_every": 1})
    train_worker.train_and_finish(
        train_worker.GanTraining(config, 32, 0, dataset, teacher, str(tmp_path), 1.0, {}), Place()
    )
    chosen = Folder.from_uri(tmp_path).read_json("gan.json")["chosen"]
    assert chosen == {
        "step": 5, "chosen_by": "val_conditional_kid_x_n9", "value": 0.115, "lowest": 0.10, "error": 0.02, "recall": 0.6
    }  # fmt: skip


def test_quality_per_class_with_enough_images(experiment: Run) -> None:
    """The tiny run has 8 training images a class; here are all test images."""
    from ganaug_ray.data.loading.resident_loader import ResidentImages
    from ganaug_ray.gan.metrics.evaluator import GanEvaluator

    test = ResidentImages.load(experiment.dataset / "test", torch.device("cpu"))
    record = experiment.gan.read_json("gan.json")
    config = GanConfig(**record["config"])
    teacher = experiment.locate_model("real+classic", 0)
    generator = Generator.load(experiment.gan).network
    figures = GanEvaluator(test, test, teacher, config, 0).measure_quality(generator, by_class=True)
    assert len([name for name in figures if name.startswith("kid_teacher_class_7_n")]) == 2
    assert "kid_teacher_n898" in figures
    without = config.model_copy(update={"conditional": False})
    gauge = GanEvaluator(test, test, teacher, without, 0)
    assert not any("class" in name or "agreement" in name for name in gauge.measure_quality(generator, by_class=True))
    assert gauge.measure_cas(generator) == {}


def test_samples_match_validation_class_shares(experiment: Run) -> None:
    """Trained on a long tail, a generator must not look bad because validation images are none."""
    import dataclasses

    from ganaug_ray.data.loading import image_store
    from ganaug_ray.data.loading.resident_loader import ResidentImages
    from ganaug_ray.gan.metrics.evaluator import GanEvaluator

    rows = image_store.read_images(experiment.dataset / "test")
    kept = ((rows.labels < 5) | (np.arange(len(rows)) % 20 == 1)).nonzero()[0]  # five classes are rare
    ids = [rows.ids[row] for row in kept]
    tail = dataclasses.replace(rows, images=rows.images[kept], labels=rows.labels[kept], ids=ids)
    asked: list[torch.Tensor] = []

    class Spy(torch.nn.Module):
        def forward(self, z_BZ: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
            asked.append(y_B)
            return torch.zeros(len(y_B), 1, 32, 32)

    config = GanConfig(**experiment.gan.read_json("gan.json")["config"])
    train, val = ResidentImages(tail, torch.device("cpu")), ResidentImages(rows, torch.device("cpu"))
    gauge = GanEvaluator(train, val, experiment.locate_model("real+classic", 0), config, 0)
    gauge.measure_quality(Spy())
    n = len(tail)
    of_train, of_val = torch.cat(asked).split(n)
    assert torch.equal(of_train.sort().values, train.labels_N.sort().values)
    assert abs((of_train < 5).float().mean() - (of_val < 5).float().mean()) > 0.3
    assert abs((of_val < 5).float().mean() - (val.labels_N < 5).float().mean()) < 0.05


def test_collapse_ends_training_with_reason(experiment: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collapse ends the training and its reason is recorded, unless the job turns early ends off."""
    from ganaug_ray.gan import early_stopping

    monkeypatch.setattr(
        early_stopping, "find_stop_reason", lambda seen: "collapsed: so it is said" if len(seen) == 1 else None
    )
    dataset, teacher = str(experiment.dataset), str(experiment.locate_model("real+classic", 0))
    config = GanConfig(**experiment.gan.read_json("gan.json")["config"])

    def ended(**update: Any) -> tuple[int, str | None]:
        out = Folder.from_uri(tmp_path / str(len(update)))
        training = train_worker.GanTraining(
            config.model_copy(update=update), 32, 0, dataset, teacher, str(out), 1.0, {}
        )
        train_worker.train_and_finish(training, Place())
        record = out.read_json("gan.json")
        assert record["images_seen"] == record["steps"] * config.batch_size
        return record["steps"], record["ended_early"]

    assert ended() == (4, "collapsed: so it is said")
    assert ended(early_end=False) == (6, None)


@pytest.mark.parametrize("step", [4, 6])
def test_training_resumes_from_newest_checkpoint(experiment: Run, tmp_path: Path, step: int) -> None:
    """As after a crash between the checkpoint of that step and the marker at the end."""
    out, done = Folder.from_uri(tmp_path), experiment.gan.local_path
    assert done is not None
    checkpoint = f"checkpoints/step-{step:08d}"
    for name in (
        "metrics.jsonl",
        "attempts.json",
        "best.json",
        "best.safetensors",
        f"{checkpoint}.json",
        f"{checkpoint}.safetensors",
    ):
        out.write_bytes(name, (done / name).read_bytes())
    record = experiment.gan.read_json("gan.json")
    dataset, teacher = str(experiment.dataset), str(locate_teacher(experiment))
    train_worker.train_and_finish(
        train_worker.GanTraining(
            GanConfig(**record["config"]), 32, 0, dataset, teacher, str(out), 1.0, record["inputs"]
        ),
        Place(),
    )
    assert out.read_bytes("gan.safetensors") == experiment.gan.read_bytes("gan.safetensors")
    assert out.read_bytes("metrics.jsonl") == experiment.gan.read_bytes("metrics.jsonl")
    assert out.read_json("gan.json")["quality"] == record["quality"]
    assert out.read_json("attempts.json") == {"from_step": [0, step]}


def test_generated_images_are_deterministic(experiment: Run) -> None:
    """An image depends on generator, class, seed and index alone, not on how many are drawn at once."""
    generator = Generator.load(experiment.gan)
    few, many = generator.generate("3", 5, seed=1), generator.generate("3", BLOCK_SIZE + 5, seed=1)
    assert few.dtype == np.uint8
    assert np.array_equal(few, many[:5])
    assert not np.array_equal(many[:5], many[BLOCK_SIZE:])
    assert not np.array_equal(few, generator.generate("3", 5, seed=2))
    assert not np.array_equal(few, generator.generate("4", 5, seed=1))
    assert generator.generate("3", 0).shape == (0, 32, 32, 1)


def test_unconditional_generator_offers_any_class(digits: Folder) -> None:
    """A generator trained without classes offers the single class any and refuses every other."""
    config = CONFIG.model_copy(update={"conditional": False})
    weights = checkpoint.pack_states(
        {"generator": ema.refresh_batch_norm(train(digits, config=config)["average"].module, np.ones(1), 16, seed=0)}
    )
    spec = GeneratorSpec(
        hash="", classes=list("0123456789"), channels=1, size=32, latent=16, filters=8, conditional=False
    )
    generator = Generator(spec, weights)
    assert generator.classes == ["any"]
    assert generator.generate("any", 3).shape == (3, 32, 32, 1)
    with pytest.raises(UserError, match="no class '3'"):
        generator.generate("3", 1)


def test_sample_grid_has_class_rows() -> None:
    """The grid of samples has one row for each class."""
    rows = [np.full((8, 32, 32, 1), value, np.uint8) for value in (0, 100, 200)]
    grid = image_grid.arrange_grid(rows)
    assert grid.shape == (3 * 34 + 2, 8 * 34 + 2, 3)
    assert [grid[16 + 34 * row, 16, 0] for row in range(3)] == [0, 100, 200]
    assert image_grid.encode_png(image_grid.join_side_by_side(grid, grid)).startswith(b"\x89PNG")
