"""Measures how bright, rich in contrast and sharp images are, and finds those that stand out: none is rejected for it.

The measures are in the manner of the open-source cleanvision. They are made on images as they are stored, since that
is what is trained on: a photograph that is a little out of focus may be sharp enough at 64 pixels.
"""

import math
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image

# An image stands out if its score is below both a limit and this share of the data set's median score. The second is
# for data sets that are dark, pale or soft as a whole: drawings, night skies, digits of 8 × 8 pixels that are enlarged.
MEDIAN_SHARE = 0.5
# Levels of 255. What rounding to whole levels adds to a Laplacian is 4 at most, and seldom above 3. Where an image
# is blurred so much that it hardly changes from pixel to pixel, it would be taken for detail.
MAX_ROUNDING = 3
SAMPLED_ROWS = 32  # of an image, about, that sharpness looks at: they say as much as all, in a fraction of the time

_LEVELS = np.arange(256)


class VisualMeasures(NamedTuple):
    """What is measured of an image's luma, 0 black to 1 white, rounded to 4 digits.

    Attributes:
        brightness: the mean, in [0, 1].
        black_point: one pixel in a hundred is as dark or darker, in [0, 1].
        white_point: one pixel in a hundred is as light or lighter, in [0, 1].
        contrast: the white point less the black point, in [0, 1].
        sharpness: as ``measure_sharpness`` returns it, in [0, 2.83].
    """

    brightness: float
    black_point: float
    white_point: float
    contrast: float
    sharpness: float | None


class VisualIssue(NamedTuple):
    """A way in which an image may stand out.

    Attributes:
        name: as users read it.
        measure: field of VisualMeasures that tells.
        limit: of the score, see ``score_images``.
        is_high: whether the measure of such images is high, not low.
    """

    name: str
    measure: str
    limit: float
    is_high: bool = False

    def score_images(self, images: pa.Table) -> np.ndarray:
        """Return a score of each image, the lower the more it stands out: float64 [N] in [0, 2.83], NaN if unknown."""
        values = images[self.measure].to_numpy().astype(np.float64)
        return 1 - values if self.is_high else values


ISSUES = (
    # cleanvision's measure and limit: 99 % of the pixels are darker. Clothes and digits on black have lighter ones.
    VisualIssue("dark", "white_point", 0.32),
    # Its mirror image: 99 % of the pixels are lighter than 0.68. Ink on white has more than 1 % that are darker.
    VisualIssue("bright", "black_point", 0.32, is_high=True),
    # Half of the palest of 1,700 photographs of cats and dogs, of which none looks washed out.
    VisualIssue("low contrast", "contrast", 0.15),
    # As of edges blurred by a pixel (Gaussian, standard deviation). Of these photographs, stored at 128, 64 or 32
    # pixels a side, the median is 1.4 to 1.5 and one is below 0.7; blurred by 1.5 pixels, all are.
    VisualIssue("blurred", "sharpness", 0.7),
)


def measure_image(image: Image.Image) -> VisualMeasures:
    """Measure an image of mode L or RGB. Equal pixels give equal measures, on every machine."""
    luma = image if image.mode == "L" else image.convert("L")
    counts = np.fromiter(luma.histogram(), np.int64, 256)
    n = luma.width * luma.height
    ranks = (n // 100, n - 1 - n // 100)
    black, white = counts.cumsum().searchsorted(ranks, "right").tolist()
    mean = int(counts.dot(_LEVELS)) / n
    return VisualMeasures(
        brightness=round(mean / 255, 4),
        black_point=round(black / 255, 4),
        white_point=round(white / 255, 4),
        contrast=round((white - black) / 255, 4),
        sharpness=measure_sharpness(np.asarray(luma)),
    )


def measure_sharpness(luma: np.ndarray) -> float | None:
    """Measure how narrow the edges of an image are: about 1 / their width in pixels.

    The variance of the Laplacian, which is the usual measure, also falls with contrast, and differs between sorts of
    pictures. So it is divided by the energy of the gradient: sqrt(sum(L²) / sum(G²)), where L is the Laplacian of four
    neighbours, but for what rounding makes of it, and G the differences to the right and down. Noise counts as sharp.

    Args:
        luma: uint8 [H, W], with W up to 2,000.

    Returns:
        In [0, 2.83], rounded to 4 digits; None where there is no gradient, or fewer than 3 pixels a side.
    """
    step = max(2, len(luma) // SAMPLED_ROWS)
    rows = luma[1:-1:step].astype(np.int32)
    across = rows[:, 1:] - rows[:, :-1]
    down = luma[2::step] - rows
    up = rows - luma[:-2:step]
    laplacian = across[:, 1:] - across[:, :-1] + (down - up)[:, 1:-1]
    laplacian[np.abs(laplacian) <= MAX_ROUNDING] = 0
    gradient_energy = _sum_squares(across) + _sum_squares(down)
    if not laplacian.size or not gradient_energy:
        return None
    return round(math.sqrt(_sum_squares(laplacian) / gradient_energy), 4)


def _sum_squares(values: np.ndarray) -> int:
    """Sum squares in whole numbers, which are the same on every machine: those of a row fit into 32 bits."""
    return int(np.einsum("ij,ij->i", values, values).sum(dtype=np.int64))


def find_issues(images: pa.Table) -> dict[str, np.ndarray]:
    """Find the images that stand out.

    Args:
        images: the fields of VisualMeasures, a row an image.

    Returns:
        Name of each issue -> rows, int64, the most extreme first. A row may have several issues.
    """
    rows_by_issue = {}
    for issue in ISSUES:
        scores = issue.score_images(images)
        known_scores = scores[~np.isnan(scores)]
        limit = min(issue.limit, MEDIAN_SHARE * float(np.median(known_scores))) if len(known_scores) else 0.0
        order = np.argsort(scores, kind="stable")
        rows_by_issue[issue.name] = order[scores[order] < limit]
    return rows_by_issue


def name_issues(rows_by_issue: dict[str, np.ndarray], n: int) -> pa.Array:
    """Return the issues of each of n rows as text, such as "dark; blurred"; empty where there are none."""
    names_by_row: dict[int, list[str]] = {}
    for name, rows in rows_by_issue.items():
        for row in rows.tolist():
            names_by_row.setdefault(row, []).append(name)
    return pa.array(["; ".join(names_by_row.get(row, ())) for row in range(n)], pa.string())
