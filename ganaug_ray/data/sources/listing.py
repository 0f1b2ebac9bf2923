"""The listing of a job's sources: several steps of a command ask for it, and one of them reads the images."""

from functools import cached_property

from ganaug_ray.config import DataConfig
from ganaug_ray.data import sources
from ganaug_ray.data.sources.raw import SourcePart


class SourceListing:
    """The parts of the sources of a data section, listed once, when they are first asked for.

    Args:
        config: the section; nothing but its sources, labels and columns counts.
    """

    def __init__(self, config: DataConfig) -> None:
        self._config = config

    @cached_property
    def parts(self) -> list[SourcePart]:
        """The parts, as ``sources.list_parts`` yields them; it raises what that does."""
        return list(sources.list_parts(self._config.source, self._config.label_from, self._config.columns))

    def take_parts(self) -> list[SourcePart]:
        """Return the parts, and keep them no longer: those of millions of images take much memory."""
        parts = self.parts
        del self.parts
        return parts
