"""The generate stage: from a generator, numbers of images a class and a seed to a screened store of synthetic images.

Images are made in blocks whose latents depend on class and number alone, by as many actors as there is room for, until
enough images of each class have passed the screening. Whoever made a block writes it; none goes through the driver.
Ray Data would have to know all blocks at its start; here what passed of a class decides which ones it still needs.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import ray

from ganaug_ray.augment import screening_rules
from ganaug_ray.augment.generated_blocks import BlockRequest, ClassBlocks, make_block
from ganaug_ray.augment.pool_marker import write_pool_marker
from ganaug_ray.augment.screening import Examiner, Screening
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.heap_memory import keep_freed_memory
from ganaug_ray.core.records import GanRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import get_last_line
from ganaug_ray.data.loading import image_store
from ganaug_ray.errors import StageFailed
from ganaug_ray.gan.sampler import BLOCK_SIZE, Generator
from ganaug_ray.runtime import cluster, resources
from ganaug_ray.runtime.hardware import Hardware

MAX_LOCAL_BLOCKS = 10  # blocks that one process makes on a CPU sooner than a pool of actors starts
MAX_RESTARTS = 3  # of an actor that was lost; the block that it was at is made again, to the same bytes


@dataclass(frozen=True)
class BlockSummary:
    """What the driver learns of a block that an actor has made and written.

    Attributes:
        name: of the class.
        tally: reason, or "kept" -> number of images.
        limits: by which it was screened; None where nothing is screened.
        is_drawn: whether the limits let the class have images at all.
        rejects: the table of rejected images, where it was not written; None otherwise.
    """

    name: str
    tally: dict[str, int]
    limits: screening_rules.ScreeningLimits | None
    is_drawn: bool
    rejects: pa.Table | None = None


class _BlockMaker:
    """Loads generator, teacher and training images once, then makes block after block and writes them."""

    def __init__(self, gan: str, out: str, seed: int, screening: Screening | None, stored: bool, device: str) -> None:
        self._generator = Generator.load(Folder.from_uri(gan), device)
        self._examiner = Examiner(screening, device) if screening else None
        self._out = Folder.from_uri(out)
        self._seed = seed
        self._stored = stored

    def make(self, request: BlockRequest) -> BlockSummary:
        """Make a block, and write down those images that are kept."""
        block = make_block(self._generator, request, self._seed, self._examiner)
        if self._stored and len(block.rows):
            table = image_store.to_table(block.rows, "synthetic")
            self._out.write_table(f"part-{block.label:04d}-{block.number:05d}.parquet", table, bulky="image")
        return BlockSummary(request.name, block.tally, block.limits, block.is_drawn, block.rejects)


class _GeneratorActor:
    """A block maker in a process of its own, which also writes down what it rejects."""

    def __init__(self, gan: str, out: str, seed: int, screening: Screening | None, stored: bool) -> None:
        device = cluster.get_reserved_device()
        keep_freed_memory(device)
        self._maker = _BlockMaker(gan, out, seed, screening, stored, device)
        self._classes = GanRecord.read(Folder.from_uri(gan)).classes
        self._out = Folder.from_uri(out)

    def get_ready(self) -> None:
        """Answered when all is loaded."""

    def make(self, request: BlockRequest) -> BlockSummary:
        summary = self._maker.make(request)
        if summary.rejects is not None:
            label = self._classes.index(request.name)
            self._out.write_table(f".screened-{label:04d}-{request.number:05d}.parquet", summary.rejects)
        return replace(summary, rejects=None)


def generate_pool(
    counts: Mapping[str, int],
    seed: int,
    gan: Folder,
    out: Folder,
    hardware: Hardware,
    screening: Screening | None = None,
    progress: Callable[[int], None] = lambda images: None,
    stored: bool = True,
    planned: Mapping[str, int] | None = None,
) -> experiment_dir.Record:
    """Generate and screen a store of ``counts`` images a class, with a pool of Ray actors.

    Args:
        counts: class name -> number of images.
        seed: of the latents.
        gan: a finished generator.
        out: the synthetic store.
        hardware: of the cluster, as far as it is to be used.
        screening: what is asked of the images; absent: any will do.
        progress: called with the number of images kept so far.
        stored: whether images are kept; False: they are made while a classifier trains, and the limits are set on
            the first block of each class, the same one that sets them for stored images.
        planned: counts of all classes that the store may get: its hash is that of these, since they and the generator
            decide each image; absent: ``counts``.

    Returns:
        The marker synthetic.json.

    Raises:
        NothingPassed: no image of any class passed the screening.
        StageFailed: actors were lost more often than restarts help.
    """
    arguments = (str(gan), str(out), seed, screening, stored)

    def make_blocks(plans: Mapping[str, ClassBlocks]) -> Iterator[BlockSummary]:
        yield from _make_on_actors(plans, arguments, hardware)
        if screening is not None:
            _merge_rejects(out)

    return _fill_store(counts, planned or counts, seed, gan, out, screening, progress, stored, make_blocks)


def is_local_job(counts: Mapping[str, int]) -> bool:
    """Whether so few images are made sooner by this process than by actors, on a CPU."""
    return sum(-(-n // BLOCK_SIZE) for n in counts.values()) <= MAX_LOCAL_BLOCKS


def generate_locally(
    counts: Mapping[str, int],
    seed: int,
    gan: Folder,
    out: Folder,
    screening: Screening | None,
    progress: Callable[[int], None] = lambda images: None,
    stored: bool = True,
    device: str = "cpu",
    planned: Mapping[str, int] | None = None,
) -> experiment_dir.Record:
    """Generate the same files as ``generate_pool``, in this process and without Ray.

    Two processes that make the same store at once write the same bytes, each file whole.
    """

    def make_blocks(plans: Mapping[str, ClassBlocks]) -> Iterator[BlockSummary]:
        maker = _BlockMaker(str(gan), str(out), seed, screening, stored, device)
        rejects: list[pa.Table] = []
        for name in sorted(plans):
            while requests := plans[name].take_blocks():
                for request in requests:
                    summary = maker.make(request)
                    if summary.rejects is not None:
                        rejects.append(summary.rejects)
                    yield summary
        if rejects:
            out.write_table("screened.parquet", pa.concat_tables(rejects))

    return _fill_store(counts, planned or counts, seed, gan, out, screening, progress, stored, make_blocks)


def _fill_store(
    counts: Mapping[str, int],
    planned: Mapping[str, int],
    seed: int,
    gan: Folder,
    out: Folder,
    screening: Screening | None,
    progress: Callable[[int], None],
    stored: bool,
    make_blocks: Callable[[Mapping[str, ClassBlocks]], Iterator[BlockSummary]],
) -> experiment_dir.Record:
    """Have the blocks of all classes made and written, in whatever order, and write the marker."""
    started = time.monotonic()
    out.create()
    plans = _plan_blocks(counts, gan, screening, stored)
    tally: dict[str, Counter[str]] = {name: Counter() for name in counts}
    limits: dict[str, screening_rules.ScreeningLimits] = {}
    for block in make_blocks(plans):
        plans[block.name].add_block(block.tally["kept"], block.limits, block.is_drawn)
        tally[block.name].update(block.tally)
        if block.limits is not None:
            limits[block.name] = block.limits
        progress(sum(class_tally["kept"] for class_tally in tally.values()))
    return write_pool_marker(counts, planned, seed, gan, out, screening, stored, tally, limits, started)


def _plan_blocks(
    counts: Mapping[str, int], gan: Folder, screening: Screening | None, stored: bool
) -> dict[str, ClassBlocks]:
    """The blocks of what is stored; else one of each class to set the limits on, where there are any."""
    undrawn = GanRecord.read(gan).undrawn
    drawn = {name: n for name, n in counts.items() if name not in undrawn}
    if stored:
        return {name: ClassBlocks(name, n, screening is not None) for name, n in drawn.items()}
    if screening is None:
        return {}
    return {name: ClassBlocks(name, BLOCK_SIZE, is_screened=True, max_blocks=1) for name in drawn}


def _make_on_actors(
    plans: Mapping[str, ClassBlocks], arguments: tuple[Any, ...], hardware: Hardware
) -> Iterator[BlockSummary]:
    """Have actors make the blocks, and yield what becomes of each as it is written.

    An actor gets its first block when it has loaded all it needs: those that find no room yet keep nobody waiting.
    """
    waiting: deque[BlockRequest] = deque()
    for plan in plans.values():
        waiting.extend(plan.take_blocks())
    reserved = resources.plan_stage("generate", hardware)
    options = {**reserved.ray_options, "max_restarts": MAX_RESTARTS, "max_task_retries": MAX_RESTARTS}
    actor_class: Any = ray.remote(_GeneratorActor)
    pool = []
    for _ in range(min(len(waiting), max(1, reserved.at_once))):
        pool.append(actor_class.options(**options).remote(*arguments))
    starting = {actor.get_ready.remote(): actor for actor in pool}
    running: dict[Any, Any] = {}
    idle: list[Any] = []
    while waiting or running:
        while waiting and idle:
            actor = idle.pop()
            running[actor.make.remote(waiting.popleft())] = actor
        (ref, *_), _ = ray.wait([*starting, *running])
        try:
            summary = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise StageFailed(f"a worker failed: {get_last_line(error)}") from error
        if ref in starting:
            idle.append(starting.pop(ref))
            continue
        idle.append(running.pop(ref))
        yield summary
        waiting.extend(plans[summary.name].take_blocks())


def _merge_rejects(out: Folder) -> None:
    """Bring the blocks' tables of rejects together."""
    infos = out.fs.get_file_info(pa.fs.FileSelector(out.path))
    names = sorted(info.base_name for info in infos if info.base_name.startswith(".screened-"))
    if names:
        out.write_table("screened.parquet", pa.concat_tables([out.read_table(name) for name in names]))
    for name in names:
        out.delete_file(name)
