"""Which rows make up the batch of a step, and the resident loader that serves them; stream.py has the other one.

Batches are cut from an endless concatenation of seeded permutations: no ragged last batch, no row dropped, equal
steps on all ranks. The order is a pure function of (key, step), so neither the number of ranks nor a resume changes it.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import torch

from ganaug_ray.config.base import TrainingConfig
from ganaug_ray.core import rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store, shared_memory, tensors
from ganaug_ray.data.loading.batch import Batch, BatchFeed
from ganaug_ray.data.loading.sampler import NATURAL_SAMPLING, Sampling
from ganaug_ray.errors import UserError


def slice_permutations(n: int, start: int, stop: int, key: tuple[rng.Key, ...]) -> np.ndarray:
    """Rows at positions start..stop of the endless concatenation of permutations of range(n), int64.

    >>> sorted(slice_permutations(5, 5, 10, (0,)).tolist())
    [0, 1, 2, 3, 4]
    """
    return slice_passes(partial(_permute_epoch, n, key), n, start, stop)


def slice_passes(order_pass: Callable[[int], np.ndarray], n: int, start: int, stop: int) -> np.ndarray:
    """Rows at positions start..stop of passes one behind the other, each of n rows, int64."""
    pieces = [np.zeros(0, np.int64)]
    for number in range(start // n, -(-stop // n)):
        first = number * n
        pieces.append(order_pass(number)[max(start - first, 0) : stop - first])
    return np.concatenate(pieces)


@lru_cache(maxsize=8)
def _permute_epoch(n: int, key: tuple[rng.Key, ...], number: int) -> np.ndarray:
    return rng.draw_permutation(n, *key, "epoch", number)


class ResidentImages:
    """A whole image store as uint8 on the device: the loader for data that fit, which scarce data do."""

    def __init__(self, rows: image_store.LabelledImages, device: torch.device) -> None:
        self.ids = rows.ids
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # and nobody writes to it
            self.images_NHWC = torch.from_numpy(rows.images).to(device)
            self.labels_N = torch.from_numpy(rows.labels).to(device)

    @classmethod
    def load(cls, folder: Folder, device: torch.device, max_rows: int | None = None) -> "ResidentImages":
        """Load a store, or its first rows: a random sample of it, as stores are ordered by a hash of the content."""
        return cls(shared_memory.read_images(folder, max_rows), device)

    def __len__(self) -> int:
        return len(self.ids)

    def take_rows(self, index: np.ndarray | slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (x_BCHW float32 [-1, 1], y_B) of the rows with these indices."""
        where = index if isinstance(index, slice) else torch.from_numpy(index).to(self.labels_N.device)
        return tensors.to_network(self.images_NHWC[where]), self.labels_N[where]


class ResidentFeed(BatchFeed):
    """Batches of a store in memory: any step at once, and the same global batches for any number of ranks.

    Args:
        rows: the store.
        count_rows_used: how many rows have been used after so many steps; its differences are the sizes of the batches.
        place: this rank.
        key: of the order.
        sampling: which rows make up a pass over the store.
    """

    def __init__(
        self,
        rows: ResidentImages,
        count_rows_used: Callable[[int], int],
        place: Place,
        key: tuple[rng.Key, ...],
        sampling: Sampling = NATURAL_SAMPLING,
    ) -> None:
        self.rows = rows
        self._upto = count_rows_used
        self._place = place
        self._epoch = lru_cache(maxsize=8)(partial(sampling.order_epoch, rows.labels_N.cpu().numpy(), key=key))
        self._pass = len(self._epoch(0))

    def count_rows(self, step: int) -> int:
        """Rows of the global batch of a step."""
        return self._upto(step + 1) - self._upto(step)

    def list_indices(self, step: int) -> np.ndarray:
        """Row numbers of this rank's part of a step's global batch, int64."""
        global_rows = slice_passes(self._epoch, self._pass, self._upto(step), self._upto(step + 1))
        return global_rows[self._place.slice_rows(len(global_rows))]

    def __call__(self, step: int) -> Batch:
        """Return this rank's part of a step's global batch."""
        x_BCHW, y_B = self.rows.take_rows(self.list_indices(step))
        total = self.count_rows(step)
        return Batch(x_BCHW, y_B, torch.arange(total)[self._place.slice_rows(total)], total)


def open_feed(
    folder: Folder,
    count_rows_used: Callable[[int], int],
    multiple: int,
    place: Place,
    key: tuple[rng.Key, ...],
    resident_gb: float,
    sampling: Sampling = NATURAL_SAMPLING,
) -> BatchFeed:
    """Open the endless batches of a store, in memory if it is small enough and else streamed.

    Args:
        folder: the store.
        count_rows_used: how many rows have been used after so many steps.
        multiple: of rows to which a streamed epoch is filled up, with its own first rows.
        place: this rank.
        key: of the order.
        resident_gb: GB (10**9 bytes) of uint8 pixels that may be kept in memory.
        sampling: which rows make up a pass over the store.

    Raises:
        UserError: as refuse_streamed does.
    """
    shards = image_store.list_shards(folder)
    if shards.pixel_bytes <= resident_gb * 1e9:
        return ResidentFeed(ResidentImages.load(folder, place.device), count_rows_used, place, key, sampling)
    refuse_streamed(shards, resident_gb, sampling)
    from ganaug_ray.data.loading import streaming_loader  # it needs Ray

    return streaming_loader.StreamFeed(shards, count_rows_used, multiple, place, key)


def refuse_streamed(shards: image_store.ShardList, resident_gb: float, sampling: Sampling) -> None:
    """Raise UserError if a store that is too large for memory is to be drawn from in any but the natural way."""
    if sampling != NATURAL_SAMPLING and shards.pixel_bytes > resident_gb * 1e9:
        raise UserError(
            "sampling balanced, or of some classes alone, needs the images in memory; these are "
            f"{shards.pixel_bytes / 1e9:.2g} GB, so raise data.resident_limit above that, or take data.loader: resident"
        )


def refuse_elastic_streaming(
    name: str, config: TrainingConfig, shards: image_store.ShardList, resident_gb: float
) -> None:
    """Raise UserError if workers that come and go are to train on more images than are kept in memory.

    Args:
        name: of the section of the job.
        config: that section.
        shards: what they are to draw from.
        resident_gb: GB of images that may be kept in memory.
    """
    if config.min_workers and shards.pixel_bytes > resident_gb * 1e9:
        raise UserError(
            f"{name}.min_workers {config.min_workers}: images that are streamed are dealt out to a fixed number of "
            f"workers; leave it out, or raise data.resident_limit above {shards.pixel_bytes / 1e9:.2g}GB"
        )


def open_real_feed(
    dataset: str,
    batch_size: int,
    resident_gb: float,
    seed: int,
    place: Place,
    wait: int = 0,
    sampling: Sampling = NATURAL_SAMPLING,
) -> BatchFeed:
    """Batches of the real training rows alone; none in the first ``wait`` steps, then from the beginning."""
    folder = Folder.from_uri(dataset) / "train"

    def count_rows_used(step: int) -> int:
        return max(0, step - wait) * batch_size

    return open_feed(folder, count_rows_used, batch_size, place, (seed, "real"), resident_gb, sampling)
