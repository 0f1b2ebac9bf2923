"""What the tests of serving share: a registry whose models need no training."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from ganaug_ray import registry, runs
from ganaug_ray.checkpoints import pack
from ganaug_ray.classify import networks
from ganaug_ray.storage import Folder

CLASSES = ["bird", "cat", "dog", "Übung"]
LINEAGE = {
    "arm": "real+classic",
    "seed": 0,
    "reason": "the best",
    "verdict": "unclear",
    "sentence": "Whether synthetic images helped is unclear.",
    "figures": {"accuracy": 0.75},
    "inputs": {"dataset": "d" * 16, "gan": "e" * 16},
    "job": {"data": {"source": "/home/somebody/secret"}},
}


def promote(experiment: Folder, seed: int, size: int = 32, arch: str = "cnn", channels: int = 3) -> dict[str, Any]:
    """Promote a model of random weights, which depend on the seed, in an experiment's registry."""
    torch.manual_seed(seed)
    wanted = networks.input_of(arch, size, None, False)
    network = networks.build(arch, channels, len(CLASSES), 0.0, wanted)
    for bias in (value for name, value in network.named_parameters() if name.startswith("head") and value.dim() == 1):
        bias.data.normal_(0, 3)  # so that versions differ in what they say
    weights = save(pack({"network": network}))
    folder = (experiment / "models" / str(seed)).make()
    folder.write("model.safetensors", weights)
    spec = {"hash": runs.content_hash(weights), "arch": arch, "classes": CLASSES, "channels": channels}
    folder.write_json("model.json", {**spec, "image_size": size, "resize": "crop", **wanted.spec})
    return registry.promote(experiment / "registry", folder, {**LINEAGE, "seed": seed})


def encoded(seed: int = 0, size: tuple[int, int] = (40, 60), kind: str = "PNG") -> bytes:
    """A file of random pixels, RGB."""
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(sink, kind)
    return sink.getvalue()
