"""The words for a generator's figures: gan.json and the training log have them under keys such as val_kid_teacher_n100.

A new figure is one more object in ``QUALITY_METRICS``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganaug_ray.gan.metrics.feature_words import describe_features

_NAME = re.compile(
    r"(?P<val>val_)?(?P<metric>conditional_kid|[a-z]+)_(?P<features>\w+?)(_k\d+|_s\d+)?(_class_(?P<of_class>.+))?"
    r"_n(?P<real>\d+)(v(?P<generated>\d+))?"
)
_SPREAD = "_std"


@dataclass(frozen=True)
class QualityMetric:
    """A figure of generated images.

    Attributes:
        key: its name in files, as a part.
        name: its name in tables and on charts.
        meaning: what it measures.
        higher_is_better: which way is better.
        is_share: whether it is a share in [0, 1], shown in percent.
        of_validation: whether it is about validation images although its key does not begin with ``val_``.
    """

    key: str
    name: str
    meaning: str
    higher_is_better: bool = True
    is_share: bool = True
    of_validation: bool = False

    def format_value(self, value: float) -> str:
        """Write a value for a table.

        >>> find_metric("recall").format_value(0.839), find_metric("kid").format_value(-0.1331)
        ('83.9 %', '−0.133')
        """
        return f"{100 * value:.1f} %" if self.is_share else f"{value:.3f}".replace("-", "−")


QUALITY_METRICS = (
    QualityMetric(
        "kid",
        "KID",
        "distance from real images; other real images average 0, and values slightly below 0 are chance",
        higher_is_better=False,
        is_share=False,
    ),
    QualityMetric(
        "conditional_kid",
        "conditional KID",
        "mean KID within each class, by which the generator was chosen; ± is its standard error",
        higher_is_better=False,
        is_share=False,
    ),
    QualityMetric(
        "fid", "FID", "another distance from real images; more images lower it", higher_is_better=False, is_share=False
    ),
    QualityMetric("precision", "precision", "generated images that lie among the real ones"),
    QualityMetric("recall", "recall", "real images that lie among the generated ones"),
    QualityMetric("density", "density", "how closely real images surround generated ones", is_share=False),
    QualityMetric("coverage", "coverage", "real images with a generated one close by"),
    QualityMetric("agreement", "agreement", "generated images whose class the teacher recognises", of_validation=True),
    QualityMetric("cas", "learnable", "accuracy of a classifier trained on generated images alone", of_validation=True),
)
_BY_KEY = {metric.key: metric for metric in QUALITY_METRICS}


def find_metric(key: str) -> QualityMetric:
    """Return the metric with this key; KeyError if there is none."""
    return _BY_KEY[key]


@dataclass(frozen=True)
class QualityName:
    """What the key of a figure says.

    Attributes:
        metric: what is measured.
        split: ``val`` or ``train``: the real images that the generated ones are held against.
        features: the images are compared by, such as ``teacher``.
        of_class: the class it is of, or None if of all.
        real: number of real images.
        generated: number of generated images.
    """

    metric: QualityMetric
    split: str
    features: str
    of_class: str | None
    real: int
    generated: int

    def describe(self) -> str:
        """Say what is measured, and against which real images.

        >>> parse_name("val_conditional_kid_teacher_n24v168").describe()
        'conditional KID against validation images'
        """
        return f"{self.metric.name} against {'validation' if self.split == 'val' else 'training'} images"


def parse_name(key: str) -> QualityName | None:
    """Return what a figure's key says, or None if it is none of a known metric.

    >>> name = parse_name("val_kid_teacher_n24v168")
    >>> name.metric.name, name.split, name.features, name.real, name.generated
    ('KID', 'val', 'teacher', 24, 168)
    >>> parse_name("val_conditional_kid_teacher_n24v168").metric.name
    'conditional KID'
    >>> parse_name("kid_teacher_class_big_cat_n84").of_class
    'big_cat'
    >>> parse_name("loss_g")
    """
    match = _NAME.fullmatch(key)
    if match is None or match["metric"] not in _BY_KEY:
        return None
    metric = _BY_KEY[match["metric"]]
    split = "val" if match["val"] or metric.of_validation else "train"
    real = int(match["real"])
    return QualityName(metric, split, match["features"], match["of_class"], real, int(match["generated"] or real))


def find_key(figures: Mapping[str, Any], metric: str, split: str) -> str | None:
    """Return the key of a metric over all classes against one split, or None if it was not measured."""
    for key in figures:
        name = parse_name(key)
        if name and (name.metric.key, name.split, name.of_class) == (metric, split, None):
            return key
    return None


def tabulate_quality(quality: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return a row for each measured metric: ``metric``, and what is written for ``train`` and ``val``, or a dash."""
    rows = []
    for metric in QUALITY_METRICS:
        keys = {split: find_key(quality, metric.key, split) for split in ("val", "train")}
        cells = {split: _format_cell(quality, metric, key) for split, key in keys.items()}
        if any(cells.values()):
            rows.append({"metric": metric, **{split: cell or "–" for split, cell in cells.items()}})
    return rows


def tabulate_classes(quality: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the KID of each class that has one, the worst first: ``class`` and ``kid``, as it is written."""
    rows = []
    for key, value in quality.items():
        name = parse_name(key)
        if name and name.of_class is not None and name.metric.key == "kid" and name.split == "train":
            rows.append((value, name.of_class, _format_cell(quality, name.metric, key)))
    return [{"class": of_class, "kid": cell} for _, of_class, cell in sorted(rows, reverse=True)]


def describe_protocol(quality: Mapping[str, float]) -> str:
    """Say how many images were compared, and by what features; empty where nothing is known.

    >>> describe_protocol({"kid_teacher_n168": 0.1, "val_kid_teacher_n24v168": 0.2})
    "168 generated images against 168 training and 24 validation images, compared by the teacher's features"
    """
    names = {}
    for split, noun in (("train", "training"), ("val", "validation")):
        key = find_key(quality, "kid", split) or find_key(quality, "precision", split)
        if key and (name := parse_name(key)):
            names[noun] = name
    if not names:
        return ""
    sides = " and ".join(f"{name.real:,} {noun}" for noun, name in names.items())
    first = next(iter(names.values()))
    return (
        f"{first.generated:,} generated images against {sides} images, compared by {describe_features(first.features)}"
    )


def _format_cell(quality: Mapping[str, float], metric: QualityMetric, key: str | None) -> str:
    if key is None:
        return ""
    spread = quality.get(f"{key}{_SPREAD}")
    cell = metric.format_value(quality[key])
    return cell if spread is None else f"{cell} ± {metric.format_value(spread)}"
