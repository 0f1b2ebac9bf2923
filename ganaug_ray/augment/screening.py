"""Gathers the evidence about synthetic images: the teacher's and the discriminator's opinion, and near copies."""

import functools
from dataclasses import dataclass

import torch

from ganaug_ray.augment.screening_rules import Evidence, ScreeningLimits
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import ScreenConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import tensors
from ganaug_ray.data.loading.resident_loader import ResidentImages
from ganaug_ray.gan.metrics import features
from ganaug_ray.gan.metrics.memorization import PIXEL_EXTRACTOR
from ganaug_ray.gan.metrics.nearest_neighbors import NeighborSpacing
from ganaug_ray.gan.sampler import load_discriminator

MAX_TRAIN_IMAGES = 20_000  # training images that copies are looked for among
MAX_HELD_OUT_IMAGES = 2_000  # validation images by which the teacher is judged itself


@dataclass(frozen=True)
class Screening:
    """What synthetic images are screened with, as plain data that can be sent to any process.

    Attributes:
        config: the limits.
        teacher: folder of a classifier.
        dataset: folder of the real images.
        gan: folder with the discriminator that the images' generator was trained against; None: there is none, and
            realism is not looked at.
    """

    config: ScreenConfig
    teacher: str
    dataset: str
    gan: str | None


class Examiner:
    """Gathers evidence about synthetic images from the teacher, the training images and the discriminator."""

    def __init__(self, screening: Screening, device: torch.device | str) -> None:
        self.config = screening.config
        self._teacher = Classifier.load(Folder.from_uri(screening.teacher), device)
        train = ResidentImages.load(
            Folder.from_uri(screening.dataset) / "train", self._teacher.device, MAX_TRAIN_IMAGES
        )
        real_NCHW, y_N = train.take_rows(slice(0, len(train)))
        self._size = real_NCHW.shape[-1]
        self._spaces = [features.build_teacher_extractor(self._teacher.network, real_NCHW), PIXEL_EXTRACTOR]
        self._discriminator = load_discriminator(Folder.from_uri(screening.gan), device) if screening.gan else None
        self._yardsticks = [NeighborSpacing(space(real_NCHW), y_N) for space in self._spaces]
        self._held_out = Folder.from_uri(screening.dataset) / "val"

    @functools.cached_property
    def _recall_K(self) -> list[float]:
        return measure_recall(self._teacher, self._held_out)

    def set_limits(self, pool: Evidence) -> ScreeningLimits:
        """Set the limits from the evidence on images that were not screened."""
        return ScreeningLimits.from_evidence(pool, self.config, self._recall_K)

    @torch.no_grad()
    def __call__(self, images_NHWC: torch.Tensor, y_N: torch.Tensor) -> Evidence:
        """Examine generated images, uint8 [N, H, W, C], and the classes that were asked for, int64 [N]."""
        labels_N = y_N.to(self._teacher.device)
        drawn_NCHW = tensors.to_network(images_NHWC.to(self._teacher.device))
        x_NCHW = tensors.scale_images(drawn_NCHW, self._size)
        near = [stick(space(x_NCHW))[0] for space, stick in zip(self._spaces, self._yardsticks, strict=True)]
        return Evidence(
            y_N=labels_N,
            probabilities_NK=self._teacher.network(x_NCHW).softmax(1),
            near_N=torch.stack(near).amin(0),
            score_N=self._discriminator(drawn_NCHW, labels_N) if self._discriminator else None,
        )


@torch.no_grad()
def measure_recall(teacher: Classifier, held_out: Folder) -> list[float]:
    """Measure which share of held-out real images a teacher recognises, one a class; nan: there are none."""
    rows = ResidentImages.load(held_out, teacher.device, MAX_HELD_OUT_IMAGES)
    x_NCHW, y_N = rows.take_rows(slice(0, len(rows)))
    is_right_N = teacher.network(x_NCHW).argmax(1) == y_N
    return [is_right_N[y_N == label].float().mean().item() for label in range(len(teacher.classes))]
