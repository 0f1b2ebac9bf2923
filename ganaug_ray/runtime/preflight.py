"""Preflight: can this cluster do what the job asks for? Every node is asked, and each refusal says what to change.

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
from ray._common.utils import get_system_memory
from ray._private.utils import get_used_memory
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError

MAX_USED_SHARE = 0.95  # of a node's memory or disk: there Ray ends workers, and stops putting objects on disk
NODE_REPLY_TIMEOUT_S = 180  # seconds that a node has to answer: a new one first unpacks the code
MAX_REFUSALS_SHOWN = 3  # refusals in a message
MIN_FREE_BYTES = 1e9  # bytes that the output folder's disk has free at the least; a share of a large disk may be plenty


@dataclass(frozen=True)
class Report:
    """What a node says of itself.

    Attributes:
        versions: of what decides the figures.
        memory: share of it in use.
        disk: share in use of the one that Ray's temporary files are on.
        output: why the output folder cannot be used there; empty where it can.
    """

    versions: Mapping[str, str]
    memory: float = 0.0
    disk: float = 0.0
    output: str = ""


@dataclass(frozen=True)
class Node:
    """A node: its address, what it declares, and its report, or why there is none."""

    name: str
    report: Report | str
    resources: Mapping[str, float] = field(default_factory=dict)


def check(job: Job | None, out: Folder | None, most: Mapping[str, float], gpus: str | None) -> None:
    """Ask all nodes of the connected cluster, and refuse one that cannot do the job.

    Args:
        job: absent: work that takes what there is.
        out: the folder of the experiment.
        most: of each resource, what the cluster has or can grow to.
        gpus: how many it must have, as text from the environment.

    Raises:
        UserError: it cannot.
    """
    nodes = ask(out)
    found = ill_nodes(nodes, versions())
    if out is not None:
        found += no_room(out)
    if job:
        found += shortages(job, nodes, most, gpus)
    if found:
        more = [f"... and {len(found) - MAX_REFUSALS_SHOWN} more"] if len(found) > MAX_REFUSALS_SHOWN else []
        raise UserError("\n".join([*found[:MAX_REFUSALS_SHOWN], *more]))


def ill_nodes(nodes: list[Node], here: Mapping[str, str]) -> list[str]:
    """Return a sentence for each thing that is wrong with a node, given this process's versions."""
    found = []
    for node in nodes:
        report = node.report
        if isinstance(report, str):
            found.append(f"node {node.name}: {report}")
            continue
        found += [
            f"node {node.name}: has {name} {report.versions[name]}, and this process {name} {own}; "
            "install the same on all nodes"
            for name, own in here.items()
            if report.versions[name] != own
        ]
        if report.memory > MAX_USED_SHARE:
            found.append(f"node {node.name}: {report.memory:.0%} of its memory is in use; end what else runs there")
        if report.disk > MAX_USED_SHARE:
            found.append(f"node {node.name}: its disk with Ray's files is {report.disk:.0%} full; free some space")
        if report.output:
            found.append(f"node {node.name}: {report.output}; give --out a folder that all nodes see")
    return found


def no_room(out: Folder) -> list[str]:
    """Return a sentence if the disk that the output folder is on is nearly full; an object store never is."""
    if out.local is None or (free := shutil.disk_usage(out.local).free) >= MIN_FREE_BYTES:
        return []
    return [f"{out}: {free / 1e6:.0f} MB are free there, too few for an experiment; free some, or give another --out"]


def shortages(job: Job, nodes: list[Node], most: Mapping[str, float], gpus: str | None) -> list[str]:
    """Return a sentence for each thing that the job asks for and the cluster cannot give."""
    found = []
    there = int(most.get("GPU", 0))
    if gpus is not None and not (gpus.isdecimal() and int(gpus) <= there):
        found.append(f"--gpus (GANAUG_GPUS) {gpus}: the cluster has {there}; add nodes with GPUs, or ask for fewer")
    kind = "GPU" if there else "CPU"
    have = int(most.get(kind, 0))
    trained = {"gan": job.gan, "classifier": job.classifier}
    trained |= {f"models.{name}": model for name, model in job.models.items()}
    needed = {
        f"{name}.min_workers" if training.min_workers else f"{name}.workers": training.min_workers or training.workers
        for name, training in trained.items()
    }
    for name, workers in needed.items():
        if workers != "auto" and workers > have:
            found.append(
                f"{name} {workers}: the cluster has {have} {kind}s and each worker needs one; "
                f"give {name} {have} or fewer" + (", or auto" if name.endswith(".workers") else "")
            )
    grows = any(most[name] > sum(node.resources.get(name, 0) for node in nodes) for name in most)
    if not grows and not any(_holds_a_task(node.resources, kind) for node in nodes):
        whole = "a whole CPU" if kind == "CPU" else "a CPU beside its GPU"
        found.append(f"no node declares {whole}, so tasks would wait for ever; start nodes with --num-cpus 1 or more")
    return found


def _holds_a_task(resources: Mapping[str, float], kind: str) -> bool:
    return resources.get("CPU", 0) >= 1 and resources.get(kind, 0) >= 1


def ask(out: Folder | None) -> list[Node]:
    """Have every living node look at itself and at the output folder."""
    mark = f".seen-by-{uuid.uuid4().hex}"
    if out is not None:
        out.write(mark, mark.encode())
    task = ray.remote(look)
    refs: dict[Any, dict[str, Any]] = {}
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
            refs[task.options(**options).remote(str(out) if out else None, mark)] = node
    try:
        ray.wait(list(refs), num_returns=len(refs), timeout=NODE_REPLY_TIMEOUT_S)
        return [Node(node["NodeManagerAddress"], _answer(ref), node["Resources"]) for ref, node in refs.items()]
    finally:
        if out is not None:
            out.delete(mark)


def look(out: str | None, mark: str) -> Report:
    """Report on the node that this runs on: it reads what another one wrote to the output folder, and writes there."""
    disk = shutil.disk_usage(ray.get_runtime_context().get_temp_dir())
    return Report(
        versions(),
        get_used_memory() / get_system_memory(),
        1 - disk.free / disk.total,
        unusable(Folder.at(out), mark) if out else "",
    )


def unusable(out: Folder, mark: str) -> str:
    """Say why a folder into which another node wrote a file cannot be used from here; empty where it can."""
    own = f"{mark}-{uuid.uuid4().hex}"
    try:
        if not out.has(mark) or out.read(mark) != mark.encode():
            return f"does not see what this process wrote to {out}"
        out.write(own, b"")
        out.delete(own)
    except OSError as error:
        return f"cannot use {out} ({error.strerror or error})"
    return ""


def versions() -> dict[str, str]:
    """Versions of what decides the figures; of this package also a hash of its code, as clones share a version."""
    digest = hashlib.blake2b(digest_size=4)
    package = Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    found = experiment_dir.versions()
    return {**found, "ganaug-ray": f"{found['ganaug-ray']} (code {digest.hexdigest()})"}


def _answer(ref: Any) -> Report | str:
    try:
        return ray.get(ref, timeout=0)
    except ray.exceptions.GetTimeoutError:
        waited = f"did not answer within {NODE_REPLY_TIMEOUT_S} seconds"
        return f"{waited}; see that it is up and not overloaded, or take it out"
    except ray.exceptions.RayError as error:
        return f"cannot run ganaug_ray ({str(error).strip().splitlines()[-1]}); install it and its dependencies there"
