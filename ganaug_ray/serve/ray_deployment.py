"""The service as one deployment of Ray Serve: each replica decodes, batches and classifies what it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import ray
import torch
from ray import serve
from ray.serve._private import replica
from ray.serve._private.constants import RAY_SERVE_ENABLE_HA_PROXY
from ray.serve.config import AutoscalingConfig, BackpressureConfig
from ray.serve.handle import DeploymentHandle

from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.serve import app, auth
from ganaug_ray.serve.feedback_ledger import Ledger
from ganaug_ray.serve.feedback_store import Shelf, used
from ganaug_ray.serve.inference_queue import OnBatch
from ganaug_ray.serve.limits import Limits
from ganaug_ray.serve.live_model import Champion
from ganaug_ray.serve.metrics import Metrics
from ganaug_ray.serve.middleware import Gate
from ganaug_ray.serve.rollout_config import Rollout
from ganaug_ray.serve.service import Service
from ganaug_ray.serve.traffic import Candidate, Trial

NAME = "ganaug"
TARGET = 16  # requests at a time that one replica answers well
RETRY_AFTER_S = 1.0


@dataclass(frozen=True)
class Settings:
    """What a deployment is told; none of it is secret, since a dashboard shows it.

    Attributes:
        address: of an experiment, a registry or a model folder that every replica can read.
        name: of the model; absent: the folder's.
        key_file: of every replica's machine, beside the environment's GANAUG_API_KEY.
        needs_key: no replica starts without a key; for what listens to more than its own machine.
        tls: whether it is to be had by https alone; no replica starts behind HAProxy, which would answer without.
        limits: of a replica.
        least: replicas; 0 lets an idle deployment end them all.
        most: replicas.
        cpus: threads of a replica.
        gpus: of a replica.
        alone: on a Ray of this machine only, which no other may reach.
        shadow: a candidate that answers unheard, MODEL:SHARE.
        canary: a candidate that answers in the champion's place, MODEL:SHARE.
        feedback: where images with feedback are stored.
    """

    address: str
    name: str | None = None
    key_file: str | None = None
    needs_key: bool = True
    tls: bool = False
    limits: dict[str, float] = field(default_factory=lambda: asdict(Limits()))
    least: int = 1
    most: int = 1
    cpus: float = 1
    gpus: float = 0
    alone: bool = False
    shadow: str | None = None
    canary: str | None = None
    feedback: str | None = None


class Books:
    """The ledger of all replicas, as a deployment of its own; what it knows ends with it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        told = Settings(**settings)
        if told.alone:
            _keep_to_this_machine()
        limits = Limits(**told.limits)  # type: ignore[arg-type]  # as ``asdict`` gave them
        files, size = (0, 0) if told.feedback is None else used(Folder.at(told.feedback))
        self._ledger = Ledger(limits.stored - files, limits.stored_bytes - size)

    async def __call__(self, method: str, *arguments: Any) -> Any:
        """Call a method of the ledger; one call after the other."""
        return getattr(self._ledger, method)(*arguments)


@serve.ingress()
class Classifier:
    """One replica."""

    def __init__(self, settings: dict[str, Any], books: DeploymentHandle | None = None) -> None:
        told = Settings(**settings)
        self._keys = admitted(told)
        if told.alone:
            _keep_to_this_machine()
        torch.set_num_threads(max(1, int(told.cpus)))
        device = "cuda" if ray.get_gpu_ids() else "cpu"
        champion = Champion(told.address, told.name, device)
        limits = Limits(**told.limits)  # type: ignore[arg-type]  # as ``asdict`` gave them
        metrics = [Metrics()]
        trial = None if books is None else _trial(told, champion, device, books, metrics)
        self._service = Service(champion, limits, metrics, trial=trial)
        champion.watch()

    def __serve_build_asgi_app__(self) -> Gate:
        """Return what answers; Serve calls this when the model is loaded and warm."""
        return app.build(self._service, self._keys)

    def __del__(self) -> None:
        if hasattr(self, "_service"):
            self._service.close()


def admitted(told: Settings) -> list[str]:
    """Return the keys of this machine. Raises UserError where who has none could ask, or others could listen."""
    found = auth.read(told.key_file)
    if told.needs_key and not found:
        raise UserError(f"no API key on this machine: set {auth.VARIABLE} or give --key-file")
    if told.tls and RAY_SERVE_ENABLE_HA_PROXY:
        raise UserError("HAProxy would answer without TLS: start Ray without RAY_SERVE_ENABLE_HA_PROXY")
    return found


def _trial(
    told: Settings, champion: Champion, device: str, books: DeploymentHandle, on_batch: Sequence[OnBatch]
) -> Trial:
    candidate, shelf = None, None
    if rollout := Rollout.of(told.shadow, told.canary):
        candidate = Candidate(rollout, Champion(rollout.address, champion.current.name, device, beside=champion))
        candidate.model.watch()
    if told.feedback is not None:
        shelf = Shelf(Folder.at(told.feedback), champion.current.classifier.classes)

    async def call(method: str, *arguments: Any) -> Any:
        return await books.remote(method, *arguments)

    return Trial(call, candidate, champion, shelf, on_batch)


def _keep_to_this_machine() -> None:
    """Bind the replica's port for calls of other deployments to 127.0.0.1.

    Serve opens it on all interfaces when the constructor is done, whatever the host that was asked for, and unpickles
    what is sent there; on Ray's token alone nobody need rely.
    """
    add = replica.add_port_to_grpc_server

    def add_here(server: Any, address: str) -> int:
        return add(server, address.replace("[::]", "127.0.0.1"))

    replica.add_port_to_grpc_server = add_here


def application(settings: dict[str, Any]) -> serve.Application:
    """Build the application; serve.yaml names this function and gives it its ``args``."""
    told = Settings(**settings)
    waiting = int(told.limits["waiting"])
    deployment = serve.deployment(
        name=NAME,
        ray_actor_options={"num_cpus": told.cpus, "num_gpus": told.gpus},
        # The replica itself refuses more, as problem JSON; here a little room is left for it to say so.
        max_ongoing_requests=waiting + 64,
        max_queued_requests=waiting + 64,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=RETRY_AFTER_S),
        autoscaling_config=AutoscalingConfig(
            min_replicas=told.least,
            max_replicas=told.most,
            target_ongoing_requests=TARGET,
            # Serve's own pace, told every 10 s of a mean over 30, would leave a rush waiting for most of a minute.
            metrics_interval_s=2,
            look_back_period_s=10,
            upscale_delay_s=5,
            downscale_delay_s=60,
        ),
        health_check_period_s=5,
        logging_config={"enable_access_log": False},  # a line a request; what it would tell, metrics tell
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=10,
        max_constructor_retry_count=2,
    )
    if not (told.shadow or told.canary or told.feedback):
        return deployment(Classifier).bind(settings)
    books = serve.deployment(name=f"{NAME}-books", num_replicas=1, ray_actor_options={"num_cpus": 0})(Books)
    return deployment(Classifier).bind(settings, books.bind(settings))
