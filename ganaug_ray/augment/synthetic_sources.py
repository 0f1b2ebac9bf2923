"""Where synthetic images come from: a GAN that this job trains, a shared generator, or finished images.

An arm knows of its pool alone. A pool knows its source, and is filled from it: a source with a generator makes images,
one with images hands them over; both are screened alike, see ``generate`` and ``imported_pool``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ganaug_ray.config.augment import ArmConfig
from ganaug_ray.config.synthetic_sources import GENERATOR, IMAGES, OWN_GAN
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import GanRecord, ImagesRecord, ModelRecord, StageRecord
from ganaug_ray.core.storage import Folder

CLASSIFIER_FOLDER = "classifier"  # in the folder of a shared generator, and in its pack


@dataclass(frozen=True)
class SyntheticSource(ABC):
    """A source of synthetic images in one split.

    Attributes:
        folder: what the source left in the experiment, with its marker.
        dataset: of the real images that its images are screened against.
        name: as arms have it.
    """

    folder: Folder
    dataset: Folder
    name: str = OWN_GAN

    @abstractmethod
    def find_record(self) -> StageRecord | None:
        """Return the marker of the folder, or None where it is not finished."""

    @property
    def is_imported(self) -> bool:
        """Whether it has finished images, and no generator."""
        return False

    @property
    def discriminator(self) -> Folder | None:
        """The folder of a discriminator whose scores images are screened by; None: there is none."""
        return None

    @property
    def classifier(self) -> Folder | None:
        """The folder of a classifier that came with the images and knows all classes; None: there is none."""
        return None


@dataclass(frozen=True)
class GanSource(SyntheticSource):
    """A GAN that this job trains on the data set in ``dataset``."""

    def find_record(self) -> GanRecord | None:
        """Return the marker of the trained GAN."""
        return GanRecord.find(self.folder)

    @property
    def discriminator(self) -> Folder | None:
        """The folder of the GAN."""
        return self.folder


@dataclass(frozen=True)
class GeneratorSource(SyntheticSource):
    """A shared generator that was adopted: its classes are those of the data set."""

    def find_record(self) -> GanRecord | None:
        """Return the marker of the adopted generator."""
        return GanRecord.find(self.folder)

    @property
    def classifier(self) -> Folder | None:
        """The folder of the classifier that its site shared too: it was trained on far more of such images."""
        folder = self.folder / CLASSIFIER_FOLDER
        return folder if folder.has_file(ModelRecord.FILE) else None


@dataclass(frozen=True)
class ImagesSource(SyntheticSource):
    """Finished images, imported once for the whole experiment."""

    def find_record(self) -> ImagesRecord | None:
        """Return the marker of the imported images."""
        return ImagesRecord.find(self.folder)

    @property
    def is_imported(self) -> bool:
        """True: they are there."""
        return True


def locate_gan(run: Run, pseudo: bool = False) -> GanSource:
    """Return the GAN that is trained on labelled images or, with ``pseudo``, on pseudo-labelled ones too."""
    folder = run.root / ("gan-pseudo" if pseudo else "gan")
    return GanSource(folder, run.pseudo if pseudo else run.dataset)


def locate_generator(run: Run) -> GeneratorSource:
    """Return the shared generator of a job that has one; it is adopted in each split."""
    return GeneratorSource(run.root / GENERATOR, run.dataset, GENERATOR)


def locate_images(run: Run, name: str) -> Folder:
    """Return the folder of imported images; the whole experiment has one."""
    return run.experiment / (IMAGES if name == IMAGES else f"{IMAGES}-{name}")


def locate_source(run: Run, arm: ArmConfig) -> SyntheticSource:
    """Return the source of an arm's synthetic images."""
    if arm.source == OWN_GAN:
        return locate_gan(run, arm.traits.pseudo)
    if arm.source == GENERATOR:
        return locate_generator(run)
    return ImagesSource(locate_images(run, arm.source), run.dataset, arm.source)
