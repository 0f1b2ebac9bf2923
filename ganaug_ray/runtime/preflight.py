"""Preflight: checks before a job starts that every node of the cluster can run it; each refusal says what to change.

Reading ahead with Ray Data asks for no CPU (see data/loading/streaming_loader.py), so training may take all there are.
"""

import hashlib
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

# Private: the figures by which Ray itself ends workers for want of memory, which know of a container's limit.
from ray._common.utils import get_system_memory
from ray._private.utils import get_used_memory
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import format_count, get_last_line
from ganaug_ray.errors import UserError
from ganaug_ray.runtime import gpu_probe
from ganaug_ray.runtime.hardware import Hardware

MAX_USED_SHARE = 0.95  # of a node's memory or disk: there Ray ends workers, and stops putting objects on disk
NODE_REPLY_TIMEOUT_S = 180  # seconds that a node has to answer: a new one first unpacks the code
MAX_REFUSALS_SHOWN = 3  # refusals in a message
MIN_FREE_BYTES = 1e9  # bytes that the output folder's disk has free at the least; a share of a large disk may be plenty


@dataclass(frozen=True)
class NodeReport:
    """What a node reports of itself.

    Attributes:
        versions: of what decides the figures.
        memory: share of it in use.
        disk: share in use of the one that Ray's temporary files are on.
        output: why the output folder cannot be used there; empty where it can.
        gpus: why torch cannot use the GPUs that the node declares; empty where it can, or nobody wants them.
    """

    versions: Mapping[str, str]
    memory: float = 0.0
    disk: float = 0.0
    output: str = ""
    gpus: str = ""


@dataclass(frozen=True)
class Node:
    """A node of the cluster: its address, the resources that it declares, and its report, or why there is none."""

    name: str
    report: NodeReport | str
    resources: Mapping[str, float] = field(default_factory=dict)


def check_cluster(job: Job | None, out: Folder | None, hardware: Hardware, gpus: str | None) -> None:
    """Check all nodes of the connected cluster, and raise an error if they cannot run the job.

    A task on every living node reports on it. For that a probe file is written to the experiment's folder, which every
    node has to see and to write beside; it is deleted again.

    Args:
        job: absent: work that takes what there is.
        out: the folder of the experiment.
        hardware: of the cluster, as far as it is to be used.
        gpus: how many GPUs it must have, as text from the environment.

    Raises:
        UserError: they cannot; the message has a line for each of the first faults, and says what to change.
    """
    nodes = collect_reports(out, hardware.has_gpus)
    faults = find_node_faults(nodes, collect_versions())
    if out is not None:
        faults += find_disk_shortage(out)
    faults += find_shortages(job, hardware, gpus)
    _refuse(faults)


def check_embedded(job: Job | None, hardware: Hardware, without: str = "--cpu") -> None:
    """Check the Ray that this process has started for itself: whether there is room, and whether GPUs are of use.

    Args:
        job: absent: work that takes what there is.
        hardware: of this machine, as far as it is to be used.
        without: the option that leaves GPUs alone.

    Raises:
        UserError: see ``check_cluster``.
    """
    faults = find_shortages(job, hardware, None)
    if hardware.has_gpus:
        for node in collect_reports(None, with_gpus=True):
            fault = node.report if isinstance(node.report, str) else node.report.gpus
            if fault:
                faults.append(f"node {node.name}: {fault}; or give {without}")
    _refuse(faults)


def _refuse(faults: list[str]) -> None:
    if not faults:
        return
    lines = faults[:MAX_REFUSALS_SHOWN]
    if len(faults) > MAX_REFUSALS_SHOWN:
        lines.append(f"... and {len(faults) - MAX_REFUSALS_SHOWN} more")
    raise UserError("\n".join(lines))


def find_node_faults(nodes: list[Node], local_versions: Mapping[str, str]) -> list[str]:
    """Return a sentence for each fault of a node, which says what to change.

    Faults are: other versions than this process has, memory or disk used beyond MAX_USED_SHARE, an output folder that
    the node cannot use, and a node without a report.

    Args:
        nodes: of the cluster, each with its report, or why there is none.
        local_versions: name -> version, of this process.
    """
    faults = []
    for node in nodes:
        report = node.report
        if isinstance(report, str):
            faults.append(f"node {node.name}: {report}")
            continue
        for name, local_version in local_versions.items():
            if report.versions[name] != local_version:
                faults.append(
                    f"node {node.name}: has {name} {report.versions[name]}, and this process {name} {local_version}; "
                    "install the same on all nodes"
                )
        if report.memory > MAX_USED_SHARE:
            faults.append(f"node {node.name}: {report.memory:.0%} of its memory is in use; stop other programs there")
        if report.disk > MAX_USED_SHARE:
            faults.append(f"node {node.name}: the disk with Ray's files is {report.disk:.0%} full; free some space")
        if report.output:
            faults.append(f"node {node.name}: {report.output}; give --out a folder that all nodes see")
        if report.gpus:
            faults.append(f"node {node.name}: {report.gpus}; or give --cpu")
    return faults


def find_disk_shortage(out: Folder) -> list[str]:
    """Return a sentence if the disk of the output folder is nearly full; never for an object store."""
    if out.local_path is None:
        return []
    free = shutil.disk_usage(out.local_path).free
    if free >= MIN_FREE_BYTES:
        return []
    return [f"{out}: {free / 1e6:.0f} MB are free there, not enough for a run; free some, or give another --out"]


def find_shortages(job: Job | None, hardware: Hardware, gpus: str | None) -> list[str]:
    """Return a sentence for each resource that the job insists on and the cluster does not have.

    Without a job it is what all work needs: room for one process. More ``workers`` than there is room for are lowered
    where a training is started, and are no shortage.
    """
    faults = []
    gpu_count = int(hardware.gpus)
    if gpus is not None and not (gpus.isdecimal() and int(gpus) <= gpu_count):
        fewer = "ask for fewer" if gpu_count else "leave it out"
        faults.append(f"--gpus (GANAUG_GPUS) {gpus}: the cluster has {gpu_count}; add nodes with GPUs, or {fewer}")
    slots = hardware.worker_slots
    if not slots:
        whole = "a CPU beside its GPU" if hardware.has_gpus else "a whole CPU"
        faults.append(f"no node declares {whole}, so tasks would wait forever; start nodes with --num-cpus 1 or more")
        return faults
    if job is None:
        return faults
    trained = {"gan": job.gan, "classifier": job.classifier}
    trained |= {f"models.{name}": model for name, model in job.models.items()}
    for name, training in trained.items():
        if training.min_workers and training.min_workers > slots:
            key = f"{name}.min_workers"
            faults.append(
                f"{key} {training.min_workers}: the cluster has room for {format_count(slots, 'worker')}, "
                f"{hardware.describe_worker_needs()}; give {key} {slots} or fewer"
            )
    return faults


def collect_reports(out: Folder | None, with_gpus: bool) -> list[Node]:
    """Run ``inspect_node`` on every living node, and return what each reports.

    Args:
        out: the folder of the experiment, which every node has to see.
        with_gpus: whether nodes that declare GPUs try them.
    """
    mark = f".seen-by-{uuid.uuid4().hex}"
    address = None
    if out is not None:
        out.write_bytes(mark, mark.encode())
        address = str(out)
    asking: Any = ray.remote(inspect_node)
    trying: Any = ray.remote(max_calls=1)(inspect_node)  # its process ends, and with it what it holds of GPUs' memory
    refs: dict[Any, dict[str, Any]] = {}
    for node in ray.nodes():
        if node["Alive"]:
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            gpus = int(node["Resources"].get("GPU", 0)) if with_gpus else 0
            options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": strategy}
            refs[(trying if gpus else asking).options(**options).remote(address, mark, gpus)] = node
    try:
        ray.wait(list(refs), num_returns=len(refs), timeout=NODE_REPLY_TIMEOUT_S)
        return [Node(node["NodeManagerAddress"], _read_reply(ref), node["Resources"]) for ref, node in refs.items()]
    finally:
        if out is not None:
            out.delete_file(mark)


def inspect_node(out: str | None, mark: str, gpus: int = 0) -> NodeReport:
    """Report on the node that this runs on: versions, memory, disk, the output folder, and the GPUs it declares."""
    disk = shutil.disk_usage(ray.get_runtime_context().get_temp_dir())
    folder_fault = ""
    if out is not None:
        folder_fault = find_folder_fault(Folder.from_uri(out), mark)
    return NodeReport(
        versions=collect_versions(),
        memory=get_used_memory() / get_system_memory(),
        disk=1 - disk.free / disk.total,
        output=folder_fault,
        gpus=gpu_probe.find_gpu_fault(gpus) if gpus else "",
    )


def find_folder_fault(out: Folder, mark: str) -> str:
    """Return why this node cannot use a folder into which another node wrote the file ``mark``; empty if it can."""
    probe_name = f"{mark}-{uuid.uuid4().hex}"
    try:
        if not out.has_file(mark) or out.read_bytes(mark) != mark.encode():
            return f"does not see what this process wrote to {out}"
        out.write_bytes(probe_name, b"")
        out.delete_file(probe_name)
    except OSError as error:
        return f"cannot use {out} ({error.strerror or error})"
    return ""


def collect_versions() -> dict[str, str]:
    """Return the versions of this package, Ray and torch; this package's has a hash of its code."""
    digest = hashlib.blake2b(digest_size=4)
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    installed = experiment_dir.collect_versions()
    return {**installed, "ganaug-ray": f"{installed['ganaug-ray']} (code {digest.hexdigest()})"}


def _read_reply(ref: Any) -> NodeReport | str:
    try:
        return ray.get(ref, timeout=0)
    except ray.exceptions.GetTimeoutError:
        waited = f"did not answer within {NODE_REPLY_TIMEOUT_S} seconds"
        return f"{waited}; check that it is up and not overloaded, or remove it"
    except ray.exceptions.RayError as error:
        return f"cannot run ganaug_ray ({get_last_line(error)}); install it and its dependencies there"
