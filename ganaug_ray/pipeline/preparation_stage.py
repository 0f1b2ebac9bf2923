"""The stage that prepares: from raw images to the data set of each of the job's splits."""

from __future__ import annotations

from ganaug_ray.augment import arms
from ganaug_ray.core.experiment_dir import Record
from ganaug_ray.core.progress import Progress
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.wording import format_count, format_range
from ganaug_ray.data.sources.listing import SourceListing
from ganaug_ray.errors import TooManySplits
from ganaug_ray.pipeline.stage import PlanTooLarge, StageContext


def prepare_data(context: StageContext, listing: SourceListing | None = None) -> None:
    """Prepare the data set of each split from raw images: dataset/.

    Args:
        context: of the stage.
        listing: of the job's sources, where its plan has listed them.

    Raises:
        PlanTooLarge: the images do not allow as many splits as were planned.
        UserError: the first split is there, and others cannot be added to it; or two splits test the same images.
    """
    from ganaug_ray.augment import strategies

    is_missing = [DatasetRecord.find(split.run.dataset) is None for split in context.splits]
    if any(is_missing) and not is_missing[0]:
        from ganaug_ray.data.ingest.added_splits import refuse_added_splits

        refuse_added_splits(context.run.dataset, context.job.data, len(context.splits))
    _prepare_missing_data(context, listing)
    if len(context.splits) > 1:
        from ganaug_ray.verdict import from_experiment

        from_experiment.read_overlap(context.job, context.run)  # each time: a refused experiment stays so
    # Arms or a metric that the data do not suit are an error now, not when a GAN has been trained.
    data = DatasetRecord.read(context.run.dataset)
    for arm in context.job.compared_arms.values():
        strategies.plan_pool_counts(data.counts["train"], arm)
    arms.check_data(context.job, data.counts["train"], data.rare)


def _prepare_missing_data(context: StageContext, listing: SourceListing | None) -> None:
    """Prepare the data sets of the splits that have none, from sources that are read once."""
    missing = [split for split in context.splits if DatasetRecord.find(split.run.dataset) is None]

    def work() -> Record:
        from ganaug_ray.data.prepare import prepare_datasets

        configs = [split.job.data for split in missing]
        folders = [split.run.dataset for split in missing]
        progress = Progress(words="listing the sources")
        with context.terminal.show_progress("prepare", progress.read), context.open_executor() as executor:
            try:
                prepare_datasets(configs, folders, executor, progress.update, listing)
            except TooManySplits as error:
                if context.job.compare.planned_splits is None or not error.possible:
                    raise
                raise PlanTooLarge(error) from None
        return {}

    def outcome(record: Record) -> str:
        return _describe_data([DatasetRecord.read(split.run.dataset) for split in context.splits])

    context.run_stage("prepare", None if missing else Record(), work, outcome)
    if missing and missing[0].number == 0:
        for remark in DatasetRecord.read(missing[0].run.dataset).remarks:
            context.terminal.print_stage_line("prepare", "note", remark)


def _describe_data(records: list[DatasetRecord]) -> str:
    """Describe the data sets of all splits in a line: classes, images in each part, and those left out."""

    def count_images(part: str) -> str:
        numbers = sorted(sum(record.counts[part].values()) for record in records)
        return format_range(numbers[0], numbers[-1])

    first = records[0]
    several = f"{len(records)} splits, each with " if len(records) > 1 else ""
    parts = [f"{len(first.classes)} classes: {several}{count_images('train')} train"]
    parts += [f"{count_images(part)} {part}" for part in ("val", "test", "unused") if count_images(part) != "0"]
    if left_out := sum(first.rejected.values()):
        parts.append(f"{left_out} rejected (see dataset/rejected.parquet)")
    if passed_over := sum(first.passed_over.values()):
        parts.append(f"{format_count(passed_over, 'other file')} skipped")
    return ", ".join(parts)
