"""Making images until enough of them pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ganaug_ray.augment import generate, generated_blocks
from ganaug_ray.augment.screening_rules import Evidence, ScreeningLimits
from ganaug_ray.config import ScreenConfig
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.gan.sampler import BLOCK_SIZE, Generator


class Says:
    """An examiner of whose opinion only a share of the images of each class is recognised."""

    def __init__(self, share: float, config: ScreenConfig) -> None:
        self.share, self.config = share, config

    def set_limits(self, pool: Evidence) -> ScreeningLimits:
        return ScreeningLimits.from_evidence(pool, self.config, [1.0] * 10)

    def __call__(self, images_NHWC: torch.Tensor, y_N: torch.Tensor) -> Evidence:
        n = len(y_N)
        known = torch.arange(n) % 100 < 100 * self.share
        probabilities = torch.zeros(n, 10)
        probabilities[torch.arange(n), torch.where(known, y_N, (y_N + 1) % 10)] = 1.0
        return Evidence(y_N, probabilities, torch.ones(n))


def made(run: Run, wanted: int, examiner: Any) -> list[generated_blocks.GeneratedBlock]:
    return list(generated_blocks.generate_blocks(Generator.load(run.gan), "3", wanted, 7, examiner))


def test_unscreened_images_are_all_kept(experiment: Run) -> None:
    """Without screening every generated image is kept."""
    found = made(experiment, BLOCK_SIZE + 10, None)
    assert [len(block.rows) for block in found] == [BLOCK_SIZE, 10]
    assert all(block.rejects is None for block in found)


def test_generation_continues_until_enough_pass(experiment: Run) -> None:
    """Images are generated until enough have passed screening, and every reject has its reason."""
    found = made(experiment, 300, Says(0.6, ScreenConfig()))
    assert sum(len(block.rows) for block in found) == 300
    assert len(found) == 2
    first = found[0]
    assert first.tally == {"kept": len(first.rows), "off class": BLOCK_SIZE - len(first.rows)}
    assert first.rejects is not None
    assert set(first.rejects["reason"].to_pylist()) == {"off class"}
    assert set(first.rejects["provenance"].to_pylist()).isdisjoint(first.rows.provenance)
    generator = Generator.load(experiment.gan)
    index = [int(name.rsplit(":", 1)[1]) for name in first.rows.provenance]
    assert (generator.generate("3", BLOCK_SIZE, seed=7)[index] == first.rows.images).all(), "each can be made again"


def test_unrecognised_class_stops_after_first_block(experiment: Run) -> None:
    """A class that the teacher does not recognise gets no images, and its generation stops after one block."""
    found = made(experiment, 1000, Says(0.3, ScreenConfig(class_agreement=0.5)))
    assert [len(block.rows) for block in found] == [0]
    assert found[0].tally["class cannot be drawn"] + found[0].tally["off class"] == BLOCK_SIZE


def test_generation_attempts_are_limited(experiment: Run) -> None:
    """Generation for a class of which few images pass ends after a limited number of attempts."""
    found = made(experiment, 2000, Says(0.1, ScreenConfig(class_agreement=0.05)))
    assert len(found) == generated_blocks.MAX_TRIES_PER_IMAGE * 2000 // BLOCK_SIZE + 1
    assert 0 < sum(len(block.rows) for block in found) < 2000


def test_examiner_detects_training_copies(experiment: Run) -> None:
    """The examiner measures training images as copies, other images as new, and predicts their classes."""
    from ganaug_ray.augment.screening import Examiner, Screening
    from ganaug_ray.data.loading import image_store

    folders = (
        str(folder) for folder in (experiment.locate_model("real+classic", 0), experiment.dataset, experiment.gan)
    )
    examine = Examiner(Screening(ScreenConfig(), *folders), "cpu")
    train, test = (image_store.read_images(experiment.dataset / part) for part in ("train", "test"))
    copies, fresh = (
        examine(torch.tensor(rows.images[:200]), torch.tensor(rows.labels[:200])) for rows in (train, test)
    )
    assert copies.near_N.max() < 0.01
    assert fresh.near_N.median() > 0.5
    assert copies.probabilities_NK.shape == (80, 10)
    assert fresh.score_N is not None


def test_examiner_scores_with_matching_discriminator(experiment: Run) -> None:
    """Realism scores come from the discriminator that the generator was trained against, for the requested class."""
    from ganaug_ray.augment.screening import Examiner, Screening

    folders = (
        str(folder) for folder in (experiment.locate_model("real+classic", 0), experiment.dataset, experiment.gan)
    )
    examine = Examiner(Screening(ScreenConfig(), *folders), "cpu")
    images = Generator.load(experiment.gan).generate("3", BLOCK_SIZE, seed=7)
    asked, other = (examine(torch.tensor(images), torch.full((BLOCK_SIZE,), label)).score_N for label in (3, 4))
    assert asked is not None
    assert other is not None
    assert not torch.equal(asked, other)
    (block,) = made(experiment, 10, examine)
    assert block.rejects is not None
    assert set(block.rejects["score"].to_pylist()) <= set(asked.tolist())


def test_screening_needs_no_test_images(experiment: Run, tmp_path: Path) -> None:
    """Screening limits and the images that pass are the same on a machine that has no test images."""
    from ganaug_ray.augment.screening import Screening

    teacher, data, gan = experiment.locate_model("real+classic", 0), experiment.dataset, experiment.gan
    alone, bare = Folder.from_uri(tmp_path / "teacher").create(), Folder.from_uri(tmp_path / "dataset").create()
    for name in ("model.json", "model.safetensors"):
        alone.write_bytes(name, teacher.read_bytes(name))
    for split in ("train", "val"):
        (bare / split).create()
        for name in (data / split).list_files():
            (bare / split).write_bytes(name, (data / split).read_bytes(name))
    mild = ScreenConfig(confidence=0.0, copy_distance=0.0, class_agreement=0.05)
    found = []
    for out, folders in (("all", (teacher, data, gan)), ("bare", (alone, bare, gan))):
        folder = Folder.from_uri(tmp_path / out)
        screening = Screening(mild, *map(str, folders))
        counts = dict.fromkeys("0123456789", 4)  # of some of them images pass, of others none
        generate.generate_locally(counts, 5, gan, folder, screening)
        limits = generate.generate_locally(counts, 5, gan, folder / "live", screening, stored=False)["limits"]
        found.append(({name: folder.read_bytes(name) for name in folder.list_files(".parquet")}, limits))
    (images, limits), (images_bare, limits_bare) = found
    assert limits == limits_bare
    assert len(images) > 0
    assert images == images_bare
