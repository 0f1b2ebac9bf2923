"""Strategies: how many real and synthetic rows stand in each batch, and what they count for."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ganaug_ray.augment import arm_batches, arms, mixed_batches, pool_marker, soft_labels, strategies
from ganaug_ray.augment.live_generation import LiveFeed
from ganaug_ray.augment.screening_rules import Evidence, ScreeningLimits
from ganaug_ray.classify import batch_augmentation, networks, training_loop
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.classify.split_batch_norm import SplitBatchNorm
from ganaug_ray.config import AugmentConfig, ClassifierConfig, Job, ScreenConfig
from ganaug_ray.config.augment import StrategyName
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.batch import Batch, BatchFeed
from ganaug_ray.data.loading.resident_loader import ResidentFeed, ResidentImages, open_real_feed
from ganaug_ray.errors import UserError
from ganaug_ray.gan.sampler import Generator
from ganaug_ray.pipeline import dry_run
from ganaug_ray.pipeline.job_facts import JobFacts
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.pipeline.training_time import TrainingTime
from tests.conftest import DIGITS, TINY

SIZE, STEPS = 16, 11
COUNTS = {"cat": 20, "dog": 300, "owl": 280}
RANKS = pytest.mark.parametrize("world", [1, 2, 3])


def mixed(run: Run, mixture: strategies.Mixture, place: Place = Place(), **settings: Any) -> mixed_batches.MixedFeed:  # noqa: B008  # frozen
    real = functools.partial(
        open_real_feed, str(run.dataset), mixture.batch_size, 1.0, 3, wait=mixture.synthetic_only_steps
    )
    fake = functools.partial(mixed_batches.open_pool_feed, str(run.synthetic), mixture.count_synthetic_rows, 1.0, 3)
    return mixed_batches.open_mixed_feed(real, fake, place, **settings)


def rows(run: Run, mixture: strategies.Mixture, world: int) -> list[tuple[int, int]]:
    """(real, synthetic) rows of each step, summed over the ranks, which must agree and tile the batch."""
    real = open_real_feed(str(run.dataset), mixture.batch_size, 1.0, 3, Place(), wait=mixture.synthetic_only_steps)
    feeds = [mixed(run, mixture, Place(rank, world), apart=True) for rank in range(world)]
    found = []
    for step in range(mixture.steps):
        parts = [feed(step) for feed in feeds]
        assert sorted(row for part in parts for row in part.rows.tolist()) == list(range(parts[0].total))
        n_real = [part.real or 0 for part in parts]
        assert {part.total for part in parts} == {feeds[0].count_rows(step)} == {sum(len(part.y_B) for part in parts)}
        ours = torch.cat([part.x_BCHW[:n] for part, n in zip(parts, n_real, strict=True)])
        assert torch.equal(ours, real(step).x_BCHW)
        found.append((sum(n_real), parts[0].total - sum(n_real)))
    return found


def per_step(mixture: strategies.Mixture) -> list[int]:
    return [
        mixture.count_synthetic_rows(step + 1) - mixture.count_synthetic_rows(step) for step in range(mixture.steps)
    ]


@RANKS
@pytest.mark.parametrize("ratio", [0.03, 0.37, 1.7])
def test_mix_spreads_synthetic_rows_evenly(experiment: Run, ratio: float, world: int) -> None:
    """Strategy mix has the same share of synthetic rows in all batches."""
    found = rows(experiment, strategies.Mixture(SIZE, ratio, STEPS), world)
    assert [real for real, _ in found] == [SIZE] * STEPS
    synthetic = [n for _, n in found]
    assert sum(synthetic) == int(SIZE * ratio * STEPS)
    assert max(synthetic) - min(synthetic) <= 1


@RANKS
@pytest.mark.parametrize("ratio", [0.37, 1.7])
def test_anneal_halves_synthetic_rows(experiment: Run, ratio: float, world: int) -> None:
    """Strategy anneal falls to no synthetic rows and uses half as many as mix in all."""
    found = rows(experiment, strategies.Mixture(SIZE, ratio, STEPS, "anneal"), world)
    assert [real for real, _ in found] == [SIZE] * STEPS
    synthetic = [n for _, n in found]
    assert abs(sum(synthetic) - strategies.Mixture(SIZE, ratio, STEPS).count_synthetic_rows(STEPS) / 2) <= 1
    assert synthetic[0] >= int(SIZE * ratio * 0.9)
    assert synthetic[-1] <= 1 + SIZE * ratio / (2 * STEPS)
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(synthetic))


def test_anneal_decreases_linearly_to_zero() -> None:
    """Strategy anneal lowers the number of synthetic rows linearly until none is left."""
    synthetic = per_step(strategies.Mixture(64, 1.0, 1000, "anneal"))
    for step in range(0, 1000, 50):
        assert synthetic[step] == pytest.approx(64 * (1 - step / 1000), abs=1)
    assert sum(synthetic) == 32_000
    assert synthetic[-5:].count(0) >= 4


@RANKS
def test_pretrain_uses_synthetic_rows_first(experiment: Run, world: int) -> None:
    """Strategy pretrain trains on synthetic rows alone first, and on real rows alone after that."""
    mixture = strategies.Mixture(SIZE, 0.37, STEPS, "pretrain")
    assert rows(experiment, mixture, world) == [(0, SIZE)] * 5 + [(SIZE, 0)] * 6


@RANKS
def test_pretrain_keeps_real_row_order(experiment: Run, world: int) -> None:
    """After pretraining the real rows come in the baseline's order, from its beginning."""
    place = Place(world - 1, world)
    real = open_real_feed(str(experiment.dataset), SIZE, 1.0, 3, place)
    feed = mixed(experiment, strategies.Mixture(SIZE, 1.0, STEPS, "pretrain"), place)
    for step in range(6):
        assert torch.equal(feed(step + 5).x_BCHW, real(step).x_BCHW)
        assert torch.equal(feed(step + 5).y_B, real(step).y_B)


def test_streamed_pretraining_keeps_real_order(experiment: Run) -> None:
    """A loader that reads ahead is asked for no row in the first steps, and then for those of the beginning."""
    from ganaug_ray.data.loading import image_store
    from ganaug_ray.data.loading.streaming_loader import StreamFeed

    shards = image_store.list_shards(experiment.dataset / "train")
    # map reads here, where Ray would read ahead
    plain = StreamFeed(shards, lambda step: step * SIZE, SIZE, Place(), (3, "real"), map)
    late = StreamFeed(shards, lambda step: max(0, step - 2) * SIZE, SIZE, Place(), (3, "real"), map)
    assert [len(late(step).y_B) for step in range(2)] == [0, 0]
    for step in range(8):
        assert torch.equal(late(step + 2).x_BCHW, plain(step).x_BCHW)


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_balance_fills_smaller_classes(ratio: float) -> None:
    """Strategy balance gives every class the synthetic images that it lacks, or the requested share of them."""
    config = AugmentConfig(strategy="balance", ratio=ratio)
    pool = strategies.plan_pool_counts(COUNTS, config)
    assert pool == {"cat": 560, "owl": 40}, "shares of what is lacking; 200 a class on average"
    times, size = 2, 60
    mixture = strategies.Mixture.from_config(config, COUNTS, size, 10_000)
    steps = round(times / ratio * sum(COUNTS.values()) / size)  # each pool image once
    labels_N = torch.from_numpy(np.repeat([0, 2], list(pool.values())))
    store = object.__new__(ResidentImages)
    store.ids, store.labels_N = [""] * len(labels_N), labels_N
    store.images_NHWC = torch.zeros(len(labels_N), 1, 1, 1, dtype=torch.uint8)
    feed = ResidentFeed(store, mixture.count_synthetic_rows, Place(), (0,))
    seen = Counter(label for step in range(steps) for label in feed(step).y_B.tolist())
    assert {name: seen[label] * ratio / times for label, name in ((0, "cat"), (2, "owl"))} == {
        "cat": 280 * ratio,
        "owl": 20 * ratio,
    }


def test_unavailable_class_overfills_no_others() -> None:
    """A class that cannot be generated does not make strategy balance overfill the other classes."""
    config = AugmentConfig(strategy="balance")
    whole = strategies.Mixture.from_config(config, COUNTS, 60, 100)
    without = strategies.Mixture.from_config(config, COUNTS, 60, 100, ["cat"])
    assert (whole.count_synthetic_rows(100), without.count_synthetic_rows(100)) == (3000, 200)


def test_balance_pool_stays_proportional() -> None:
    """Strategy balance stores a few images, not millions, for a class that lacks a single one."""
    config = AugmentConfig(strategy="balance", ratio=3.0)
    assert strategies.plan_pool_counts({"a": 5000, "b": 4999, "c": 100}, config) == {"b": 3, "c": 14_700}


def test_live_generation_balances_alike(experiment: Run) -> None:
    """Live generation follows the class shares of strategy balance exactly as a stored pool does."""
    generator = Generator.load(experiment.gan)
    live = LiveFeed(
        generator, {"3": 30, "7": 10}, None, lambda step: strategies.count_synthetic_rows(step, 20, 0.5), Place(), 3
    )
    seen = Counter(label for step in range(4) for label in live(step).y_B.tolist())
    assert seen == {3: 30, 7: 10}


def test_complete_class_gets_no_images() -> None:
    """The screening limits say of a class that lacks no images that it gets none."""

    def limits(label: int) -> ScreeningLimits:
        evidence = Evidence(torch.full((5,), label), torch.eye(3)[[label] * 5], torch.ones(5), torch.arange(5.0))
        return ScreeningLimits.from_evidence(evidence, ScreenConfig(), [0.0, 0.0, 1.0])

    joined = pool_marker.join_limits({"owl": limits(2), "cat": limits(0)}, ["cat", "dog", "owl"])
    assert joined.drawn == (True, False, True)
    assert joined.agreement == (1.0, 0.0, 1.0)


def test_balance_refuses_even_classes(experiment: Run, tiny_job: Job) -> None:
    """Strategy balance for classes of equal size is a user error before a GAN is trained."""
    job = with_augment(tiny_job, strategy="balance")
    with pytest.raises(UserError, match=r"augment\.strategy balance .*nothing to fill up"):
        Pipeline(job, experiment, Terminal()).prepare_data()


def with_augment(job: Job, **settings: Any) -> Job:
    return job.model_copy(update={"augment": AugmentConfig.model_validate({"ratio": 0.5} | settings)})


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"weight": 0.5}, "weight 0.5: strategy pretrain"),
        ({"batch_norm": "separate"}, "batch_norm separate: strategy pretrain"),
        ({"strategy": "balance", "per_class": 10}, "per_class 10: strategy balance"),
    ],
)
def test_ineffective_settings_are_refused(setting: dict[str, Any], words: str) -> None:
    """Settings that have no effect under the chosen strategy are refused."""
    with pytest.raises(ValueError, match=words):
        AugmentConfig.model_validate({"strategy": "pretrain"} | setting)


def test_settings_apply_to_synthetic_arm(experiment: Run, tiny_job: Job) -> None:
    """Strategy, weight, batch norm and soft labels apply to the synthetic arm and leave the baseline as it is."""
    job = with_augment(tiny_job, strategy="anneal", weight=0.25, batch_norm="separate", soft_labels=True)
    fit, real = (arm_batches.build_training(job, experiment, arm, 0) for arm in (arms.SYNTHETIC, arms.REAL))
    feed = fit.batches(Place())
    assert isinstance(feed, mixed_batches.MixedFeed)
    assert isinstance(feed.fake, soft_labels.SoftLabelFeed)
    assert (feed.weight, feed.apart) == (0.25, True)
    assert [feed.fake.count_rows(step) for step in range(8)] == per_step(strategies.Mixture(16, 0.5, 8, "anneal"))
    assert fit.inputs["teacher"] == arms.locate_teacher(experiment).read_json("model.json")["hash"]
    plain = real.batches(Place())(0)
    assert (plain.weight_B, plain.soft_BK, plain.real) == (None, None, None)
    assert real.inputs.keys() == {"dataset"}
    late = arm_batches.build_training(
        with_augment(tiny_job, strategy="pretrain"), experiment, arms.SYNTHETIC, 0
    ).batches(Place())
    assert [late.count_rows(step) for step in range(8)] == [16] * 8


@pytest.mark.parametrize(
    "setting", [{"strategy": "anneal"}, {"weight": 0.5}, {"batch_norm": "separate"}, {"soft_labels": True}]
)
def test_changed_strategy_refuses_old_experiment(experiment: Run, tiny_job: Job, setting: dict[str, Any]) -> None:
    """A folder made with another strategy, weight, batch norm or soft labels is refused for this job."""
    augment = AugmentConfig.model_validate(tiny_job.augment.model_dump() | setting)
    with pytest.raises(UserError, match=rf"augment\.{next(iter(setting))} is"):
        experiment.claim_folder(tiny_job.model_copy(update={"augment": augment}))


def test_dry_run_describes_the_strategy(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run describes what the strategy puts into the batches."""
    monkeypatch.setattr(JobFacts, "time", TrainingTime(1.0, 1.0))

    def told(*settings: str) -> str:
        job = load_job(DIGITS, [*TINY, "augment.per_class=null", *settings])
        return dry_run.describe_job(job, Run(Folder.from_uri(tmp_path)))

    assert "mix: 8 a batch, 64 in all\n" in told()
    anneal = told("augment.strategy=anneal", "augment.weight=0.5", "augment.batch_norm=separate")
    assert "anneal: 8 a batch, falling to none, 32 in all, loss weight 0.5, batch norm apart\n" in anneal
    assert "pretrain: 16 alone in each of the first 4 steps, 64 in all" in told("augment.strategy=pretrain")
    with pytest.raises(UserError, match=r"augment\.strategy balance"):
        told("augment.strategy=balance")
    balance = told("augment.strategy=balance", "data.train_per_class=null")
    assert ", balance: " in balance
    with pytest.raises(UserError, match=r"no class is rare"):
        told("augment.classes=rare")


def test_every_schema_strategy_is_implemented() -> None:
    """A name that the schema accepts is a strategy that a training knows."""
    assert tuple(strategies.STRATEGIES) == get_args(StrategyName)


# What rows count for


def cnn(dropout: float = 0.0) -> networks.CNN:
    torch.manual_seed(0)
    return networks.CNN(1, 10, dropout)


def gradients(feed: BatchFeed, digits: Folder, accumulate: int, dropout: float) -> dict[str, torch.Tensor]:
    """Of the first step of training."""
    config = ClassifierConfig(steps=1, batch_size=SIZE, accumulate=accumulate)
    network = cnn(dropout)
    val = ResidentImages.load(digits / "val", torch.device("cpu"))
    training_loop.train_classifier(network, feed, val, config, 1, 0, Place(), lambda row: None)
    return {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize(("accumulate", "dropout"), [(1, 0.3), (3, 0.0)], ids=["whole", "in parts"])
def test_zero_weight_equals_baseline_gradients(
    experiment: Run, digits: Folder, accumulate: int, dropout: float
) -> None:
    """Dropout included, of a batch that is whole: the real rows are given the masks that they have alone."""
    alone = gradients(open_real_feed(str(digits), SIZE, 1.0, 3, Place()), digits, accumulate, dropout)
    mixture = strategies.Mixture(SIZE, 0.7, STEPS)
    apart, counted, together = (
        gradients(mixed(experiment, mixture, weight=weight, apart=apart), digits, accumulate, dropout)
        for weight, apart in ((0.0, True), (1.0, True), (0.0, False))
    )
    for name, grad in alone.items():
        torch.testing.assert_close(apart[name], grad, rtol=1e-4, atol=1e-6, msg=name)
    for other in (counted, together):
        assert not torch.allclose(other["blocks.0.weight"], alone["blocks.0.weight"], rtol=1e-2, atol=1e-4)


@RANKS
def test_weight_scales_synthetic_rows(experiment: Run, world: int) -> None:
    """A synthetic row counts its weight times a real row, and the weights of a batch average one."""
    mixture = strategies.Mixture(SIZE, 0.37, STEPS)
    for step in range(3):
        parts = [mixed(experiment, mixture, Place(rank, world), weight=0.25, apart=True)(step) for rank in range(world)]
        weights = [part.weight_B for part in parts if part.weight_B is not None]
        whole = torch.cat(weights)
        assert whole.mean().item() == pytest.approx(1)
        assert len(whole) == parts[0].total
        for part, weight_B in zip(parts, weights, strict=True):
            assert (weight_B[: part.real] / whole.max()).tolist() == pytest.approx([1.0] * (part.real or 0))
            assert (weight_B[part.real :] / whole.max()).tolist() == pytest.approx([0.25] * (len(part.y_B) - part.real))


def test_row_weights_enter_the_loss(experiment: Run, digits: Folder) -> None:
    """The training loss is the weighted mean over real and synthetic rows."""
    batch = mixed(experiment, strategies.Mixture(SIZE, 0.7, STEPS), weight=0.25)(0)
    config = ClassifierConfig(steps=1, batch_size=SIZE, dropout=0.0, flip=False, rotate=0.0, zoom=0.0, shift=0.0)
    loss_B = F.cross_entropy(cnn().train()(batch.x_BCHW), batch.y_B, reduction="none")
    expected = (loss_B[:SIZE].sum() + 0.25 * loss_B[SIZE:].sum()) / (SIZE + 0.25 * (batch.total - SIZE))
    told: list[dict[str, Any]] = []
    val = ResidentImages.load(digits / "val", torch.device("cpu"))
    training_loop.train_classifier(cnn(), lambda step: batch, val, config, 1, 0, Place(), told.append)
    assert told[0]["loss"] == pytest.approx(expected.item(), rel=1e-4)


def test_logged_accuracy_ignores_weightless_rows(experiment: Run, digits: Folder) -> None:
    """The logged training accuracy leaves out rows whose weight is zero."""
    batch = mixed(experiment, strategies.Mixture(SIZE, 0.7, STEPS), weight=0.0, apart=True)(0)
    network = cnn()
    with torch.no_grad():
        network.head[1].weight.zero_()
        network.head[1].bias.copy_(F.one_hot(batch.y_B[0], 10))  # whatever it is shown, it says this class
    told: list[dict[str, Any]] = []
    val = ResidentImages.load(digits / "val", torch.device("cpu"))
    config = ClassifierConfig(steps=1, batch_size=SIZE)
    training_loop.train_classifier(network, lambda step: batch, val, config, 1, 0, Place(), told.append)
    right_B = batch.y_B == batch.y_B[0]
    assert right_B[:SIZE].float().mean() != right_B.float().mean()
    assert told[0]["accuracy"] == pytest.approx(right_B[:SIZE].float().mean().item())


def test_blending_mixes_weights_and_targets() -> None:
    """Blending mixes the weights and soft targets of rows in the same shares as their images."""
    n = 8
    x_BCHW = torch.arange(n).float().view(n, 1, 1, 1).expand(n, 1, 16, 16).contiguous()
    soft_BK = torch.rand(n, 5).softmax(1)
    batch = Batch(x_BCHW, torch.zeros(n, dtype=torch.long), np.arange(n), n, torch.arange(n).float(), soft_BK)
    config = ClassifierConfig(steps=1, mixup=1.0)
    blended, targets_BK, weight_B = batch_augmentation.blend_rows(x_BCHW, batch, config, 5, Place(), (0, 1))
    # Row k is all k and counts k, so both say what a blended row is made of.
    torch.testing.assert_close(weight_B, blended[:, 0, 0, 0])
    own = blended[1, 0, 0, 0].item()
    torch.testing.assert_close(targets_BK[1], own * soft_BK[1] + (1 - own) * soft_BK[0])


# Batch norm


def statistics(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items() if "running" in name or "num" in name}


@pytest.mark.parametrize("arch", ["cnn", "torchvision:resnet18", "timm:resnetv2_50"])
def test_separate_norms_keep_running_statistics(arch: str) -> None:
    """Synthetic rows are normalised apart and do not change the running statistics of batch norm."""
    torch.manual_seed(0)
    wanted = networks.choose_input(arch, 32, None, pretrained=False)
    network = networks.build_network(arch, 1, 10, 0.0, wanted).train()
    real, fake = torch.rand(4, 1, 32, 32), torch.rand(6, 1, 32, 32) * 3
    start = {name: value.clone() for name, value in network.state_dict().items()}
    expected = [network(real)]
    alone = statistics(network)
    expected.append(network(fake))
    network.load_state_dict(start)
    model = SplitBatchNorm(network)
    both = model(torch.cat([real, fake]), 4)
    assert all(torch.equal(value, alone[name]) for name, value in statistics(network).items())
    assert alone
    torch.testing.assert_close(both, torch.cat(expected))
    network.load_state_dict(start)
    together = model(torch.cat([real, fake]))
    assert not torch.allclose(together, both, atol=1e-3)
    assert any(not torch.equal(value, alone[name]) for name, value in statistics(network).items())
    frozen = statistics(network.eval())
    torch.testing.assert_close(model(torch.cat([real, fake]), 4), network(torch.cat([real, fake])))
    assert all(torch.equal(value, frozen[name]) for name, value in statistics(network).items())


# Soft labels


def test_soft_labels_come_from_teacher(experiment: Run) -> None:
    """Synthetic rows get the teacher's probabilities as labels, and real rows keep their certain labels."""
    folder = arms.locate_teacher(experiment)
    teacher = Classifier.load(folder)
    mixture = strategies.Mixture(SIZE, 0.7, STEPS)
    real = functools.partial(open_real_feed, str(experiment.dataset), SIZE, 1.0, 3)
    pool = functools.partial(
        mixed_batches.open_pool_feed, str(experiment.synthetic), mixture.count_synthetic_rows, 1.0, 3
    )
    generator = Generator.load(experiment.gan)

    def live(place: Place) -> LiveFeed:
        return LiveFeed(generator, dict.fromkeys(generator.classes, 5), None, mixture.count_synthetic_rows, place, 3)

    for fake in (pool, live):
        batch = mixed_batches.open_mixed_feed(
            real, functools.partial(soft_labels.open_soft_label_feed, fake, str(folder)), Place()
        )(2)
        targets_BK = batch_augmentation.blend_rows(batch.x_BCHW, batch, ClassifierConfig(steps=1), 10, Place(), (0,))[1]
        assert torch.equal(targets_BK[:SIZE], F.one_hot(batch.y_B[:SIZE], 10).float())
        images = ((batch.x_BCHW[SIZE:] + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        torch.testing.assert_close(targets_BK[SIZE:], torch.from_numpy(teacher.predict_probabilities(images)))
        assert not targets_BK.requires_grad
    assert mixed_batches.open_mixed_feed(
        real, functools.partial(soft_labels.open_soft_label_feed, live, str(folder)), Place()
    ).collect_counts()
