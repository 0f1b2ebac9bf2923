"""The schema of a job: one typed, frozen model a section. The same field names serve YAML, --set and search spaces."""

from ganaug_ray.config.augment import ArmConfig, AugmentConfig, MixConfig, ScreenConfig
from ganaug_ray.config.base import TrainingConfig
from ganaug_ray.config.classifier import ClassifierConfig
from ganaug_ray.config.compare import CompareConfig
from ganaug_ray.config.data import ColumnsConfig, DataConfig, ImbalanceConfig, LabelFrom, SplitConfig
from ganaug_ray.config.gan import GanConfig, PublishedConfig
from ganaug_ray.config.job import Job
from ganaug_ray.config.search import SearchConfig
from ganaug_ray.config.synthetic_sources import GeneratorConfig, ImagesConfig
from ganaug_ray.config.tracking import TrackingConfig

__all__ = [
    "ArmConfig",
    "AugmentConfig",
    "ClassifierConfig",
    "ColumnsConfig",
    "CompareConfig",
    "DataConfig",
    "GanConfig",
    "GeneratorConfig",
    "ImagesConfig",
    "ImbalanceConfig",
    "Job",
    "LabelFrom",
    "MixConfig",
    "PublishedConfig",
    "ScreenConfig",
    "SearchConfig",
    "SplitConfig",
    "TrackingConfig",
    "TrainingConfig",
]
