"""What each stage reserves: one table of processes, CPUs and GPUs, by the hardware that is there.

Every stage asks Ray for what ``plan_stage`` returns, and the preflight counts by the same table. So what is reserved is
what is used, and nothing is asked for that the cluster can never give. No Ray in here: the rules are plain arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from ganaug_ray.config.base import TrainingConfig
from ganaug_ray.config.data import ExecutorName
from ganaug_ray.runtime.hardware import Hardware, NodeResources

Stage = Literal[
    "prepare", "train-gan", "snapshots", "train", "label", "generate", "evaluate", "promote", "measure", "export",
    "predict", "search", "serve",
]  # fmt: skip


@dataclass(frozen=True)
class StageRule:
    """One row of the table: what a unit of a stage's work is, and what it takes.

    Attributes:
        unit: in words.
        gpus: of a process, where there are GPUs. share: by the size of the training, see ``choose_gpu_share``; those
            with several workers take a whole one each.
        fills: whether as many units are done at a time as there is room for; else one after another.
        waits: whether nodes that an autoscaler may add count as room: not for work that is done before they are up.
        all_cpus: whether a process with a GPU takes all the CPUs that this GPU has beside it, to decode with.
        reserves: whether Ray is asked at all; else it runs on a CPU in the process that the user started.
    """

    unit: str
    gpus: Literal["none", "share", "one"]
    fills: bool = False
    waits: bool = False
    all_cpus: bool = False
    reserves: bool = True


STAGES: dict[Stage, StageRule] = {
    "prepare": StageRule("a part of a source", "none", fills=True),
    "train-gan": StageRule(
        "a GAN; a single one takes a whole GPU, less the share for its figures where no other GPU is free",
        "share",
        fills=True,
        waits=True,
    ),
    "snapshots": StageRule("the figures of a GAN in training, beside it where all of them fit", "share"),
    "train": StageRule("a teacher, an arm's or a compared model", "share", fills=True, waits=True),
    "label": StageRule("an actor that labels shards", "one", fills=True),
    "generate": StageRule("an actor that draws and screens blocks of images, or screens shards", "one", fills=True),
    "evaluate": StageRule("an evaluated model", "one"),
    "promote": StageRule("a comparison with the champion", "one"),
    "measure": StageRule("the speed of compared models, and of steps for a plan", "one"),
    "export": StageRule("a model as ONNX, or a GAN's images as PNG", "none", reserves=False),
    "predict": StageRule("an actor that decodes and classifies", "one", fills=True, all_cpus=True),
    "search": StageRule("a trial", "share", fills=True),
    "serve": StageRule("a replica", "one", fills=True),
}
"""Stage -> its rule. What is not here reserves nothing."""

GPU_SHARES = ((4e9, 0.25), (3e10, 0.5))
"""(load up to which, share of a GPU); whatever is larger takes a whole one. Chosen, not measured on a GPU: at most four
on one, since each holds its images and a CUDA context of its own in the GPU's memory."""


def choose_gpu_share(parameters: int, batch_size: int, image_size: int) -> float:
    """Choose the share of a GPU for a training of one worker, by its load: parameters × rows × side of an image.

    Args:
        parameters: of the trained networks.
        batch_size: rows of a batch.
        image_size: side of what the network works on, in pixels.

    >>> choose_gpu_share(400_000, 64, 32), choose_gpu_share(6_300_000, 64, 64), choose_gpu_share(11_200_000, 64, 224)
    (0.25, 0.5, 1.0)
    """
    load = parameters * batch_size * image_size
    return next((share for max_load, share in GPU_SHARES if load <= max_load), 1.0)


@dataclass(frozen=True)
class StageResources:
    """What a stage reserves.

    Attributes:
        workers: processes of a unit of its work, which start together.
        cpus: of each process.
        gpus: of each process, or a share of one.
        driver_cpus: of a unit's own driver, beside its workers.
        at_once: units at a time; 0 where not even one fits.
    """

    workers: int
    cpus: float
    gpus: float
    driver_cpus: float = 0
    at_once: int = 1

    @property
    def ray_options(self) -> dict[str, Any]:
        """The options of a Ray task or actor for one process."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus}

    @property
    def unit_cpus(self) -> float:
        """The CPUs of a unit."""
        return self.driver_cpus + self.workers * self.cpus

    @property
    def unit_gpus(self) -> float:
        """The GPUs of a unit."""
        return self.workers * self.gpus


def plan_stage(
    stage: Stage,
    hardware: Hardware,
    workers: int = 1,
    gpu_share: float = 1.0,
    has_driver: bool = False,
    cpus: float = 1,
) -> StageResources:
    """Return what a stage reserves on some hardware.

    Args:
        stage: its name.
        hardware: that of the cluster.
        workers: of each training; more than one take whole GPUs.
        gpu_share: of each training of one worker.
        has_driver: whether each training of several workers has a process of its own that starts them, as a trial has.
        cpus: of each process, where it is more than one thread.
    """
    rule = STAGES[stage]
    gpus = 0.0
    if hardware.has_gpus and rule.gpus != "none":
        gpus = gpu_share if rule.gpus == "share" and workers == 1 else 1.0
    if rule.all_cpus and gpus:
        cpus = hardware.cpus_beside_gpu
    if not rule.reserves:
        return StageResources(1, 0, 0)
    needed = StageResources(workers, cpus, gpus, 1 if has_driver and workers > 1 else 0)
    return replace(needed, at_once=_count_units(needed, hardware, rule))


def choose_executor(configured: ExecutorName, hardware: Hardware) -> Literal["processes", "ray_data"]:
    """Choose who reads, audits and stores images: processes of this machine, or Ray Data on all nodes.

    On one machine they are the same processes, which the first starts in a fraction of the time.

    Args:
        configured: in the job; auto: by the hardware.
        hardware: what there is.

    >>> node = NodeResources(8)
    >>> [choose_executor("auto", Hardware(nodes)) for nodes in ((node,), (node, node))]
    ['processes', 'ray_data']
    """
    if configured != "auto":
        return configured
    return "ray_data" if hardware.has_several_nodes else "processes"


def plan_gan_trainings(
    trainings: int, workers: int, hardware: Hardware, gpu_share: float = 1.0, has_others: bool = False
) -> tuple[StageResources, StageResources | None]:
    """Return what each GAN's training reserves, and what the process does that measures its snapshots meanwhile.

    A single training takes a whole GPU. If there is no other one for its snapshots, they get a share of the same.

    Args:
        trainings: of GANs in this stage.
        workers: of each.
        hardware: that of the cluster.
        gpu_share: of a GPU, for such networks; 1: they take a whole one, and leave nothing to another process.
        has_others: whether other trainings wait for what is free beside them.

    Returns:
        The second is None where a training measures its snapshots itself.

    >>> training, snapshots = plan_gan_trainings(1, 1, Hardware.of_one_machine(4, 1), 0.25)
    >>> training.gpus, snapshots.gpus
    (0.75, 0.25)
    """
    is_single = trainings == 1
    training = plan_stage("train-gan", hardware, workers, 1.0 if is_single else gpu_share)
    snapshots = plan_snapshots(trainings, training, hardware, gpu_share, has_others)
    if snapshots is None and is_single and training.gpus == 1 and workers == 1 and gpu_share < 1:
        less = plan_stage("train-gan", hardware, workers, 1 - gpu_share)
        snapshots = plan_snapshots(trainings, less, hardware, gpu_share, has_others)
        training = less if snapshots is not None else training
    return training, snapshots


def plan_snapshots(
    trainings: int, training: StageResources, hardware: Hardware, gpu_share: float = 1.0, has_others: bool = False
) -> StageResources | None:
    """Return what a process reserves that measures a GAN's snapshots while it trains.

    Only CPUs, or where there are GPUs these, that no training needs: else a training is worth more than figures beside
    another one, and on the same kind of device, so that the figures are the same in either process.

    Args:
        trainings: of GANs in this stage.
        training: what each of them reserves.
        hardware: that of the cluster; what an autoscaler may add is not waited for.
        gpu_share: of a GPU, for such networks.
        has_others: whether other trainings wait, one of which must fit too.

    Returns:
        None where there is no room beside each training: then they measure their snapshots themselves.

    >>> [plan_snapshots(1, StageResources(1, 1, 0), Hardware.of_one_machine(cpus)) is not None for cpus in (1, 2)]
    [False, True]
    """
    needed = plan_stage("snapshots", hardware, gpu_share=gpu_share)
    at_once = max(1, min(trainings, training.at_once))
    free_cpus = sum(node.cpus for node in hardware.nodes) - at_once * training.unit_cpus
    free_gpus = sum(node.gpus for node in hardware.nodes) - at_once * training.unit_gpus
    if has_others:
        other = plan_stage("train", hardware)
        free_cpus -= other.unit_cpus
        free_gpus -= other.unit_gpus
    fits = at_once * needed.unit_cpus <= free_cpus and at_once * needed.unit_gpus <= free_gpus
    return needed if fits else None


def _count_units(needed: StageResources, hardware: Hardware, rule: StageRule) -> int:
    """Count the units at a time; growth counts where nodes are waited for, or nothing fits yet."""
    units = 0
    if not rule.waits:
        units = _count_fitting(needed, replace(hardware, growth=NodeResources(0)))
    units = units or _count_fitting(needed, hardware)
    return units if rule.fills else min(1, units)


def _count_fitting(needed: StageResources, hardware: Hardware) -> int:
    units = hardware.count_processes(needed.cpus, needed.gpus) // needed.workers
    return min(units, int(hardware.cpus // needed.unit_cpus)) if needed.unit_cpus else units


def choose_worker_count(config: TrainingConfig, trainings: int, hardware: Hardware) -> int:
    """Choose how many workers each of several trainings gets: the configured number, or for ``auto`` what fits.

    A number that the hardware has no room for is lowered to one that it has; not so where ``min_workers`` are enough to
    begin with, and the others join later. With ``auto`` many trainings get one worker each, and few what there is; but
    the two CPUs of one machine are not shared out.
    """
    slots = max(1, hardware.worker_slots)
    if config.workers == "auto":
        # Two ranks on two cores took 144 s where one took 107 s, with its figures measured beside it.
        is_shared = trainings < slots and (slots > 2 or hardware.has_gpus or hardware.has_several_nodes)
        return config.fit_workers(slots) if is_shared else 1
    if config.workers <= slots or config.min_workers:
        return config.workers
    return config.fit_workers(slots)


def describe_lowered_workers(config: TrainingConfig, workers: int, hardware: Hardware) -> str | None:
    """Say in one line that a training gets fewer workers than the job asks for; None where it gets them.

    >>> config = TrainingConfig(steps=1, workers=2)
    >>> describe_lowered_workers(config, 1, Hardware.of_one_machine(8, 1))
    'workers 2: 1 is used, since there is room for 1, each with a CPU and a GPU'
    """
    if config.workers == "auto" or workers >= config.workers:
        return None
    slots = hardware.worker_slots
    used = "1 is used" if workers == 1 else f"{workers} are used"
    room = f"there is room for {slots}, {hardware.describe_worker_needs()}"
    if workers == slots:
        return f"workers {config.workers}: {used}, since {room}"
    return f"workers {config.workers}: {used}, since {room}, and a batch of {config.batch_size} is divided by {workers}"


def choose_worker_range(config: TrainingConfig, workers: int) -> int | tuple[int, int]:
    """Return the number of workers of a training, or (least, most) if its workers may come and go."""
    return workers if config.min_workers is None else (min(config.min_workers, workers), workers)


def render_table() -> str:
    """Return the table of all stages in Markdown, as the documentation has it."""
    lines = [
        "| stage | unit of work | GPUs of a process, where there are any | CPUs | at a time |",
        "|---|---|---|---|---|",
    ]
    gpus = {"none": "none", "share": "`gpu_share`; of several workers one each", "one": "one"}
    for stage, rule in STAGES.items():
        cpus = "none: in the process that was started" if not rule.reserves else "one"
        if rule.all_cpus:
            cpus = "one; with a GPU, its share of the node's CPUs"
        at_a_time = "as many as fit" if rule.fills else "one"
        if rule.waits:
            at_a_time += ", also on nodes that an autoscaler adds"
        lines.append(f"| {stage} | {rule.unit} | {gpus[rule.gpus]} | {cpus} | {at_a_time} |")
    return "\n".join(lines)
