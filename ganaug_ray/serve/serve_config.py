"""Puts the service on a Ray cluster: starts it there, or writes the file for ``serve deploy`` and KubeRay."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ganaug_ray.core.wording import format_count
from ganaug_ray.errors import UserError
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.runtime.resources import plan_stage

if TYPE_CHECKING:
    from ganaug_ray.serve.deployment_settings import DeploymentSettings

APPLICATION_PATH = "ganaug_ray.serve.ray_deployment:application"


@dataclass(frozen=True)
class ListenAddress:
    """The address at which the service listens.

    Attributes:
        host: an address of this machine; 0.0.0.0 for all of them.
        port: TCP.
        certificate: a PEM file; absent: no TLS.
        private_key: of the certificate.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: str | None = None
    private_key: str | None = None

    @property
    def url(self) -> str:
        """The URL to open in a browser."""
        scheme = "https" if self.certificate else "http"
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        if ":" in host:
            host = f"[{host}]"
        return f"{scheme}://{host}:{self.port}"

    @property
    def options(self) -> dict[str, Any]:
        """The HTTP options of Ray Serve for this address."""
        tls = {} if self.certificate is None else {"ssl_keyfile": self.private_key, "ssl_certfile": self.certificate}
        return {"host": self.host, "port": self.port, **tls}


def build_proxy_environment(folder: Path, program: Path, ports: tuple[int, int, int]) -> dict[str, str]:
    """Return the environment variables with which Ray must be started to put HAProxy before the replicas.

    Args:
        folder: where HAProxy's files go.
        program: what is started as HAProxy: ``ganaug_ray.serve.haproxy``.
        ports: three free ones: of HAProxy's metrics, of its statistics, and of the proxy that stands in while no
            replica is there.
    """
    prefix = "RAY_SERVE_"
    variables = {
        "ENABLE_HA_PROXY": "1",
        "THROUGHPUT_OPTIMIZED": "1",
        "HAPROXY_BINARY_PATH": str(program),
        "HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "HAPROXY_SERVER_STATE_BASE": str(folder),
        "HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "HAPROXY_METRICS_PORT": str(ports[0]),
        "HAPROXY_STATS_PORT": str(ports[1]),
        "FALLBACK_PROXY_HTTP_PORT": str(ports[2]),
        "HAPROXY_NBTHREAD": str(max(1, (os.cpu_count() or 1) // 2)),
        # Also where a replica died over a request: another one answers it, if the request is no longer than a buffer.
        "HAPROXY_RETRY_ON": "conn-failure empty-response",
        "HAPROXY_METRICS_ENABLED": "0",  # a log line a request, parsed in Python: costs as much as answering
        "DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    }
    return {prefix + key: value for key, value in variables.items()}


# Before Ray starts. Its workers have a niceness of 15 unless told otherwise: right for training, but whatever else the
# machine does would go before the answers. And a proxy that takes more than five seconds to come up, as on a busy
# laptop, would be ended and started anew, without end.
RAY_ENVIRONMENT = {"RAY_worker_niceness": "0", "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}


def parse_replicas(text: str) -> tuple[int, int] | None:
    """Parse the least and most number of replicas; None where neither is given.

    >>> parse_replicas("2"), parse_replicas("0:8")
    ((2, 2), (0, 8))

    Raises:
        UserError: it is neither a number nor two.
    """
    if not text:
        return None
    lower, _, upper = text.partition(":")
    with suppress(ValueError):
        bounds = int(lower), int(upper or lower)
        if 0 <= bounds[0] <= bounds[1] and bounds[1] > 0:
            return bounds
    raise UserError(f"--replicas {text}: expected a number, such as 2, or a range, such as 1:8")


def check_gpus(gpus: float | None) -> None:
    """Raise UserError if a number of GPUs is neither a share of one nor a whole number."""
    if gpus is not None and gpus > 1 and gpus != int(gpus):
        raise UserError(f"--gpus {gpus:g}: expected a share of one, such as 0.5, or a whole number")


def choose_gpus(gpus: float | None, hardware: Hardware) -> float:
    """Return the GPUs of a replica: as the user asks, or one where this machine has any.

    Args:
        gpus: or a share of one; 0: none; absent: nobody asks.
        hardware: this machine's.

    Raises:
        UserError: this machine has fewer.
    """
    if gpus is None:
        return plan_stage("serve", hardware).gpus
    if gpus > hardware.gpus:
        raise UserError(
            f"--gpus {gpus:g}: torch sees {format_count(hardware.gpus, 'GPU')} on this machine; give --gpus "
            f"{hardware.gpus:g}, or leave it out"
        )
    return gpus


def choose_replicas(
    bounds: tuple[int, int] | None, hardware: Hardware, cpus: float = 1, gpus: float = 0
) -> tuple[int, int]:
    """Return the least and most number of replicas on this machine.

    Args:
        bounds: as the user asks; absent: from one to as many as there is room for.
        hardware: of this machine, whose GPUs limit replicas; more CPUs than there are may be declared.
        cpus: of each replica.
        gpus: of each replica, or a share of one.

    >>> machine = Hardware.of_one_machine(8, 2)
    >>> choose_replicas(None, machine, gpus=0.5), choose_replicas((1, 8), machine, gpus=1)
    ((1, 4), (1, 2))

    Raises:
        UserError: there are too few GPUs for the least number.
    """
    room = hardware.count_processes(0, gpus) if gpus else hardware.count_processes(cpus, 0)
    if bounds is None:
        return 1, max(1, room)
    if not gpus:
        return bounds
    if bounds[0] > room:
        fewer = f"--replicas {room}, or " if room else ""
        raise UserError(
            f"--replicas {bounds[0]}: with --gpus {gpus:g} this machine has room for {room} "
            f"({format_count(hardware.gpus, 'GPU')}); give {fewer}--gpus 0"
        )
    return bounds[0], min(bounds[1], room)


def describe_lowered_replicas(bounds: tuple[int, int] | None, most: int, hardware: Hardware) -> str | None:
    """Say in one line that fewer replicas than asked for can ever run; None where all can.

    >>> describe_lowered_replicas((1, 8), 2, Hardware.of_one_machine(8, 2))
    '--replicas 1:8: at most 2 are started, since this machine has 2 GPUs'
    """
    if bounds is None or most >= bounds[1]:
        return None
    gpus = format_count(hardware.gpus, "GPU")
    return f"--replicas {bounds[0]}:{bounds[1]}: at most {most} are started, since this machine has {gpus}"


def count_cpus(settings: DeploymentSettings) -> int:
    """Return how many CPUs a local Ray must declare for all replicas to fit."""
    return max(os.cpu_count() or 1, int(settings.max_replicas * settings.cpus + 0.999))


def start_serve(settings: DeploymentSettings, where: ListenAddress) -> str:
    """Start Ray Serve on the connected cluster, wait until it answers, and return the address of its metrics."""
    import ray
    from ray import serve

    from ganaug_ray.serve.ray_deployment import application

    serve.start(http_options=where.options)
    serve.run(application(asdict(settings)))
    node = ray.nodes()[0]
    return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"


def stop_serve() -> None:
    """Stop the replicas and the proxy, if they run."""
    import ray

    if ray.is_initialized():
        from ray import serve

        serve.shutdown()


def render_config(settings: DeploymentSettings, where: ListenAddress) -> str:
    """Return the content of serve.yaml, for ``serve deploy`` and for serveConfigV2 of a KubeRay RayService."""
    args: dict[str, Any] = asdict(settings)
    content = {
        "proxy_location": "EveryNode",
        "http_options": where.options,
        "applications": [
            {"name": "ganaug", "route_prefix": "/", "import_path": APPLICATION_PATH, "args": args},
        ],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
