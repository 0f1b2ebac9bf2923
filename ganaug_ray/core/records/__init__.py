"""What the stages leave behind, one frozen record a file; every file says of which version it is."""

from ganaug_ray.core.records.dataset import DatasetRecord

__all__ = ["DatasetRecord"]
