"""The model that answers: loaded and warmed aside, then swapped in by one assignment.

A registry's champion.json is looked at again and again; so ``ganaug promote`` reaches every replica within seconds,
without a restart and without a request that waits.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from ganaug_ray.classify import drift
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core import experiment_dir, model_registry
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.serve.fuse_batch_norm import folded

log = logging.getLogger(__name__)

EVERY = 1.0  # seconds between looks at champion.json
WARM = (1, 2, 4, 8, 16, 32)  # batch sizes


@dataclass(frozen=True)
class Model:
    """One version, ready to answer. What holds a reference to it is answered by it alone.

    Attributes:
        name: of what is served; the same for all its versions.
        version: the registry's number, or of a model outside one its hash.
        classifier: as it was trained.
        lineage: as it was promoted; empty outside a registry.
        fast: the same, made to answer sooner, and warmed.
        drift: compares what it is asked with its training images; None where it was promoted without a reference.
    """

    name: str
    version: str
    classifier: Classifier
    lineage: dict[str, Any]
    fast: Classifier
    drift: drift.Detector | None = None

    @property
    def input(self) -> tuple[object, ...]:
        """What an image is brought to: equal for two models that take the same pixels."""
        return *self.shape, self.classifier.spec["resize"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image that is ready for the network: H, W, C."""
        size = self.classifier.spec["image_size"]
        return size, size, self.classifier.spec["channels"]

    def probabilities(self, images_NHWC: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, C] -> float32 [N, K], as ``ganaug predict``; on a GPU computed in bfloat16."""
        with self._precision():
            return self.fast.probabilities(images_NHWC)

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.classifier.device.type != "cuda":
            return contextlib.nullcontext()
        return torch.autocast("cuda", torch.bfloat16)


def load(folder: Folder, name: str, device: str) -> Model:
    """Load a model folder or a registry's version, and run it once at the usual batch sizes.

    Raises:
        UserError: there is no finished model.
    """
    classifier = Classifier.load(folder, device)
    promoted = experiment_dir.done(folder, "version.json") or {}
    version = str(promoted.get("version") or classifier.spec["hash"])
    known = drift.Detector(folder.read_table(drift.FILE), classifier.classes) if folder.has(drift.FILE) else None
    model = Model(name, version, classifier, promoted.get("lineage") or {}, folded(classifier), known)
    for size in WARM:
        model.probabilities(np.zeros((size, *model.shape), np.uint8))
    return model


class Champion:
    """The current model of an experiment, a registry or a model folder.

    Args:
        address: of the folder.
        name: what it is called; absent: as ``name_of``.
        device: where it runs.
        beside: of a candidate, the champion. One of another registry is called by its hash, since that registry's
            numbers are not the champion's.

    Raises:
        UserError: there is no finished model.
    """

    def __init__(
        self, address: str, name: str | None = None, device: str = "cpu", beside: Champion | None = None
    ) -> None:
        folder = Folder.at(address)
        self._registry = model_registry.find_registry(folder)
        self._beside = beside
        self._name = name or name_of(address)
        self._device = device
        self._seen = self._glance()
        self._complaint = ""
        self._stop = threading.Event()
        self.current = self._load(model_registry.model_folder(address))

    def _glance(self) -> bytes:
        return b"" if self._registry is None else self._registry.read("champion.json")

    def _load(self, folder: Folder) -> Model:
        model = load(folder, self._name, self._device)
        if self._beside is not None and not self._beside.has(folder):
            return replace(model, version=model.classifier.spec["hash"])
        if self._registry is None:
            return model
        change = model_registry.changes(self._registry.read_json("champion.json"))[-1]
        return replace(model, lineage={**model.lineage, "change": change})

    def has(self, version: Folder) -> bool:
        """Whether a model folder is a version of this registry."""
        return self._registry is not None and version.path.startswith(f"{self._registry.path}/versions/")

    def look(self) -> bool:
        """Take over the champion if it has changed; says whether it has. One that cannot be loaded changes nothing."""
        assert self._registry is not None, "a model folder has no other version"
        try:
            seen = self._glance()
            if seen == self._seen:
                return False
            fresh = self._load(model_registry.champion_model(self._registry))
        except (UserError, SafetensorError, OSError, ValueError, KeyError) as error:
            if str(error) != self._complaint:
                log.warning("version %s stays, since its successor cannot be loaded: %s", self.current.version, error)
            self._complaint = str(error)
            return False
        self._seen, self._complaint = seen, ""
        self.current = fresh
        log.info("version %s answers from now on", fresh.version)
        return True

    def watch(self) -> None:
        """Look again and again, in a thread, until ``close``. A model folder has nothing to look at."""
        if self._registry is not None:
            threading.Thread(target=self._watch, daemon=True, name="champion").start()

    def _watch(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                self.look()
            except Exception:  # whatever it is, the next look may go well, and this thread is the only one that looks
                log.exception("looking at the champion failed")

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()


def name_of(address: str) -> str:
    """Say what to call the model at an address, in letters that a URL takes.

    >>> name_of("/data/runs/cats & dogs"), name_of("/data/runs/digits/registry/")
    ('cats-dogs', 'digits')
    """
    parts = [part for part in Folder.at(address).path.split("/") if part]
    while len(parts) > 1 and (parts[-1] in ("registry", "versions", "models") or parts[-1].isdigit()):
        parts.pop()
    return re.sub(r"[^A-Za-z0-9._]+", "-", parts[-1]).strip("-.") or "model" if parts else "model"
