"""Compares generated images with held-out real ones, each against the training images: what a generator is judged by.

A perfect generator would reach what real images reach that it has not seen. So each figure is taken twice, of as many
images of the same classes, against the same training images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ganaug_ray.core import rng
from ganaug_ray.gan.metrics import kid_fid_prdc

MAX_ROUNDS = 5  # of draws, whose mean is taken: chance is the larger part of what few images give
MAX_IMAGES = 1000  # generated for the rounds together and, once more, for the classes together; if classes are few
MIN_IMAGES_PER_CLASS = 10
MAX_IMAGES_PER_CLASS = 100

DrawImages = Callable[[torch.Tensor], "ComparedImages"]
"""Generates images of classes, int64 [N]."""


@dataclass(frozen=True)
class ComparedImages:
    """Images as they are compared.

    Attributes:
        features_NF: float [N, F].
        y_N: their classes or, of generated ones, those that were asked for; int64 [N].
        predicted_N: the teacher's classes, int64 [N].
    """

    features_NF: torch.Tensor
    y_N: torch.Tensor
    predicted_N: torch.Tensor

    def take_rows(self, rows: torch.Tensor) -> "ComparedImages":
        """Return some of the images, by their numbers or a mask."""
        return ComparedImages(self.features_NF[rows], self.y_N[rows], self.predicted_N[rows])


def compare_with_held_out(
    train_NF: torch.Tensor,
    train_y: torch.Tensor,
    held_out: ComparedImages,
    draw: DrawImages,
    classes: Sequence[str],
    seed: int,
    labels: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Measure generated and held-out real images against training images, side by side.

    Coverage and recall depend on the number of images: of two equal samples of one distribution, coverage is
    about 1 - 1/2^5 = 0.97 (Naeem et al. 2020, arXiv 2002.09797). So they are taken of as many images of each kind,
    as many as the fewest are, and averaged over draws of all three.

    Args:
        train_NF: features of the training images, float [N, F].
        train_y: their classes, int64 [N].
        held_out: real images that the generator has not seen.
        draw: generates images of some classes, other ones at each call.
        classes: names of all classes, in order of their numbers.
        seed: of the draws of real images.
        labels: numbers of the classes that the generator knows, whose images alone are compared; absent: it draws
            images of no class.

    Returns:
        The fields of ``core.records.gan.HeldOutComparison``.
    """
    if labels:
        known = torch.tensor(labels, device=train_y.device)
        is_known = torch.isin(train_y, known)
        train_NF, train_y = train_NF[is_known], train_y[is_known]
        held_out = held_out.take_rows(torch.isin(held_out.y_N, known))
    comparison: dict[str, Any] = {"images": min(len(train_NF), len(held_out.y_N))}
    if comparison["images"] >= kid_fid_prdc.MIN_IMAGES:
        comparison |= _compare_sets(train_NF, held_out, draw, comparison["images"], seed)
        comparison["kid_of_a_class"] = _measure_class_distance(train_NF, train_y, seed)
    if labels:
        comparison["classes"] = _compare_recognition(held_out, draw, classes, labels)
    return comparison


def _compare_sets(
    train_NF: torch.Tensor, held_out: ComparedImages, draw: DrawImages, n: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return coverage, recall and KID of generated and of held-out images."""
    rounds = max(1, min(MAX_ROUNDS, MAX_IMAGES // n))
    choice = rng.make_generator(seed, "held-out comparison")
    generated_parts = []
    prdc: dict[str, list[kid_fid_prdc.Prdc]] = {"generated": [], "held_out": []}
    for _ in range(rounds):
        rows = torch.randperm(len(held_out.y_N), generator=choice)[:n].to(train_NF.device)
        real_NF = train_NF[torch.randperm(len(train_NF), generator=choice)[:n].to(train_NF.device)]
        generated = draw(held_out.y_N[rows])
        generated_parts.append(generated.features_NF)
        prdc["generated"].append(kid_fid_prdc.compute_prdc(real_NF, generated.features_NF))
        prdc["held_out"].append(kid_fid_prdc.compute_prdc(real_NF, held_out.features_NF[rows]))
    figures = {}
    for name in ("coverage", "recall"):
        figures[name] = {kind: sum(getattr(drawn, name) for drawn in draws) / rounds for kind, draws in prdc.items()}
    figures["kid"] = {
        "generated": kid_fid_prdc.compute_kid(train_NF, torch.cat(generated_parts), seed)[0],
        "held_out": kid_fid_prdc.compute_kid(train_NF, held_out.features_NF, seed)[0],
    }
    return figures


def _measure_class_distance(train_NF: torch.Tensor, train_y: torch.Tensor, seed: int) -> float | None:
    """Return the KID between the images of a class and all others, the median over classes; None: all are too small."""
    kids = []
    for label in train_y.unique():
        try:
            kids.append(kid_fid_prdc.compute_kid(train_NF[train_y != label], train_NF[train_y == label], seed)[0])
        except kid_fid_prdc.TooFewImages:
            continue
    return torch.tensor(kids).median().item() if kids else None


def _compare_recognition(
    held_out: ComparedImages, draw: DrawImages, classes: Sequence[str], labels: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Return class -> how often the teacher recognises its generated and its held-out images."""
    per_class = max(MIN_IMAGES_PER_CLASS, min(MAX_IMAGES_PER_CLASS, MAX_IMAGES // len(labels)))
    asked_N = torch.tensor(labels, device=held_out.y_N.device).repeat_interleave(per_class)
    generated = draw(asked_N)
    recognition = {}
    for label in labels:
        recognition[classes[label]] = {
            "generated": _measure_recall(generated, label),
            "held_out": _measure_recall(held_out, label),
            "images": int((held_out.y_N == label).sum()),
        }
    return recognition


def _measure_recall(images: ComparedImages, label: int) -> float:
    of_class = images.y_N == label
    return (images.predicted_N[of_class] == label).float().mean().item() if of_class.any() else 0.0
