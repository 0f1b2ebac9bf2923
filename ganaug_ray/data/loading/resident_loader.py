"""Decides which rows make up the batch of a step, and serves them from memory; ``streaming_loader`` reads from disk.

Batches are cut from an endless concatenation of seeded permutations: no ragged last batch, no row dropped, equal
steps on all ranks. The order is a pure function of (key, step), so neither the number of ranks nor a resume changes it.
"""

import math
import warnings
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import torch

from ganaug_ray.config.base import TrainingConfig
from ganaug_ray.core import rng
from ganaug_ray.core.distributed import Place, copy_to_device
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store, shared_memory, tensors
from ganaug_ray.data.loading.batch import Batch, BatchFeed
from ganaug_ray.data.loading.sampler import NATURAL_SAMPLING, Sampling
from ganaug_ray.errors import UserError


def slice_permutations(n: int, start: int, stop: int, key: tuple[rng.Key, ...]) -> np.ndarray:
    """Return the rows at positions start .. stop - 1 of an endless concatenation of permutations of ``range(n)``.

    Args:
        n: number of rows; one at least.
        start: first position.
        stop: position behind the last one.
        key: of the permutations; equal keys give equal ones.

    Returns:
        int64 [stop - start].

    >>> sorted(slice_permutations(5, 5, 10, (0,)).tolist())
    [0, 1, 2, 3, 4]
    """
    return slice_passes(partial(_permute_epoch, n, key), n, start, stop)


def slice_passes(order_pass: Callable[[int], np.ndarray], n: int, start: int, stop: int) -> np.ndarray:
    """Return the rows at positions start .. stop - 1 of passes that follow one another.

    Args:
        order_pass: number of a pass -> its rows in order, int64 [n].
        n: rows of each pass; one at least.
        start: first position.
        stop: position behind the last one.

    Returns:
        int64 [stop - start].

    >>> slice_passes(lambda number: np.array([10, 11, 12]) + 10 * number, n=3, start=2, stop=5).tolist()
    [12, 20, 21]
    """
    pieces = [np.zeros(0, np.int64)]
    for number in range(start // n, -(-stop // n)):
        first = number * n
        pieces.append(order_pass(number)[max(start - first, 0) : stop - first])
    return np.concatenate(pieces)


@lru_cache(maxsize=8)
def _permute_epoch(n: int, key: tuple[rng.Key, ...], number: int) -> np.ndarray:
    return rng.draw_permutation(n, *key, "epoch", number)


class ResidentImages:
    """A whole image store as uint8 pixels on a device, for data that fit there.

    Args:
        rows: the images.
        device: where pixels and labels are kept.
    """

    def __init__(self, rows: image_store.LabelledImages, device: torch.device) -> None:
        self.ids = rows.ids
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # and nobody writes to it
            self.images_NHWC = torch.from_numpy(rows.images).to(device)
            self.labels_N = torch.from_numpy(rows.labels).to(device)

    @classmethod
    def load(cls, folder: Folder, device: torch.device, max_rows: int | None = None) -> "ResidentImages":
        """Load a store, or its first rows, which are a random sample: a store is in the order of a hash of its images.

        Args:
            folder: of the store; it is not read from disk where it is lent, see ``shared_memory``.
            device: where pixels and labels are kept.
            max_rows: number of images that are loaded, from the first on; None: all.

        Raises:
            FileNotFoundError: the folder has no shards.
        """
        return cls(shared_memory.read_images(folder, max_rows), device)

    def __len__(self) -> int:
        return len(self.ids)

    def take_rows(self, index: np.ndarray | slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Return some images as a network takes them, and their labels.

        Args:
            index: numbers of the rows, int64 [B], or a slice.

        Returns:
            (images float32 [B, C, H, W] in [-1, 1], labels int64 [B]), on the device.
        """
        if isinstance(index, slice):
            return tensors.to_network(self.images_NHWC[index]), self.labels_N[index]
        rows_B = copy_to_device(torch.from_numpy(index), self.labels_N.device)
        images_BHWC = self.images_NHWC.index_select(0, rows_B)  # copies whole rows, where indexing goes pixel by pixel
        return tensors.to_network(images_BHWC), self.labels_N.index_select(0, rows_B)


class ResidentFeed(BatchFeed):
    """Batches of a store in memory, any step in any order; the global batches are the same for any number of ranks.

    Args:
        rows: the store.
        count_rows_used: number of steps -> rows that these use; its differences are the sizes of the batches.
        place: this rank.
        key: of the order; equal keys give equal ones.
        sampling: which rows make up a pass over the store.

    >>> texts = [""] * 5
    >>> rows = image_store.LabelledImages(np.zeros((5, 8, 8, 1), np.uint8), np.arange(5), texts, texts, texts)
    >>> feed = ResidentFeed(ResidentImages(rows, torch.device("cpu")), lambda step: 2 * step, Place(), (0,))
    >>> feed(0).x_BCHW.shape, sorted(np.concatenate([feed(step).y_B for step in range(5)]).tolist())
    (torch.Size([2, 1, 8, 8]), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
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
        """Return the number of rows of a step's global batch.

        Args:
            step: steps count from zero.

        Returns:
            The rows of all ranks together.
        """
        return self._upto(step + 1) - self._upto(step)

    def list_indices(self, step: int) -> np.ndarray:
        """Return the numbers of the store's rows that are in this rank's part of a step's global batch.

        Args:
            step: steps count from zero.

        Returns:
            int64 [B] in [0, N), of N rows of the store; a row may be there more than once.
        """
        first = self._upto(step)
        share = self._place.slice_rows(self.count_rows(step))
        return slice_passes(self._epoch, self._pass, first + share.start, first + share.stop)

    def __call__(self, step: int) -> Batch:
        """Return this rank's part of a step's global batch."""
        x_BCHW, y_B = self.rows.take_rows(self.list_indices(step))
        total = self.count_rows(step)
        share = self._place.slice_rows(total)
        return Batch(x_BCHW, y_B, np.arange(share.start, share.stop), total)


def open_feed(
    folder: Folder,
    count_rows_used: Callable[[int], int],
    multiple: int,
    place: Place,
    key: tuple[rng.Key, ...],
    resident_gb: float,
    sampling: Sampling = NATURAL_SAMPLING,
) -> BatchFeed:
    """Open a feed of batches of a store: from memory if the store is small enough, else streamed from disk.

    Args:
        folder: of the store.
        count_rows_used: number of steps -> rows that these use.
        multiple: a streamed epoch is filled up with its own first rows to a multiple of this; itself a multiple of the
            number of ranks.
        place: this rank.
        key: of the order; equal keys give equal ones.
        resident_gb: GB (10**9 bytes) of decoded pixels that may be kept in memory.
        sampling: which rows make up a pass over the store; a streamed store takes the natural one alone.

    Raises:
        UserError: the store is too large for memory, and the sampling is not the natural one.
        FileNotFoundError: the folder has no shards.
    """
    shards = image_store.list_shards(folder)
    if shards.pixel_bytes <= resident_gb * 1e9:
        return ResidentFeed(ResidentImages.load(folder, place.device), count_rows_used, place, key, sampling)
    refuse_streamed(shards, resident_gb, sampling)
    from ganaug_ray.data.loading import streaming_loader  # it needs Ray

    return streaming_loader.StreamFeed(shards, count_rows_used, multiple, place, key)


def refuse_streamed(shards: image_store.ShardList, resident_gb: float, sampling: Sampling) -> None:
    """Raise an error if a store is too large for memory and its sampling needs it there.

    Args:
        shards: the store.
        resident_gb: GB (10**9 bytes) of decoded pixels that may be kept in memory.
        sampling: which rows make up a pass over the store.

    Raises:
        UserError: the store is larger than that, and the sampling is not the natural one.
    """
    if sampling != NATURAL_SAMPLING and shards.pixel_bytes > resident_gb * 1e9:
        raise UserError(
            "sampling balanced, or of some classes alone, needs the images in memory; raise data.resident_limit to "
            f"{_round_up_gb(shards.pixel_bytes)} (GB), or take data.loader: resident"
        )


def refuse_elastic_streaming(
    name: str, config: TrainingConfig, shards: image_store.ShardList, resident_gb: float
) -> None:
    """Raise an error if a store has to be streamed but the number of workers may change.

    Args:
        name: of the section of the job, ``gan`` or ``classifier``.
        config: that section; the number of workers may change if ``min_workers`` is set.
        shards: the store.
        resident_gb: GB (10**9 bytes) of decoded pixels that may be kept in memory.

    Raises:
        UserError: that is so.
    """
    if config.min_workers and shards.pixel_bytes > resident_gb * 1e9:
        raise UserError(
            f"{name}.min_workers {config.min_workers}: images that are streamed are dealt out to a fixed number of "
            f"workers; leave it out, or raise data.resident_limit to {_round_up_gb(shards.pixel_bytes)} (GB)"
        )


def _round_up_gb(size_bytes: int) -> str:
    """Return a size in GB with two digits, rounded up: as a limit it suffices.

    >>> _round_up_gb(1_240_000_000), _round_up_gb(123_000_000_000)
    ('1.3', '130')
    """
    gigabytes = size_bytes / 1e9
    unit = 10.0 ** (math.floor(math.log10(gigabytes)) - 1)
    return f"{math.ceil(gigabytes / unit) * unit:.6g}"


def open_real_feed(
    dataset: str,
    batch_size: int,
    resident_gb: float,
    seed: int,
    place: Place,
    wait: int = 0,
    sampling: Sampling = NATURAL_SAMPLING,
) -> BatchFeed:
    """Open a feed of real training images.

    Args:
        dataset: path or URI of the data set's folder.
        batch_size: rows of each global batch.
        resident_gb: as for ``open_feed``.
        seed: of the order.
        place: this rank.
        wait: number of first steps that are without rows; the order begins after them.
        sampling: as for ``open_feed``.

    Raises:
        UserError: as ``open_feed``.
    """
    folder = Folder.from_uri(dataset) / "train"

    def count_rows_used(step: int) -> int:
        return max(0, step - wait) * batch_size

    return open_feed(folder, count_rows_used, batch_size, place, (seed, "real"), resident_gb, sampling)
