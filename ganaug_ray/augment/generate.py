"""The generate stage: a generator, counts a class and a seed in; a screened synthetic image store out.

Each class is made by one actor, in blocks whose latents depend on their number alone, until enough images have passed
the screening. Whoever made a block writes it, under a name that says which it is. So no image passes through the
driver, and the number of actors changes nothing.
"""

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch

from ganaug_ray.augment import screening_rules
from ganaug_ray.augment.screening import Examiner, Screening
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.errors import StageFailed
from ganaug_ray.gan.sampler import BLOCK, Generator
from ganaug_ray.runtime.cluster import worker_resources

MOST_TRIES = 4  # images made for each that is wanted, at most
FEW = 10  # blocks that one process makes on a CPU sooner than a pool of actors starts


@dataclass(frozen=True)
class Block:
    """Some images of a class, and what the screening made of the whole block.

    Attributes:
        number: of the block; its images have the indices ``number * BLOCK`` and on.
        rows: those that are kept.
        rejects: as screen.rejects gives them; None where nothing is screened.
        tally: reason, or "kept" -> number of images.
        limits: by which it was screened, those of its own class; None where nothing is screened.
    """

    number: int
    rows: image_store.Images
    rejects: pa.Table | None
    tally: dict[str, int]
    limits: screening_rules.Limits | None


def blocks(generator: Generator, name: str, wanted: int, seed: int, examiner: Examiner | None) -> Iterator[Block]:
    """Make images of a class until so many are kept, or MOST_TRIES times as many are made.

    The first block sets the limits of the screening; a class that the teacher does not recognise in it gets none.

    Raises:
        KeyError: the generator has no such class.
    """
    assert name in generator.classes, f"no such class: {name}"
    label, limits, number = generator.classes.index(name), None, 0
    most = wanted if examiner is None else max(BLOCK, MOST_TRIES * wanted)
    while wanted > 0 and number * BLOCK < most:
        rows = make(generator, label, number, min(BLOCK, wanted) if examiner is None else BLOCK, seed)
        rejects, tally = None, {"kept": len(rows)}
        if examiner is not None:
            evidence = examiner(rows.images, rows.labels)
            limits = limits or screening_rules.Limits.of(evidence, examiner.config)
            verdict_N = screening_rules.screen(evidence, limits)
            rejects = screening_rules.rejects(evidence, verdict_N, rows.provenance, generator.classes)
            tally = dict(Counter(rejects["reason"].to_pylist()))
            rows = _take(rows, (verdict_N == screening_rules.KEPT).nonzero().flatten().tolist()[:wanted])
            tally["kept"] = len(rows)
        yield Block(number, rows, rejects, tally, limits)
        if limits is not None and not limits.drawn[label]:
            return
        wanted -= len(rows)
        number += 1


def make(generator: Generator, label: int, number: int, n: int, seed: int) -> image_store.Images:
    """Generate the first n rows of a block. Each names generator, seed and index: it can be made again from them."""
    images = generator.block(label, number, n, seed)
    name, model = generator.classes[label], generator.spec["hash"]
    return image_store.Images(
        images=images,
        labels=np.full(n, label, np.int64),
        ids=[image_store.pixel_id(image) for image in images],
        paths=[""] * n,
        provenance=[f"gan:{model}/class:{name}/seed:{seed}/index:{number * BLOCK + i}" for i in range(n)],
    )


def _take(rows: image_store.Images, which: list[int]) -> image_store.Images:
    return replace(
        rows,
        images=rows.images[which],
        labels=rows.labels[which],
        ids=[rows.ids[row] for row in which],
        paths=[rows.paths[row] for row in which],
        provenance=[rows.provenance[row] for row in which],
    )


class _Maker:
    """An actor of the pool: loads generator, teacher and training images once, then makes class after class."""

    def __init__(self, gan: str, out: str, seed: int, screening: Screening | None, stored: bool) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._generator = Generator.load(Folder.at(gan), device)
        self._examiner = Examiner(screening, device) if screening else None
        self._out = Folder.at(out)
        self._seed = seed
        self._stored = stored

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        for name, wanted in zip(batch["name"], batch["wanted"], strict=True):
            for block in self.make(str(name), int(wanted)):
                if block.rejects is not None:
                    label = self._generator.classes.index(name)
                    self._out.write_table(f".screened-{label:04d}-{block.number:05d}.parquet", block.rejects)
                yield {
                    "name": np.array([name]),
                    "tally": np.array([json.dumps(block.tally)]),
                    "limits": np.array([json.dumps(asdict(block.limits) if block.limits else None)]),
                }

    def make(self, name: str, wanted: int) -> Iterator[Block]:
        """Make images of a class and write down those that are kept."""
        label = self._generator.classes.index(name)
        found = blocks(self._generator, name, wanted, self._seed, self._examiner)
        for block in found if self._stored else itertools.islice(found, 1):
            if self._stored and len(block.rows):
                table = image_store.to_table(block.rows, "synthetic")
                self._out.write_table(f"part-{label:04d}-{block.number:05d}.parquet", table, bulky="image")
            yield block


def generate(
    counts: Mapping[str, int],
    seed: int,
    gan: Folder,
    out: Folder,
    screening: Screening | None = None,
    progress: Callable[[int], None] = lambda images: None,
    actors: int | None = None,
    stored: bool = True,
) -> experiment_dir.Record:
    """Make ``counts`` images a class with Ray Data and a pool of actors, and set the limits of the screening.

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
        StageFailed: no image of any class passed the screening.
    """
    started = time.monotonic()
    out.make()
    wanted = counts if stored else dict.fromkeys(counts, BLOCK)
    tally: dict[str, Counter[str]] = {name: Counter() for name in counts}
    limits: dict[str, screening_rules.Limits] = {}
    maker = {"gan": str(gan), "out": str(out), "seed": seed, "screening": screening, "stored": stored}
    for row in _made(wanted, maker, actors) if stored or screening else ():
        tally[row["name"]].update(json.loads(row["tally"]))
        if found := json.loads(row["limits"]):
            limits[row["name"]] = screening_rules.Limits.stored(found)
        progress(sum(own["kept"] for own in tally.values()))
    if screening is not None:
        _gather_rejects(out)
    return _finish(counts, seed, gan, out, screening, stored, tally, limits, started)


def are_few(counts: Mapping[str, int]) -> bool:
    """Whether so many images a class are made sooner in this process than by actors."""
    return sum(-(-n // BLOCK) for n in counts.values()) <= FEW and not torch.cuda.is_available()


def generate_here(
    counts: Mapping[str, int],
    seed: int,
    gan: Folder,
    out: Folder,
    screening: Screening | None,
    progress: Callable[[int], None] = lambda images: None,
    stored: bool = True,
) -> experiment_dir.Record:
    """As ``generate``, in this process alone and without Ray; it gives the same files.

    Two processes that make the same store at once write the same bytes, each file whole.
    """
    started = time.monotonic()
    out.make()
    maker = _Maker(str(gan), str(out), seed, screening, stored)
    tally: dict[str, Counter[str]] = {name: Counter() for name in counts}
    limits: dict[str, screening_rules.Limits] = {}
    rejects: list[pa.Table] = []
    for name, n in sorted(counts.items()) if stored or screening else ():
        for block in maker.make(name, n if stored else BLOCK):
            tally[name].update(block.tally)
            if block.limits is not None:
                limits[name] = block.limits
            rejects += [block.rejects] if block.rejects is not None else []
            progress(sum(own["kept"] for own in tally.values()))
    if rejects:
        out.write_table("screened.parquet", pa.concat_tables(rejects))
    return _finish(counts, seed, gan, out, screening, stored, tally, limits, started)


def _finish(
    counts: Mapping[str, int],
    seed: int,
    gan: Folder,
    out: Folder,
    screening: Screening | None,
    stored: bool,
    tally: Mapping[str, Counter[str]],
    limits: Mapping[str, screening_rules.Limits],
    started: float,
) -> experiment_dir.Record:
    """Write the marker of a store whose images are written."""
    spec = gan.read_json("gan.json")
    kept: dict[str, int] = {name: own["kept"] for name, own in tally.items()}
    not_drawn = [name for name, n in kept.items() if not n] if screening is not None else []
    if counts and len(not_drawn) == len(counts):
        raise StageFailed(
            "no generated image passed the screening (see synthetic/screened.parquet): train the GAN longer, or loosen "
            "augment.screen; augment.ratio=0 trains without synthetic images"
        )
    settings = screening.config.model_dump() if screening else None
    record = {
        "hash": experiment_dir.fingerprint(spec["hash"], seed, dict(sorted(counts.items())), BLOCK, settings),
        "inputs": {"gan": spec["hash"]},
        "asked": dict(counts),
        "counts": kept,
        "screened": {name: {why: n for why, n in sorted(own.items()) if why != "kept"} for name, own in tally.items()},
        "not_drawn": not_drawn,
        "limits": asdict(_joined(limits, spec["classes"])) if limits else None,
        "seed": seed,
        "images": sum(kept.values()) if stored else 0,
    }
    return experiment_dir.commit(out, "synthetic.json", "generate", started, record)


def _made(wanted: Mapping[str, int], maker: dict[str, Any], actors: int | None) -> Iterable[dict[str, Any]]:
    """Yield a row for each block: name of the class, tally and limits, these two as JSON."""
    room = max(1, min(len(wanted), int(ray.cluster_resources()["CPU"])))
    pool = ray.data.ActorPoolStrategy(size=actors) if actors else ray.data.ActorPoolStrategy(min_size=1, max_size=room)
    orders = [{"name": name, "wanted": n} for name, n in wanted.items()]
    results = ray.data.from_items(orders, override_num_blocks=max(1, len(orders))).map_batches(
        _Maker, fn_constructor_kwargs=maker, compute=pool, batch_size=1, **worker_resources()
    )
    return results.iter_rows()


def _joined(limits: Mapping[str, screening_rules.Limits], classes: list[str]) -> screening_rules.Limits:
    """Join the limits of the classes; of one that no images were asked of, any other's say that there were none."""
    other = next(iter(limits.values()))
    return screening_rules.Limits.joined([limits.get(name, other) for name in classes])


def _gather_rejects(out: Folder) -> None:
    """Bring the blocks' tables of rejects together."""
    infos = out.fs.get_file_info(pa.fs.FileSelector(out.path))
    names = sorted(info.base_name for info in infos if info.base_name.startswith(".screened-"))
    if names:
        out.write_table("screened.parquet", pa.concat_tables([out.read_table(name) for name in names]))
    for name in names:
        out.delete(name)
