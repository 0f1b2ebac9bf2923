"""Judges synthetic images by themselves, whatever made them: their quality, and whether they copy training images."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store, tensors
from ganaug_ray.data.loading.resident_loader import ResidentImages
from ganaug_ray.gan import image_grid
from ganaug_ray.gan.metrics import features, kid_fid_prdc, memorization

MAX_IMAGES = 1000  # of each split, and synthetic ones, at most


def audit_samples(
    samples: image_store.LabelledImages, dataset: Folder, teacher: Folder, seed: int, out: Folder
) -> dict[str, Any]:
    """Measure synthetic images against training and validation images, in the teacher's features.

    The images that are nearest to training images are drawn above those, in closest_pairs.png.

    Args:
        samples: the images, not screened, in random order, with labels in the numbering of the data set. Only the first
            1,000 are used.
        dataset: folder of the real images.
        teacher: folder of a classifier that was trained on real images.
        seed: of KID's subsets.
        out: where the picture goes.

    Returns:
        ``quality`` (name -> figure, as of a GAN) and ``memorization`` (the fields of ``memorization.Memorization``).
    """
    classifier = Classifier.load(teacher)
    train = ResidentImages.load(dataset / "train", classifier.device, MAX_IMAGES)
    train_NCHW, train_y = train.take_rows(slice(0, MAX_IMAGES))
    val = ResidentImages.load(dataset / "val", classifier.device, MAX_IMAGES)
    val_NCHW, val_y = val.take_rows(slice(0, MAX_IMAGES))
    fake_NCHW = tensors.to_network(torch.tensor(samples.images[:MAX_IMAGES]))
    fake_NCHW = tensors.scale_images(fake_NCHW, train_NCHW.shape[-1])
    fake_y = torch.tensor(samples.labels[:MAX_IMAGES])
    extractor = features.build_teacher_extractor(classifier.network, train_NCHW)
    with torch.no_grad():
        quality: dict[str, float] = {}
        fake_NF = extractor(fake_NCHW)
        for split, real_NCHW, real_y in (("train", train_NCHW, train_y), ("val", val_NCHW, val_y)):
            real_rows = torch.isin(real_y, fake_y)
            rows = _select_shares(fake_y, real_y)
            if len(rows) and real_rows.any():
                measured = kid_fid_prdc.measure_quality(
                    extractor(real_NCHW[real_rows]),
                    fake_NF[rows],
                    real_y[real_rows],
                    fake_y[rows],
                    extractor.name,
                    seed,
                    split,
                )
                quality |= measured.figures
        predicted = torch.from_numpy(
            classifier.predict_probabilities(tensors.from_network(fake_NCHW).numpy()).argmax(1)
        )
        quality[f"agreement_teacher_n{len(fake_y)}"] = (predicted == fake_y).float().mean().item()
        spaces = [extractor, memorization.PIXEL_EXTRACTOR]
        result = memorization.detect_memorization(train_NCHW, train_y, val_NCHW, fake_NCHW, spaces)
    _draw_closest_pairs(result, fake_NCHW, train_NCHW, out)
    return {"quality": quality, "memorization": asdict(result)}


def _select_shares(fake_y: torch.Tensor, real_y: torch.Tensor) -> torch.Tensor:
    """Select the first synthetic images of each class, as many as there are real ones if possible; int64 [M]."""
    rows = [torch.zeros(0, dtype=torch.int64)]
    for label in real_y.unique().tolist():
        rows.append((fake_y == label).nonzero().flatten()[: int((real_y == label).sum())])
    return torch.cat(rows)


def _draw_closest_pairs(
    result: memorization.Memorization, fake_NCHW: torch.Tensor, train_NCHW: torch.Tensor, out: Folder
) -> None:
    if not result.copy_tests:
        return
    pairs = max(result.copy_tests, key=lambda test: test.excess).closest
    sides = [fake_NCHW[[pair.generated for pair in pairs]], train_NCHW[[pair.train for pair in pairs]]]
    rows: list[np.ndarray] = [tensors.from_network(side).numpy() for side in sides]
    out.write_bytes("closest_pairs.png", image_grid.encode_png(image_grid.arrange_grid(rows)))
