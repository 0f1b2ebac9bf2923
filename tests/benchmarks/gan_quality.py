"""Trained generators side by side, and held-out real images beside them: all against the same training images.

    python -m tests.benchmarks.gan_quality runs/scarce runs/dcgan

Each folder holds a finished gan of the same dataset and teacher. What held-out real images reach is what a perfect
generator would.
"""

from __future__ import annotations

import argparse

import torch

from ganaug_ray.augment.arms import locate_teacher
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import GanConfig
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.resident_loader import ResidentImages
from ganaug_ray.gan.metrics import evaluator, kid_fid_prdc
from ganaug_ray.gan.sampler import Generator

CPU = torch.device("cpu")


def main() -> None:
    """Print one line a generator, and one of held-out images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+")
    given = parser.parse_args()
    tables: dict[str, dict[str, float]] = {}
    for folder in given.experiments:
        run = Run(Folder.from_uri(folder))
        train, val, test = (
            ResidentImages.load(run.dataset / split, CPU, evaluator.MAX_IMAGES_PER_SPLIT)
            for split in ("train", "val", "test")
        )
        record = run.gan.read_json("gan.json")
        teacher = locate_teacher(run)
        measuring = evaluator.GanEvaluator(train, val, teacher, GanConfig(**record["config"]), record["seed"])
        with torch.no_grad():
            tables[f"{run.root.name}, step {record['chosen']['step']}"] = measuring.measure_quality(
                Generator.load(run.gan).network
            )
            (x_NCHW, y_N), (held_MCHW, held_y) = (
                measuring.train_rows,
                test.take_rows(slice(0, evaluator.MAX_IMAGES_PER_SPLIT)),
            )
            extract = measuring.extractor
            held = kid_fid_prdc.measure_quality(
                extract(x_NCHW), extract(held_MCHW), y_N, held_y, extract.name, record["seed"]
            )
            known = Classifier.load(teacher).network(held_MCHW).argmax(1) == held_y
            tables["held-out real images"] = held.figures | {"agreement": known.float().mean().item()}
    names = ["agreement", "kid", "fid", "precision", "recall", "density", "coverage"]
    print(f"{'':32}" + "".join(f"{name:>11}" for name in names))
    for what, figures in tables.items():
        of_train = {name.split("_")[0]: value for name, value in figures.items() if not name.endswith("_std")}
        print(f"{what:32}" + "".join(f"{of_train[name]:11.3f}" for name in names))


if __name__ == "__main__":
    main()
