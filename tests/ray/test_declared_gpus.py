"""GPUs that Ray is told of on a machine without any: what is reserved, by whom, and that nothing waits in vain.

What would run on a GPU runs on the CPU: in every process a stand-in answers which device was reserved, and notes it.
"""

from __future__ import annotations

import functools
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray
from ray import serve
from ray.train.torch import TorchConfig
from ray.util.placement_group import placement_group, remove_placement_group

from ganaug_ray.augment.arms import locate_teacher
from ganaug_ray.augment.generate import generate_pool
from ganaug_ray.classify.batch_inference import predict_images
from ganaug_ray.classify.image_files import list_parts
from ganaug_ray.classify.launch import train_classifiers
from ganaug_ray.classify.train_worker import ClassifierTraining
from ganaug_ray.config import GanConfig, Job
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import GanRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.resident_loader import open_real_feed
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.gan.launch import train_gans
from ganaug_ray.gan.training_spec import GanTraining
from ganaug_ray.runtime import cluster, executors, preflight, ray_data, side_by_side, worker_group
from ganaug_ray.runtime.background_worker import open_background_worker
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.runtime.resources import plan_gan_trainings, plan_stage
from ganaug_ray.search.search_plan import SearchPlan
from ganaug_ray.search.search_space import Dimension, SearchSpace
from ganaug_ray.search.trial_log import Ledger
from ganaug_ray.search.tune_runner import plan_trials, run_trials
from ganaug_ray.serve.deployment_settings import DeploymentSettings
from ganaug_ray.serve.serve_config import (
    ListenAddress,
    choose_gpus,
    choose_replicas,
    parse_replicas,
    start_serve,
    stop_serve,
)
from tests.conftest import PATIENCE
from tests.helpers.serving import encoded, free_port, post, promote
from tests.ray.one_cluster.test_snapshots import submit_when_started

GPUS = 8


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster of 8 CPUs and 8 GPUs; its processes write which GPUs they have reserved, a file each."""
    folder = tmp_path_factory.mktemp("reserved")

    def stand_in() -> None:
        import uuid

        from ganaug_ray.runtime import cluster

        def note_device() -> str:
            reserved = "".join(f"{gpu}\n" for gpu in ray.get_gpu_ids())
            (folder / uuid.uuid4().hex).write_text(reserved)
            return "cpu"

        cluster.get_reserved_device = note_device

    ray.init(
        address="local", num_cpus=8, num_gpus=GPUS, include_dashboard=False, log_to_driver=False,
        runtime_env={"worker_process_setup_hook": stand_in},
    )  # fmt: skip
    yield folder
    ray.shutdown()


def collect_reserved(notes: Path) -> list[list[str]]:
    """The GPUs of each process that has asked for its device since the last call."""
    reserved = []
    for note in list(notes.iterdir()):
        reserved.append(note.read_text().split())
        note.unlink()
    return reserved


@contextmanager
def hold_gpus(n: float) -> Iterator[None]:
    """Reserve GPUs, or a share of one, as other work on a cluster does; 0: none."""
    if not n:
        yield
        return
    group = placement_group([{"GPU": n}])
    assert group.wait(PATIENCE)
    yield
    remove_placement_group(group)


@contextmanager
def leave_gpus(n: int) -> Iterator[Hardware]:
    """Leave as many GPUs free as a machine has that a stage is planned for."""
    with hold_gpus(GPUS - n):
        yield Hardware.of_one_machine(8, n)


def wait_for_free_gpus(n: int) -> bool:
    """Wait until Ray has as many GPUs free; it learns of changes a little later. Return whether it came to that."""
    deadline = time.monotonic() + PATIENCE
    while ray.available_resources().get("GPU", 0) != n and time.monotonic() < deadline:
        time.sleep(0.1)
    return ray.available_resources().get("GPU", 0) == n


def test_five_groups_of_two_keep_all_gpus(notes: Path) -> None:
    """Of 5 trainings with 2 workers on 8 GPUs, four run at a time and reserve all; the fifth starts when one ends."""
    four_together = threading.Barrier(4, timeout=PATIENCE)
    all_reserved: list[bool] = []

    def train(number: int) -> None:
        group = placement_group([{"CPU": 1, "GPU": 1}] * 2)
        assert group.wait(PATIENCE)
        if number < 4:
            four_together.wait()
            all_reserved.append(wait_for_free_gpus(0))
            four_together.wait()
        remove_placement_group(group)

    at_once = plan_stage("train-gan", cluster.read_hardware(), workers=2).at_once
    assert [error for _, error in side_by_side.run_groups(train, range(5), at_once)] == [None] * 5
    assert all_reserved == [True] * 4


def test_workers_without_room_give_up(notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that find too few GPUs are not waited for without an end; once other work has ended, they start."""
    monkeypatch.setattr(worker_group, "TorchConfig", functools.partial(TorchConfig, backend="gloo"))  # NCCL needs a GPU
    out = Folder.from_uri(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(worker_group, "MAX_START_TRIES", 1)
        patch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "1")
        with (
            hold_gpus(GPUS - 1),
            pytest.raises(StageFailed, match="8 GPUs in the cluster, 1 free; other work has the rest") as caught,
        ):
            worker_group.run_on_ranks(write_gpus, str(tmp_path), 2, out, use_gpu=True)
        assert str(caught.value).startswith("no room for 2 workers with a GPU each")
        least = GPUS + 1  # of workers that come and go, as if nodes had been lost since the preflight
        with pytest.raises(StageFailed, match=f"no room for {least} workers with a GPU each"):
            worker_group.run_on_ranks(write_gpus, str(tmp_path), (least, least + 1), out, use_gpu=True)
    assert not list(tmp_path.glob("rank-*"))
    worker_group.run_on_ranks(write_gpus, str(tmp_path), 2, out, use_gpu=True)
    assert len(list(tmp_path.glob("rank-*"))) == 2


@pytest.mark.parametrize("workers", [2, (1, 2)])
def test_ranks_have_a_gpu_each(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int | tuple[int, int]
) -> None:
    """A group of ranks on two free GPUs of eight runs to its end, each rank on a GPU of its own."""
    monkeypatch.setattr(worker_group, "TorchConfig", functools.partial(TorchConfig, backend="gloo"))  # NCCL needs a GPU
    with hold_gpus(GPUS - 2):
        worker_group.run_on_ranks(write_gpus, str(tmp_path), workers, Folder.from_uri(tmp_path), use_gpu=True)
        assert wait_for_free_gpus(2)
    reserved = [path.read_text().split() for path in sorted(tmp_path.glob("rank-*"))]
    assert [len(gpus) for gpus in reserved] == [1, 1]
    assert reserved[0] != reserved[1]


def write_gpus(folder: str, place: Place) -> None:
    """Write down what this rank has reserved."""
    ids = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    Path(folder, f"rank-{place.rank}").write_text(" ".join(ids))


def test_small_trainings_share_gpus(notes: Path, tiny_job: Job, digits: Folder, tmp_path: Path) -> None:
    """On one GPU two small classifiers train at the same time, each with a share."""
    batches = functools.partial(open_real_feed, str(digits), 16, 1.0, 0)
    config = tiny_job.classifier
    fits = [
        ClassifierTraining("real", seed, config, str(digits), str(tmp_path / str(seed)), batches, {})
        for seed in range(2)
    ]
    collect_reserved(notes)
    with hold_gpus(GPUS - 1):
        train_classifiers(fits, 1.0, Hardware.of_one_machine(8, 1))
    reserved = collect_reserved(notes)
    assert len(reserved) == 2
    assert reserved[0] == reserved[1], "the one GPU that is left"
    assert len(reserved[0]) == 1


@pytest.mark.parametrize("gpus", [1, 2, GPUS])
def test_light_stages_use_what_they_reserve(notes: Path, experiment: Run, tmp_path: Path, gpus: int) -> None:
    """Generation, prediction and labelling run on all GPUs, evaluations and promotions on one, each on its own."""
    collect_reserved(notes)
    with leave_gpus(gpus) as hardware:
        record = generate_pool({"0": 300, "7": 20}, 5, experiment.gan, Folder.from_uri(tmp_path / "pool"), hardware)
        assert record["images"] == 320
        reserved = collect_reserved(notes)
        assert_one_each(reserved, gpus)

        model = experiment.locate_model("real+classic", 0)
        pictures = list_parts([str(_write_picture(tmp_path))])
        predicted = predict_images(model, pictures, hardware, lambda share, words: None)
        assert predicted.table["error"].null_count == 1
        reserved += collect_reserved(notes)

        label = ray_data.RayDataDeviceExecutor(plan_stage("label", hardware))
        assert list(label(lambda device: str, range(8))) == [str(number) for number in range(8)]
        labelling = collect_reserved(notes)
        assert_one_each(labelling, gpus)
        reserved += labelling

        for stage in ("evaluate", "promote", "measure"):
            planned = plan_stage(stage, hardware)
            assert executors.call_on_device(_return_device, (), planned) == "cpu", "the stand-in's"
        reserved += collect_reserved(notes)
    assert all(len(names) == 1 for names in reserved), "nobody computes without having reserved one"
    assert len(reserved) >= 6


def assert_one_each(reserved: list[list[str]], gpus: int) -> None:
    """Assert that processes that ran at the same time had a GPU each, and no two the same."""
    assert len({gpu for names in reserved for gpu in names}) == len(reserved)
    assert 1 <= len(reserved) <= gpus


@pytest.mark.parametrize("gpus", [1, 2, GPUS])
def test_gan_ends_beside_its_snapshots(notes: Path, experiment: Run, tmp_path: Path, gpus: int) -> None:
    """A GAN is trained to its end on one GPU, and there is room for the process that measures its snapshots."""
    config = GanConfig(**experiment.gan.read_json("gan.json")["config"])
    config = config.model_copy(update={"steps": 4, "snapshot_every": 2, "cas_every": 4, "gpu_share": 0.25})
    teacher = str(locate_teacher(experiment))
    training = GanTraining(config, 32, 0, str(experiment.dataset), teacher, str(tmp_path / "gan"), 1.0, {})
    collect_reserved(notes)
    with leave_gpus(gpus) as hardware:
        train_gans([training], hardware)
        reserved = collect_reserved(notes)
        planned, beside = plan_gan_trainings(1, 1, hardware, 0.25)
        assert beside is not None
        assert planned.gpus + beside.gpus == (1 if gpus == 1 else 1.25)
        with hold_gpus(planned.gpus), open_background_worker(beside, lambda device: str) as worker:
            assert submit_when_started(worker, 7).result() == "7"
    assert GanRecord.find(Folder.from_uri(training.out)) is not None
    reserved += collect_reserved(notes)
    assert all(len(names) == 1 for names in reserved)
    assert len(reserved) >= 2


def test_search_trial_ends_on_one_gpu(notes: Path, experiment: Run, tiny_job: Job, tmp_path: Path) -> None:
    """A trial of a search trains on its share of the one GPU that is free, and ends; more GPUs take more trials."""
    shutil.copytree(experiment.root.path, tmp_path / "run")
    gan = tiny_job.gan.model_copy(update={"steps": 4, "log_every": 1, "gpu_share": 0.5})
    search = tiny_job.search.model_copy(update={"stop_early": False})
    job = tiny_job.model_copy(update={"gan": gan, "search": search})
    space = SearchSpace("gan", (Dimension("gan.lr", "log_uniform", (1e-4, 1e-3), {}),), "gan.steps", (2, 4))
    plan = SearchPlan(job, space, str(tmp_path / "run"))
    needs = [plan_trials(plan, Hardware.of_one_machine(16, gpus)) for gpus in (1, 2, GPUS)]
    assert [(need.gpus, need.at_once) for need in needs] == [(0.5, 2), (0.5, 4), (0.5, 16)]
    ledger = Ledger.from_folder(plan.folder.create())
    collect_reserved(notes)
    with leave_gpus(1):
        run_trials(plan, ledger, 1, 1, needs[0], lambda trial: None)
    assert [trial.status for trial in Ledger.from_folder(plan.folder).ended_trials] == ["finished"]
    assert [len(names) for names in collect_reserved(notes)] == [1]


def test_servers_reserve_all_gpus(notes: Path, tmp_path: Path) -> None:
    """With 1, 2 and 8 GPUs, as many replicas as fit come up and reserve all of these; more are not waited for."""
    folder = Folder.from_uri(tmp_path / "pets")
    promote(folder, 0)
    where = ListenAddress(port=free_port())
    asked: list[tuple[int, float | None, str]] = [(1, 0.5, "1:64"), (2, None, "2"), (GPUS, 4, "1:64")]
    try:
        for gpus, replica_gpus, replicas in asked:
            collect_reserved(notes)
            with leave_gpus(gpus) as hardware:
                start_serve(plan_most_replicas(folder, replica_gpus, replicas, hardware), where)
                assert wait_for_free_gpus(0), "the replicas have all that were left"
                status, body = post(f"{where.url}/v1/predict", encoded())
                assert status == 200, body
                serve.delete("default")
            reserved = collect_reserved(notes)
            assert len(reserved) == 2, "a process for each replica that the GPUs allow"
            assert len({gpu for names in reserved for gpu in names}) == gpus
    finally:
        stop_serve()


def plan_most_replicas(folder: Folder, gpus: float | None, replicas: str, hardware: Hardware) -> DeploymentSettings:
    """Plan a server as ``ganaug serve`` does, with its largest number of replicas from the start."""
    replica_gpus = choose_gpus(gpus, hardware)
    _, most = choose_replicas(parse_replicas(replicas), hardware, gpus=replica_gpus)
    return DeploymentSettings(
        str(folder), needs_key=False, min_replicas=most, max_replicas=most, gpus=replica_gpus, alone=True
    )


def _return_device(device: str) -> str:
    return device


def _write_picture(folder: Path) -> Path:
    from PIL import Image

    Image.new("L", (32, 32)).save(folder / "picture.png")
    return folder / "picture.png"


def test_unusable_gpus_are_refused(notes: Path) -> None:
    """GPUs that torch does not see are refused in a sentence; nothing computes on the CPU in their place."""
    with pytest.raises(UserError, match=r"node .*: (torch .* cannot use the GPUs|torch .* without CUDA|Ray declares)"):
        preflight.check_embedded(None, cluster.read_hardware())


def test_nothing_stays_reserved(notes: Path) -> None:
    """When all stages have ended, no GPU is reserved any more."""
    assert wait_for_free_gpus(GPUS)
