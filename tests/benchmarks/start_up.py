"""How long a command takes before it answers, beside the least that its libraries take."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ganaug_ray.core import model_registry
from ganaug_ray.core.storage import Folder
from tests.benchmarks.pairs import Benchmark, Pair, Side
from tests.benchmarks.serving import encode_jpeg
from tests.helpers.serving import promote

SIZE = 64
# A container may keep Python from storing what it compiles; a user's Python compiles this package once.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
PEER = """
import json, sys
import numpy as np, torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

folder, path = sys.argv[1:]
spec = json.load(open(folder + "/model.json"))
size, filters, layers = spec["input_size"], spec["channels"], []
for block in range((size // 4).bit_length() - 1):
    wider = min(32 * 2 ** block, 256)
    layers += [nn.Conv2d(filters, wider, 3, padding=1, bias=False), nn.BatchNorm2d(wider), nn.ReLU(), nn.MaxPool2d(2)]
    filters = wider
network = nn.ModuleDict({
    "blocks": nn.Sequential(*layers, nn.Flatten()),
    "dense": nn.Sequential(nn.Dropout(0), nn.Linear(filters * 16, 128), nn.ReLU()),
    "head": nn.Sequential(nn.Dropout(0), nn.Linear(128, len(spec["classes"]))),
}).eval()
weights = load_file(folder + "/model.safetensors")
network.load_state_dict({key.removeprefix("network."): value for key, value in weights.items()})
image = Image.open(path).convert("L" if spec["channels"] == 1 else "RGB").resize((size, size))
x = torch.from_numpy(np.asarray(image).reshape(1, size, size, -1).astype("float32") / 127.5 - 1).permute(0, 3, 1, 2)
with torch.inference_mode():
    chances = network["head"](network["dense"](network["blocks"](x))).softmax(1)[0]
print(spec["classes"][int(chances.argmax())], float(chances.max()))
"""


@contextmanager
def open_sides(folder: Path) -> Iterator[Mapping[str, Side]]:
    """The commands and their peers, each run once to fill the caches of files."""
    model, image, job = folder / "predict-model", folder / "predict.jpg", folder / "refused.yaml"
    promote(Folder.from_uri(model), 0, SIZE)
    path = str(model_registry.resolve_model(str(model)))
    image.write_bytes(encode_jpeg(SIZE))
    job.write_text("data: {source: sklearn:digits, image_sise: 32}\n")
    python, ganaug = [sys.executable, "-c"], [sys.executable, "-m", "ganaug_ray"]
    commands = {
        "ganaug --help": [*ganaug, "--help"],
        "import typer": [*python, "import typer"],
        "ganaug prepare": [*ganaug, "prepare", str(job)],
        "import typer, pydantic, yaml": [*python, "import typer, pydantic, yaml"],
        "ganaug predict": [*ganaug, "predict", path, str(image), "--out", str(folder / "answers.csv")],
        "torch script": [*python, PEER, path, str(image)],
    }
    codes = {"ganaug prepare": 2}
    for name, command in commands.items():
        time_command(command, codes.get(name, 0))
    yield {name: lambda name=name: time_command(commands[name], codes.get(name, 0)) for name in commands}


def time_command(command: Sequence[str], code: int) -> float:
    """Return the seconds that a command takes.

    Raises:
        RuntimeError: it ended with another code.
    """
    started = time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=ENVIRONMENT)
    seconds = time.monotonic() - started
    if done.returncode != code:
        raise RuntimeError(f"{command[-1]} ended with {done.returncode}: {done.stderr}")
    return seconds


BENCHMARKS = (
    Benchmark(
        (
            Pair("help", "the help, beside its framework alone", "ganaug --help", "import typer", "s", most=1.5),
            Pair(
                "refused", "a job with an unknown key is refused, beside the libraries alone",
                "ganaug prepare", "import typer, pydantic, yaml", "s",
            ),
            Pair(
                "predict", "the class of one image, beside a script that loads torch and the same weights",
                "ganaug predict", "torch script", "s", most=1.3,
            ),
        ),
        open_sides,
    ),
)  # fmt: skip
