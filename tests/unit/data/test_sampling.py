"""How often each row is drawn: balanced classes, some classes alone, and the same for any number of ranks."""

import itertools
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ganaug_ray.augment import arm_batches, arms, mixed_batches
from ganaug_ray.classify import compared_models
from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.batch import BatchFeed
from ganaug_ray.data.loading.resident_loader import open_real_feed, slice_permutations
from ganaug_ray.data.loading.sampler import Sampling
from ganaug_ray.errors import UserError
from ganaug_ray.gan import train_worker, training_loop
from ganaug_ray.gan.launch import train_gans
from ganaug_ray.runtime import worker_group
from tests.conftest import DIGITS
from tests.helpers import records

COUNTS = (23, 5, 2)
LABELS_N = np.random.default_rng(0).permutation(np.repeat(np.arange(3), COUNTS))
BALANCED = Sampling(balanced=True)


@pytest.fixture
def uneven(tmp_path: Path) -> Folder:
    """A data set of 23, 5 and 2 training images; the level of an image is its row."""
    pixels = np.arange(30, dtype=np.uint8).reshape(30, 1, 1, 1).repeat(8, 1).repeat(8, 2)
    names = [str(row) for row in range(30)]
    folder = Folder.from_uri(tmp_path / "dataset")
    image_store.write_images(
        folder / "train", image_store.LabelledImages(pixels, LABELS_N, names, names, names), "real"
    )
    return folder


def test_a_balanced_pass_draws_each_class_as_often_as_the_largest_has_rows_and_its_rows_equally_often() -> None:
    rows = BALANCED.order_epoch(LABELS_N, 0, (0,))
    assert Counter(LABELS_N[rows].tolist()) == {0: 23, 1: 23, 2: 23}
    for label, n in enumerate(COUNTS):
        times = Counter(rows[LABELS_N[rows] == label].tolist())
        assert len(times) == n
        assert set(times.values()) <= {23 // n, 23 // n + 1}


def test_over_many_passes_no_row_of_a_class_is_preferred() -> None:
    drawn = Counter(row for number in range(200) for row in BALANCED.order_epoch(LABELS_N, number, (0,)).tolist())
    of_five = [drawn[row] for row in np.flatnonzero(LABELS_N == 1)]
    assert sum(of_five) == 200 * 23
    assert max(of_five) - min(of_five) < 0.1 * 200, "else it were always the same three rows that come once more"


def test_natural_sampling_keeps_the_order_there_has_always_been(uneven: Folder) -> None:
    feed = open_real_feed(str(uneven), 7, 1.0, 5, Place())
    drawn = [row for step in range(9) for row in feed.list_indices(step)]
    assert drawn == slice_permutations(30, 0, 63, (5, "real")).tolist()


@pytest.mark.parametrize("sampling", [BALANCED, Sampling(classes=(1, 2)), Sampling(True, (1, 2))])
@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_ranks_draws_the_same_global_batches(uneven: Folder, sampling: Sampling, workers: int) -> None:
    def drawn(place: Place) -> list[list[int]]:
        feed = open_real_feed(str(uneven), 24, 1.0, 5, place, sampling=pickle.loads(pickle.dumps(sampling)))  # noqa: S301  # as to a worker
        return [feed.list_indices(step).tolist() for step in range(8)]

    parts = [drawn(Place(rank, workers)) for rank in range(workers)]
    assert [list(itertools.chain(*step)) for step in zip(*parts, strict=True)] == drawn(Place())


def test_rows_are_drawn_of_the_chosen_classes_alone(uneven: Folder) -> None:

    def upto(step: int) -> int:
        return step * 7

    feed = mixed_batches.open_pool_feed(str(uneven / "train"), upto, 1.0, 0, Place(), Sampling(classes=(0, 2)))
    assert {int(label) for step in range(5) for label in feed(step).y_B} == {0, 2}
    drawn = Counter(row for step in range(100) for row in feed.list_indices(step).tolist())
    assert len(drawn) == 25
    assert max(drawn.values()) - min(drawn.values()) == 0, "700 rows are 28 whole passes"


@pytest.mark.parametrize("of", ["arm", "compared model", "GAN"])
def test_a_job_draws_its_real_rows_as_it_says(uneven: Folder, monkeypatch: pytest.MonkeyPatch, of: str) -> None:
    counts = {"train": dict(zip("abc", COUNTS, strict=True))}
    records.write_dataset(uneven, counts=counts, classes=["a", "b", "c"])
    settings = ["gan.sampling=balanced", "classifier.sampling=balanced", "gan.workers=1", "models={one: {}, two: {}}"]
    job, run = load_job(DIGITS, settings), Run(uneven / "..")
    feeds: list[BatchFeed] = []
    if of == "GAN":
        monkeypatch.setattr(training_loop, "train_gan", lambda batches, *rest: feeds.append(batches))
        strings = (str(uneven), "teacher", str(run.gan))
        train_worker.train_and_finish(
            train_worker.GanTraining(job.gan, 32, 0, *strings, 1.0, {}), Place(1, 2)
        )  # a rank that writes nothing
    else:
        fit = (
            arm_batches.describe_fit(job, run, arms.REAL, 0)
            if of == "arm"
            else compared_models.describe_training(job, run, "two", 0)
        )
        feeds.append(pickle.loads(pickle.dumps(fit.batches))(Place()))  # noqa: S301  # it travels to other processes
    labels = Counter(int(label) for step in range(30) for label in feeds[0](step).y_B)
    assert len(labels) == 3
    assert max(labels.values()) < 1.2 * min(labels.values()), "in the store it is 23 to 2"


def test_other_than_natural_sampling_is_refused_where_images_are_streamed(uneven: Folder) -> None:
    with pytest.raises(UserError, match=r"raise data\.resident_limit.*data\.loader: resident"):
        open_real_feed(str(uneven), 8, 1e-9, 0, Place(), sampling=BALANCED)


def test_a_gan_that_would_need_it_is_refused_before_workers_start(
    uneven: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_group, "run_on_ranks", lambda *arguments: pytest.fail("workers were started"))
    config = load_job(DIGITS, ["gan.sampling=balanced"]).gan
    with pytest.raises(UserError, match="images in memory"):
        train_gans([train_worker.GanTraining(config, 32, 0, str(uneven), "teacher", str(tmp_path / "gan"), 1e-9, {})])


def test_a_classifier_that_would_need_it_is_refused_before_workers_start(experiment: Run, tiny_job: Job) -> None:
    job = tiny_job.model_copy(update={"data": tiny_job.data.model_copy(update={"resident_limit": 1e-9})})
    arm_batches.refuse_streamed(job, experiment)
    even = job.model_copy(update={"classifier": job.classifier.model_copy(update={"sampling": "balanced"})})
    with pytest.raises(UserError, match="images in memory"):
        arm_batches.refuse_streamed(even, experiment)


@pytest.mark.parametrize("section", ["gan", "classifier"])
def test_a_job_that_streams_cannot_ask_for_it(section: str) -> None:
    with pytest.raises(UserError, match=rf"{section}\.sampling balanced needs the images in memory"):
        load_job(DIGITS, [f"{section}.sampling=balanced", "data.loader=stream"])


def test_rare_classes_count_twice_in_no_job() -> None:
    with pytest.raises(UserError, match="give one"):
        load_job(DIGITS, ["classifier.sampling=balanced", "classifier.class_weights=balanced"])
