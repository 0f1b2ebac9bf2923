"""Any stage's marker, by the name of its file."""

from __future__ import annotations

from ganaug_ray.core import experiment_dir
from ganaug_ray.core.records.augmentation import AugmentationRecord
from ganaug_ray.core.records.dataset import DatasetRecord
from ganaug_ray.core.records.gan import GanRecord
from ganaug_ray.core.records.images import ImagesRecord
from ganaug_ray.core.records.model import ModelRecord
from ganaug_ray.core.records.stored_record import StageRecord
from ganaug_ray.core.records.verdict import VerdictRecord
from ganaug_ray.core.storage import Folder

RECORDS: dict[str, type[StageRecord]] = {
    record.FILE: record
    for record in (AugmentationRecord, DatasetRecord, GanRecord, ImagesRecord, ModelRecord, VerdictRecord)
}


def find_stage_record(folder: Folder, marker: str) -> StageRecord | None:
    """Return a finished stage's record, or None where the stage is not done.

    A marker without a record of its own is a plain ``StageRecord``: its other keys are kept.

    Raises:
        UserError: as ``StoredRecord.read``.
    """
    if marker in RECORDS:
        return RECORDS[marker].find(folder)
    content = experiment_dir.read_marker(folder, marker)
    return None if content is None else StageRecord.check_content(content, str(folder / marker))
