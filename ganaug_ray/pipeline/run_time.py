"""How long a whole run takes on this machine, stage by stage, before it begins.

Trainings go by timed steps; what is around them, and what several ranks save, by constants from runs on two cores
without a GPU. A cluster counts by its slots, and by steps that were timed on this machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ganaug_ray.augment import arms
from ganaug_ray.config import Job
from ganaug_ray.config.base import TrainingConfig
from ganaug_ray.core.wording import format_count
from ganaug_ray.data.ingest.imbalance import list_rare_classes
from ganaug_ray.pipeline.stage_times import RunTime, StageTime
from ganaug_ray.pipeline.training_time import ImageFacts, TrainingTime
from ganaug_ray.pipeline.work_left import Work
from ganaug_ray.runtime import hardware, resources
from ganaug_ray.runtime.hardware import Hardware

# Seconds, as seen in runs on two busy cores, over how much longer steps took there than they computed.
RAY_START_S = 7.0  # Ray itself, and what its first processes take longer than those of later stages
PROCESSES_START_S = 4.0  # until the processes of a stage train
RANKS_START_S = 24.0  # until Ray Train has the ranks of a training together
DATASET_S = 2.5  # of each split, besides reading the images: shards, and the card with its plots
FIT_S = 1.5  # of each classifier, besides its steps: loading, predictions, the model's files
GAN_END_S = 2.5  # of each GAN, besides its figures: pictures, film, the generator's files
POOL_S = 1.5
POOL_ANSWERS = 5  # answers to an image that drawing and screening it takes as long as
VERDICT_S = 1.0
EVALUATION_S = 5.0
REPORT_S = 2.0
PROMOTION_S = 1.0
RANK_EFFICIENCY = 0.6  # speed of several ranks over that of as many without exchange: two, at 64 pixels
SIDE_BY_SIDE_FACTOR = 1.1  # trainings on all cores share their caches


def estimate_run_time(
    job: Job,
    images: ImageFacts,
    time: TrainingTime,
    work: Work,
    cluster: Hardware | None = None,
    extras: Sequence[StageTime] = (),
) -> RunTime:
    """Estimate how long each stage of a run takes.

    Args:
        job: with its plan.
        images: of the job.
        time: of its trainings.
        work: what is left to do.
        cluster: on which they go on; None: on this machine.
        extras: stages that come after the verdict.
    """
    machine = choose_machine(time.gpus, cluster)
    stages = []
    if work.datasets:
        words = f"{format_count(work.datasets, 'split')} of {sum(map(images.count, images.counts))} images"
        stages.append(StageTime("prepare", work.datasets * (images.read_s + DATASET_S), words, work.datasets))
    rows = images.count("test") + images.count("val")
    fit_s = time.classifier_s + FIT_S + rows * time.image_s
    steps = job.classifier.count_steps(images.count("train"))
    start_s = RAY_START_S
    classifiers = work.classifiers
    if work.trials:
        stages.append(
            _estimate_trainings("choose", work.trials, "trial", steps, fit_s, job.classifier, start_s, machine)
        )
        start_s = 0.0
    if work.teachers:
        stages.append(
            _estimate_trainings("teach", work.teachers, "teacher", steps, fit_s, job.classifier, start_s, machine)
        )
        start_s = 0.0
    if work.labels:
        seconds = work.labels * (FIT_S + images.unlabelled * time.image_s)
        stages.append(StageTime("label", seconds, format_count(images.unlabelled, "image"), work.labels))
    if work.gans:
        gan_steps = job.gan.count_steps(images.count("train"))
        early = _count_classifiers_beside(job, work, machine)
        is_beside = measures_beside(job.gan, work.gans, machine, early > 0)
        gan_s = _estimate_gan(job, gan_steps, time, is_beside)
        stage = _estimate_trainings("train-gan", work.gans, "GAN", gan_steps, gan_s, job.gan, start_s, machine)
        if early:
            stage = _add_early_classifiers(stage, early, fit_s, work.gans * gan_s, start_s, machine)
            classifiers -= early
        if is_beside:
            at_a_time, _ = plan_processes(job.gan, work.gans, machine)
            stage = replace(stage, processes=stage.processes + at_a_time)
        stages.append(stage)
        start_s = 0.0
    if work.pools:
        drawn = _count_drawn_images(job, images)
        seconds = work.pools * (POOL_S + drawn * POOL_ANSWERS * time.image_s)
        stages.append(StageTime("generate", seconds, format_count(work.pools * drawn, "image"), work.pools))
    if classifiers:
        name = "train"
        stages.append(
            _estimate_trainings(name, classifiers, "classifier", steps, fit_s, job.classifier, start_s, machine)
        )
    stages += [
        StageTime("compare", VERDICT_S, "the verdict"),
        *extras,
        StageTime("evaluate", EVALUATION_S + 3 * rows * time.image_s, "the champion's figures"),
        StageTime("report", REPORT_S, "the page"),
        StageTime("promote", PROMOTION_S, ""),
    ]
    slower = [replace(stage, seconds=stage.seconds * time.compute_slowdown(stage.processes)) for stage in stages]
    return RunTime(tuple(slower), sum(stage.seconds for stage in stages), cluster)


def estimate_compared_models(
    job: Job,
    images: ImageFacts,
    times: Mapping[str, TrainingTime],
    missing: Mapping[str, int],
    cluster: Hardware | None,
) -> StageTime:
    """Estimate how long the trainings of the job's models section take.

    Args:
        job: with its plan.
        images: of the job.
        times: model -> time of its trainings.
        missing: model -> its trainings that are left.
        cluster: as of ``estimate_run_time``.
    """
    seconds = 0.0
    processes = 1
    for name, count in missing.items():
        model = job.models[name]
        steps = model.count_steps(images.count("train"))
        fit_s = times[name].classifier_s + FIT_S + (images.count("test") + images.count("val")) * times[name].image_s
        machine = choose_machine(times[name].gpus, cluster)
        stage = _estimate_trainings("compare-models", count, "model", steps, fit_s, model, 0.0, machine)
        seconds += stage.seconds
        processes = max(processes, stage.processes)
    words = f"{', '.join(missing)}: {format_count(sum(missing.values()), 'training')}"
    return StageTime("compare-models", seconds, words, processes=processes)


def choose_machine(gpus: int, cluster: Hardware | None) -> Hardware:
    """Return the hardware that trainings are planned for: the cluster, or this machine with these GPUs."""
    return cluster or Hardware.of_one_machine(hardware.count_usable_cores(), gpus)


def _estimate_gan(job: Job, steps: int, time: TrainingTime, is_beside: bool) -> float:
    """Return the seconds of a GAN: its steps, its figures of quality on the way, and what comes at the end.

    Figures that another process measures while it trains take no time of their own, unless they take longer than the
    steps; but nothing goes on beside those of the last step.
    """
    snapshots = math.ceil(steps / job.gan.snapshot_every)
    figures_s = snapshots * time.look_s + steps // job.gan.cas_every * time.cas_s
    last_s = time.look_s + (time.cas_s if steps % job.gan.cas_every == 0 else 0.0)
    training_s = max(time.gan_s, figures_s - last_s) + last_s if is_beside else time.gan_s + figures_s
    end_s = 3 * time.look_s + time.cas_s  # by class, for copies, and beside held-out images
    return training_s + end_s + GAN_END_S


def _count_classifiers_beside(job: Job, work: Work, machine: Hardware) -> int:
    """Count the classifiers that are trained on what GANs leave free.

    As ``training_stages.train_gan`` does it: all trainings have one worker, and GANs do not fill all slots every time.
    """
    if not work.early_classifiers:
        return 0
    _, gan_ranks = plan_processes(job.gan, work.gans, machine)
    _, classifier_ranks = plan_processes(job.classifier, work.early_classifiers, machine)
    leaves_slots = work.gans % max(1, machine.worker_slots) != 0
    has_room = gan_ranks == classifier_ranks == 1 and leaves_slots
    return work.early_classifiers if has_room else 0


def _add_early_classifiers(
    stage: StageTime, count: int, fit_s: float, gans_s: float, start_s: float, machine: Hardware
) -> StageTime:
    """Return the stage of GANs with classifiers beside them: it takes as long as the GANs, or as all on all slots."""
    slots = machine.worker_slots
    start_s += PROCESSES_START_S
    longest_s = stage.seconds - start_s
    if stage.processes == 1:
        longest_s *= SIDE_BY_SIDE_FACTOR
    shared_s = SIDE_BY_SIDE_FACTOR * (gans_s + count * fit_s) / slots
    seconds = start_s + max(longest_s, shared_s)
    words = f"{stage.words}, and {format_count(count, 'classifier')} beside"
    return StageTime(stage.name, seconds, words, processes=slots)


def _count_drawn_images(job: Job, images: ImageFacts) -> int:
    """Count the images that are drawn for a split, of pools of the default size, of the classes that arms use."""
    counts = images.counts["train"]
    rare = list_rare_classes(images.counts, job.data)
    used: set[str] = set()
    for arm in job.compared_arms.values():
        if arm.traits.is_synthetic:
            used.update(arms.choose_classes(arm, list(counts), rare, gaining=list(counts)))
    per_class = job.augment.per_class
    if per_class is not None:
        return len(used) * per_class
    return sum(max(200, round(job.augment.ratio * counts[name])) for name in used if name in counts)


def _estimate_trainings(
    stage: str,
    count: int,
    noun: str,
    steps: int,
    seconds: float,
    config: TrainingConfig,
    start_s: float,
    machine: Hardware,
) -> StageTime:
    """Estimate a stage of equal trainings, side by side or, on several ranks each, one after another."""
    at_a_time, ranks = plan_processes(config, count, machine)
    text = f"{format_count(count, noun)} of {steps} steps"
    if ranks > 1:
        each_s = RANKS_START_S + seconds / (RANK_EFFICIENCY * ranks)
        text += f", each on {ranks} processes"
    else:
        each_s = seconds * (SIDE_BY_SIDE_FACTOR if at_a_time > 1 else 1.0)
        start_s += PROCESSES_START_S
    if at_a_time > 1:
        text += f", {at_a_time} at a time"
    elif count > 1 and ranks == 1:
        text += ", one after another"
    seconds = start_s + math.ceil(count / at_a_time) * each_s
    return StageTime(stage, seconds, text, processes=at_a_time * ranks)


def plan_processes(config: TrainingConfig, trainings: int, machine: Hardware) -> tuple[int, int]:
    """Return how many of several trainings run at a time, and how many processes with a core or GPU each has."""
    slots = max(1, machine.worker_slots)
    workers = resources.choose_worker_count(config, trainings, machine)
    return (min(trainings, slots), 1) if workers == 1 else (1, min(workers, slots))


def measures_beside(config: TrainingConfig, trainings: int, machine: Hardware, has_others: bool = False) -> bool:
    """Return whether the figures of GANs are measured by other processes, while they train."""
    workers = resources.choose_worker_count(config, trainings, machine)
    training = resources.plan_stage("train-gan", machine, workers)
    return resources.plan_snapshots(trainings, training, machine, has_others=has_others) is not None
