"""The generate stage: a generator, counts a class and a seed in; a synthetic image store out. Needs no data set.

The images are made in chunks: one block of one class each, written by the actor that made it under a name that says
which it is. So no image passes through the driver, and the number of actors changes nothing.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import ray
import torch

from ganaug_ray import runs
from ganaug_ray.cluster import worker_resources
from ganaug_ray.data import store
from ganaug_ray.gan.sample import BLOCK, Generator
from ganaug_ray.storage import Folder


@dataclass(frozen=True)
class Chunk:
    """Images ``block * BLOCK`` .. ``block * BLOCK + n - 1`` of one class, in the shard of that number."""

    shard: int
    label: int
    block: int
    n: int


def chunks(counts: Mapping[str, int], classes: list[str]) -> list[Chunk]:
    """Cut counts a class into chunks, class by class.

    Raises:
        KeyError: a count for a class the generator does not have.
    """
    unknown = set(counts) - set(classes)
    assert not unknown, f"no such classes: {unknown}"
    cut = [
        (label, block, min(BLOCK, counts[name] - block * BLOCK))
        for label, name in enumerate(classes)
        for block in range(-(-counts.get(name, 0) // BLOCK))
    ]
    return [Chunk(shard, *part) for shard, part in enumerate(cut)]


def make(generator: Generator, chunk: Chunk, seed: int) -> store.Images:
    """Generate one chunk's rows. Each names the generator, the seed and its index: it can be made again from them."""
    images = generator.block(chunk.label, chunk.block, chunk.n, seed)
    name, model = generator.classes[chunk.label], generator.spec["hash"]
    first = chunk.block * BLOCK
    return store.Images(
        images=images,
        labels=np.full(chunk.n, chunk.label, np.int64),
        ids=[store.pixel_id(image) for image in images],
        paths=[""] * chunk.n,
        provenance=[f"gan:{model}/class:{name}/seed:{seed}/index:{first + i}" for i in range(chunk.n)],
    )


class _Maker:
    """An actor of the pool: loads the generator once, then makes and writes chunk after chunk."""

    def __init__(self, gan: str, out: str, seed: int) -> None:
        self._generator = Generator.load(Folder.at(gan), "cuda" if torch.cuda.is_available() else "cpu")
        self._out = Folder.at(out)
        self._seed = seed

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for fields in zip(*(batch[name] for name in ("shard", "label", "block", "n")), strict=True):
            chunk = Chunk(*map(int, fields))
            store.write_shard(self._out, chunk.shard, make(self._generator, chunk, self._seed), "synthetic")
        return {"n": batch["n"]}


def generate(
    counts: Mapping[str, int],
    seed: int,
    gan: Folder,
    out: Folder,
    progress: Callable[[int], None] = lambda images: None,
    actors: int | None = None,
) -> runs.Record:
    """Make ``counts`` images a class with Ray Data and a pool of actors.

    Args:
        counts: class name -> number of images.
        seed: of the latents.
        gan: a finished generator.
        out: the synthetic store.
        progress: called with the number of images made so far.
        actors: size of the pool; absent: from one to as many as there is room for.

    Returns:
        The marker synthetic.json.
    """
    started = time.monotonic()
    spec = gan.read_json("gan.json")
    plan = chunks(counts, spec["classes"])
    out.make()
    pool = (
        ray.data.ActorPoolStrategy(size=actors)
        if actors
        else ray.data.ActorPoolStrategy(
            min_size=1, max_size=max(1, min(len(plan), int(ray.cluster_resources()["CPU"])))
        )
    )
    made = 0
    rows = ray.data.from_items([vars(chunk) for chunk in plan], override_num_blocks=max(1, len(plan)))
    results = rows.map_batches(
        _Maker,
        fn_constructor_kwargs={"gan": str(gan), "out": str(out), "seed": seed},
        compute=pool,
        batch_size=1,
        **worker_resources(),
    )
    for row in results.iter_rows():
        made += row["n"]
        progress(made)
    total = sum(chunk.n for chunk in plan)
    assert made == total, f"{made} of {total} images were made"
    record = {
        "hash": runs.fingerprint(spec["hash"], seed, dict(sorted(counts.items())), BLOCK),
        "inputs": {"gan": spec["hash"]},
        "counts": dict(counts),
        "seed": seed,
        "images": total,
    }
    return runs.commit(out, "synthetic.json", "generate", started, record)
