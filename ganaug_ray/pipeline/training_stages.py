"""The stages that train: from prepared images to the models of every arm, in each of the job's splits."""

from __future__ import annotations

import functools
from statistics import fmean
from typing import TYPE_CHECKING

from ganaug_ray.augment import arm_titles, arms, synthetic_pools
from ganaug_ray.classify import augmentation_choice
from ganaug_ray.core.experiment_dir import Record
from ganaug_ray.core.records import AugmentationRecord, DatasetRecord, GanRecord, ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import format_count
from ganaug_ray.pipeline.classifier_fits import ClassifierFits, ModelRequest, plan_fits
from ganaug_ray.pipeline.progress import read_fit_progress, read_side_by_side_progress
from ganaug_ray.pipeline.stage import Split, StageContext
from ganaug_ray.report import gan_figures

if TYPE_CHECKING:
    from ganaug_ray.gan.training_spec import GanTraining
    from ganaug_ray.runtime.hardware import Hardware

# Ray and torch are imported by the stage that needs them: a finished run needs neither.


def choose_augmentation(context: StageContext) -> None:
    """Train the baseline's network with each augmentation, once, if the job leaves open which one is better.

    From then on the splits' jobs have the better one, in every arm.
    """
    if not augmentation_choice.needs_choice(context.job):
        return
    require_data(context)

    def work() -> AugmentationRecord:
        from ganaug_ray.verdict import augmentation_trials

        missing = augmentation_choice.list_missing_trials(context.job, context.run)
        _train_models(context, [(context.splits[0], name, 0) for name in missing], "choose")
        return augmentation_trials.choose_augmentation(context.job, context.run)

    context.run_stage(
        "choose", augmentation_choice.find_choice(context.run), work, lambda record: f"{record.sentence}; for all arms"
    )


def require_augmentation(context: StageContext) -> None:
    """Choose the augmentation if that is to be done and has not been."""
    if augmentation_choice.needs_choice(context.settled_job):
        choose_augmentation(context)


def train_teachers(context: StageContext) -> None:
    """Train each split's teacher on real images; its features measure the GAN's quality, and it screens images."""
    require_data(context)
    require_augmentation(context)
    teachers = [(split, arms.TEACHER, 0) for split in context.splits]

    def work() -> Record:
        _train_models(context, _find_missing_models(teachers), "teach")
        return {}

    def outcome(record: Record) -> str:
        return "; ".join(split.name + _describe_teacher(split) for split in context.splits)

    context.run_stage("teach", None if _find_missing_models(teachers) else Record(), work, outcome)


def train_gan(context: StageContext, with_classifiers: bool = False) -> None:
    """Train the GANs that are missing: gan/; the teachers come first, and pseudo-labels if an arm needs them.

    Args:
        context: of the run.
        with_classifiers: whether classifiers that need no generated images may be trained on what the GANs leave free.
    """
    train_teachers(context)
    _label_images(context)
    gans: list[tuple[Split, synthetic_pools.GanSource]] = []
    for split in context.splits:
        gans += [(split, gan) for gan in synthetic_pools.list_gans(split.job, split.run)]
    missing = [(split, gan) for split, gan in gans if GanRecord.find(gan.folder) is None]

    def work() -> Record:
        from ganaug_ray.augment import warm_start
        from ganaug_ray.classify.launch import plan_tasks
        from ganaug_ray.gan import training_budget
        from ganaug_ray.gan.launch import leave_room, train_gans

        trainings = []
        for split, gan in missing:
            training = synthetic_pools.build_training(split.job, split.run, gan)
            if training.start is not None:
                start = warm_start.describe_start(gan.folder.read_json("start.json"))
                context.terminal.print_stage_line("train-gan", "note", f"{split.name}{start}")
            _announce_resuming(context, split, training)
            trainings.append(training)
        rows = DatasetRecord.read(missing[0][1].dataset).count_train_images()
        planned = training_budget.compute_budget(context.job.gan, context.job.gan_image_size, rows)
        context.terminal.print_stage_line("train-gan", "note", planned.summary)
        if planned.warning:
            context.terminal.print_stage_line("train-gan", "note", planned.warning)
        hardware = context.connect_cluster()
        folders = [gan.folder for _, gan in missing]
        notify = functools.partial(context.terminal.print_stage_line, "train-gan", "note")
        fits = ClassifierFits([], [])
        if with_classifiers and leave_room(context.job.gan, len(trainings), hardware):
            fits = plan_fits(context, _list_early_models(context, hardware), "train-gan")
        others = plan_tasks(fits.trainings, context.job.data.resident_gb, hardware)
        with context.terminal.show_progress(
            "train-gan", lambda: read_side_by_side_progress(folders, planned.steps, fits.steps)
        ):
            train_gans(trainings, hardware, notify, others)
        return {}

    def outcome(record: Record) -> str:
        return "; ".join(split.name + _describe_gan(gan) for split, gan in gans)

    context.run_stage("train-gan", None if missing else Record(), work, outcome)


def _announce_resuming(context: StageContext, split: Split, training: GanTraining) -> None:
    """Say on the terminal at which step a GAN's training resumes, if it does, and which checkpoints cannot be used."""
    from ganaug_ray.core import checkpoint

    notice = functools.partial(context.terminal.print_stage_line, "train-gan", "note")
    checkpoints = Folder.from_uri(training.out) / "checkpoints"
    start = checkpoint.load_newest(checkpoints, training.fingerprint(), notice)
    if start is not None:
        notice(f"{split.name}resuming at step {start.step}")


def _label_images(context: StageContext) -> None:
    """dataset/unlabelled -> pseudo/, where an arm needs it."""
    if synthetic_pools.needs_pseudo(context.job):
        for split in context.splits:
            _label_split(context, split)


def _label_split(context: StageContext, split: Split) -> None:
    def work() -> DatasetRecord:
        from ganaug_ray.augment import pseudo_labels

        teacher = arms.locate_teacher(split.run)
        confidence = context.job.augment.pseudo_confidence
        executor = context.choose_device_executor("label")
        return pseudo_labels.write_pseudo_labels(split.run.dataset, teacher, split.run.pseudo, confidence, executor)

    def outcome(record: DatasetRecord) -> str:
        assert record.pseudo is not None, "it is the data set with pseudo-labelled images"
        sure = sum(record.pseudo.labelled.values())
        return f"{split.name}the teacher is sure of {sure} of {record.pseudo.unlabelled} images"

    context.run_stage("label", DatasetRecord.find(split.run.pseudo), work, outcome)


def train_classifiers(context: StageContext) -> None:
    """Train the models that are missing, of every arm and seed in every split: models/<arm>/seed-<k>/."""
    require_data(context)
    require_augmentation(context)
    if synthetic_pools.needs_pseudo(context.job):
        train_teachers(context)
        _label_images(context)
    for split in context.splits:
        for pool in synthetic_pools.list_pools(split.job, split.run):
            context.require_record("generate", synthetic_pools.read_finished_pool(pool))
    splits = context.splits
    requests: list[ModelRequest] = []
    for arm, seed in arms.list_pairs(context.job):
        requests += [(split, arm, seed) for split in splits]
    missing = _find_missing_models(requests)

    def work() -> Record:
        at_once: list[ModelRequest] = []
        deferred: list[ModelRequest] = []
        for split, arm, seed in missing:
            group = deferred if arms.is_deferred(context.job, arm) else at_once
            group.append((split, arm, seed))
        _train_models(context, at_once, "train")
        _train_models(context, deferred, "train")
        return {}

    def outcome(record: Record) -> str:
        by_arm: dict[str, list[float]] = {}
        for split, arm, seed in requests:
            accuracy = ModelRecord.read(split.run.locate_model(arm, seed)).val_accuracy
            by_arm.setdefault(arm, []).append(accuracy)
        titles = arm_titles.name_arms(context.job)
        means = "; ".join(f"{titles[arm]} {100 * fmean(accuracies):.1f} %" for arm, accuracies in by_arm.items())
        return f"{len(requests)} models; mean validation accuracy: {means}"

    context.run_stage("train", None if missing else Record(), work, outcome)


def prepare_weights(context: StageContext) -> None:
    """Read the weights that classifiers start from, in each split; raise UserError if they do not fit."""
    if context.job.classifier.weights is None and context.job.classifier.init_from is None:
        return
    from ganaug_ray.classify import initial_weights

    for split in context.splits:
        initial_weights.prepare_weights(split.job, split.run)


def require_data(context: StageContext) -> None:
    """Raise UserError if the data of a split are not prepared."""
    for split in context.splits:
        context.require_record("prepare", DatasetRecord.find(split.run.dataset))


def _find_missing_models(requests: list[ModelRequest]) -> list[ModelRequest]:
    missing = []
    for split, arm, seed in requests:
        if ModelRecord.find(split.run.locate_model(arm, seed)) is None:
            missing.append((split, arm, seed))
    return missing


def _list_early_models(context: StageContext, hardware: Hardware) -> list[ModelRequest]:
    """List the missing models that can be trained before images are generated, in a process each."""
    from ganaug_ray.runtime import resources

    early = [
        (split, arm, seed)
        for arm, seed in arms.list_pairs(context.job)
        if not arms.needs_generated_images(context.job, arm)
        for split in context.splits
    ]
    missing = _find_missing_models(early)
    workers = resources.choose_worker_count(context.job.classifier, len(missing), hardware)
    return missing if workers == 1 else []


def _train_models(context: StageContext, requests: list[ModelRequest], stage: str) -> None:
    """Train these models side by side."""
    from ganaug_ray.classify.launch import train_classifiers

    if not requests:
        return
    fits = plan_fits(context, requests, stage)
    hardware = context.connect_cluster()
    notify = functools.partial(context.terminal.print_stage_line, stage, "note")
    with context.terminal.show_progress(stage, lambda: read_fit_progress(fits.steps)):
        train_classifiers(fits.trainings, context.job.data.resident_gb, hardware, notify)


def _describe_teacher(split: Split) -> str:
    record = ModelRecord.read(arms.locate_teacher(split.run))
    return f"validation accuracy {100 * record.val_accuracy:.1f} % at step {record.best_step}"


def _describe_gan(gan: synthetic_pools.GanSource) -> str:
    record = GanRecord.read(gan.folder)
    chosen = record.chosen
    parts = [f"{record.steps:,} steps, {record.images_seen:,} images seen"]
    if record.ended_early:
        parts.append(record.ended_early)
    restarts = len(gan.folder.read_json("attempts.json")["from_step"]) - 1
    if restarts:
        parts.append(f"restarted {format_count(restarts, 'time')}")
    if chosen.value is not None:
        name = gan_figures.parse_name(chosen.chosen_by or "")
        words = name.metric.name if name else chosen.chosen_by
        parts.append(f"kept: step {chosen.step}, {words} {chosen.value:.3f}")
    return ", ".join([*parts, f"memorisation: {record.memorization.verdict}"])
