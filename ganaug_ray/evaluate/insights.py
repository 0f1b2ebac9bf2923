"""Shows a model's mistakes and what it learned, as small pictures with captions and as tables."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from ganaug_ray.classify import explain
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core import rng
from ganaug_ray.data import images
from ganaug_ray.evaluate import mistakes
from ganaug_ray.evaluate.test_images import EvaluationImages

# Shown of each kind.
MAX_MISTAKES = 10
MAX_SUSPECTS = 10
MAX_RIGHT = 10
MAX_MAPS = 16  # filters, and maps of a layer, that are shown
TILE_SIZE_PX = 96  # pixels a side at most
MAX_SEARCHED_ROWS = 10_000  # images of a split that are searched for wrong labels
MAX_EMBEDDED = {"real": 500, "synthetic": 300}
PCA_DIMENSIONS = 50  # dimensions that t-SNE starts from


@dataclass(frozen=True)
class Picture:
    """A small picture with its caption.

    Attributes:
        section: of the report, such as ``mistakes``.
        caption: may be empty.
        image: the picture.
    """

    section: str
    caption: str
    image: Image.Image


def make_tile(pixels: np.ndarray) -> Image.Image:
    """Shrink an image to at most 96 pixels a side (``TILE_SIZE_PX``); a smaller one keeps its size.

    Args:
        pixels: uint8 [H, W, 1 or 3].

    Returns:
        An RGB picture.
    """
    image = images.from_array(pixels).convert("RGB")
    image.thumbnail((TILE_SIZE_PX, TILE_SIZE_PX), Image.Resampling.HAMMING)
    return image


def draw_heat_maps(
    classifier: Classifier,
    rows: EvaluationImages,
    which: np.ndarray,
    classes_N: np.ndarray,
    section: str,
    captions: list[str],
) -> list[Picture]:
    """Draw images, each followed by its Grad-CAM heat map for a class.

    Args:
        classifier: the model that is explained.
        rows: the images.
        which: numbers of the rows to draw, int64 [M].
        classes_N: the class that each heat map explains, int64 [M].
        section: of all pictures.
        captions: one for each image.

    Returns:
        2 M pictures, image and heat map in turn; heat maps have no caption.
    """
    pixels = rows.images[which]
    maps = explain.compute_heat_maps(classifier.network, pixels, classes_N)
    pictures = []
    for image_HWC, heat_HW, text in zip(pixels, maps, captions, strict=True):
        pictures += [
            Picture(section, text, make_tile(image_HWC)),
            Picture(section, "", make_tile(explain.overlay_heat_map(image_HWC, heat_HW))),
        ]
    return pictures


def show_mistakes(classifier: Classifier, rows: EvaluationImages, probabilities: np.ndarray) -> list[Picture]:
    """Draw the ten most confident mistakes, each with a heat map of the evidence for the wrong class.

    Args:
        classifier: the model that is explained.
        rows: the images.
        probabilities: the model's, float [N, K].
    """
    which = mistakes.find_confident_mistakes(rows.labels, probabilities, MAX_MISTAKES)
    predicted = probabilities[which].argmax(1)
    sure = probabilities[which].max(1)
    captions = []
    for row, wrong, p in zip(which, predicted, sure, strict=True):
        label = classifier.classes[rows.labels[row]]
        captions.append(f"{label}, taken for {classifier.classes[wrong]} at {100 * p:.0f} %")
    return draw_heat_maps(classifier, rows, which, predicted, "mistakes", captions)


def show_right_images(classifier: Classifier, rows: EvaluationImages, probabilities: np.ndarray) -> list[Picture]:
    """Draw the first correctly classified image of each class, each with a heat map; of ten classes at most.

    Args:
        classifier: the model that is explained.
        rows: the images.
        probabilities: the model's, float [N, K].
    """
    right = np.flatnonzero(probabilities.argmax(1) == rows.labels)
    _, first = np.unique(rows.labels[right], return_index=True)
    which = right[first][:MAX_RIGHT]
    if not len(which):
        return []
    captions = [classifier.classes[label] for label in rows.labels[which]]
    return draw_heat_maps(classifier, rows, which, rows.labels[which], "right", captions)


def show_layers(classifier: Classifier, image_HWC: np.ndarray) -> list[Picture]:
    """Draw the network's first filters, an image, and its feature maps in the first and the last convolutional layer.

    At most 16 filters are drawn (``MAX_MAPS``), and of each layer at most 16 maps, those that vary most.

    Args:
        classifier: the model.
        image_HWC: uint8 [size, size, C], as the model takes it.
    """
    pictures = []
    filters = explain.extract_first_filters(classifier.network)
    if filters is not None:
        shown = np.moveaxis(filters[:MAX_MAPS], 1, -1)  # [filters, h, w, C]
        if shown.shape[-1] != 3:
            shown = shown.mean(-1, keepdims=True)
        pictures += [Picture("filters", "", _enlarge_map(filter_map)) for filter_map in shown]
    for name, maps in zip(("first", "last"), explain.extract_feature_maps(classifier.network, image_HWC), strict=False):
        busiest = np.argsort(-maps.var((1, 2)), kind="stable")[:MAX_MAPS]
        pictures += [Picture(f"{name} maps", "", _enlarge_map(maps[number][..., None])) for number in np.sort(busiest)]
    return [Picture("layers", "", make_tile(image_HWC)), *pictures]


def _enlarge_map(values_HWC: np.ndarray) -> Image.Image:
    """Stretch values to the whole range of grey, or of colour, and a few pixels to a picture."""
    low = values_HWC.min()
    high = values_HWC.max()
    pixels = (255 * (values_HWC - low) / max(high - low, 1e-12) + 0.5).astype(np.uint8)
    image = images.from_array(pixels).convert("RGB")
    image.thumbnail((48, 48), Image.Resampling.HAMMING)
    times = max(1, 32 // image.width)
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def find_suspects(classifier: Classifier, splits: dict[str, EvaluationImages], seed: int) -> Any:
    """Rank images by how credible their labels are, the least credible first, to find wrong labels.

    Args:
        classifier: the model whose features a linear probe is fitted on.
        splits: name -> its images; the first 10,000 of each are searched (``MAX_SEARCHED_ROWS``).
        seed: of the cross-validation folds.

    Returns:
        (table with split, id, path, label, suggested and self_confidence, pictures of the first ten images whose label
        the probe disagrees with), or None where there are too few rows or classes for two folds.
    """
    locations: list[tuple[str, int]] = []
    features = []
    labels = []
    for name, split_rows in splits.items():
        features.append(explain.extract_features(classifier.network, split_rows.images, MAX_SEARCHED_ROWS))
        labels.append(split_rows.labels[:MAX_SEARCHED_ROWS])
        locations += [(name, row) for row in range(len(labels[-1]))]
    labels_N = np.concatenate(labels)
    probabilities = mistakes.predict_out_of_sample(np.concatenate(features), labels_N, len(classifier.classes), seed)
    if probabilities is None:
        return None
    order = mistakes.rank_suspects(labels_N, probabilities)
    suggested = probabilities.argmax(1)
    self_confidence = probabilities[np.arange(len(labels_N)), labels_N]
    ranked = [locations[number] for number in order]
    table = pa.table(
        {
            "split": [name for name, _ in ranked],
            "id": [splits[name].ids[row] for name, row in ranked],
            "path": [splits[name].paths[row] for name, row in ranked],
            "label": [classifier.classes[label] for label in labels_N[order]],
            "suggested": [classifier.classes[label] for label in suggested[order]],
            "self_confidence": self_confidence[order],
        }
    )
    pictures = []
    for number in order[suggested[order] != labels_N[order]][:MAX_SUSPECTS]:
        name, row = locations[number]
        label = classifier.classes[labels_N[number]]
        caption = f"{label} ({name}), rather {classifier.classes[suggested[number]]}?"
        pictures.append(Picture("suspects", caption, make_tile(splits[name].images[row : row + 1][0])))
    return table, pictures


def embed_images(
    classifier: Classifier,
    rows: EvaluationImages,
    probabilities: np.ndarray,
    synthetic: EvaluationImages | None,
    seed: int,
) -> pa.Table | None:
    """Project penultimate features of some images to two dimensions: PCA, then t-SNE (van der Maaten & Hinton 2008).

    Args:
        classifier: the model whose features are projected.
        rows: real images, of which 500 are drawn at random, or all of fewer.
        probabilities: the model's for the real images, float [N, K]; they tell which ones are mistakes.
        synthetic: synthetic images, of which 300 are drawn at random, or all of fewer; None: none.
        seed: of the draw of images; PCA and t-SNE have a fixed one.

    Returns:
        A table with the columns x, y, label (class number) and kind (``real``, ``mistake`` or ``synthetic``); None for
        fewer than ten images.
    """
    drawn = np.sort(rng.draw_permutation(len(rows), seed, "embedding", "real")[: MAX_EMBEDDED["real"]])
    pixels = [rows.images[drawn]]
    labels = [rows.labels[drawn]]
    kinds = list(np.where(probabilities[drawn].argmax(1) == rows.labels[drawn], "real", "mistake"))
    if synthetic is not None:
        order = rng.draw_permutation(len(synthetic), seed, "embedding", "synthetic")
        drawn = np.sort(order[: MAX_EMBEDDED["synthetic"]])
        pixels.append(synthetic.images[drawn])
        labels.append(synthetic.labels[drawn])
        kinds += ["synthetic"] * len(drawn)
    if len(kinds) < 10:
        return None
    features = np.concatenate([explain.extract_features(classifier.network, part) for part in pixels])
    with threadpool_limits(1):  # in parallel its sums would come in any order, and no two pages would be equal
        features = PCA(min(PCA_DIMENSIONS, *features.shape), random_state=0).fit_transform(features)
        t_sne = TSNE(perplexity=min(30, (len(features) - 1) / 3), init="pca", random_state=0)
        points = t_sne.fit_transform(features)
    label_column = pa.array(np.concatenate(labels), pa.int64())
    return pa.table({"x": points[:, 0], "y": points[:, 1], "label": label_column, "kind": kinds})
