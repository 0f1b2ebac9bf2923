"""The table of resources: for each stage and hardware, what is reserved fits, and is all that there is to use."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from ganaug_ray.classify import launch as classifier_launch
from ganaug_ray.config import GanConfig, Job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.gan import launch as gan_launch
from ganaug_ray.gan.training_spec import GanTraining
from ganaug_ray.pipeline import stage as stages
from ganaug_ray.pipeline.stage import StageContext
from ganaug_ray.runtime import hardware, resources, side_by_side, worker_group
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.runtime.ray_data import RayDataDeviceExecutor, RayDataExecutor
from ganaug_ray.runtime.resources import STAGES, Stage, plan_stage
from tests.conftest import ROOT

VERBS: tuple[Stage, ...] = get_args(Stage)


@pytest.mark.parametrize("gpus", [0, 1, 2, 8])
@pytest.mark.parametrize("stage", VERBS)
def test_reserved_gpus_fit_and_are_used(stage: Stage, gpus: int) -> None:
    """Every stage reserves what the machine has, no more, and those that fill it leave no GPU idle."""
    plan = plan_stage(stage, Hardware.of_one_machine(16, gpus))
    assert plan.at_once >= 1, "it can start"
    reserved = plan.at_once * plan.unit_gpus
    assert reserved <= gpus
    assert plan.at_once * plan.unit_cpus <= 16
    rule = STAGES[stage]
    expected = 0 if rule.gpus == "none" else gpus if rule.fills else min(gpus, 1)
    assert reserved == expected
    assert (plan.unit_cpus == 0) == (not rule.reserves)


@pytest.mark.parametrize("gpus", [1, 2, 8])
@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("stage", ["train-gan", "train", "search"])
def test_shares_fill_every_gpu(stage: Stage, share: float, gpus: int) -> None:
    """Trainings of one worker that take a share of a GPU are as many at a time as fill all of them."""
    plan = plan_stage(stage, Hardware.of_one_machine(64, gpus), gpu_share=share)
    assert plan.gpus == share
    assert plan.at_once == gpus / share


@pytest.mark.parametrize(
    ("workers", "gpus", "expected", "at_once"), [(2, 1, 1, 1), (2, 2, 2, 1), (2, 8, 2, 4), (8, 2, 2, 1), (3, 8, 3, 2)]
)
def test_more_workers_than_gpus_are_lowered(workers: int, gpus: int, expected: int, at_once: int) -> None:
    """A job with more workers than GPUs gets as many as there are, in one line; groups fill the machine."""
    config = GanConfig(steps=1, batch_size=48, workers=workers)
    hardware = Hardware.of_one_machine(16, gpus)
    chosen = resources.choose_worker_count(config, 5, hardware)
    assert chosen == expected
    note = resources.describe_lowered_workers(config, chosen, hardware)
    assert (note is None) == (chosen == workers)
    assert note is None or note.startswith(f"workers {workers}: {chosen} ")
    plan = plan_stage("train-gan", hardware, chosen)
    assert plan.at_once == at_once
    assert plan.gpus == 1, "several workers take whole GPUs"


def test_room_is_counted_node_by_node() -> None:
    """A GPU without a CPU beside it is no room, and a share is of a single GPU."""
    cluster = Hardware.from_ray([{"CPU": 64}, {"CPU": 2, "GPU": 8}, {"CPU": 8, "GPU": 2}], {})
    assert cluster.worker_slots == 4
    assert plan_stage("train", cluster, gpu_share=0.4).at_once == 2 + 4
    assert cluster.cpus_beside_gpu == 1
    assert plan_stage("predict", Hardware.of_one_machine(16, 2)).cpus == 8, "each decodes with its half of the CPUs"
    assert cluster.without_gpus().kind == "CPU"


def test_autoscaler_counts_for_trainings_alone() -> None:
    """Trainings wait for nodes that an autoscaler adds; what takes seconds uses those that are there."""
    growing = Hardware.from_ray([{"CPU": 8, "GPU": 1}], {"CPU": 64, "GPU": 8})
    assert plan_stage("train", growing).at_once == 8
    assert plan_stage("generate", growing).at_once == 1
    bare = Hardware.from_ray([{"CPU": 8}], {"CPU": 64, "GPU": 8})
    assert plan_stage("generate", bare).at_once > 0, "where none is there, one must come"


def test_gpu_share_follows_size(tiny_job: Job, experiment: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With auto a small training takes a share of a GPU, a large one a whole one, and a number in the job decides."""
    dataset = str(experiment.dataset)
    gan = GanTraining(tiny_job.gan, 32, 0, dataset, "teacher", "out", 1.0, {})
    assert gan_launch.choose_gpu_share(gan) == 0.25
    large = tiny_job.gan.model_copy(update={"filters": 256, "batch_size": 256})
    assert gan_launch.choose_gpu_share(replace(gan, config=large)) == 1.0
    asked = tiny_job.gan.model_copy(update={"gpu_share": 0.1})
    assert gan_launch.choose_gpu_share(replace(gan, config=asked)) == 0.1
    fit = classifier_launch.ClassifierTraining("real", 0, tiny_job.classifier, dataset, "out", lambda place: None, {})  # type: ignore[arg-type, return-value]
    assert classifier_launch.choose_gpu_share(fit) == 0.25
    resnet = tiny_job.classifier.model_copy(update={"arch": "torchvision:resnet50", "input_size": 224})
    assert classifier_launch.choose_gpu_share(replace(fit, config=resnet)) == 1.0


def test_lowered_workers_reach_ray(tiny_job: Job, experiment: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one GPU, a GAN of two workers is one task that shares it with its snapshots, and the terminal says so."""
    calls: list[Any] = []
    monkeypatch.setattr(
        worker_group, "run_on_ranks", lambda *given, **named: calls.append((given[2], named["use_gpu"]))
    )

    def run_tasks(tasks: Any, others: Any, slots: int) -> list[Any]:
        tasks[0].start()
        return []

    def note_task(function: Any, reserved: Any, max_retries: int) -> Any:
        calls.append(reserved.ray_options)
        return SimpleNamespace(remote=lambda training, open_executor: calls.append(open_executor.args[0].gpus))

    monkeypatch.setattr(side_by_side, "run_tasks", run_tasks)
    monkeypatch.setattr(gan_launch, "make_device_task", note_task)
    training = GanTraining(
        tiny_job.gan.model_copy(update={"workers": 2}), 32, 0, str(experiment.dataset), "t", str(experiment.gan), 1, {}
    )
    notes: list[str] = []
    gan_launch.train_gans([training], Hardware.of_one_machine(8, 1), notes.append)
    assert calls == [{"num_cpus": 1, "num_gpus": 0.75}, 0.25], "all of it, however small the network"
    assert notes == ["workers 2: 1 is used, since there is room for 1, each with a CPU and a GPU"]
    gan_launch.train_gans([training], Hardware.of_one_machine(8, 1).without_gpus(), notes.append)
    assert calls[2:] == [(2, False)]
    assert len(notes) == 1


def test_failed_group_leaves_others_running() -> None:
    """A group that fails is yielded with its error, the others go on, and any other error ends all."""

    def run(task: int) -> None:
        if task == 1:
            raise side_by_side.StageFailed("no room")
        if task == 9:
            raise KeyError(task)

    ends = dict(side_by_side.run_groups(run, range(4), 2))
    assert {task for task, error in ends.items() if error} == {1}
    assert len(ends) == 4
    with pytest.raises(KeyError):
        list(side_by_side.run_groups(run, [9], 2))


def test_min_workers_wait_for_the_others() -> None:
    """Where fewer workers are enough to begin with, their number is not lowered: the others join later."""
    config = GanConfig(steps=1, batch_size=64, workers=8, min_workers=6)
    workers = resources.choose_worker_count(config, 1, Hardware.of_one_machine(16, 7))
    assert resources.choose_worker_range(config, workers) == (6, 8)


def test_growing_cluster_has_room_for_a_trial() -> None:
    """A trial that does not fit yet has room where the cluster can grow to it."""
    growing = Hardware.from_ray([{"CPU": 4}], {"CPU": 16})
    assert plan_stage("search", growing, 8, has_driver=True).at_once == 1
    assert plan_stage("search", growing, 2, has_driver=True).at_once == 1, "what is there comes first"


@pytest.mark.parametrize(
    ("trainings", "workers", "cpus", "gpus", "expected"),
    [
        (1, 2, 2, 0, None),  # two cores, two workers
        (1, 1, 2, 0, (1, 0)),
        (1, 2, 3, 0, (1, 0)),
        (4, 1, 8, 0, (1, 0)),
        (5, 1, 8, 0, None),  # a training is worth more than figures beside another one
        (1, 1, 16, 1, (1, 0.25)),  # of the same GPU: a CPU would give other last digits
        (1, 1, 1, 1, None),
        (1, 1, 16, 2, (1, 0.25)),
        (1, 8, 16, 8, None),
        (1, 7, 16, 8, (1, 0.25)),
        (4, 1, 16, 1, None),
    ],
)
def test_snapshots_take_what_trainings_leave(
    trainings: int, workers: int, cpus: int, gpus: int, expected: tuple[float, float] | None
) -> None:
    """A GAN's snapshots get a process where one fits beside every training, on the same kind of device."""
    hardware = Hardware.of_one_machine(cpus, gpus)
    training, plan = resources.plan_gan_trainings(trainings, workers, hardware, 0.25)
    assert (None if plan is None else (plan.cpus, plan.gpus)) == expected
    used = min(trainings, training.at_once) * (training.unit_gpus + (plan.gpus if plan else 0))
    assert used <= gpus


def test_single_gan_shares_its_gpu_with_its_snapshots() -> None:
    """A single GAN leaves a share of the only GPU to its snapshots, unless it needs all of it; of two, none."""
    for gpus, share, expected in ((1, 0.25, 0.75), (1, 0.5, 0.5), (1, 1.0, 1.0), (2, 0.25, 1.0)):
        training, snapshots = resources.plan_gan_trainings(1, 1, Hardware.of_one_machine(4, gpus), share)
        assert training.gpus == expected
        assert (snapshots is None) == (share == 1.0)


def test_snapshots_wait_for_no_node() -> None:
    """What an autoscaler may add is no room for them."""
    growing = Hardware.from_ray([{"CPU": 1}], {"CPU": 16})
    assert resources.plan_gan_trainings(1, 1, growing)[1] is None


@pytest.mark.parametrize(
    ("configured", "nodes", "growth", "expected"),
    [
        ("auto", 1, 0, "processes"),
        ("auto", 2, 0, "ray_data"),
        ("auto", 1, 8, "ray_data"),
        ("processes", 2, 0, "processes"),
        ("ray_data", 1, 0, "ray_data"),
    ],
)
def test_images_are_read_by_ray_data_on_clusters(
    configured: str, nodes: int, growth: int, expected: str, tiny_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several nodes, there or to come, read images with Ray Data, one machine with processes, unless the job says."""
    cluster = Hardware((hardware.NodeResources(4),) * nodes, hardware.NodeResources(growth))
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(StageContext, "connect_cluster", lambda self: cluster)
    data = tiny_job.data.model_copy(update={"executor": configured})
    job = tiny_job.model_copy(update={"data": data})
    context = StageContext(job, Run(Folder.from_uri("/nowhere")), None)  # type: ignore[arg-type]
    with context.open_executor() as executor:
        assert isinstance(executor, RayDataExecutor) == (expected == "ray_data")
        assert expected == "processes" or executor.reserved.at_once == 4 * nodes


@pytest.mark.parametrize(("nodes", "gpus", "actors"), [(1, 0, None), (2, 0, 8), (1, 2, 2), (2, 2, 4)])
def test_models_are_asked_by_actors_on_clusters(
    nodes: int, gpus: int, actors: int | None, tiny_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labelling and screening use every GPU, or every CPU of several nodes; one machine without GPUs needs no actor."""
    cluster = Hardware((hardware.NodeResources(4, gpus),) * nodes)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(StageContext, "connect_cluster", lambda self: cluster)
    context = StageContext(tiny_job, Run(Folder.from_uri("/nowhere")), None)  # type: ignore[arg-type]
    for stage in ("label", "generate"):
        executor = context.choose_device_executor(stage)
        assert (executor.reserved.at_once if isinstance(executor, RayDataDeviceExecutor) else None) == actors


def test_stage_without_gpus_reserves_nothing(tiny_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without GPUs, or with --cpu, an evaluation runs in this process on the CPU, and starts no Ray."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(StageContext, "connect_cluster", lambda self: pytest.fail("Ray was started"))
    context = StageContext(tiny_job, Run(Folder.from_uri("/nowhere")), None)  # type: ignore[arg-type]
    monkeypatch.setattr(hardware, "read_local_hardware", lambda: Hardware.of_one_machine(2))
    assert context.call_on_device("evaluate", lambda word, device: (word, device), "here") == ("here", "cpu")
    monkeypatch.setattr(hardware, "read_local_hardware", lambda: Hardware.of_one_machine(2, 1))
    without = replace(context, cpu_only=True)
    assert without.call_on_device("evaluate", lambda word, device: (word, device), "here") == ("here", "cpu")
    monkeypatch.setattr(StageContext, "connect_cluster", lambda self: Hardware.of_one_machine(2, 1))
    monkeypatch.setattr(stages.executors, "call_on_device", lambda function, arguments, reserved: reserved)
    assert context.call_on_device("evaluate", print).gpus == 1  # type: ignore[attr-defined]


def test_documented_table_is_that_of_the_code() -> None:
    """The table in the cluster guide has what the stages reserve."""
    assert resources.render_table() in (ROOT / "docs" / "guides" / "cluster.md").read_text()
