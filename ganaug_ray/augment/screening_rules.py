"""Decides which synthetic images a classifier may be trained on, from evidence that others gathered.

The limits are set once, from a pool of unscreened images; each image is then judged by itself. So a stored pool and
images made on the fly are screened alike.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import torch

from ganaug_ray.config import ScreenConfig

KEPT, OFF_CLASS, NEAR_COPY, LOW_REALISM, NOT_DRAWN = range(5)
REASONS = ("", "off class", "near copy", "low realism", "class cannot be drawn")

_T = TypeVar("_T")


@dataclass(frozen=True)
class Evidence:
    """The figures by which each synthetic image is screened.

    Attributes:
        y_N: the asked class, int64.
        probabilities_NK: of the teacher, float.
        near_N: distance to the nearest training image in units of what those lie apart (``NeighborSpacing``);
            of several feature spaces, the smallest; float.
        score_N: of the discriminator for image and asked class, float; absent: realism is not looked at.
    """

    y_N: torch.Tensor
    probabilities_NK: torch.Tensor
    near_N: torch.Tensor
    score_N: torch.Tensor | None = None

    @classmethod
    def concatenate(cls, parts: Sequence["Evidence"]) -> "Evidence":
        """Put the evidence on several sets of images one after another, one at least; scores are in all or in none."""
        scores = [part.score_N for part in parts if part.score_N is not None]
        return cls(
            y_N=torch.cat([part.y_N for part in parts]),
            probabilities_NK=torch.cat([part.probabilities_NK for part in parts]),
            near_N=torch.cat([part.near_N for part in parts]),
            score_N=torch.cat(scores) if scores else None,
        )

    def to_cpu(self) -> "Evidence":
        """Return the same evidence in the CPU's memory, where any process can have it."""
        score_N = self.score_N.cpu() if self.score_N is not None else None
        return Evidence(self.y_N.cpu(), self.probabilities_NK.cpu(), self.near_N.cpu(), score_N)

    @property
    def confidence_N(self) -> torch.Tensor:
        """The teacher's probability of the class that was asked for, float [N]."""
        return self.probabilities_NK.gather(1, self.y_N[:, None])[:, 0]

    @property
    def agrees_N(self) -> torch.Tensor:
        """Whether the teacher's likeliest class is the one that was asked for, bool [N]."""
        return self.probabilities_NK.argmax(1) == self.y_N


@dataclass(frozen=True)
class ScreeningLimits:
    """The limits that a synthetic image must pass, as plain numbers that can be stored beside a generator.

    Attributes:
        confidence: least probability of the asked class.
        copy_distance: least distance to a training image, in units of what those lie apart.
        realism: least discriminator score, one a class; absent: any will do.
        agreement: share of the pool's images that the teacher recognises, one a class; zero for a class without.
        drawn: whether the class gets synthetic images.
        judged: whether the teacher's opinion counts for the class: not where it does not know real images of it.
    """

    confidence: float
    copy_distance: float
    realism: tuple[float, ...] | None
    agreement: tuple[float, ...]
    drawn: tuple[bool, ...]
    judged: tuple[bool, ...]

    @classmethod
    def from_evidence(cls, pool: Evidence, config: ScreenConfig, recall_K: Sequence[float]) -> "ScreeningLimits":
        """Set the limits from the evidence on images that were not screened, and from the settings.

        No more is asked of synthetic images than of real ones: where the teacher recognises too few held-out real
        images of a class, synthetic images of it are taken at their generator's word.

        The scores of a discriminator mean something beside others of the same class only: it knows the training
        images by heart and scores even unseen real ones far below. Hence a share of each class, not a score.

        Args:
            pool: the evidence.
            config: the settings.
            recall_K: share of the held-out real images that the teacher recognises, one a class; nan: there are none.
        """
        classes = pool.probabilities_NK.shape[1]
        agreement = [0.0] * classes
        judged = tuple(not recall < config.class_agreement for recall in recall_K)  # where there are none, as well
        realism = None
        if pool.score_N is not None and config.realism:
            realism = [0.0] * classes
        labels = pool.y_N.unique().tolist()
        for label in labels:
            rows = pool.y_N == label
            agreement[label] = pool.agrees_N[rows].float().mean().item()
            if realism is not None:
                assert pool.score_N is not None
                realism[label] = pool.score_N.float()[rows].quantile(config.realism).item()
        return cls(
            confidence=config.confidence,
            copy_distance=config.copy_distance,
            realism=None if realism is None else tuple(realism),
            agreement=tuple(agreement),
            drawn=tuple(
                share >= config.class_agreement or (label in labels and not judged[label])
                for label, share in enumerate(agreement)
            ),
            judged=judged,
        )

    @classmethod
    def join_classes(cls, class_limits: Sequence["ScreeningLimits"]) -> "ScreeningLimits":
        """Join the limits of all classes into one, where the i-th were set on images of class i alone."""
        first = class_limits[0]
        realism = None
        if first.realism is not None:
            realism = _pick_diagonal([limits.realism or () for limits in class_limits])
        return cls(
            confidence=first.confidence,
            copy_distance=first.copy_distance,
            realism=realism,
            agreement=_pick_diagonal([limits.agreement for limits in class_limits]),
            drawn=_pick_diagonal([limits.drawn for limits in class_limits]),
            judged=_pick_diagonal([limits.judged for limits in class_limits]),
        )

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "ScreeningLimits":
        """Restore limits from JSON, whose lists become tuples; older ones judge every class."""
        values = {"judged": [True] * len(record["drawn"]), **record}
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = tuple(value)
        return cls(**values)

    def list_unjudged(self, classes: Sequence[str]) -> list[str]:
        """List the classes, of those that get images, whose images are taken at their generator's word."""
        flags = zip(classes, self.drawn, self.judged, strict=True)
        return [name for name, is_drawn, is_judged in flags if is_drawn and not is_judged]


def _pick_diagonal(rows: Sequence[tuple[_T, ...]]) -> tuple[_T, ...]:
    """The i-th value of the i-th row."""
    return tuple(row[number] for number, row in enumerate(rows))


def screen_images(evidence: Evidence, limits: ScreeningLimits) -> torch.Tensor:
    """Return for each image the index into REASONS of the first reason to reject it, uint8 [N]; 0 is KEPT."""
    y_N = evidence.y_N
    verdict_N = torch.full_like(y_N, KEPT, dtype=torch.uint8)
    # From the last reason to the first, each over the ones before.
    verdict_N.masked_fill_(~_put_on_device(limits.drawn, y_N.device, torch.bool)[y_N], NOT_DRAWN)
    if limits.realism is not None:
        assert evidence.score_N is not None, "these limits ask for discriminator scores"
        verdict_N.masked_fill_(
            evidence.score_N < _put_on_device(limits.realism, y_N.device, torch.float32)[y_N], LOW_REALISM
        )
    verdict_N.masked_fill_(evidence.near_N < limits.copy_distance, NEAR_COPY)
    off_class_N = ~evidence.agrees_N | (evidence.confidence_N < limits.confidence)
    verdict_N.masked_fill_(off_class_N & _put_on_device(limits.judged, y_N.device, torch.bool)[y_N], OFF_CLASS)
    return verdict_N


@functools.lru_cache(maxsize=8)
def _put_on_device(limits_K: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """The limits of all classes as a tensor; kept, since live images are screened by them in every step."""
    return torch.tensor(limits_K, device=device, dtype=dtype)


def count_reasons(verdict_N: torch.Tensor, y_N: torch.Tensor, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the images of each class by the reason for which they were rejected, or as ``kept``.

    >>> count_reasons(torch.tensor([0, 1, 0]), torch.tensor([0, 0, 0]), ["cat"])
    {'cat': {'kept': 2, 'off class': 1}}
    """
    reason_counts: dict[str, dict[str, int]] = {name: {} for name in classes}
    codes, numbers = torch.stack([y_N.cpu(), verdict_N.cpu().long()], 1).unique(dim=0, return_counts=True)
    for (label, code), n in zip(codes.tolist(), numbers.tolist(), strict=True):
        reason_counts[classes[label]][REASONS[code] or "kept"] = n
    return reason_counts


def build_rejects_table(
    evidence: Evidence, verdict_N: torch.Tensor, provenance: Sequence[str], classes: Sequence[str]
) -> pa.Table:
    """Return the table of screened.parquet: the rejected images, the reasons, and the figures behind them.

    | column     | type   | meaning                                                  |
    |------------|--------|----------------------------------------------------------|
    | class      | string | the asked class                                          |
    | provenance | string | generator, class, seed and index: makes the image again  |
    | reason     | string | one of REASONS                                           |
    | predicted  | string | the teacher's class                                      |
    | confidence | float  | the teacher's probability of the asked class             |
    | near       | float  | distance to the nearest training image                   |
    | score      | float  | of the discriminator, or null                            |
    """
    rows = verdict_N.nonzero().flatten().cpu()

    def select_rejected(values_N: torch.Tensor) -> torch.Tensor:
        return values_N.cpu()[rows]

    def select_figures(figures_N: torch.Tensor) -> pa.Array:
        return pa.array(select_rejected(figures_N.float()).numpy(), pa.float32())

    def select_names(numbers_N: torch.Tensor, names: Sequence[str]) -> pa.Array:
        return pa.array([names[number] for number in select_rejected(numbers_N).tolist()], pa.string())

    scores = pa.nulls(len(rows), pa.float32())
    if evidence.score_N is not None:
        scores = select_figures(evidence.score_N)
    return pa.table(
        {
            "class": select_names(evidence.y_N, classes),
            "provenance": pa.array([provenance[row] for row in rows.tolist()], pa.string()),
            "reason": select_names(verdict_N, REASONS),
            "predicted": select_names(evidence.probabilities_NK.argmax(1), classes),
            "confidence": select_figures(evidence.confidence_N),
            "near": select_figures(evidence.near_N),
            "score": scores,
        }
    )
