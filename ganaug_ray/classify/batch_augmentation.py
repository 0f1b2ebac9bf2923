"""Augments a whole batch on its device.

Classic: one affine resampling does flip, rotation, zoom and shift; ``augment: strong`` adds what is in
``strong_augmentation``. And, where asked for, images of two rows in one.
"""

import math

import torch
from torch.nn import functional as F

from ganaug_ray.classify.strong_augmentation import RowOperations
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.core import rng
from ganaug_ray.core.distributed import Place, copy_to_device
from ganaug_ray.data.loading.batch import Batch

DRAWS_PER_ROW = 5  # a row: flip, rotation, zoom, shift across, shift down


def apply_classic(batch: Batch, config: ClassifierConfig, key: tuple[rng.Key, ...]) -> torch.Tensor:
    """Return the batch's images, each flipped, rotated, zoomed and shifted at random; float [B, C, H, W] in [-1, 1].

    With ``augment: strong`` each has one more operation besides, and some lose a rectangle. The draws depend on the key
    and a row's position in the global batch: the same image of the same step is changed alike however many ranks there
    are. What comes in from outside repeats the border.
    """
    assert config.augment != "auto", "chosen before anything is trained with it"
    draws = rng.draw_uniform_rows(batch.rows, (DRAWS_PER_ROW,), *key)
    maps_B23 = build_affine_maps(draws, config)
    if config.augment == "light":
        return _resample(batch.x_BCHW, maps_B23)
    operations = RowOperations.draw(batch.rows, (*key, "strong"))
    x_BCHW = _resample(batch.x_BCHW, operations.move(maps_B23))
    return operations.erase(operations.change_colours(x_BCHW))


def _resample(x_BCHW: torch.Tensor, maps_B23: torch.Tensor) -> torch.Tensor:
    grid = F.affine_grid(copy_to_device(maps_B23, x_BCHW.device), list(x_BCHW.shape), align_corners=False)
    return F.grid_sample(x_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)


def build_affine_maps(draws: torch.Tensor, config: ClassifierConfig) -> torch.Tensor:
    """Turn uniform draws [B, DRAWS_PER_ROW] in [0, 1) into affine maps [B, 2, 3] from output to input coordinates."""
    flip, rotation, zoom, across, down = draws.unbind(1)
    sign = torch.where((flip < 0.5) & config.flip, -1.0, 1.0)
    angle = (rotation * 2 - 1) * math.radians(config.rotate)
    scale = 1 / (1 + (zoom * 2 - 1) * config.zoom)
    cos = torch.cos(angle) * scale
    sin = torch.sin(angle) * scale
    # A shift by the whole size is 2 in grid_sample's coordinates, which run from -1 to 1.
    move_x = (across * 2 - 1) * 2 * config.shift
    move_y = (down * 2 - 1) * 2 * config.shift
    rows = [torch.stack([sign * cos, -sin, move_x], 1), torch.stack([sign * sin, cos, move_y], 1)]
    return torch.stack(rows, 1)


def blend_rows(
    x_BCHW: torch.Tensor,
    batch: Batch,
    config: ClassifierConfig,
    classes: int,
    place: Place,
    key: tuple[rng.Key, ...],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return images, targets and loss weights of a batch, after MixUp or CutMix if the config asks for one.

    MixUp: Zhang et al. 2018 (arXiv 1710.09412). CutMix: Yun et al. 2019 (arXiv 1905.04899). A row's partner may be
    on another rank: so the global batch is put together, mixed alike everywhere, and each rank takes its rows.

    Args:
        x_BCHW: the batch's images after classic augmentation, float [-1, 1].
        batch: their labels and weights, and where they stand in the global batch.
        config: the strength of each.
        classes: K.
        place: this rank.
        key: of the draws.

    Returns:
        Images, float [-1, 1] [B, C, H, W]; the probability of each class, float [B, K]; and what each row counts in
        the loss, float [B]. Of a blended row all are those of two rows, in the same proportion.
    """
    targets_BK = F.one_hot(batch.y_B, classes).float() if batch.soft_BK is None else batch.soft_BK
    weight_B = torch.ones_like(targets_BK[:, 0]) if batch.weight_B is None else batch.weight_B
    if not (config.mixup or config.cutmix):
        return x_BCHW, targets_BK, weight_B
    from torchvision.transforms import v2  # slow to import, and rarely wanted

    targets_and_weights_BL = torch.cat([targets_BK, weight_B[:, None]], 1)  # the weight goes along as one more column
    rows_B = copy_to_device(torch.from_numpy(batch.rows), x_BCHW.device)
    whole_x = _gather_rows(x_BCHW, rows_B, batch.total, place)
    whole_y = _gather_rows(targets_and_weights_BL, rows_B, batch.total, place)
    kinds = {v2.MixUp: config.mixup, v2.CutMix: config.cutmix}
    mixers = [kind(alpha=alpha) for kind, alpha in kinds.items() if alpha]
    rng.seed_layers(torch.device("cpu"), *key)  # where torchvision draws: one number or one square for all rows
    mix = mixers[rng.hash_to_number(*key, "which") % len(mixers)]
    mixed_x, mixed_y = mix(whole_x, whole_y)
    return mixed_x[rows_B], mixed_y[rows_B, :-1], mixed_y[rows_B, -1]


def _gather_rows(values_B: torch.Tensor, rows_B: torch.Tensor, total: int, place: Place) -> torch.Tensor:
    """The rows of the global batch, of which each rank has some."""
    whole = values_B.new_zeros(total, *values_B.shape[1:])
    whole[rows_B] = values_B
    place.sum_over_ranks(whole)
    return whole
