"""Images that are generated while a classifier trains: the same ones whoever makes them, new in each step, screened."""

from __future__ import annotations

import functools
import pickle
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ganaug_ray.augment import arm_batches, arms, live_generation, mixed_batches, strategies
from ganaug_ray.augment.live_generation import MAX_ROUNDS, LiveFeed, LiveScreener, open_live_feed
from ganaug_ray.augment.screening_rules import Evidence, ScreeningLimits
from ganaug_ray.classify import train_worker
from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import tensors
from ganaug_ray.data.loading.batch import Batch
from ganaug_ray.data.loading.resident_loader import open_real_feed
from ganaug_ray.errors import UserError
from ganaug_ray.gan.sampler import Generator
from ganaug_ray.pipeline.pipeline import Pipeline

LIMITS = ScreeningLimits(0.5, 0.5, None, (1.0,) * 10, (True,) * 10, (True,) * 10)
ONE_GREY_LEVEL = 2.001 / 255


@pytest.fixture(scope="module")
def generator(experiment: Run) -> Generator:
    return Generator.load(experiment.gan)


def feed(
    generator: Generator,
    examine: Callable[[torch.Tensor, torch.Tensor], Evidence] | None = None,
    place: Place = Place(),  # noqa: B008  # frozen
    seed: int = 3,
    ratio: float = 0.5,
    pool: dict[str, int] | None = None,
) -> LiveFeed:
    judge = LiveScreener(examine, LIMITS) if examine else None
    pool = pool or dict.fromkeys(generator.classes, 20)
    return LiveFeed(generator, pool, judge, lambda step: strategies.count_synthetic_rows(step, 40, ratio), place, seed)


def says(y_N: torch.Tensor, recognised_N: torch.Tensor, near_N: torch.Tensor | float = 1.0) -> Evidence:
    probabilities = torch.nn.functional.one_hot(torch.where(recognised_N, y_N, (y_N + 1) % 10), 10)
    return Evidence(y_N, probabilities.float(), torch.as_tensor(near_N).expand(len(y_N)))


def brightness(images_NHWC: torch.Tensor) -> torch.Tensor:
    return images_NHWC.double().mean((1, 2, 3))


def bright(generator: Generator, dark: float) -> Callable[[torch.Tensor, torch.Tensor], Evidence]:
    """An examiner that does not recognise the darkest images: this share of what the generator draws of a class."""
    least_K = torch.stack(
        [brightness(torch.tensor(generator.generate(name, 64))).quantile(dark) for name in generator.classes]
    )
    return lambda images_NHWC, y_N: says(y_N, brightness(images_NHWC) > least_K[y_N])


def pixels(batch: Batch) -> set[bytes]:
    return {image.numpy().tobytes() for image in batch.x_BCHW}


def test_live_step_is_reproducible(generator: Generator) -> None:
    """A live step gives the same images whenever it is requested."""
    examine = bright(generator, 0.3)
    live = feed(generator, examine)
    first, again, fresh = live(4), [live(0), live(4)][1], feed(generator, examine)(4)
    for other in (again, fresh):
        assert torch.equal(first.x_BCHW, other.x_BCHW)
        assert torch.equal(first.y_B, other.y_B)


def test_live_images_never_repeat(generator: Generator) -> None:
    """Every training step and every seed has live images of its own."""
    live, other = feed(generator), feed(generator, seed=4)
    batches = [live(0), live(1), live(50), other(0)]
    assert sum(len(batch.y_B) for batch in batches) == 80 == len(set.union(*map(pixels, batches)))


@pytest.mark.parametrize("workers", [2, 3])
def test_rank_count_keeps_live_rows(generator: Generator, workers: int) -> None:
    """The number of ranks changes neither the live rows nor the counts of generated images."""
    examine = bright(generator, 0.3)
    alone = feed(generator, examine, ratio=0.3)
    ranks = [feed(generator, examine, Place(rank, workers), ratio=0.3) for rank in range(workers)]
    for step in range(4):
        whole, parts = alone(step), [rank(step) for rank in ranks]
        assert np.concatenate([part.rows for part in parts]).tolist() == list(range(whole.total))
        assert {part.total for part in parts} == {whole.total} == {alone.count_rows(step)}
        assert torch.equal(torch.cat([part.y_B for part in parts]), whole.y_B)
        # Sums over smaller batches round otherwise: by one grey level at most.
        x_BCHW = torch.cat([part.x_BCHW for part in parts])
        torch.testing.assert_close(x_BCHW, whole.x_BCHW, rtol=0, atol=ONE_GREY_LEVEL)
    assert sum((Counter(rank.collect_counts()) for rank in ranks), Counter()) == +Counter(alone.collect_counts())


def test_rejected_live_images_are_replaced(generator: Generator) -> None:
    """A rejected live image is replaced by another of the same class, and both are counted."""
    examine = bright(generator, 0.2)
    unscreened, live = feed(generator), feed(generator, examine)
    replaced = 0
    for step in range(5):
        before, after = unscreened(step), live(step)
        assert examine(tensors.from_network(after.x_BCHW), after.y_B).agrees_N.all()
        assert torch.equal(before.y_B, after.y_B), "a rejected image is replaced by one of the same class"
        passed = examine(tensors.from_network(before.x_BCHW), before.y_B).agrees_N
        torch.testing.assert_close(after.x_BCHW[passed], before.x_BCHW[passed], rtol=0, atol=ONE_GREY_LEVEL)
        replaced += int((~passed).sum())
    tally = live.collect_counts()
    assert tally["rejected"] >= replaced > 5
    assert tally["generated"] == 100 + tally["rejected"]
    assert tally["let_through"] == 0
    assert unscreened.collect_counts() == {"generated": 100, "rejected": 0, "let_through": 0}


@pytest.mark.parametrize("dark", [0.2, 0.9, 1.0])
def test_grouped_rounds_keep_images(generator: Generator, dark: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """All later rounds in one batch, as on a GPU, give the images and counts of one round at a time."""
    examine = bright(generator, dark)
    one_by_one = feed(generator, examine)
    batches = [one_by_one(step) for step in range(3)]
    group_rounds = live_generation._group_rounds
    monkeypatch.setattr(live_generation, "_group_rounds", lambda device: group_rounds(torch.device("cuda")))
    grouped = feed(generator, examine)
    for step, batch in enumerate(batches):
        torch.testing.assert_close(grouped(step).x_BCHW, batch.x_BCHW, rtol=0, atol=ONE_GREY_LEVEL)
    assert grouped.collect_counts() == one_by_one.collect_counts()
    assert (grouped.collect_counts()["let_through"] > 0) == (dark > 0.5)


@pytest.mark.parametrize(("no_copy_in", "taken"), [({2, 5}, 5), ({0}, 0), (set(), 0)])
def test_last_non_copy_is_the_fallback(generator: Generator, no_copy_in: set[int], taken: int) -> None:
    """Where all attempts fail, the last image that is no copy is used and counted as let through."""
    seen: list[torch.Tensor] = []

    def examine(images_NHWC: torch.Tensor, y_N: torch.Tensor) -> Evidence:
        near = 1.0 if len(seen) in no_copy_in else 0.1
        seen.append(images_NHWC)
        return says(y_N, torch.zeros(len(y_N), dtype=torch.bool), near)

    live = feed(generator, examine)
    images = tensors.from_network(live(0).x_BCHW)
    assert len(seen) == MAX_ROUNDS
    assert [(images == one).all() for one in seen].index(True) == taken
    assert live.collect_counts() == {"generated": 20 * MAX_ROUNDS, "rejected": 20 * MAX_ROUNDS, "let_through": 20}


def test_recognised_near_copy_is_rejected(generator: Generator) -> None:
    """A near copy of a training image is rejected even when the teacher recognises its class."""
    calls: list[int] = []

    def examine(images_NHWC: torch.Tensor, y_N: torch.Tensor) -> Evidence:
        calls.append(len(y_N))
        near_N = torch.where(torch.arange(len(y_N)) < 5, 0.1, 1.0) if len(calls) == 1 else 1.0
        return says(y_N, torch.ones(len(y_N), dtype=torch.bool), near_N)

    before, after = feed(generator)(0), feed(generator, examine)(0)
    assert calls == [20, 5]
    assert pixels(before) & pixels(after) == pixels(before) - {image.numpy().tobytes() for image in before.x_BCHW[:5]}


def test_live_classes_match_pool_shares(generator: Generator) -> None:
    """Live images have the class shares of a stored pool, and classes outside that pool are never drawn."""
    live = feed(generator, pool={"3": 30, "7": 10})
    assert Counter(torch.cat([live(step).y_B for step in range(2)]).tolist()) == {3: 30, 7: 10}
    assert Counter(torch.cat([live(step).y_B for step in range(2, 4)]).tolist()) == {3: 30, 7: 10}


def with_arms(job: Job, *names: str) -> Job:
    return Job.model_validate(job.model_dump() | {"arms": dict.fromkeys(names)})


@pytest.fixture
def job(tiny_job: Job) -> Job:
    return with_arms(tiny_job, arms.LIVE)


@pytest.fixture
def run(experiment: Run, tmp_path) -> Run:
    """A run whose GAN is trained and whose generate stage has set limits only; class 4 cannot be drawn."""
    (tmp_path / "dataset").symlink_to(str(experiment.dataset))
    (tmp_path / "gan").symlink_to(str(experiment.gan))
    run = Run(Folder.from_uri(tmp_path))
    classes = Generator.load(run.gan).classes
    spec = {
        "hash": "limits",
        "inputs": {"gan": "weights"},
        "asked": dict.fromkeys(classes, 10),
        "counts": dict.fromkeys(classes, 0),
        "screened": {},
        "not_drawn": ["4"],
        "limits": None,
        "images": 0,
    }
    experiment_dir.write_marker(run.synthetic.create(), "synthetic.json", "generate", 0.0, spec)
    return run


def test_live_arm_keeps_real_rows(run: Run, job: Job) -> None:
    """The live arm trains on the baseline's real rows and records how many images it generated."""
    assert arms.list_names(job) == [arms.REAL, arms.LIVE]
    fit = pickle.loads(pickle.dumps(arm_batches.build_training(job, run, arms.LIVE, 0)))  # noqa: S301  # it travels to other processes
    assert fit.inputs["synthetic"] == "limits"
    size, ratio = job.classifier.batch_size, 0.9 * job.augment.ratio  # without the rows of the class that is not drawn
    real, mixed = open_real_feed(str(run.dataset), size, 1.0, 0, Place()), fit.batches(Place())
    labels: set[int] = set()
    for step in range(8):
        batch = mixed(step)
        assert torch.equal(batch.x_BCHW[:size], real(step).x_BCHW)
        before, upto = (strategies.count_synthetic_rows(n, size, ratio) for n in (step, step + 1))
        expected = size + upto - before
        assert mixed.count_rows(step) == batch.total == len(batch.y_B) == expected
        labels |= set(batch.y_B[size:].tolist())
    assert labels == set(range(10)) - {4}
    train_worker.train_and_finish(fit, Place())
    record = run.locate_model(arms.LIVE, 0).read_json("model.json")
    assert record["tally"] == {
        "generated": strategies.count_synthetic_rows(8, size, ratio),
        "rejected": 0,
        "let_through": 0,
    }


def test_odd_ratio_is_exact_over_steps(generator: Generator, experiment: Run) -> None:
    """A ratio that is no whole number of rows per batch is exact over several steps."""
    open_real = functools.partial(open_real_feed, str(experiment.dataset), 40, 1.0, 3)
    mixed = mixed_batches.open_mixed_feed(open_real, lambda place: feed(generator, ratio=0.33), Place())
    sizes = [mixed(step).total - 40 for step in range(5)]
    assert sizes == [13, 13, 13, 13, 14]
    assert mixed.collect_counts()["generated"] == 66
    none = feed(generator, ratio=0.01)
    assert len(none(0).y_B) == 0 == none.collect_counts()["generated"]


def test_live_screening_uses_stored_limits(experiment: Run, run: Run, tiny_job: Job) -> None:
    """Everything is a copy where even a training image's neighbours are: no image passes, and it shows."""
    (run.root / "models").create()
    teacher = arms.locate_teacher(run).create()
    for name in ("model.json", "model.safetensors"):
        teacher.write_bytes(name, arms.locate_teacher(experiment).read_bytes(name))
    record = run.synthetic.read_json("synthetic.json")
    strict = {"confidence": 0.0, "copy_distance": 1e9, "realism": None, "agreement": [1.0] * 10, "drawn": [True] * 10}
    run.synthetic.write_json("synthetic.json", record | {"limits": strict})
    augment = {"ratio": 0.5, "screen": {"realism": 0.0}}
    job = Job.model_validate(tiny_job.model_dump() | {"augment": augment, "arms": {arms.LIVE: None}})
    open_live = arm_batches.build_training(job, run, arms.LIVE, 0).batches.args[1]
    assert open_live.func is open_live_feed
    live = open_live(Place())
    live(0)
    rows = 7  # 0.9 of 8: those of the class that is not drawn are not made up for
    assert live.collect_counts() == {"generated": rows * MAX_ROUNDS, "rejected": rows * MAX_ROUNDS, "let_through": rows}


def test_pool_and_live_are_separate_arms(run: Run, tiny_job: Job) -> None:
    """A pool and live generation are separate arms, and a missing pool is an error that says how to make it."""
    from ganaug_ray.core.console import Terminal

    both = with_arms(tiny_job, arms.SYNTHETIC, arms.LIVE)
    assert arms.list_names(both) == [arms.REAL, arms.SYNTHETIC, arms.LIVE]
    assert len(arms.list_pairs(both)) == 6
    with pytest.raises(UserError, match="ganaug generate"):
        Pipeline(both, run, Terminal()).train_classifiers()
    Pipeline(
        with_arms(tiny_job, arms.LIVE), run, Terminal()
    ).generate_images()  # kept: without Ray it could not be done
