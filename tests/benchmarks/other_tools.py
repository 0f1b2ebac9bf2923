"""A default run on 240 photographs beside the default fit of AutoGluon MultiModal and of Ludwig: minutes and accuracy.

All see the same training images and are asked about the same others. The tools run in an interpreter of their own, that
of ``--peer-python``; where it lacks one of them, that pair is not measured.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq

from tests.benchmarks.ingest import time_command
from tests.benchmarks.pairs import Benchmark, NotInstalled, Pair, Side
from tests.helpers.dirty import ANIMALS, PHOTOGRAPHS

TRAIN, TEST = 120, 200  # photographs of each class
READ = """
import glob, json, os, sys, time
import pandas as pd
root, out = sys.argv[1:]
def table(part):
    files = sorted(glob.glob(os.path.join(root, part, "*", "*.jpg")))
    return pd.DataFrame({"image": files, "label": [os.path.basename(os.path.dirname(file)) for file in files]})
train, test = table("train"), table("test")
"""
TOOLS = {
    "autogluon": (
        "AutoGluon MultiModal",
        "autogluon.multimodal",
        """
from autogluon.multimodal import MultiModalPredictor
predictor = MultiModalPredictor(label="label", path=out)
predictor.fit(train)
answers = predictor.predict(test)
""",
    ),
    "ludwig": (
        "Ludwig",
        "ludwig",
        """
from ludwig.api import LudwigModel
features = {"input_features": [{"name": "image", "type": "image"}]}
model = LudwigModel({**features, "output_features": [{"name": "label", "type": "category"}]})
model.train(dataset=train, output_directory=out)
answers = model.predict(dataset=test)[0]["label_predictions"]
""",
    ),
}
PRINT = """
print()
print(json.dumps({"accuracy": float((answers.to_numpy() == test["label"].to_numpy()).mean())}))
"""


@contextmanager
def open_sides(tool: str, python: str | None, folder: Path) -> Iterator[Mapping[str, Side]]:
    """A default run and a default fit; accuracy is of the run or fit that came before."""
    title, module, fit = TOOLS[tool]
    if python is None:
        raise NotInstalled(f"{title}: name an interpreter that has it with --peer-python")
    if subprocess.run([python, "-c", f"import {module}"], check=False, capture_output=True).returncode:
        raise NotInstalled(f"{title}: the interpreter of --peer-python lacks it")
    photographs, run, theirs = folder / "photographs-few", folder / "default-run", folder / f"{tool}-fit"
    save_few(photographs)
    accuracy: dict[str, float] = {}

    def run_ours() -> float:
        shutil.rmtree(run, ignore_errors=True)
        ganaug = [sys.executable, "-m", "ganaug_ray"]
        seconds = time_command([*ganaug, "run", photographs / "train", "--out", run])["seconds"]
        answers = folder / "default-answers.parquet"
        answers.unlink(missing_ok=True)
        seconds += time_command([*ganaug, "predict", run, photographs / "test", "--out", answers])["seconds"]
        accuracy["ganaug run"] = read_accuracy(answers)
        return seconds / 60

    def fit_theirs() -> float:
        shutil.rmtree(theirs, ignore_errors=True)
        figures = time_command([python, "-c", READ + fit + PRINT, photographs, theirs])
        accuracy[title] = figures["accuracy"]
        return figures["seconds"] / 60

    works: dict[str, Callable[[], float]] = {"ganaug run": run_ours, title: fit_theirs}
    answers = {f"{name}: accuracy": functools.partial(accuracy.__getitem__, name) for name in works}
    yield {**works, **answers}


def save_few(folder: Path) -> None:
    """Write photographs of each class for training, and others for the test."""
    with zipfile.ZipFile(PHOTOGRAPHS) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        for animal in ANIMALS:
            own = [name for name in names if Path(name).parent.name == animal]
            for part, chosen in (("train", own[:TRAIN]), ("test", own[TRAIN : TRAIN + TEST])):
                (folder / part / animal).mkdir(parents=True, exist_ok=True)
                for name in chosen:
                    (folder / part / animal / Path(name).name).write_bytes(archive.read(name))


def read_accuracy(answers: Path) -> float:
    """Return the share of right answers; an image's folder says what it is."""
    rows = pq.read_table(answers).to_pylist()
    return sum(Path(row["path"]).parent.name == row["label"] for row in rows) / len(rows)


def list_benchmarks(python: str | None) -> list[Benchmark]:
    """Return the benchmark of each tool, which the interpreter has or not."""
    benchmarks = []
    for tool, (title, _, _) in TOOLS.items():
        words = f"a default run on {2 * TRAIN} photographs and {2 * TEST} answers"
        pairs = (
            Pair(f"{tool}-minutes", words, "ganaug run", title, "min"),
            Pair(f"{tool}-accuracy", words, "ganaug run: accuracy", f"{title}: accuracy", ""),
        )
        benchmarks.append(Benchmark(pairs, functools.partial(open_sides, tool, python), slow=True))
    return benchmarks
