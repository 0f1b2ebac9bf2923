"""Measures how bright, rich in contrast and sharp images are, and finds those that stand out: none is rejected for it.

The measures are in the manner of the open-source cleanvision. They are made on images as they are stored, since that
is what is trained on: a photograph that is a little out of focus may be sharp enough at 64 pixels.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image

from ganaug_ray.core.wording import format_count
from ganaug_ray.data import images

# An image stands out if its score is below both a limit and this share of the data set's median score. The second is
# for data sets that are dark, pale or soft as a whole: drawings, night skies, digits of 8 × 8 pixels that are enlarged.
MEDIAN_SHARE = 0.5
# Levels of 255. What rounding to whole levels adds to a Laplacian is 4 at most, and seldom above 3. Where an image
# is blurred so much that it hardly changes from pixel to pixel, it would be taken for detail.
MAX_ROUNDING = 3
# Of an image, about, that sharpness looks at: they say as much as all, in a fraction of the time. Smaller images are
# looked at as a whole: of edges along the rows, every second row may see nothing but the soft middle.
SAMPLED_ROWS = 32

STACK_BYTES = 64 * 1024  # of rows that are measured at a time: larger arrays are given new memory each, page by page


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

    def score_images(self, rows: pa.Table) -> np.ndarray:
        """Return a score of each image, the lower the more it stands out: float64 [N] in [0, 2.83], NaN if unknown."""
        values = rows[self.measure].to_numpy().astype(np.float64)
        return 1 - values if self.is_high else values


ISSUES = (
    # cleanvision's measure and limit: 99 % of the pixels are darker. Clothes and digits on black have lighter ones.
    VisualIssue("dark", "white_point", 0.32),
    # Its mirror image: 99 % of the pixels are lighter than 0.68. Ink on white has more than 1 % that are darker.
    VisualIssue("bright", "black_point", 0.32, is_high=True),
    # Half of the palest of 1,700 photographs of cats and dogs, of which none looks washed out.
    VisualIssue("low contrast", "contrast", 0.15),
    # As of edges blurred by a pixel (Gaussian, standard deviation). Of these photographs, stored at 128, 64 or 32
    # pixels a side, the median is 1.4 to 1.5 and two are below 0.7, which look soft; blurred by 1.5 pixels, all are.
    VisualIssue("blurred", "sharpness", 0.7),
)


def measure_images(lumas: Sequence[Image.Image]) -> list[VisualMeasures]:
    """Measure images of mode L, of any sizes. Equal pixels give equal measures, on every machine.

    Many at once take a fraction of the time that they take one by one, each between other work.
    """
    counts_NL = np.array([luma.histogram() for luma in lumas], np.int64).reshape(-1, 256)
    pixels_N1 = counts_NL.sum(1, keepdims=True)
    ranks_NL = counts_NL.cumsum(1)
    black_N = (ranks_NL <= pixels_N1 // 100).sum(1)
    white_N = (ranks_NL < pixels_N1 - pixels_N1 // 100).sum(1)
    mean_N = counts_NL @ np.arange(256) / pixels_N1[:, 0]
    levels = np.stack([mean_N, black_N, white_N, white_N - black_N], 1) / 255
    sharpness = measure_sharpness([images.to_pixels(luma, 1)[:, :, 0] for luma in lumas])
    return [
        VisualMeasures(brightness, black_point, white_point, contrast, sharp)
        for (brightness, black_point, white_point, contrast), sharp in zip(
            levels.round(4).tolist(), sharpness, strict=True
        )
    ]


def measure_sharpness(lumas: Sequence[np.ndarray]) -> list[float | None]:
    """Measure how narrow the edges of images are: about 1 / their width in pixels.

    The variance of the Laplacian, which is the usual measure, also falls with contrast, and differs between sorts of
    pictures. So it is divided by the energy of the gradient: sqrt(sum(L²) / sum(G²)), where L is the Laplacian of four
    neighbours, but for what rounding makes of it, and G the differences to the right and down. Noise counts as sharp.

    Args:
        lumas: uint8 [H, W] each, with W up to 2,000.

    Returns:
        For each, in [0, 2.83], rounded to 4 digits; None where there is no gradient, or fewer than 3 pixels a side.
    """
    sharpness: list[float | None] = []
    for (_, width), group in itertools.groupby(lumas, np.shape):
        same_size = list(group)
        stacked_images = max(1, STACK_BYTES // (SAMPLED_ROWS * max(1, width) * np.int32().nbytes))
        for start in range(0, len(same_size), stacked_images):
            sharpness += _measure_stack(np.stack(same_size[start : start + stacked_images]))
    return sharpness


def _measure_stack(lumas_NHW: np.ndarray) -> Iterator[float | None]:
    """Yield the sharpness of each image."""
    step = max(1, lumas_NHW.shape[1] // SAMPLED_ROWS)
    rows = lumas_NHW[:, 1:-1:step].astype(np.int32)
    across = rows[:, :, 1:] - rows[:, :, :-1]
    down = lumas_NHW[:, 2::step] - rows
    up = rows - lumas_NHW[:, :-2:step]
    laplacian = across[:, :, 1:] - across[:, :, :-1] + (down - up)[:, :, 1:-1]
    laplacian *= np.abs(laplacian) > MAX_ROUNDING
    gradient_N = _sum_squares(across) + _sum_squares(down)
    for bend, slope in zip(_sum_squares(laplacian).tolist(), gradient_N.tolist(), strict=True):
        yield round(math.sqrt(bend / slope), 4) if slope and laplacian.size else None


def _sum_squares(values_NHW: np.ndarray) -> np.ndarray:
    """Sum in whole numbers, which are the same on every machine: int64 [N]. Those of a row fit into 32 bits."""
    return np.einsum("nij,nij->ni", values_NHW, values_NHW).sum(1, dtype=np.int64)


def find_issues(rows: pa.Table) -> dict[str, np.ndarray]:
    """Find the images that stand out.

    Args:
        rows: the fields of VisualMeasures, a row an image.

    Returns:
        Name of each issue -> rows, int64, the most extreme first. A row may have several issues.
    """
    rows_by_issue = {}
    for issue in ISSUES:
        scores = issue.score_images(rows)
        known_scores = scores[~np.isnan(scores)]
        limit = min(issue.limit, MEDIAN_SHARE * float(np.median(known_scores))) if len(known_scores) else 0.0
        order = np.argsort(scores, kind="stable")
        rows_by_issue[issue.name] = order[scores[order] < limit]
    return rows_by_issue


def describe_median(rows: pa.Table) -> list[str]:
    """Say that a data set is dark or bright as a whole, where its median image is: then none stands out for it.

    Args:
        rows: the fields of VisualMeasures, a row an image.
    """
    for issue in ISSUES[:2]:
        scores = issue.score_images(rows)
        if len(scores) and np.median(scores) < issue.limit:
            brightness = float(np.median(rows["brightness"].to_numpy()))
            return [
                f"more than half of the images are {issue.name}: their median brightness is {brightness:.2f} "
                "of 1; look at the card, and at data.value_range if the files have more than 8 bits"
            ]
    return []


def describe_classes_apart(rows: pa.Table) -> list[str]:
    """Say which classes are dark or bright in every image, where other classes are not: that alone would tell them.

    Args:
        rows: label and the fields of VisualMeasures, a row an image.
    """
    sentences = []
    for issue in ISSUES[:2]:
        table = pa.table({"label": rows["label"], "score": issue.score_images(rows)})
        classes = table.group_by("label").aggregate([("score", "max"), ([], "count_all")]).sort_by("label").to_pylist()
        apart = [row["label"] for row in classes if row["score_max"] < issue.limit and row["count_all"] > 1]
        if apart and len(apart) < len(classes):
            more = f" (and of {format_count(len(apart) - 1, 'other class', 'other classes')})" if len(apart) > 1 else ""
            sentences.append(
                f"all images of {apart[0]}{more} are {issue.name} and those of other classes are not, so brightness "
                "alone would tell them; look whether their files were written in another scale"
            )
    return sentences


def name_issues(rows_by_issue: dict[str, np.ndarray], n: int) -> pa.Array:
    """Return the issues of each of n rows as text, such as "dark; blurred"; empty where there are none."""
    names_by_row: dict[int, list[str]] = {}
    for name, rows in rows_by_issue.items():
        for row in rows.tolist():
            names_by_row.setdefault(row, []).append(name)
    return pa.array(["; ".join(names_by_row.get(row, ())) for row in range(n)], pa.string())
