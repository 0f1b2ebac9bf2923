"""The Ray cluster: connecting to it, and what it has to give. The only place that calls ray.init."""

import os
import socket
from typing import Any

import ray
from ray._private import ray_constants

from ganaug_ray.config import Job
from ganaug_ray.errors import UserError


def connect(job: Job | None = None, cpus: int = 1, dashboard: bool = False) -> None:
    """Connect once to the cluster that RAY_ADDRESS names, or start Ray inside this process's machine.

    An embedded Ray declares at least as many CPUs as the job has workers, so that a laptop can run a job with more
    workers than cores, only slower. Without a job it is for work that takes what there is.

    Raises:
        UserError: no cluster answers at RAY_ADDRESS, or it is too small for the job.
    """
    if ray.is_initialized():
        return
    needed = max(job.gan.workers, job.classifier.workers) if job else 1
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _probe(address)
        try:
            there = ray.init(address=address)
        except (ConnectionError, ValueError) as error:
            raise UserError(f"RAY_ADDRESS={address}: no Ray cluster answers there ({error})") from None
        if job:
            _check_size(job)
        if dashboard and not there.dashboard_url:
            raise UserError(
                f"RAY_ADDRESS={address}: that cluster runs without its dashboard, which trials with workers of their "
                "own need; start its head with --include-dashboard=true, or give one worker"
            )
    else:
        cores = max(needed, cpus, os.cpu_count() or 1)
        ray.init(address="local", num_cpus=cores, include_dashboard=dashboard, dashboard_host="127.0.0.1")


def connect_alone(cpus: int) -> None:
    """Start a Ray of this process's own that other machines cannot reach: its daemons listen on 127.0.0.1."""
    ray_constants.ENABLE_RAY_CLUSTER = False  # Ray's only switch for it; an address of 127.0.0.1 it resolves away
    ray.init(address="local", num_cpus=cpus, include_dashboard=False)


def _probe(address: str) -> None:
    """Find out in seconds whether anybody listens at host:port; ray.init itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if "://" in address:
        raise UserError(f"RAY_ADDRESS={address}: expected auto or host:port of a cluster this machine is part of")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise UserError(f"RAY_ADDRESS={address}: no Ray cluster answers there ({error.strerror})") from None


def disconnect() -> None:
    """Let go of the cluster; an embedded one ends."""
    ray.shutdown()


def has_gpus() -> bool:
    """Whether training and generation run on GPUs here."""
    return ray.cluster_resources().get("GPU", 0) >= 1


def worker_resources(gpu_share: float = 1.0) -> dict[str, Any]:
    """What one single-process task or actor asks for; of a GPU, this share."""
    return {"num_cpus": 1, "num_gpus": gpu_share if has_gpus() else 0}


def _check_size(job: Job) -> None:
    kind = "GPU" if has_gpus() else "CPU"
    there = int(ray.cluster_resources().get(kind, 0))
    for key, workers in (("gan.workers", job.gan.workers), ("classifier.workers", job.classifier.workers)):
        if workers > there:
            raise UserError(
                f"{key} {workers}: the cluster has {there} {kind}s and each worker needs one; "
                f"give {key} {there} or fewer"
            )
