"""The generate stage: from a generator, numbers of images a class and a seed to a screened store of synthetic images.

Each class is made by one actor, in blocks whose latents depend on their number alone, until enough images have passed
the screening. Whoever made a block writes it, under a name that says which it is. So no image passes through the
driver, and the number of actors changes nothing.
"""

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch

from ganaug_ray.augment import screening_rules
from ganaug_ray.augment.generated_blocks import GeneratedBlock, generate_blocks
from ganaug_ray.augment.screening import Examiner, Screening
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.records import GanRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.errors import NothingPassed
from ganaug_ray.gan.sampler import BLOCK_SIZE, Generator
from ganaug_ray.runtime.cluster import describe_worker_resources

MAX_LOCAL_BLOCKS = 10  # blocks that one process makes on a CPU sooner than a pool of actors starts


class _GeneratorActor:
    """An actor of the pool: loads generator, teacher and training images once, then makes class after class."""

    def __init__(self, gan: str, out: str, seed: int, screening: Screening | None, stored: bool) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._generator = Generator.load(Folder.from_uri(gan), device)
        self._examiner = Examiner(screening, device) if screening else None
        self._out = Folder.from_uri(out)
        self._seed = seed
        self._stored = stored

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        for name, target in zip(batch["name"], batch["images"], strict=True):
            for block in self.generate_class(str(name), int(target)):
                if block.rejects is not None:
                    label = self._generator.classes.index(name)
                    self._out.write_table(f".screened-{label:04d}-{block.number:05d}.parquet", block.rejects)
                yield {
                    "name": np.array([name]),
                    "tally": np.array([json.dumps(block.tally)]),
                    "limits": np.array([json.dumps(block.limits and asdict(block.limits))]),
                }

    def generate_class(self, name: str, target: int) -> Iterator[GeneratedBlock]:
        """Make images of a class and write down those that are kept."""
        label = self._generator.classes.index(name)
        class_blocks = generate_blocks(self._generator, name, target, self._seed, self._examiner)
        if not self._stored:
            yield from itertools.islice(class_blocks, 1)
            return
        for block in class_blocks:
            if len(block.rows):
                table = image_store.to_table(block.rows, "synthetic")
                self._out.write_table(f"part-{label:04d}-{block.number:05d}.parquet", table, bulky="image")
            yield block


def generate_pool(
    counts: Mapping[str, int],
    seed: int,
    gan: Folder,
    out: Folder,
    screening: Screening | None = None,
    progress: Callable[[int], None] = lambda images: None,
    actors: int | None = None,
    stored: bool = True,
) -> experiment_dir.Record:
    """Generate and screen a store of ``counts`` images a class, with Ray Data and a pool of actors.

    Args:
        counts: class name -> number of images.
        seed: of the latents.
        gan: a finished generator.
        out: the synthetic store.
        screening: what is asked of the images; absent: any will do.
        progress: called with the number of images kept so far.
        actors: size of the pool; absent: from one to as many as there is room for.
        stored: whether images are kept; False: they are made while a classifier trains, and the limits are set on
            the first block of each class, the same one that sets them for stored images.

    Returns:
        The marker synthetic.json.

    Raises:
        NothingPassed: no image of any class passed the screening.
    """
    started = time.monotonic()
    out.create()
    targets = _plan_targets(counts, gan, screening, stored)
    tally: dict[str, Counter[str]] = {name: Counter() for name in counts}
    limits: dict[str, screening_rules.ScreeningLimits] = {}
    actor_args = {"gan": str(gan), "out": str(out), "seed": seed, "screening": screening, "stored": stored}
    for row in _generate_on_actors(targets, actor_args, actors):
        tally[row["name"]].update(json.loads(row["tally"]))
        if limits_record := json.loads(row["limits"]):
            limits[row["name"]] = screening_rules.ScreeningLimits.from_record(limits_record)
        progress(sum(class_tally["kept"] for class_tally in tally.values()))
    if screening is not None:
        _merge_rejects(out)
    return _commit_pool(counts, seed, gan, out, screening, stored, tally, limits, started)


def is_local_job(counts: Mapping[str, int]) -> bool:
    """Whether so few images are made sooner in this process than by actors."""
    return sum(-(-n // BLOCK_SIZE) for n in counts.values()) <= MAX_LOCAL_BLOCKS and not torch.cuda.is_available()


def generate_locally(
    counts: Mapping[str, int],
    seed: int,
    gan: Folder,
    out: Folder,
    screening: Screening | None,
    progress: Callable[[int], None] = lambda images: None,
    stored: bool = True,
) -> experiment_dir.Record:
    """Generate the same files as ``generate_pool``, in this process and without Ray.

    Two processes that make the same store at once write the same bytes, each file whole.
    """
    started = time.monotonic()
    out.create()
    maker = _GeneratorActor(str(gan), str(out), seed, screening, stored)
    tally: dict[str, Counter[str]] = {name: Counter() for name in counts}
    limits: dict[str, screening_rules.ScreeningLimits] = {}
    rejects: list[pa.Table] = []
    for name, n in sorted(_plan_targets(counts, gan, screening, stored).items()):
        for block in maker.generate_class(name, n):
            tally[name].update(block.tally)
            if block.limits is not None:
                limits[name] = block.limits
            if block.rejects is not None:
                rejects.append(block.rejects)
            progress(sum(class_tally["kept"] for class_tally in tally.values()))
    if rejects:
        out.write_table("screened.parquet", pa.concat_tables(rejects))
    return _commit_pool(counts, seed, gan, out, screening, stored, tally, limits, started)


def _plan_targets(counts: Mapping[str, int], gan: Folder, screening: Screening | None, stored: bool) -> dict[str, int]:
    """Images of each class to make: what is stored; else a block each to set the limits on, where there are any."""
    undrawn = GanRecord.read(gan).undrawn
    targets = {name: n if stored else BLOCK_SIZE for name, n in counts.items() if name not in undrawn}
    return targets if stored or screening is not None else {}


def _commit_pool(
    counts: Mapping[str, int],
    seed: int,
    gan: Folder,
    out: Folder,
    screening: Screening | None,
    stored: bool,
    tally: Mapping[str, Counter[str]],
    limits: Mapping[str, screening_rules.ScreeningLimits],
    started: float,
) -> experiment_dir.Record:
    """Write the marker of a store whose images are written."""
    gan_record = GanRecord.read(gan)
    drawn_counts: dict[str, int] = {name: class_tally["kept"] for name, class_tally in tally.items()}
    not_drawn = [name for name in counts if name in gan_record.undrawn]
    if screening is not None:
        not_drawn = [name for name, n in drawn_counts.items() if not n]
    if counts and len(not_drawn) == len(counts):
        raise NothingPassed(f"no generated image passed the screening (see {out.name}/screened.parquet)")
    rejected_counts = {}
    for name, class_tally in tally.items():
        rejected_counts[name] = {reason: n for reason, n in sorted(class_tally.items()) if reason != "kept"}
    settings = screening.config.model_dump() if screening else None
    ordered_counts = dict(sorted(counts.items()))
    record = {
        "hash": experiment_dir.compute_fingerprint(gan_record.hash, seed, ordered_counts, BLOCK_SIZE, settings),
        "inputs": {"gan": gan_record.hash},
        "asked": dict(counts),
        "counts": drawn_counts,
        "screened": rejected_counts,
        "not_drawn": not_drawn,
        "limits": asdict(_join_limits(limits, gan_record.classes)) if limits else None,
        "seed": seed,
        "images": sum(drawn_counts.values()) if stored else 0,
    }
    return experiment_dir.write_marker(out, "synthetic.json", "generate", started, record)


def _generate_on_actors(
    targets: Mapping[str, int], actor_args: dict[str, Any], actors: int | None
) -> Iterable[dict[str, Any]]:
    """Yield a row for each block: name of the class, tally and limits, these two as JSON."""
    if not targets:
        return ()
    if actors:
        pool = ray.data.ActorPoolStrategy(size=actors)
    else:
        room = max(1, min(len(targets), int(ray.cluster_resources()["CPU"])))
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=room)
    class_rows = [{"name": name, "images": n} for name, n in targets.items()]
    results = ray.data.from_items(class_rows, override_num_blocks=len(class_rows)).map_batches(
        _GeneratorActor, fn_constructor_kwargs=actor_args, compute=pool, batch_size=1, **describe_worker_resources()
    )
    return results.iter_rows()


def _join_limits(
    limits: Mapping[str, screening_rules.ScreeningLimits], classes: list[str]
) -> screening_rules.ScreeningLimits:
    """Join the limits of the classes; of one that no images were asked of, any other's say that there were none."""
    other = next(iter(limits.values()))
    return screening_rules.ScreeningLimits.join_classes([limits.get(name, other) for name in classes])


def _merge_rejects(out: Folder) -> None:
    """Bring the blocks' tables of rejects together."""
    infos = out.fs.get_file_info(pa.fs.FileSelector(out.path))
    names = sorted(info.base_name for info in infos if info.base_name.startswith(".screened-"))
    if names:
        out.write_table("screened.parquet", pa.concat_tables([out.read_table(name) for name in names]))
    for name in names:
        out.delete_file(name)
