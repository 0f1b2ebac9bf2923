"""The settings of a deployment, without Ray and torch: a wrong one is refused in a second."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from ganaug_ray.serve.limits import RequestLimits


@dataclass(frozen=True)
class DeploymentSettings:
    """The settings of a deployment; none of them is secret, since a dashboard shows them.

    Attributes:
        address: of an experiment, a registry or a model folder that every replica can read.
        name: of the model; absent: the folder's.
        key_file: of every replica's machine, beside the environment's GANAUG_API_KEY.
        needs_key: no replica starts without a key; for what listens to more than its own machine.
        tls: whether it is to be had by https alone; no replica starts behind HAProxy, which would answer without.
        limits: of a replica.
        min_replicas: replicas; 0 lets an idle deployment end them all.
        max_replicas: replicas.
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
    limits: dict[str, float] = field(default_factory=lambda: asdict(RequestLimits()))
    min_replicas: int = 1
    max_replicas: int = 1
    cpus: float = 1
    gpus: float = 0
    alone: bool = False
    shadow: str | None = None
    canary: str | None = None
    feedback: str | None = None
