"""Soft labels: the teacher's class probabilities as the target of a synthetic image, instead of one class."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.batch import Batch, BatchFeed
from ganaug_ray.data.loading.tensors import scale_images


@dataclass(frozen=True)
class SoftLabelFeed(BatchFeed):
    """A feed whose batches have the teacher's class probabilities as targets.

    That is distillation at temperature one (Hinton et al. 2015, arXiv 1503.02531). The teacher sees each image as it
    was generated, before classic augmentation.
    """

    feed: BatchFeed
    teacher: Classifier

    def count_rows(self, step: int) -> int:
        """Return the number of rows of a step's global batch."""
        return self.feed.count_rows(step)

    @torch.no_grad()
    def __call__(self, step: int) -> Batch:
        """Return this rank's part of a step's global batch, with soft_BK."""
        batch = self.feed(step)
        if not len(batch.y_B):
            return batch
        x_BCHW = scale_images(batch.x_BCHW, self.teacher.spec.image_size)
        return replace(batch, soft_BK=self.teacher.network(x_BCHW).softmax(1))

    def collect_counts(self) -> dict[str, int]:
        """Return the counts of the feed that is softened."""
        return self.feed.collect_counts()


def open_soft_label_feed(fake: Callable[[Place], BatchFeed], teacher: str, place: Place) -> SoftLabelFeed:
    """Open a feed on a rank, with soft labels by the finished model in the folder ``teacher``."""
    return SoftLabelFeed(fake(place), Classifier.load(Folder.from_uri(teacher), place.device))
