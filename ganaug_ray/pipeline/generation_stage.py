"""The stage that obtains synthetic images, from whatever source, and screens them, in each of the job's splits."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable
from dataclasses import replace

from ganaug_ray.augment import arms, synthetic_pools, usable_arms
from ganaug_ray.augment.synthetic_pools import SyntheticPool
from ganaug_ray.augment.synthetic_sources import GanSource, locate_generator, locate_images
from ganaug_ray.config import ImagesConfig, Job
from ganaug_ray.config.synthetic_sources import GENERATOR
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.progress import Progress
from ganaug_ray.core.records import DatasetRecord, GanRecord, ImagesRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import format_count
from ganaug_ray.errors import NothingPassed, StageFailed, UserError
from ganaug_ray.pipeline import generator_check
from ganaug_ray.pipeline.stage import Split, StageContext
from ganaug_ray.pipeline.training_stages import require_data, train_teachers

_OTHER_NAME = "give these images another name in augment.images, or another --out"

# Ray and torch are imported by the stage that needs them: a finished run needs neither.


def generate_images(context: StageContext) -> None:
    """Generate or import the synthetic images that the arms need, and screen them: synthetic/ and others.

    Arms whose generator is not usable get none, see ``usable_arms``.
    """
    if not context.job.gan.conditional and not context.job.needs_synthetic_sources:
        command = shlex.join(["ganaug", "generate", str(context.run.root), "--count", "any=100", "--png", "DIR"])
        raise UserError(
            "gan.conditional false: images without classes cannot be mixed with real ones; to see some, run "
            f"`{command}`"
        )
    require_data(context)
    import_sources(context)
    if context.job.augment.sources:
        train_teachers(context)
    for split in context.splits:
        _adopt_generator(context, split)
    if context.job.augment.generator:
        generator_check.print_verdicts(context, GENERATOR)
    left_out = usable_arms.find_unusable_arms(context.job, context.run)
    if left_out:
        text = "nothing is drawn by a generator that is not usable (augment.use_anyway draws all the same)"
        context.terminal.print_stage_line("generate", "note", text)
    for split in replace(context, job=context.job.leave_out(left_out)).splits:
        for pool in synthetic_pools.list_pools(split.job, split.run):
            _fill_pool(context, split, pool)


def import_sources(context: StageContext) -> None:
    """Read the synthetic images from elsewhere that arms need, and see that a shared generator can be used.

    They go to images/ or images-<name>/, and serve all splits; the generator is adopted in each, see
    ``generate_images``.
    """
    unadopted = [split.run.dataset for split in context.splits if locate_generator(split.run).find_record() is None]
    if context.job.augment.generator and unadopted:
        from ganaug_ray.augment import shared_generator

        with context.terminal.show_progress("import", lambda: (0.0, "looking for images that the generator has seen")):
            shared_generator.check_generator(context.job.augment.generator, unadopted)
    named = {arm.source for arm in context.job.compared_arms.values()}
    for name, source in context.job.augment.images.items():
        if name not in named:
            continue
        folder = locate_images(context.run, name)
        record = ImagesRecord.find(folder)
        if record is not None:
            _refuse_other_settings(folder, record, source)
        work = functools.partial(_import_source, context, source, folder)
        context.run_stage("import", record, work, functools.partial(_describe_import, folder.name))
        if record is None:
            for remark in ImagesRecord.read(folder).remarks:
                context.terminal.print_stage_line("import", "note", remark)


def _refuse_other_settings(folder: Folder, record: ImagesRecord, source: ImagesConfig) -> None:
    """Raise UserError if images were imported with other settings than the job has now."""
    if (record.source, record.class_names) != (source.source, source.classes):
        raise UserError(f"{folder}: holds the images of {', '.join(record.source)}; {_OTHER_NAME}")
    settings = source.model_dump(mode="json")
    changed = [key for key, value in settings.items() if (record.settings or settings).get(key) != value]
    if changed:
        raise UserError(f"{folder}: was read with another setting of {' and '.join(changed)}; {_OTHER_NAME}")


def _import_source(context: StageContext, source: ImagesConfig, folder: Folder) -> ImagesRecord:
    from ganaug_ray.data.ingest import synthetic_images

    dataset = DatasetRecord.read(context.run.dataset)
    progress = Progress(words="listing the sources")
    with context.terminal.show_progress("import", progress.read), context.open_executor() as executor:
        return synthetic_images.import_images(context.job.data, source, dataset, folder, executor, progress.update)


def _describe_import(folder_name: str, record: ImagesRecord) -> str:
    classes = format_count(len(record.counts), "class", "classes")
    parts = [f"{', '.join(record.source)}: {sum(record.counts.values())} images of {classes}"]
    if rejected := sum(record.rejected.values()):
        parts.append(f"{rejected} rejected (see {folder_name}/rejected.parquet)")
    if passed_over := sum(record.passed_over.values()):
        parts.append(f"{format_count(passed_over, 'other file')} skipped")
    if missing := [name for name in record.classes if name not in record.counts]:
        parts.append(f"no images of {', '.join(missing)}")
    return ", ".join(parts)


def _adopt_generator(context: StageContext, split: Split) -> None:
    """Adopt the shared generator of the job, if it has one: generator/."""
    config = split.job.augment.generator
    if config is None:
        return
    source = locate_generator(split.run)
    adopted = source.find_record()
    if adopted is not None and adopted.to_json().get("source") != config.source:
        raise UserError(f"{source.folder}: holds that of {adopted.to_json().get('source')}; give another --out")
    if adopted is not None and adopted.to_json().get("class_names", config.classes) != config.classes:
        raise UserError(f"{source.folder}: was adopted with other classes; give another --out")

    def work() -> GanRecord:
        from ganaug_ray.augment import shared_generator

        with context.terminal.show_progress("adopt", lambda: (0.0, config.address)):
            return shared_generator.adopt_generator(
                config, split.run.dataset, arms.locate_teacher(split.run), source.folder, split.job.seed
            )

    def outcome(record: GanRecord) -> str:
        parts = [f"{split.name}the generator of {config.address}", f"memorisation: {record.memorization.verdict}"]
        if record.undrawn:
            parts.append(f"does not draw {', '.join(record.undrawn)}")
        return ", ".join(parts)

    context.run_stage("adopt", adopted, work, outcome)


def _fill_pool(context: StageContext, split: Split, pool: SyntheticPool) -> None:
    if pool.source.is_imported:
        context.run_stage(
            "generate",
            synthetic_pools.read_finished_pool(pool),
            lambda: _screen_imported(context, split, pool),
            lambda record: split.name + _describe_pool(context.job, pool, record),
        )
        return
    verb = "train-gan" if isinstance(pool.source, GanSource) else "generate"
    gan = context.require_record(verb, GanRecord.find(pool.source.folder))

    def work() -> Record:
        synthetic_pools.refuse_copies(context.job, pool.source, gan)
        from ganaug_ray.augment.generate import BLOCK_SIZE, generate_locally, generate_pool, is_local_job

        counts = synthetic_pools.choose_counts(pool)
        make: Callable[..., Record] = generate_locally
        if "RAY_ADDRESS" in os.environ or context.may_have_gpus() or not is_local_job(pool.counts):
            make = functools.partial(generate_pool, hardware=context.connect_cluster())
        screening = synthetic_pools.build_screening(split.run, pool)
        total = sum(counts.values()) if pool.stored else BLOCK_SIZE * len(counts)
        progress = Progress(words=f"0 of {total} images")

        def count(images: int) -> None:
            progress.update(images / total, f"{images} of {total} images")

        def fill(counts: dict[str, int]) -> Record:
            folders = (pool.source.folder, pool.folder)
            options = {"screening": screening, "progress": count, "stored": pool.stored, "planned": pool.counts}
            return make(counts, split.job.seed, *folders, **options)

        try:
            with context.terminal.show_progress("generate", progress.read):
                try:
                    return fill(counts)
                except NothingPassed:
                    if counts == pool.counts:
                        raise
                    # An arm without any image is trained like the baseline, and the others go on, as long as the
                    # generator draws something.
                    return fill(pool.counts)
        except NothingPassed as error:
            raise StageFailed(f"{error}; {_advise_after_screening(split.job, split.run, pool, gan)}") from None

    context.run_stage(
        "generate",
        synthetic_pools.read_finished_pool(pool),
        work,
        lambda record: split.name + _describe_pool(context.job, pool, record),
    )


def _screen_imported(context: StageContext, split: Split, pool: SyntheticPool) -> Record:
    from ganaug_ray.augment import imported_pool

    images = context.require_record("generate", ImagesRecord.find(pool.source.folder))
    total = sum(images.counts.values())
    progress = Progress(words=f"looking for copies among {total} images")
    try:
        with context.terminal.show_progress("generate", progress.read):
            return imported_pool.fill_pool(
                pool.source.folder,
                split.run.dataset,
                arms.locate_teacher(split.run),
                pool.counts,
                synthetic_pools.build_screening(split.run, pool),
                split.job.seed,
                pool.folder,
                context.job.augment.allow_copies,
                lambda screened: progress.update(screened / total, f"{screened} of {total} images screened"),
                context.choose_device_executor("generate"),
            )
    except NothingPassed as error:
        raise StageFailed(f"{error}; {_advise_after_screening(split.job, split.run, pool, None)}") from None


def _describe_pool(job: Job, pool: SyntheticPool, record: Record) -> str:
    """Say in words what a finished pool holds."""
    from ganaug_ray.data.ingest.known_copies import describe_reason

    drawn = sum(n > 0 for n in record["counts"].values())
    rejected = sum(sum(reasons.values()) for reasons in record["screened"].values())
    parts = ["none stored: images are drawn in training"]
    if record["images"]:
        parts = [f"{record['images']} images of {format_count(drawn, 'class', 'classes')}"]
    if not isinstance(pool.source, GanSource):
        parts[0] += f" from {job.augment.sources[pool.source.name].address}"
    if rejected:
        parts.append(f"{rejected} rejected (see {pool.folder.name}/screened.parquet)")
    for reason, n in record.get("left_out", {}).items():
        parts.append(f"{n} left out ({describe_reason(reason)})")
    if not_drawn := pool.select_used(record["not_drawn"]):
        parts.append(f"not drawn: {', '.join(not_drawn)}")
    if unjudged := pool.select_used(record.get("unjudged", [])):
        parts.append(f"not screened by class: {', '.join(unjudged)}, which the teacher does not know well enough")
    return ", ".join(parts)


def _advise_after_screening(job: Job, run: Run, pool: SyntheticPool, gan: GanRecord | None) -> str:
    """Say what helps where no image passed; with any of it the same command continues in the same folder."""
    names = [
        name
        for name, arm in job.compared_arms.items()
        if arm.traits.is_synthetic and synthetic_pools.plan_pool(job, run, arm).folder == pool.folder
    ]
    advice = []
    if isinstance(pool.source, GanSource) and gan is not None and gan.ended_early is None:
        key = "steps" if job.gan.steps is not None else "epochs"
        advice.append(f"--set gan.{key}={2 * getattr(job.gan, key)} trains the GAN longer")
    screens = ["augment.screen"]
    if pool.screen != job.augment.screen:
        screens = [f"arms.{name}.screen" for name in names]
    loosened = " ".join(f"--set {screen}.enabled=false" for screen in screens)
    advice.append(f"{loosened} accepts all images; lower limits in {screens[0]} accept more")
    if not job.arms:
        advice.append("--set augment.ratio=0 trains without synthetic images")
    elif not set(names) <= job.arms.keys():
        advice.append(f"leave {pool.source.name} out of augment to compare the other arms")
    elif len(names) < len(job.compared_arms):
        others = {arm.source for name, arm in job.arms.items() if name not in names}
        source = pool.source.name
        # A source that no arm names has one of its own.
        left_too = f", and {source} out of augment," if source in job.augment.sources and source not in others else ""
        advice.append(f"leave {' and '.join(names)} out of arms{left_too} to compare the others")
    else:
        advice.append("without arms, and with augment.ratio 0, no synthetic images are needed")
    return "; ".join(advice)
