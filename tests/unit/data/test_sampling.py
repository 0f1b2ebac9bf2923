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
from ganaug_ray.runtime.hardware import Hardware
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


def test_balanced_epoch_equalises_classes() -> None:
    """A balanced epoch draws every class as often as the largest has rows, and its rows equally often."""
    rows = BALANCED.order_epoch(LABELS_N, 0, (0,))
    assert Counter(LABELS_N[rows].tolist()) == {0: 23, 1: 23, 2: 23}
    for label, n in enumerate(COUNTS):
        times = Counter(rows[LABELS_N[rows] == label].tolist())
        assert len(times) == n
        assert set(times.values()) <= {23 // n, 23 // n + 1}


def test_balanced_epochs_prefer_no_row() -> None:
    """Over many balanced epochs no row of a class is preferred."""
    drawn = Counter(row for number in range(200) for row in BALANCED.order_epoch(LABELS_N, number, (0,)).tolist())
    of_five = [drawn[row] for row in np.flatnonzero(LABELS_N == 1)]
    assert sum(of_five) == 200 * 23
    assert max(of_five) - min(of_five) < 0.1 * 200, "else it were always the same three rows that come once more"


def test_natural_sampling_keeps_usual_order(uneven: Folder) -> None:
    """Natural sampling keeps the order of the plain permutations."""
    feed = open_real_feed(str(uneven), 7, 1.0, 5, Place())
    drawn = [row for step in range(9) for row in feed.list_indices(step)]
    assert drawn == slice_permutations(30, 0, 63, (5, "real")).tolist()


@pytest.mark.parametrize("sampling", [BALANCED, Sampling(classes=(1, 2)), Sampling(True, (1, 2))])
@pytest.mark.parametrize("workers", [2, 3])
def test_rank_count_keeps_sampled_batches(uneven: Folder, sampling: Sampling, workers: int) -> None:
    """Any number of ranks draws the same global batches."""

    def drawn(place: Place) -> list[list[int]]:
        feed = open_real_feed(str(uneven), 24, 1.0, 5, place, sampling=pickle.loads(pickle.dumps(sampling)))  # noqa: S301  # as to a worker
        return [feed.list_indices(step).tolist() for step in range(8)]

    parts = [drawn(Place(rank, workers)) for rank in range(workers)]
    assert [list(itertools.chain(*step)) for step in zip(*parts, strict=True)] == drawn(Place())


def test_only_chosen_classes_are_drawn(uneven: Folder) -> None:
    """Rows are drawn from the chosen classes alone, and equally often."""

    def upto(step: int) -> int:
        return step * 7

    feed = mixed_batches.open_pool_feed(str(uneven / "train"), upto, 1.0, 0, Place(), Sampling(classes=(0, 2)))
    assert {int(label) for step in range(5) for label in feed(step).y_B} == {0, 2}
    drawn = Counter(row for step in range(100) for row in feed.list_indices(step).tolist())
    assert len(drawn) == 25
    assert max(drawn.values()) - min(drawn.values()) == 0, "700 rows are 28 whole passes"


@pytest.mark.parametrize("of", ["arm", "compared model", "GAN"])
def test_jobs_apply_their_sampling(uneven: Folder, monkeypatch: pytest.MonkeyPatch, of: str) -> None:
    """Arms, compared models and the GAN draw their real rows as the job says."""
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
            arm_batches.build_training(job, run, arms.REAL, 0)
            if of == "arm"
            else compared_models.build_training(job, run, "two", 0)
        )
        feeds.append(pickle.loads(pickle.dumps(fit.batches))(Place()))  # noqa: S301  # it travels to other processes
    labels = Counter(int(label) for step in range(30) for label in feeds[0](step).y_B)
    assert len(labels) == 3
    assert max(labels.values()) < 1.2 * min(labels.values()), "in the store it is 23 to 2"


def test_streamed_images_need_natural_sampling(uneven: Folder) -> None:
    """Other than natural sampling is refused where images are streamed."""
    with pytest.raises(UserError, match=r"raise data\.resident_limit.*data\.loader: resident"):
        open_real_feed(str(uneven), 8, 1e-9, 0, Place(), sampling=BALANCED)


def test_streamed_gan_is_refused_early(uneven: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GAN with balanced sampling of streamed images is refused before workers start."""
    monkeypatch.setattr(worker_group, "run_on_ranks", lambda *arguments: pytest.fail("workers were started"))
    config = load_job(DIGITS, ["gan.sampling=balanced"]).gan
    with pytest.raises(UserError, match="images in memory"):
        train_gans(
            [train_worker.GanTraining(config, 32, 0, str(uneven), "teacher", str(tmp_path / "gan"), 1e-9, {})],
            Hardware.of_one_machine(2),
        )


def test_streamed_classifier_is_refused_early(experiment: Run, tiny_job: Job) -> None:
    """A classifier with balanced sampling of streamed images is refused before workers start."""
    job = tiny_job.model_copy(update={"data": tiny_job.data.model_copy(update={"resident_limit": 1e-9})})
    arm_batches.refuse_streamed(job, experiment)
    even = job.model_copy(update={"classifier": job.classifier.model_copy(update={"sampling": "balanced"})})
    with pytest.raises(UserError, match="images in memory"):
        arm_batches.refuse_streamed(even, experiment)


@pytest.mark.parametrize("section", ["gan", "classifier"])
def test_streaming_job_refuses_balanced_sampling(section: str) -> None:
    """A job that streams its images cannot ask for balanced sampling."""
    with pytest.raises(UserError, match=rf"{section}\.sampling balanced needs the images in memory"):
        load_job(DIGITS, [f"{section}.sampling=balanced", "data.loader=stream"])


def test_double_balancing_is_refused() -> None:
    """Balanced sampling together with balanced class weights is refused."""
    with pytest.raises(UserError, match="give one"):
        load_job(DIGITS, ["classifier.sampling=balanced", "classifier.class_weights=balanced"])
