"""Does screening pay? Classifiers trained on screened or on unscreened synthetic images alone, tested on real ones.

    python -m tests.benchmarks.cas runs/fashion_scarce [--per-class 200] [--steps 600] [--seeds 5]

The folder holds a finished dataset, teacher and gan. Each seed draws images of its own and trains one classifier on
each side: as many images a class, the same steps, augmentation and initial weights.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
import torch
from scipy import stats

from ganaug_ray.augment import generated_blocks
from ganaug_ray.augment.arms import locate_teacher
from ganaug_ray.augment.screening import Examiner, Screening
from ganaug_ray.config import ClassifierConfig, ScreenConfig
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.gan.metrics.classification_accuracy_score import compute_cas
from ganaug_ray.gan.sampler import Generator


def images(generator: Generator, each: int, seed: int, examiner: Examiner | None) -> tuple[np.ndarray, np.ndarray]:
    """Draw so many images of every class: uint8 [N, H, W, C], int64 [N]."""
    made = [
        block.rows
        for name in generator.classes
        for block in generated_blocks.generate_blocks(generator, name, each, seed, examiner)
    ]
    return np.concatenate([rows.images for rows in made]), np.concatenate([rows.labels for rows in made])


def main() -> None:
    """Print both sides' accuracies, and the interval of their paired difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment")
    parser.add_argument("--per-class", type=int, default=200)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--confidence", type=float, default=ScreenConfig().confidence)
    parser.add_argument("--realism", type=float, default=ScreenConfig().realism)
    given = parser.parse_args()
    run = Run(Folder.from_uri(given.experiment))
    generator, teacher = Generator.load(run.gan), locate_teacher(run)
    settings = ScreenConfig(confidence=given.confidence, realism=given.realism)
    examiner = Examiner(Screening(settings, str(teacher), str(run.dataset), str(run.gan)), "cpu")
    test = image_store.read_images(run.dataset / "test")
    config = ClassifierConfig(**teacher.read_json("model.json")["config"])
    sides = {"unscreened": None, "screened": examiner}
    scores: dict[str, list[float]] = {side: [] for side in sides}
    for seed, side in itertools.product(range(given.seeds), sides):
        x_NHWC, y_N = images(generator, given.per_class, seed, sides[side])
        with torch.random.fork_rng():
            found = compute_cas(
                x_NHWC, y_N, test.images, test.labels, len(generator.classes), config, seed, given.steps
            )
        (name, value), *_ = found.items()
        scores[side].append(value)
        print(f"seed {seed}, {side}: {name} {value:.4f}", flush=True)
    differences = np.subtract(scores["screened"], scores["unscreened"])
    interval = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    print(f"tested on {len(test)} real images; mean {' '.join(f'{s} {np.mean(v):.4f}' for s, v in scores.items())}")
    print(f"difference {differences.mean():+.4f}, 95 % interval {interval.low:+.4f} to {interval.high:+.4f}")


if __name__ == "__main__":
    main()
