"""run.json: what each finished stage of an experiment took and gave, summed up from their markers."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records.stored_record import Part, StoredRecord


class StageSummary(Part):
    """What a stage's marker says of it; None where it does not say."""

    status: str | None = None
    """done."""
    seconds: float | None = None
    """What the stage took."""
    hash: str | None = None
    """Of what the stage made."""
    inputs: dict[str, Any] | None = None
    """Hashes of what it was made from, by name."""
    versions: dict[str, str] | None = None
    """Of the packages that decide the figures, by name."""


class RunRecord(StoredRecord):
    """The experiment in short."""

    FILE: ClassVar[str] = "run.json"

    stages: dict[str, StageSummary]
    """Finished stages in order: dataset, gan, models/ARM/seed-0, verdict and so on."""

    @classmethod
    def write(cls, run: Run) -> Self:
        """Write status, seconds and hashes of each finished stage, from the markers; return the record."""
        stages = {}
        for name, folder, marker in run.list_markers():
            if content := experiment_dir.read_marker(folder, marker):
                stages[name] = {key: content[key] for key in StageSummary.model_fields if key in content}
        summary = {"version": cls.VERSION, "stages": stages, "versions": experiment_dir.collect_versions()}
        record = cls.check_content(summary, str(run.root / cls.FILE))
        run.root.write_json(cls.FILE, summary)
        return record
