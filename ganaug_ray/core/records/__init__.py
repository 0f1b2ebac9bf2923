"""What the stages leave behind, one frozen record a file; every file says of which version it is."""

from ganaug_ray.core.records.augmentation import AugmentationRecord
from ganaug_ray.core.records.dataset import DatasetRecord
from ganaug_ray.core.records.gan import GanRecord, GeneratorSpec
from ganaug_ray.core.records.images import ImagesRecord
from ganaug_ray.core.records.model import ModelRecord, ModelSpec
from ganaug_ray.core.records.run import RunRecord
from ganaug_ray.core.records.stages import find_stage_record
from ganaug_ray.core.records.stored_record import StageRecord
from ganaug_ray.core.records.value_range import ValueRange
from ganaug_ray.core.records.verdict import Repeat, VerdictRecord

__all__ = [
    "AugmentationRecord",
    "DatasetRecord",
    "GanRecord",
    "GeneratorSpec",
    "ImagesRecord",
    "ModelRecord",
    "ModelSpec",
    "Repeat",
    "RunRecord",
    "StageRecord",
    "ValueRange",
    "VerdictRecord",
    "find_stage_record",
]
