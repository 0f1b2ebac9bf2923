"""Curves of trainings as points of small SVG charts.

Not by matplotlib, as in the report: they are drawn again every few seconds, while the trainings need the processors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ganaug_ray.tracking.training_log import TrainingLog

WIDTH = 320  # units of the SVG
HEIGHT = 140
MAX_POINTS = 200  # of a line
MAX_LINES = 60  # of a chart
COLOURS = ("#3a6fc4", "#d1762b", "#2c8f6b", "#a34fb0", "#b8932a", "#c0455f", "#5b6b7d", "#1f9ab0")

# Chart -> figure of a GAN's log -> its line.
_GAN_CHARTS = {
    "loss": {"loss_g": "generator", "loss_d": "discriminator"},
    "discriminator's score": {"real_score": "real images", "fake_score": "generated images"},
}
_CLASSIFIER_CHARTS = {
    "val_accuracy": "accuracy on validation images",
    "val_loss": "loss on validation images",
    "accuracy": "accuracy on training images",
    "loss": "loss on training images",
}


@dataclass(frozen=True)
class Line:
    """A line of a chart: its group's name, its colour and its points, as an SVG polyline takes them."""

    name: str
    colour: str
    points: str


@dataclass(frozen=True)
class Chart:
    """A chart: its title, its lines, the values at its edges, and whether few will ask for it."""

    title: str
    lines: list[Line]
    low: str
    high: str
    last_step: int
    is_detail: bool = False

    @property
    def legend(self) -> dict[str, str]:
        """Name of each group of lines -> its colour."""
        return {line.name: line.colour for line in self.lines if line.name}


_Curve = tuple[str, list[tuple[int, float]]]
"""Group of lines, and (step, value) of each point."""


def is_gan(log: TrainingLog) -> bool:
    """Whether a log is that of a GAN's training."""
    return any("loss_g" in row for row in log.rows)


def draw_gan_charts(logs: Sequence[TrainingLog]) -> list[Chart]:
    """Draw the charts of GANs: losses, scores, and a chart for each other figure."""
    charts = []
    paired = set()
    for title, names in _GAN_CHARTS.items():
        paired |= set(names)
        charts += _draw_chart(title, [(word, curve) for key, word in names.items() for curve in _extract(logs, key)])
    for key in sorted(_list_figures(logs) - paired):
        if not key.endswith("_std"):
            chart = _draw_chart(name_figure(key), [("", curve) for curve in _extract(logs, key)])
            charts += [replace(gan_chart, is_detail=not key.startswith("val_kid")) for gan_chart in chart]
    return charts


def draw_classifier_charts(logs: Sequence[TrainingLog], titles: Mapping[str, str]) -> list[Chart]:
    """Draw the charts of classifiers: accuracy and loss, a line a model, a colour an arm.

    Args:
        logs: of the models' trainings.
        titles: arm -> its name in the legend, where that is not the arm's own.
    """
    charts = []
    for key, title in _CLASSIFIER_CHARTS.items():
        curves = [(get_arm(log.name), curve) for log in logs for curve in _extract([log], key)]
        charts += _draw_chart(title, [(titles.get(arm, arm), curve) for arm, curve in curves])
    return charts


def name_figure(key: str) -> str:
    """Return the title of a figure of a GAN's samples: the metric, the features, the real images.

    >>> name_figure("val_kid_teacher_n100v200"), name_figure("recall_pixels16_k3_n200"), name_figure("val_gap")
    ('KID (teacher, validation images)', 'recall (pixels16, training images)', 'val gap')
    """
    parts = re.fullmatch(r"(val_)?([a-z]+)_([a-z]+\d*)(_k\d+)?_n\w+", key)
    if parts is None:
        return key.replace("_", " ")
    metric = parts[2].upper() if parts[2] in ("kid", "fid", "cas") else parts[2]
    return f"{metric} ({parts[3]}, {'validation' if parts[1] else 'training'} images)"


def get_arm(name: str) -> str:
    """Return the arm, or the compared model, that a training's folder is of.

    >>> get_arm("splits/1/models/real+classic/seed-0")
    'real+classic'
    """
    return name.split("/")[-2] if "/" in name else name


def _list_figures(logs: Sequence[TrainingLog]) -> set[str]:
    return {name for log in logs for _, figures in log.extract_figures() for name in figures}


def _extract(logs: Sequence[TrainingLog], key: str) -> Iterator[list[tuple[int, float]]]:
    """Yield the curve of a figure in each log that has it."""
    for log in logs:
        points = [(step, figures[key]) for step, figures in log.extract_figures() if key in figures]
        points = [(step, value) for step, value in points if math.isfinite(value)]
        if points:
            yield points


def _draw_chart(title: str, curves: Sequence[_Curve]) -> list[Chart]:
    """Draw a chart; none where there is no curve."""
    curves = curves[:MAX_LINES]
    if not curves:
        return []
    values = [value for _, points in curves for _, value in points]
    low, high = min(values), max(values)
    last_step = max(points[-1][0] for _, points in curves)
    groups = list(dict.fromkeys(name for name, _ in curves))
    lines = []
    for name, points in curves:
        colour = COLOURS[groups.index(name) % len(COLOURS)]
        lines.append(Line(name, colour, _place_points(points, last_step, low, high)))
    return [Chart(title, lines, f"{low:.3g}", f"{high:.3g}", last_step)]


def _place_points(points: Sequence[tuple[int, float]], last_step: int, low: float, high: float) -> str:
    every = math.ceil(len(points) / MAX_POINTS)
    chosen = [*points[::every], points[-1]]
    placed = []
    for step, value in chosen:
        x = WIDTH * step / max(1, last_step)
        y = HEIGHT * (high - value) / (high - low) if high > low else HEIGHT / 2
        placed.append(f"{x:.1f},{y:.1f}")
    return " ".join(placed)
