"""How long a command takes before it answers, beside the least that its libraries take.

    python -m tests.benchmarks.start_up RUN IMAGE [--rounds 5]

RUN is an experiment or model folder whose classifier is the base CNN. Each pair runs by turns, so that what else the
machine does meets both sides.

help:    `ganaug --help` / `python -c "import typer"`
refused: `ganaug prepare` of a job with an unknown key / `python -c "import typer, pydantic, yaml"`
predict: `ganaug predict RUN IMAGE` / a script that loads torch and the same weights, and classifies the image
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ganaug_ray.core import model_registry

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("image")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    python = sys.executable
    ganaug = [python, "-m", "ganaug_ray"]
    model = str(model_registry.resolve_model(asked.run))
    with tempfile.TemporaryDirectory() as folder:
        bad = Path(folder) / "bad.yaml"
        bad.write_text("data: {source: sklearn:digits, image_sise: 32}\n")
        out = str(Path(folder) / "answers.csv")
        pairs = {
            "help": ([*ganaug, "--help"], [python, "-c", "import typer"]),
            "refused": ([*ganaug, "prepare", str(bad)], [python, "-c", "import typer, pydantic, yaml"]),
            "predict": (
                [*ganaug, "predict", model, asked.image, "--out", out],
                [python, "-c", PEER, model, asked.image],
            ),
        }
        for name, sides in pairs.items():
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(asked.rounds + 1):  # the first one fills the caches of files
                for command, taken in zip(sides, times, strict=True):
                    taken.append(time_command(command))
            print_pair(name, times[0][1:], times[1][1:])


def time_command(command: list[str]) -> float:
    """Return the seconds that a command takes."""
    started = time.monotonic()
    subprocess.run(command, check=False, capture_output=True)
    return time.monotonic() - started


def print_pair(name: str, ours: list[float], theirs: list[float]) -> None:
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    figures = "   ".join(
        f"{label} {min(values):.2f} {statistics.median(values):.2f} {max(values):.2f}{unit}"
        for label, values, unit in (("ganaug", ours, " s"), ("peer", theirs, " s"), ("ratio", ratios, ""))
    )
    print(f"{name:<8} least, median, most:   {figures}", flush=True)


if __name__ == "__main__":
    main()
