"""Training the GAN: gradients, divergence, resume, pictures."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganaug_ray import checkpoints, runs
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import GanConfig
from ganaug_ray.data import store, tensors
from ganaug_ray.data.batches import real_batches
from ganaug_ray.gan import ema, loop, losses, networks, quality, worker
from ganaug_ray.gan.sample import BLOCK, Generator
from ganaug_ray.guard import Diverged
from ganaug_ray.parallel import Place, frozen
from ganaug_ray.runs import Run
from ganaug_ray.storage import Folder

CONFIG = GanConfig(
    steps=8, batch_size=16, filters=8, latent=16, log_every=2, checkpoint_every=4, snapshot_every=100, lr=1e-3
)
SHAPE = loop.Shape(classes=10, channels=1, size=32)


def train(digits: Folder, start: checkpoints.Checkpoint | None = None, batches: Any = None) -> dict[str, Any]:
    """Run the bare loop and return what it gave to its hooks."""
    seen: dict[str, Any] = {"rows": [], "checkpoints": []}
    hooks = loop.Hooks(seen["rows"].append, seen["checkpoints"].append, lambda step, average: None)
    batches = batches or real_batches(str(digits), CONFIG.batch_size, 1.0, 0, Place())
    seen["average"] = loop.train(batches, CONFIG, SHAPE, 8, 0, Place(), start, hooks)
    return seen


@pytest.mark.parametrize(("size", "channels"), list(itertools.product((32, 64), (1, 3))))
def test_networks_have_the_shapes_they_promise(size: int, channels: int) -> None:
    generator = networks.Generator(16, 5, channels, size, 8)
    discriminator = networks.Discriminator(5, channels, size, 8)
    y_B = torch.tensor([0, 4])
    x_BCHW = generator(torch.randn(2, 16), y_B)
    assert x_BCHW.shape == (2, channels, size, size)
    assert x_BCHW.abs().max() <= 1
    assert discriminator(x_BCHW, y_B).shape == (2,)


def test_the_label_matters_to_both_networks() -> None:
    generator, discriminator = networks.Generator(16, 3, 1, 32, 8).eval(), networks.Discriminator(3, 1, 32, 8).eval()
    z_BZ = torch.randn(1, 16)
    one, two = (generator(z_BZ, torch.tensor([label])) for label in (0, 1))
    assert not torch.allclose(one, two)
    assert discriminator(one, torch.tensor([0])) != discriminator(one, torch.tensor([1]))


def test_losses_are_the_logistic_ones() -> None:
    real_B, fake_B = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.0])
    expected = -torch.log(torch.sigmoid(real_B)).mean() - torch.log(1 - torch.sigmoid(fake_B)).mean()
    assert torch.isclose(losses.discriminator_loss(real_B, fake_B), expected)
    assert torch.isclose(losses.generator_loss(fake_B), -torch.log(torch.sigmoid(fake_B)).mean())
    assert losses.score(torch.tensor([0.0])) == 0.5


def test_the_network_that_is_not_stepped_gets_no_gradient() -> None:
    generator, discriminator = networks.Generator(16, 3, 1, 32, 8), networks.Discriminator(3, 1, 32, 8)
    y_B = torch.tensor([0, 1])
    with frozen(discriminator):
        losses.generator_loss(discriminator(generator(torch.randn(2, 16), y_B), y_B)).backward()
    assert all(weight.grad is None for weight in discriminator.parameters())
    assert all(weight.grad is not None for weight in generator.parameters())
    assert all(weight.requires_grad for weight in discriminator.parameters())


def test_every_log_step_is_reported_once_with_the_four_figures(digits: Folder) -> None:
    rows = train(digits)["rows"]
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert [row["images_seen"] for row in rows] == [32, 64, 96, 128]
    assert all(0 <= row[name] <= 1 for row in rows for name in ("real_score", "fake_score"))
    assert all(row["loss_g"] > 0 and row["loss_d"] > 0 for row in rows)


def test_a_resumed_run_ends_with_the_same_bits_as_an_undisturbed_one(digits: Folder) -> None:
    undisturbed = train(digits)
    middle = undisturbed["checkpoints"][0]
    assert middle.step == 4
    resumed = train(digits, start=middle)
    last, again = undisturbed["checkpoints"][-1].tensors, resumed["checkpoints"][-1].tensors
    assert last.keys() == again.keys()
    assert all(torch.equal(last[key], again[key]) for key in last)
    assert resumed["rows"] == undisturbed["rows"][2:]


def test_both_networks_and_the_average_move(digits: Folder) -> None:
    first, last = (checkpoint.tensors for checkpoint in train(digits)["checkpoints"])
    for name in ("generator.first.weight", "discriminator.score.weight", "average.module.first.weight"):
        assert not torch.equal(first[name], last[name]), name
    assert not torch.equal(last["average.module.first.weight"], last["generator.first.weight"])


def test_divergence_stops_before_the_step_is_taken_and_names_it(digits: Folder) -> None:
    feed = real_batches(str(digits), CONFIG.batch_size, 1.0, 0, Place())
    seen: dict[str, Any] = {"checkpoints": []}

    def poisoned(step: int) -> Any:
        batch = feed(step)
        if step == 5:
            batch.x_BCHW[0, 0, 0, 0] = float("inf")
        return batch

    hooks = loop.Hooks(lambda row: None, seen["checkpoints"].append, lambda step, average: None)
    with pytest.raises(Diverged) as caught:
        loop.train(poisoned, CONFIG, SHAPE, 8, 0, Place(), None, hooks)
    assert caught.value.step == 5
    assert [checkpoint.step for checkpoint in seen["checkpoints"]] == [4]
    assert all(torch.isfinite(t).all() for t in seen["checkpoints"][0].tensors.values() if t.is_floating_point())


def test_the_average_samples_with_statistics_of_its_own(digits: Folder) -> None:
    average = train(digits)["average"]
    settled = ema.settle(average, 10, CONFIG.latent, seed=0)
    z_BZ = torch.randn(512, CONFIG.latent)
    normed = settled.norms[0].norm(settled.first(z_BZ[:, :, None, None]))
    assert normed.mean().abs() < 0.1
    assert abs(normed.std().item() - 1) < 0.15
    assert not settled.training


def test_work_leaves_a_generator_pictures_figures_and_two_checkpoints(experiment: Run) -> None:
    gan = experiment.gan
    record = gan.read_json("gan.json")
    assert record["steps"] == 6
    assert (gan / "samples").files(".png") == ["step-00000004.png", "step-00000006.png"]
    assert (gan / "checkpoints").files(".json") == ["step-00000004.json", "step-00000006.json"]
    rows = runs.read_metrics(gan)
    assert [row["step"] for row in rows if "loss_d" in row] == [2, 4, 6]
    assert [row["step"] for row in rows if "kid_teacher_n80" in row] == [4, 6]
    named = {"kid_teacher_n80", "coverage_teacher_k5_n80", "val_kid_teacher_n50v80", "val_recall_teacher_k3_n50v80"}
    assert named < record["quality"].keys()
    kids = {row["step"]: row["val_kid_teacher_n50v80"] for row in rows if "val_kid_teacher_n50v80" in row}
    best = min(kids, key=lambda step: kids[step])
    assert record["chosen"] == {
        "step": best,
        "chosen_by": "val_kid_teacher_n50v80",
        "value": pytest.approx(kids[best], abs=1e-5),
    }
    assert record["memorization"]["verdict"] == "does not copy"
    assert {"best.json", "best.safetensors", "closest_pairs.png", "film.gif", "gan.json"} < set(gan.files())


@pytest.mark.parametrize("step", [4, 6])
def test_work_continues_from_its_newest_checkpoint_and_logs_each_step_once(
    experiment: Run, tmp_path: Path, step: int
) -> None:
    """As after a crash between the checkpoint of that step and the marker at the end."""
    out, done = Folder.at(tmp_path), experiment.gan.local
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
        out.write(name, (done / name).read_bytes())
    record = experiment.gan.read_json("gan.json")
    dataset, teacher = str(experiment.dataset), str(experiment.model("real+classic", 0))
    worker.work(worker.Training(GanConfig(**record["config"]), 32, 0, dataset, teacher, str(out), 1.0, {}), Place())
    assert out.read("gan.safetensors") == experiment.gan.read("gan.safetensors")
    assert out.read("metrics.jsonl") == experiment.gan.read("metrics.jsonl")
    assert out.read_json("gan.json")["quality"] == record["quality"]
    assert out.read_json("attempts.json") == {"from_step": [0, step]}


def test_kid_knows_real_images_from_noise_and_is_the_same_again(experiment: Run) -> None:
    network = Classifier.load(experiment.model("real+classic", 0)).network
    rows = store.read(experiment.dataset / "test")
    x_BCHW = tensors.to_network(torch.tensor(rows.images[:200]))
    same = quality.kid(network, "teacher", x_BCHW[:100], x_BCHW[100:], seed=0)
    noise = quality.kid(network, "teacher", x_BCHW[:100], torch.rand(100, 1, 32, 32) * 2 - 1, seed=0)
    assert same.keys() == {"kid_teacher_n100", "kid_teacher_n100_std"}
    assert abs(same["kid_teacher_n100"]) < noise["kid_teacher_n100"]
    assert same == quality.kid(network, "teacher", x_BCHW[:100], x_BCHW[100:], seed=0)
    with pytest.raises(AssertionError):
        quality.kid(network, "teacher", x_BCHW[:5], x_BCHW[:5], seed=0)


def test_an_image_is_a_function_of_generator_class_seed_and_index(experiment: Run) -> None:
    generator = Generator.load(experiment.gan)
    few, many = generator.generate("3", 5, seed=1), generator.generate("3", BLOCK + 5, seed=1)
    assert few.dtype == np.uint8
    assert np.array_equal(few, many[:5])
    assert not np.array_equal(many[:5], many[BLOCK:])
    assert not np.array_equal(few, generator.generate("3", 5, seed=2))
    assert not np.array_equal(few, generator.generate("4", 5, seed=1))
    assert generator.generate("3", 0).shape == (0, 32, 32, 1)


def test_pictures_are_one_row_a_class() -> None:
    rows = [np.full((8, 32, 32, 1), value, np.uint8) for value in (0, 100, 200)]
    grid = quality.grid(rows)
    assert grid.shape == (3 * 34 + 2, 8 * 34 + 2, 3)
    assert [grid[16 + 34 * row, 16, 0] for row in range(3)] == [0, 100, 200]
    assert quality.png(quality.beside(grid, grid)).startswith(b"\x89PNG")
