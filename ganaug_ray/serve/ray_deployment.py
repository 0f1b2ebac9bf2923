"""The service as one deployment of Ray Serve: each replica decodes, batches and classifies what it is sent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from ray import serve
from ray.serve._private import replica  # for _bind_to_loopback, which says why
from ray.serve.config import AutoscalingConfig, BackpressureConfig
from ray.serve.handle import DeploymentHandle

from ganaug_ray.core import worker_log
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.runtime import cluster
from ganaug_ray.serve import app, auth
from ganaug_ray.serve.deployment_settings import DeploymentSettings
from ganaug_ray.serve.feedback_ledger import FeedbackLedger
from ganaug_ray.serve.feedback_store import FeedbackStore, measure_usage
from ganaug_ray.serve.inference_queue import BatchCallback
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.live_model import LiveModel
from ganaug_ray.serve.metrics import ServeMetrics
from ganaug_ray.serve.middleware import AccessGate
from ganaug_ray.serve.rollout_config import Rollout
from ganaug_ray.serve.service import Service
from ganaug_ray.serve.traffic import Candidate, RolloutTrial

DEPLOYMENT_NAME = "ganaug"
TARGET_REQUESTS = 16  # requests at a time that one replica answers well
RETRY_AFTER_S = 1.0


class LedgerDeployment:
    """The ledger of all replicas, in a deployment of its own; its content ends with it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        deployment_settings = DeploymentSettings(**settings)
        if deployment_settings.alone:
            _bind_to_loopback()
        limits = RequestLimits(**deployment_settings.limits)  # type: ignore[arg-type]  # as ``asdict`` gave them
        files = size = 0
        if deployment_settings.feedback is not None:
            files, size = measure_usage(Folder.from_uri(deployment_settings.feedback))
        self._ledger = FeedbackLedger(limits.stored - files, limits.stored_bytes - size)

    async def __call__(self, method: str, *arguments: Any) -> Any:
        """Call a method of the ledger; calls are answered one after another."""
        return getattr(self._ledger, method)(*arguments)


@serve.ingress()
class ClassifierReplica:
    """One replica of the service."""

    def __init__(self, settings: dict[str, Any], books: DeploymentHandle | None = None) -> None:
        worker_log.install_print_handler()
        deployment_settings = DeploymentSettings(**settings)
        self._keys = read_required_keys(deployment_settings)
        if deployment_settings.alone:
            _bind_to_loopback()
        torch.set_num_threads(max(1, int(deployment_settings.cpus)))
        device = cluster.get_reserved_device()
        champion = LiveModel(deployment_settings.address, deployment_settings.name, device)
        limits = RequestLimits(**deployment_settings.limits)  # type: ignore[arg-type]  # as ``asdict`` gave them
        metrics = [ServeMetrics()]
        trial = None
        if books is not None:
            trial = _build_trial(deployment_settings, champion, device, books, metrics)
        self._service = Service(champion, limits, metrics, trial=trial)
        champion.start_watching()

    def __serve_build_asgi_app__(self) -> AccessGate:
        """Return what answers; Serve calls this when the model is loaded and warm."""
        return app.build_application(self._service, self._keys)

    def __del__(self) -> None:
        if hasattr(self, "_service"):
            self._service.shut_down()


def read_required_keys(settings: DeploymentSettings) -> list[str]:
    """Return the API keys of this machine. Raises UserError if none is there but needed, or HAProxy bars TLS."""
    keys = auth.read_keys(settings.key_file)
    if settings.needs_key and not keys:
        raise UserError(f"no API key on this machine: set {auth.KEY_VARIABLE} or give --key-file")
    if settings.tls and os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":  # as Serve reads it
        raise UserError("HAProxy would answer without TLS: start Ray without RAY_SERVE_ENABLE_HA_PROXY")
    return keys


def _build_trial(
    settings: DeploymentSettings,
    champion: LiveModel,
    device: str,
    books: DeploymentHandle,
    on_batch: Sequence[BatchCallback],
) -> RolloutTrial:
    candidate = None
    shelf = None
    if rollout := Rollout.from_options(settings.shadow, settings.canary):
        candidate = Candidate(rollout, LiveModel(rollout.address, champion.current.name, device, champion=champion))
        candidate.model.start_watching()
    if settings.feedback is not None:
        shelf = FeedbackStore(Folder.from_uri(settings.feedback), champion.current.classifier.classes)

    async def call(method: str, *arguments: Any) -> Any:
        return await books.remote(method, *arguments)

    return RolloutTrial(call, candidate, champion, shelf, on_batch)


def _bind_to_loopback() -> None:
    """Bind the replica's port for calls of other deployments to 127.0.0.1.

    Serve opens it on all interfaces when the constructor is done, whatever the host that was asked for, and unpickles
    what is sent there; on Ray's token alone nobody need rely.
    """
    add_port = replica.add_port_to_grpc_server

    def add_loopback_port(server: Any, address: str) -> int:
        return add_port(server, address.replace("[::]", "127.0.0.1"))

    replica.add_port_to_grpc_server = add_loopback_port


def application(settings: dict[str, Any]) -> serve.Application:
    """Build the Ray Serve application from its settings; serve.yaml names this function."""
    deployment_settings = DeploymentSettings(**settings)
    waiting = int(deployment_settings.limits["waiting"])
    deployment = serve.deployment(
        name=DEPLOYMENT_NAME,
        ray_actor_options={"num_cpus": deployment_settings.cpus, "num_gpus": deployment_settings.gpus},
        # The replica itself refuses more, as problem JSON; here a little room is left for it to say so.
        max_ongoing_requests=waiting + 64,
        max_queued_requests=waiting + 64,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=RETRY_AFTER_S),
        autoscaling_config=AutoscalingConfig(
            min_replicas=deployment_settings.min_replicas,
            max_replicas=deployment_settings.max_replicas,
            target_ongoing_requests=TARGET_REQUESTS,
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
    if not (deployment_settings.shadow or deployment_settings.canary or deployment_settings.feedback):
        return deployment(ClassifierReplica).bind(settings)
    books = serve.deployment(name=f"{DEPLOYMENT_NAME}-books", num_replicas=1, ray_actor_options={"num_cpus": 0})(
        LedgerDeployment
    )
    return deployment(ClassifierReplica).bind(settings, books.bind(settings))
