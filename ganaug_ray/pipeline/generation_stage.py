"""The stage that makes synthetic images with the trained GANs and screens them, in each of the job's splits."""

from __future__ import annotations

import os
from collections.abc import Callable

from ganaug_ray.augment import synthetic_pools
from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.records import GanRecord
from ganaug_ray.core.wording import format_count
from ganaug_ray.errors import NothingPassed, StageFailed, UserError
from ganaug_ray.pipeline.stage import Progress, Split, StageContext
from ganaug_ray.pipeline.training_stages import require_data

# Ray and torch are imported by the stage that needs them: a finished run needs neither.


def generate_images(context: StageContext) -> None:
    """Generate and screen the synthetic images that the arms need: synthetic/ and others."""
    if not context.job.gan.conditional:
        raise UserError(
            "gan.conditional false: images of no class cannot be mixed with real ones; to look at some, "
            f"`ganaug generate {context.run.root} --count any=100 --png DIR`"
        )
    require_data(context)
    for split in context.splits:
        for pool in synthetic_pools.list_pools(split.job, split.run):
            _fill_pool(context, split, pool)


def _fill_pool(context: StageContext, split: Split, pool: synthetic_pools.SyntheticPool) -> None:
    gan = context.require_record("train-gan", GanRecord.find(pool.gan.folder))

    def work() -> Record:
        synthetic_pools.refuse_copies(context.job, gan)
        from ganaug_ray.augment.generate import BLOCK_SIZE, generate_locally, generate_pool, is_local_job

        make: Callable[..., Record] = generate_locally
        if "RAY_ADDRESS" in os.environ or not is_local_job(pool.counts):
            context.connect_cluster()
            make = generate_pool
        screening = synthetic_pools.build_screening(split.run, pool)
        total = sum(pool.counts.values()) if pool.stored else BLOCK_SIZE * len(pool.counts)
        progress = Progress(words=f"0 of {total} images")

        def count(made: int) -> None:
            progress.update(made / total, f"{made} of {total} images")

        try:
            with context.terminal.show_progress("generate", progress.read):
                return make(
                    pool.counts, split.job.seed, pool.gan.folder, pool.folder, screening, count, stored=pool.stored
                )
        except NothingPassed as error:
            raise StageFailed(f"{error}; {_advise_after_screening(split.job, split.run, pool, gan)}") from None

    def outcome(record: Record) -> str:
        drawn = sum(n > 0 for n in record["counts"].values())
        rejected = sum(sum(reasons.values()) for reasons in record["screened"].values())
        parts = ["none stored: images are made in training"]
        if record["images"]:
            parts = [f"{format_count(record['images'], 'image')} of {format_count(drawn, 'class', 'classes')}"]
        if rejected:
            parts.append(f"{rejected} rejected (see {pool.folder.name}/screened.parquet)")
        if record["not_drawn"]:
            parts.append(f"not drawn: {', '.join(record['not_drawn'])}")
        return split.name + ", ".join(parts)

    context.run_stage("generate", synthetic_pools.read_finished_pool(pool), work, outcome)


def _advise_after_screening(job: Job, run: Run, pool: synthetic_pools.SyntheticPool, gan: GanRecord) -> str:
    """Say what helps where no image passed; with any of it the same command goes on in the same folder."""
    names = [name for name, arm in job.arms.items() if synthetic_pools.plan_pool(job, run, arm).folder == pool.folder]
    advice = []
    if gan.ended_early is None:
        key = "steps" if job.gan.steps is not None else "epochs"
        advice.append(f"--set gan.{key}={2 * getattr(job.gan, key)} trains the GAN on")
    screens = ["augment.screen"]
    if pool.screen != job.augment.screen:
        screens = [f"arms.{name}.screen" for name in names]
    loosened = " ".join(f"--set {screen}.enabled=false" for screen in screens)
    advice.append(f"{loosened} takes all images, and lower limits in {screens[0]} take more")
    if not job.arms:
        advice.append("--set augment.ratio=0 trains without synthetic images")
    elif len(names) < len(job.arms):
        advice.append(f"without {' and '.join(names)} in arms the others are compared")
    else:
        advice.append("without arms, and with augment.ratio 0, no synthetic images are needed")
    return "; ".join(advice)
