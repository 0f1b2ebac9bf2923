"""What came out of an experiment, as a tracking server is sent it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.model_registry import find_registry
from ganaug_ray.core.records import ModelRecord, VerdictRecord
from ganaug_ray.core.storage import Folder

_MODEL_FILES = ("model.json", "model.safetensors", "model.onnx", "version.json")
_FILES = ("report.html", "verdict.json", "gan/film.gif", "gan/interpolation.png")


@dataclass(frozen=True)
class Results:
    """What came out of an experiment so far.

    Attributes:
        figures: name -> figure, such as test/real+classic/accuracy.
        tags: name -> words: the verdict, its sentence, the champion's arm.
        files: path in the experiment -> content: the job, the page, the verdict, pictures.
    """

    figures: dict[str, float]
    tags: dict[str, str]
    files: dict[str, bytes]

    def compute_fingerprint(self) -> str:
        """Return a hash of all of it."""
        hashes = {name: experiment_dir.hash_content(content) for name, content in self.files.items()}
        return experiment_dir.compute_fingerprint(self.figures, self.tags, hashes)


def read_results(run: Run) -> Results:
    """Read what came out of an experiment so far; before there is a verdict, that is its job and pictures."""
    files = {name: run.root.read_bytes(name) for name in ("job.yaml", *_FILES) if run.root.has_file(name)}
    figures = {}
    tags = {}
    if verdict := VerdictRecord.find(run.root):
        for arm, its in verdict.arms.items():
            for metric, value in its.mean.items():
                figures[f"test/{arm}/{metric}"] = value
        tags = {"verdict": verdict.verdict or "no comparison", "answer": f"{verdict.sentence} {verdict.action}".strip()}
        tags |= {"champion": verdict.champion.arm}
    return Results(figures, tags, files)


def find_own_champion(run: Run) -> Folder | None:
    """Return the registry's version of the experiment's champion; None where it was not promoted, or is no longer."""
    verdict = VerdictRecord.find(run.root)
    registry = find_registry(run.root)
    if verdict is None or registry is None:
        return None
    champion = registry.read_json("champion.json")
    best = verdict.champion
    model = ModelRecord.find(run.locate_model(best.arm, best.seed, best.split))
    if model is None or champion["model"] != model.hash:
        return None
    return registry / "versions" / str(champion["version"])


def list_model_files(version: Folder) -> list[str]:
    """Return the files of a registry's version that are the model; what it has seen stays here."""
    return [name for name in version.list_files() if name in _MODEL_FILES]


def flatten_settings(job: Job) -> dict[str, str]:
    """Return the settings of a job as text by dotted keys, without where it is tracked."""
    flat: dict[str, str] = {}
    _flatten(job.model_dump(exclude_none=True, exclude={"tracking"}), "", flat)
    return flat


def _flatten(content: Mapping[str, Any], prefix: str, flat: dict[str, str]) -> None:
    for key, value in content.items():
        if isinstance(value, Mapping):
            _flatten(value, f"{prefix}{key}.", flat)
        else:
            flat[prefix + key] = str(value)
