"""The marker of a store of synthetic images: its generator and seed, what was asked, and what passed the screening."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

from ganaug_ray.augment import screening_rules
from ganaug_ray.augment.screening import Screening
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.records import GanRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import NothingPassed
from ganaug_ray.gan.sampler import BLOCK_SIZE


def write_pool_marker(
    counts: Mapping[str, int],
    planned: Mapping[str, int],
    seed: int,
    gan: Folder,
    out: Folder,
    screening: Screening | None,
    stored: bool,
    tally: Mapping[str, Counter[str]],
    limits: Mapping[str, screening_rules.ScreeningLimits],
    started: float,
) -> experiment_dir.Record:
    """Write synthetic.json, the marker of a store whose images are written, and return it.

    Args:
        counts: class name -> number of images asked for.
        planned: the same of all classes that the store may get: its hash is that of these, see ``generate_pool``.
        seed: of the latents.
        gan: the generator's folder.
        out: the store.
        screening: what was asked of the images; None: nothing.
        stored: whether images were kept.
        tally: class name -> reason of rejection, or "kept" -> number of images.
        limits: class name -> those by which its images were screened.
        started: a ``time.monotonic()``.

    Raises:
        NothingPassed: no image of any class passed the screening.
    """
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
    joined = join_limits(limits, gan_record.classes) if limits else None
    settings = screening.config.model_dump() if screening else None
    ordered_counts = dict(sorted(planned.items()))
    record = {
        "hash": experiment_dir.compute_fingerprint(gan_record.hash, seed, ordered_counts, BLOCK_SIZE, settings),
        "inputs": {"gan": gan_record.hash},
        "asked": dict(counts),
        "counts": drawn_counts,
        "screened": rejected_counts,
        "not_drawn": not_drawn,
        "unjudged": joined.list_unjudged(gan_record.classes) if joined else [],
        "limits": asdict(joined) if joined else None,
        "seed": seed,
        "images": sum(drawn_counts.values()) if stored else 0,
    }
    return experiment_dir.write_marker(out, "synthetic.json", "generate", started, record)


def join_limits(
    limits: Mapping[str, screening_rules.ScreeningLimits], classes: list[str]
) -> screening_rules.ScreeningLimits:
    """Join the limits of the classes; of one that no images were asked of, any other's say that there were none."""
    other = next(iter(limits.values()))
    return screening_rules.ScreeningLimits.join_classes([limits.get(name, other) for name in classes])
