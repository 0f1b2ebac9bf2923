"""The model that answers: a new version is loaded and warmed up in the background, then swapped in by one assignment.

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
from ganaug_ray.core.distributed import has_fast_bfloat16
from ganaug_ray.core.records import ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.serve.fuse_batch_norm import fuse_classifier

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 1.0  # seconds between looks at champion.json
WARM_UP_BATCH_SIZES = (1, 2, 4, 8, 16, 32)  # batch sizes


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model, loaded and warmed up.

    Attributes:
        name: of what is served; the same for all its versions.
        version: the registry's number, or of a model outside one its hash.
        record: its model.json.
        classifier: as it was trained.
        lineage: as it was promoted; empty outside a registry.
        fast: the same, made to answer sooner, and warmed.
        drift: compares what it is asked with its training images; None where it was promoted without a reference.
    """

    name: str
    version: str
    record: ModelRecord
    classifier: Classifier
    lineage: dict[str, Any]
    fast: Classifier
    drift: drift.DriftDetector | None = None

    @property
    def input(self) -> tuple[object, ...]:
        """What the model's input is made by: equal for two models that take the same pixels."""
        return *self.shape, self.record.resize, self.record.value_range

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of an image that is ready for the network: (H, W, C)."""
        size = self.record.image_size
        return size, size, self.record.channels

    def predict_probabilities(self, images_NHWC: np.ndarray) -> np.ndarray:
        """Predict float32 [N, K] from uint8 [N, H, W, C].

        On the CPU each probability is within 1e-5 of what ``ganaug predict`` gives: both compute in float32, and only
        batch norm is folded here. On a GPU nothing so narrow is promised: here layers run in bfloat16, which keeps
        eight bits, if the GPU has it, and there in float32 with convolutions in TF32. Classes that are nearly as likely
        may change places.
        """
        with self._use_precision():
            return self.fast.predict_probabilities(images_NHWC)

    def _use_precision(self) -> contextlib.AbstractContextManager[Any]:
        if not has_fast_bfloat16(self.classifier.device):
            return contextlib.nullcontext()
        return torch.autocast("cuda", torch.bfloat16)


def load_version(folder: Folder, name: str, device: str) -> ModelVersion:
    """Load a model folder or a registry's version, and warm it up at the usual batch sizes.

    Raises:
        UserError: there is no finished model.
    """
    classifier = Classifier.load(folder, device)
    record = ModelRecord.read(folder)
    version_record = experiment_dir.read_marker(folder, "version.json") or {}
    version = str(version_record.get("version") or record.hash)
    detector = None
    if folder.has_file(drift.REFERENCE_FILE):
        detector = drift.DriftDetector(folder.read_table(drift.REFERENCE_FILE), classifier.classes)
    lineage = version_record.get("lineage") or {}
    model = ModelVersion(name, version, record, classifier, lineage, fuse_classifier(classifier), detector)
    for size in WARM_UP_BATCH_SIZES:
        model.predict_probabilities(np.zeros((size, *model.shape), np.uint8))
    return model


class LiveModel:
    """The current model of an experiment, a registry or a model folder, which follows the champion.

    Args:
        address: of the folder.
        name: what it is called; absent: as ``choose_name``.
        device: where it runs.
        champion: of a candidate, the champion. One of another registry is called by its hash, since that registry's
            numbers are not the champion's.

    Raises:
        UserError: there is no finished model.
    """

    def __init__(
        self, address: str, name: str | None = None, device: str = "cpu", champion: LiveModel | None = None
    ) -> None:
        folder = Folder.from_uri(address)
        self._registry = model_registry.find_registry(folder)
        self._champion = champion
        self._name = name or choose_name(address)
        self._device = device
        self._champion_content = self._read_champion()
        self._complaint = ""
        self._stop = threading.Event()
        self.current = self._load_version(model_registry.resolve_model(address))

    def _read_champion(self) -> bytes:
        return b"" if self._registry is None else self._registry.read_bytes("champion.json")

    def _load_version(self, folder: Folder) -> ModelVersion:
        model = load_version(folder, self._name, self._device)
        if self._champion is not None and not self._champion.has_version(folder):
            return replace(model, version=model.record.hash)
        if self._registry is None:
            return model
        change = model_registry.list_changes(self._registry.read_json("champion.json"))[-1]
        return replace(model, lineage={**model.lineage, "change": change})

    def has_version(self, version: Folder) -> bool:
        """Return whether a model folder is a version of this model's registry."""
        return self._registry is not None and version.path.startswith(f"{self._registry.path}/versions/")

    def reload_if_changed(self) -> bool:
        """Load the champion if it has changed, and return whether; one that cannot be loaded changes nothing."""
        assert self._registry is not None, "a model folder has no other version"
        try:
            content = self._read_champion()
            if content == self._champion_content:
                return False
            version = self._load_version(model_registry.find_champion_model(self._registry))
        except (UserError, SafetensorError, OSError, ValueError, KeyError) as error:
            if str(error) != self._complaint:
                logger.warning(
                    "version %s stays, since its successor cannot be loaded: %s", self.current.version, error
                )
            self._complaint = str(error)
            return False
        self._champion_content = content
        self._complaint = ""
        self.current = version
        logger.info("version %s answers from now on", version.version)
        return True

    def start_watching(self) -> None:
        """Watch for a new champion in a thread, until ``stop_watching``; nothing to do for a model folder."""
        if self._registry is not None:
            threading.Thread(target=self._watch_champion, daemon=True, name="champion").start()

    def _watch_champion(self) -> None:
        while not self._stop.wait(POLL_INTERVAL_S):
            try:
                self.reload_if_changed()
            except Exception:  # whatever it is, the next look may go well, and this thread is the only one that looks
                logger.exception("the champion could not be checked")

    def stop_watching(self) -> None:
        """Stop watching for a new champion."""
        self._stop.set()


def choose_name(address: str) -> str:
    """Return a name for the model at an address, in letters that a URL takes.

    >>> choose_name("/data/runs/cats & dogs"), choose_name("/data/runs/digits/registry/")
    ('cats-dogs', 'digits')
    """
    parts = [part for part in Folder.from_uri(address).path.split("/") if part]
    while len(parts) > 1 and (parts[-1] in ("registry", "versions", "models") or parts[-1].isdigit()):
        parts.pop()
    if not parts:
        return "model"
    return re.sub(r"[^A-Za-z0-9._]+", "-", parts[-1]).strip("-.") or "model"
