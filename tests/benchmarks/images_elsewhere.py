"""What the verdict says of images from elsewhere whose worth is known: held-out real ones, and noise.

    python -m tests.benchmarks.images_elsewhere FOLDER [--splits 5] [--steps 300]

Of Fashion-MNIST (in $GANAUG_DATA) 600 images a class are the data set, of which 20 a class are trained on; 200 others a
class are passed off as synthetic images, and so is uniform noise under the names of the classes. The job compares both,
the noise unscreened; then the noise is tried once more with the screening that is usual.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from ganaug_ray.config import LabelFrom
from ganaug_ray.data import sources

OWN_PER_CLASS = 600
ELSEWHERE_PER_CLASS = 200


def write_folders(root: Path) -> None:
    """Write the three folders of class folders, unless they are there."""
    if (root / "noise").exists():
        return
    seen: dict[str, int] = {}
    draw = np.random.default_rng(0)
    for part in sources.list_parts([f"idx:{os.environ['GANAUG_DATA']}/fashion-mnist"], LabelFrom()):
        for raw in part():
            assert isinstance(raw.content, np.ndarray)
            assert raw.label is not None
            number = seen[raw.label] = seen.get(raw.label, -1) + 1
            if number < OWN_PER_CLASS:
                save(root / "own" / raw.label / f"{number}.png", raw.content)
            elif number < OWN_PER_CLASS + ELSEWHERE_PER_CLASS:
                save(root / "real" / raw.label / f"{number}.png", raw.content)
                noise = draw.integers(0, 256, raw.content.shape, np.uint8)
                save(root / "noise" / raw.label / f"{number}.png", noise)


def save(path: Path, image: np.ndarray) -> None:
    """Write a grey image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.reshape(image.shape[:2])).save(path)


def main() -> None:
    """Write the folders and the job, and run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    root = args.folder.absolute()
    write_folders(root)
    job = {
        "about": "Held-out real images, and noise, passed off as synthetic ones",
        "data": {"source": "own", "resize": "stretch", "train_per_class": 20},
        "augment": {"images": {"real": "real", "noise": "noise"}},
        "arms": {
            "held-out": {"kind": "synthetic", "source": "real"},
            "static": {"kind": "synthetic", "source": "noise", "screen": {"enabled": False}},
            "screened-static": {"kind": "synthetic", "source": "noise"},
        },
        "classifier": {"steps": args.steps},
        "compare": {"splits": args.splits, "seeds": 1},
    }
    path = root / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    command = [sys.executable, "-m", "ganaug_ray", "run", str(path), "--out", str(root / "run")]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
