"""Training a classifier, its augmentation, and the one inference path."""

import functools
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ganaug_ray.augment import mixed_batches, strategies
from ganaug_ray.classify import batch_augmentation, networks, train_worker, training_loop
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import ClassifierConfig, Job
from ganaug_ray.core import metrics_log, rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import GanRecord, ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.batch import Batch
from ganaug_ray.data.loading.resident_loader import ResidentImages, open_real_feed

CONFIG = ClassifierConfig(steps=60, batch_size=32, flip=False, log_every=20, evaluate_every=20)


def whole(x_BCHW: torch.Tensor) -> Batch:
    n = len(x_BCHW)
    return Batch(x_BCHW, torch.zeros(n, dtype=torch.long), np.arange(n), n)


def fit(digits: Folder, config: ClassifierConfig, out: Folder, seed: int = 0) -> Classifier:
    batches = functools.partial(open_real_feed, str(digits), config.batch_size, 1.0, seed)
    train_worker.train_and_finish(
        train_worker.ClassifierTraining("real+classic", seed, config, str(digits), str(out.create()), batches, {}),
        Place(),
    )
    return Classifier.load(out)


def test_kept_evaluation_is_saved(digits: Folder, tmp_path) -> None:
    """A classifier learns digits, and the saved model is the one of the kept evaluation."""
    out = Folder.from_uri(tmp_path / "model")
    classifier = fit(digits, CONFIG, out)
    looks = [row for row in metrics_log.read_metrics(out) if "val_accuracy" in row]
    record = out.read_json("model.json")
    assert record["val_accuracy"] == looks[-1]["val_accuracy"] > 0.6
    val = image_store.read_images(digits / "val")
    accuracy = (classifier.predict_probabilities(val.images).argmax(1) == val.labels).mean()
    assert accuracy == pytest.approx(record["val_accuracy"])


def test_same_seed_trains_identical_weights(digits: Folder, tmp_path) -> None:
    """The same seed trains the same weights, to the byte, and another seed trains other ones."""
    config = CONFIG.model_copy(update={"steps": 3})
    one, two, other = (Folder.from_uri(tmp_path / name) for name in ("one", "two", "other"))
    for folder, seed in ((one, 1), (two, 1), (other, 2)):
        fit(digits, config, folder, seed)
    assert (
        one.read_bytes("model.safetensors")
        == two.read_bytes("model.safetensors")
        != other.read_bytes("model.safetensors")
    )


def test_best_evaluation_prefers_accuracy() -> None:
    """The best evaluation is the most accurate one and, among equals, the one with the lower loss."""
    first = training_loop.KeptEvaluation(10, 0.9, 0.5, {})
    assert training_loop.KeptEvaluation(20, 0.95, 0.9, {}).is_better_than(first)
    assert training_loop.KeptEvaluation(20, 0.9, 0.4, {}).is_better_than(first)
    assert not training_loop.KeptEvaluation(20, 0.9, 0.5, {}).is_better_than(first)
    assert not training_loop.KeptEvaluation(20, 0.8, 0.1, {}).is_better_than(first)


def test_non_finite_loss_stops_training(digits: Folder) -> None:
    """A loss that is not finite ends the training before it changes the weights."""
    from ganaug_ray.core.finite_guard import DivergenceError

    network = networks.CNN(1, 10, 0.0)
    feed = open_real_feed(str(digits), 16, 1.0, 0, Place())
    weights: list[torch.Tensor] = []

    def poisoned(step: int) -> Batch:
        weights.append(network.head[1].weight.detach().clone())
        batch = feed(step)
        return replace(batch, x_BCHW=batch.x_BCHW * float("nan")) if step == 3 else batch

    val = ResidentImages.load(digits / "val", torch.device("cpu"))
    config = CONFIG.model_copy(update={"log_every": 5, "evaluate_every": 5})
    with pytest.raises(DivergenceError) as caught:
        training_loop.train_classifier(network, poisoned, val, config, 20, 0, Place(), lambda row: None)
    assert caught.value.step == 3
    assert torch.equal(weights[4], weights[3]), "the bad step is not taken"
    assert torch.equal(network.head[1].weight, weights[3]), "nor is any after it"
    assert not torch.equal(weights[3], weights[2])


def test_rank_count_keeps_augmentation_draws() -> None:
    """Every image is augmented by its own random draw, which is the same for any number of ranks."""
    config = ClassifierConfig(steps=1)
    x_BCHW = torch.rand(6, 1, 32, 32) * 2 - 1
    together = batch_augmentation.apply_classic(whole(x_BCHW), config, (0, 7))
    parts = []
    for rank in range(3):
        share = Place(rank, 3).slice_rows(6)
        parts.append(
            batch_augmentation.apply_classic(Batch(x_BCHW[share], None, np.arange(6)[share], 6), config, (0, 7))
        )
    assert torch.allclose(torch.cat(parts), together)
    same = batch_augmentation.apply_classic(whole(x_BCHW[:1].expand(6, 1, 32, 32)), config, (0, 7))
    assert len({tuple(image.flatten()[:64].tolist()) for image in same}) == 6


def test_synthetic_rows_keep_real_augmentation() -> None:
    """Synthetic rows in a batch do not change how its real rows are augmented."""
    config = ClassifierConfig(steps=1)
    x_BCHW = torch.rand(64, 1, 32, 32)
    alone = batch_augmentation.apply_classic(whole(x_BCHW), config, (0, 7))
    mixed = batch_augmentation.apply_classic(whole(torch.cat([x_BCHW, torch.rand(21, 1, 32, 32)])), config, (0, 7))
    assert torch.equal(mixed[:64], alone)


def test_disabled_augmentation_changes_nothing() -> None:
    """With all augmentation switched off the images stay as they are."""
    still = ClassifierConfig(steps=1, flip=False, rotate=0.0, zoom=0.0, shift=0.0)
    x_BCHW = torch.rand(4, 3, 32, 32)
    assert torch.allclose(batch_augmentation.apply_classic(whole(x_BCHW), still, (0,)), x_BCHW, atol=1e-5)


def test_flip_mirrors_and_shift_moves() -> None:
    """Flip mirrors about half of the images, and shift moves an image by its share of the side."""
    flip = ClassifierConfig(steps=1, rotate=0.0, zoom=0.0, shift=0.0)
    x_BCHW = torch.rand(1, 1, 8, 8).expand(64, 1, 8, 8)
    moved = batch_augmentation.apply_classic(whole(x_BCHW), flip, (0,))
    mirrored = [torch.allclose(image, x_BCHW[0].flip(-1), atol=1e-5) for image in moved]
    still = [torch.allclose(image, x_BCHW[0], atol=1e-5) for image in moved]
    assert 16 < sum(mirrored) < 48
    assert sum(mirrored) + sum(still) == 64
    shift = ClassifierConfig(steps=1, rotate=0.0, zoom=0.0, shift=0.5, flip=False)
    theta = batch_augmentation.build_affine_maps(torch.tensor([[0.9, 0.5, 0.5, 1.0, 0.5]]), shift)
    assert torch.allclose(theta[0], torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), atol=1e-6)


def test_mixed_batch_holds_exact_rows(experiment: Run) -> None:
    """A mixed batch holds the baseline's real rows and the exact number of synthetic ones."""
    open_real = functools.partial(open_real_feed, str(experiment.dataset), 16, 1.0, 3)
    upto = functools.partial(strategies.count_synthetic_rows, batch_size=16, ratio=0.3)
    open_pool = functools.partial(mixed_batches.open_pool_feed, str(experiment.synthetic), upto, 1.0, 3)
    for workers in (1, 2):
        synthetic_rows = 0
        for step in range(10):
            places = [Place(rank, workers) for rank in range(workers)]
            real = [open_real(place)(step) for place in places]
            mixed = [mixed_batches.open_mixed_feed(open_real, open_pool, place)(step) for place in places]
            for alone, both in zip(real, mixed, strict=True):
                assert torch.equal(both.x_BCHW[: len(alone.y_B)], alone.x_BCHW)
            rows = sorted(row for batch in mixed for row in batch.rows.tolist())
            assert rows == list(range(mixed[0].total))
            synthetic_rows += mixed[0].total - 16
        assert synthetic_rows == strategies.count_synthetic_rows(10, 16, 0.3) == 48


def test_small_synthetic_images_are_enlarged() -> None:
    """Smaller synthetic images are enlarged to the size of the real ones, and a batch may have none."""
    real = Batch(torch.zeros(2, 1, 64, 64), torch.zeros(2, dtype=torch.long), np.arange(2), 2)
    fake = Batch(torch.ones(3, 1, 32, 32), torch.ones(3, dtype=torch.long), np.arange(3), 3)
    both = mixed_batches.append_synthetic_rows(real, fake)
    assert both.x_BCHW.shape == (5, 1, 64, 64)
    assert both.y_B.tolist() == [0, 0, 1, 1, 1]
    assert both.total == 5
    none = Batch(fake.x_BCHW[:0], fake.y_B[:0], fake.rows[:0], 1)
    assert mixed_batches.append_synthetic_rows(real, none).total == 3


def test_model_accepts_every_image_form(experiment: Run, tmp_path) -> None:
    """A model takes paths, bytes, pictures and arrays of any size, and answers alike for the same image."""
    classifier = Classifier.load(experiment.locate_model("real+classic", 0))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8))
    picture.save(tmp_path / "one.png")
    sink = io.BytesIO()
    picture.save(sink, "PNG")
    answers = classifier.predict([tmp_path / "one.png", sink.getvalue(), picture, np.asarray(picture)])
    assert len({tuple(answer.probabilities.values()) for answer in answers}) == 1
    assert answers[0].label == max(answers[0].probabilities, key=answers[0].probabilities.__getitem__)
    assert classifier.predict([]) == []


def test_predictions_cover_validation_and_test(experiment: Run, tiny_job: Job) -> None:
    """The stored predictions hold every validation and test row exactly once."""
    table = experiment.locate_model("real+classic", 1).read_table("predictions.parquet")
    ids = {split: set(image_store.read_images(experiment.dataset / split).ids) for split in ("val", "test")}
    for split, own in ids.items():
        rows = [row for row in table.to_pylist() if row["split"] == split]
        assert {row["id"] for row in rows} == own
        assert len(rows) == len(own)
        assert all(abs(sum(row["probabilities"]) - 1) < 1e-5 for row in rows)


def test_random_draws_depend_on_key() -> None:
    """Random draws depend on their key alone, not on the global random state."""
    torch.manual_seed(1)
    one = torch.rand(3, generator=rng.make_generator(0, "x", 5))
    torch.manual_seed(2)
    assert torch.equal(one, torch.rand(3, generator=rng.make_generator(0, "x", 5)))


def test_trainings_record_what_they_occupied(experiment: Run) -> None:
    """What a training cost can be told from its record: the cores that it computed on, or its share of a GPU."""
    for record in (ModelRecord.read(experiment.locate_model("real+classic", 0)), GanRecord.read(experiment.gan)):
        assert record.occupied is not None
        assert record.occupied.cores is not None
        assert record.occupied.cores >= 1
        assert record.occupied.gpus is None
    assert Place(0, 2, torch.device("cuda")).occupied == {"gpus": 2.0}
    assert Place(device=torch.device("cuda"), gpu_share=0.25).occupied == {"gpus": 0.25}
