"""What the models of each arm are trained on: the batches of the baseline, and what stands behind their rows.

Every function takes a job and a run as one split of the images has them, see ``Job.of_split`` and ``Run.split``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ganaug_ray.augment import arms, synthetic_pools
from ganaug_ray.config import ArmConfig, ClassifierConfig, Job
from ganaug_ray.config.augment import DRAWN, STORED
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Run

if TYPE_CHECKING:  # torch is imported when an arm is trained
    from ganaug_ray.augment.live_generation import Live
    from ganaug_ray.classify.train_worker import Fit

Opens = functools.partial[Any]
"""Opens an arm's batches on a rank."""
SEEDS_APART = 1000  # between the draws of two splits


def fit(job: Job, run: Run, name: str, seed: int, gaining: list[str] | None = None) -> Fit:
    """Describe the training of one arm's model of one seed; what it needs is finished.

    Args:
        job: as this split has it.
        run: this split's.
        name: of the arm.
        seed: of the arm.
        gaining: the classes that gained in other arms, for an arm that goes by them.
    """
    from ganaug_ray.classify.train_worker import Fit
    from ganaug_ray.data.loading.resident_loader import real_batches
    from ganaug_ray.data.loading.sampler import Sampling

    data, config = run.dataset.read_json("dataset.json"), job.classifier
    draws = seed + SEEDS_APART * job.data.split.fold
    inputs: dict[str, Any] = {"dataset": data["hash"]}
    batches: Opens = functools.partial(
        real_batches,
        str(run.dataset),
        config.batch_size,
        job.data.resident_gb,
        draws,
        sampling=Sampling(balanced=_is_balanced(job)),
    )
    settings: dict[str, Any] = {"resident_gb": job.data.resident_gb}
    pool = None
    if name != arms.REAL:
        arm = job.compared[name]
        settings |= {"arm": arm.model_dump()}
        if arm.kind == "real":
            config = without_classic(config)
        else:
            batches, made_from = _mixed(job, run, arm, draws, batches, arms.classes(arm, data, gaining))
            inputs |= made_from
            pool = _store(job, run, arm)
    start = experiment_dir.done(run.models, "start.json")
    if start is not None:
        inputs |= {"weights": start["hash"]}
    folder = str(run.models) if start is not None else None
    return Fit(
        name,
        seed,
        config,
        str(run.dataset),
        str(run.model(name, seed)),
        batches,
        inputs,
        folder,
        draws,
        pool=pool,
        settings=settings,
    )


def refuse_streamed(job: Job, run: Run) -> None:
    """Raise UserError if the real rows are to be drawn in a way that needs them in memory, and are too many."""
    from ganaug_ray.data.loading import image_store, resident_loader
    from ganaug_ray.data.loading.sampler import Sampling

    shards = image_store.survey(run.dataset / "train")
    resident_loader.refuse_streamed(shards, job.data.resident_gb, Sampling(balanced=_is_balanced(job)))


def without_classic(config: ClassifierConfig) -> ClassifierConfig:
    """The same classifier without classic augmentation."""
    return config.model_copy(
        update={"flip": False, "rotate": 0.0, "zoom": 0.0, "shift": 0.0, "mixup": 0.0, "cutmix": 0.0}
    )


def _mixed(
    job: Job, run: Run, arm: ArmConfig, seed: int, real: Opens, wanted: list[str]
) -> tuple[Opens, dict[str, Any]]:
    """The batches of real rows and others behind them, and hashes of what the others are made from."""
    from ganaug_ray.augment import mixed_batches, strategies
    from ganaug_ray.augment.pseudo_labels import ALONE
    from ganaug_ray.data.loading.sampler import Sampling

    data = run.dataset.read_json("dataset.json")
    inputs: dict[str, Any] = {}
    if arm.kind in DRAWN:
        synthetic = synthetic_pools.pool(job, run, arm).folder.read_json("synthetic.json")
        wanted = [name for name in wanted if name not in synthetic["not_drawn"]]
        inputs = {"synthetic": synthetic["hash"], "generator": synthetic["inputs"]["gan"]}
    if arm.kind in ("pseudo", synthetic_pools.BOTH):
        inputs |= {"pseudo": run.pseudo.read_json("dataset.json")["hash"]}
    if wanted != data["classes"]:
        inputs |= {"classes": ", ".join(wanted)}
    if not wanted:
        return real, inputs
    counts, size = data["counts"]["train"], job.classifier.batch_size
    steps = job.classifier.total_steps(sum(counts.values()))
    others = [name for name in data["classes"] if name not in wanted]
    mixture = strategies.Mixture.of(arm, counts, size, steps, others)
    alone = arm.kind == "synthetic-only"
    upto = functools.partial(_rows, size) if alone else mixture.synthetic_upto
    fake = _fake(job, run, arm, upto, seed, wanted)
    if arm.soft_labels and arm.kind in ("synthetic", "live", "synthetic-only", synthetic_pools.BOTH):
        from ganaug_ray.augment.soft_labels import softened_batches

        teacher = run.model(arms.REAL, 0)
        fake = functools.partial(softened_batches, fake, str(teacher))
        inputs |= {"teacher": teacher.read_json("model.json")["hash"]}
    real = functools.partial(real, wait=steps if alone else mixture.wait)
    if arm.kind == synthetic_pools.BOTH:  # as many of each
        sampling = Sampling(balanced=_is_balanced(job))
        sure = functools.partial(
            mixed_batches.pool_batches, str(run.pseudo / ALONE), upto, job.data.resident_gb, seed, sampling=sampling
        )
        fake = functools.partial(mixed_batches.mixed_batches, sure, fake)
    apart = arm.batch_norm == "separate" and not alone
    return functools.partial(
        mixed_batches.mixed_batches, real, fake, weight=1.0 if alone else arm.weight, apart=apart
    ), inputs


def _store(job: Job, run: Run, arm: ArmConfig) -> str | None:
    """Where the images of an arm that are read from a store are."""
    from ganaug_ray.augment.pseudo_labels import ALONE

    if arm.kind == "pseudo":
        return str(run.pseudo / ALONE)
    return str(synthetic_pools.pool(job, run, arm).folder) if arm.kind in STORED else None


def _fake(job: Job, run: Run, arm: ArmConfig, upto: Callable[[int], int], seed: int, wanted: list[str]) -> Opens:
    """Opens the rows that stand behind the real ones, of which ``upto`` have been used after so many steps."""
    from ganaug_ray.augment import mixed_batches, negative_controls
    from ganaug_ray.augment.live_generation import live_batches
    from ganaug_ray.augment.pseudo_labels import ALONE
    from ganaug_ray.data.loading.sampler import Sampling

    classes, memory = run.dataset.read_json("dataset.json")["classes"], job.data.resident_gb
    labels = tuple(classes.index(name) for name in wanted)
    sampling = Sampling(classes=None if wanted == classes else labels)
    as_real = replace(sampling, balanced=_is_balanced(job))  # a pool has the shares that were asked for
    if arm.kind in ("oversample", "noise"):
        again = functools.partial(mixed_batches.real_again, str(run.dataset), upto, memory, seed, as_real)
        return again if arm.kind == "oversample" else functools.partial(negative_controls.noise_batches, again, seed)
    if arm.kind == "pseudo":
        return functools.partial(
            mixed_batches.pool_batches, str(run.pseudo / ALONE), upto, memory, seed, sampling=as_real
        )
    own = synthetic_pools.pool(job, run, arm)
    if arm.kind == "live":
        return functools.partial(live_batches, _live(run, own, wanted), upto, seed)
    fake = functools.partial(mixed_batches.pool_batches, str(own.folder), upto, memory, seed, sampling=sampling)
    if arm.kind == "shuffled-labels":
        shares = [float(name in wanted) for name in classes]
        return functools.partial(negative_controls.shuffled_batches, fake, shares, seed)
    return fake


def _is_balanced(job: Job) -> bool:
    """Whether images that were photographed, not drawn, come from all classes alike, pseudo-labelled ones too."""
    return job.classifier.sampling == "balanced"


def _rows(batch_size: int, step: int) -> int:
    return batch_size * step


def _live(run: Run, own: synthetic_pools.Pool, wanted: list[str]) -> Live:
    from ganaug_ray.augment.live_generation import Live
    from ganaug_ray.augment.screening_rules import Limits

    synthetic = own.folder.read_json("synthetic.json")
    shares = {name: n for name, n in synthetic["asked"].items() if name in wanted}
    limits = synthetic["limits"]
    screening = synthetic_pools.screening(run, own)
    return Live(str(own.gan.folder), shares, screening, Limits.stored(limits) if limits else None)
