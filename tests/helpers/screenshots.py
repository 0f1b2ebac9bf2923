"""Makes the pictures of the documentation from a finished experiment: python -m tests.helpers.screenshots runs/digits.

The experiment is copied, and its verdict and report are made anew by the code that is here. Nothing is trained.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.conftest import ROOT
from tests.helpers import browser

IMAGES = ROOT / "docs" / "images"
WIDTH = 1000  # pixels


def take_screenshots(experiment: Path, images: Path = IMAGES) -> list[Path]:
    """Write report.png, the top of the experiment's page, and card.png, the top of its data set's card.

    Args:
        experiment: folder of a finished run; it is not changed.
        images: where the pictures go.

    Returns:
        The files.
    """
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        name = f"runs/{experiment.resolve().name}"
        copy = Path(scratch) / name
        shutil.copytree(experiment, copy)
        (copy / "report.json").unlink(missing_ok=True)  # the marker: without it the page is made again
        for verb in ("compare", "report"):
            command = [sys.executable, "-m", "ganaug_ray", verb, f"{name}/job.yaml", "--out", name, "--cpu"]
            subprocess.run(command, check=True, cwd=scratch)
        report = copy / "report.html"
        report.write_text(report.read_text().replace(f"{scratch}/", ""))  # its commands name the folder in full
        written = []
        with browser.tab(Path(scratch) / "profile") as tab:
            for picture, page, height in (("report", "report.html", 920), ("card", "dataset/card.html", 850)):
                tab.show((copy / page).as_uri(), WIDTH, height)
                written.append(images / f"{picture}.png")
                tab.screenshot(written[-1])
                with Image.open(written[-1]) as whole_page:
                    top = whole_page.crop((0, 0, whole_page.width, height))
                top.save(written[-1], optimize=True)
    return written


if __name__ == "__main__":
    print(*take_screenshots(Path(sys.argv[1])), sep="\n")
