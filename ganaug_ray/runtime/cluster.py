"""Connects to the Ray cluster and says what resources it has. The only place that calls ray.init."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

# Private, each for want of a public way: to keep a Ray on 127.0.0.1 (start_private), to wait longer for its node
# (wait_for_node), to end its autoscaler (_end_monitor) and a Ray that is stuck (kill_stuck_ray), and for what an
# autoscaler may grow to, which `ray.cluster_resources` leaves out.
from ray._private import ray_constants, services, worker
from ray._private.state import state
from ray.exceptions import AuthenticationError

from ganaug_ray.config import Job
from ganaug_ray.core import worker_log
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.runtime import preflight
from ganaug_ray.runtime.hardware import Hardware, has_apple_gpu

_is_connected_here = False  # by this module; a Ray that whoever uses the package has connected to stays connected
SIGNAL_CHECK_INTERVAL_MS = 100  # milliseconds between looks at signals while results are waited for, of Ray's 1,000
NODE_PATIENCE_S = 180.0  # seconds for a Ray of this machine to come up; on a busy one Ray's own 30 are too few
STOP_PATIENCE_S = 60.0  # seconds for one to end, of which Serve takes up to 30 by itself


def connect(
    job: Job | None = None, out: Folder | None = None, cpus: int = 1, dashboard: bool = False, cpu_only: bool = False
) -> Hardware:
    """Connect once to the cluster that RAY_ADDRESS names, or start Ray on this machine; return the hardware to use.

    An embedded Ray declares at least as many CPUs as the job has workers, so that a laptop can run a job with more
    workers than cores, only slower.

    Args:
        job: absent: it is for work that takes what there is.
        out: a folder that all nodes must see.
        cpus: that an embedded Ray declares at the least.
        dashboard: whether Ray's dashboard must run; an embedded one listens on 127.0.0.1. Without it, trainings that
            Tune starts inside of trials leave their placement groups behind, and the next ones wait for ever.
        cpu_only: whether GPUs are left alone, also where there are some.

    Raises:
        UserError: no cluster answers at RAY_ADDRESS, or it cannot do the job.
    """
    worker_log.install_print_handler()
    if ray.is_initialized():
        return read_hardware(cpu_only)
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _probe_address(address)
        try:
            context = _init_ray(address=address)
        except (ConnectionError, ValueError) as error:
            raise UserError(f"RAY_ADDRESS={address}: no Ray cluster answers there ({error})") from None
        except AuthenticationError:
            raise UserError(
                f"RAY_ADDRESS={address}: the cluster asks for a token; set RAY_AUTH_MODE=token, and "
                "RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN"
            ) from None
        if dashboard and not context.dashboard_url:
            raise UserError(
                f"RAY_ADDRESS={address}: that cluster runs without its dashboard, which trials with workers of their "
                "own need; start its head with --include-dashboard=true, or leave search.workers at 1"
            )
        hardware = read_hardware(cpu_only)
        preflight.check_cluster(job, out, hardware, os.environ.get("GANAUG_GPUS"))
    else:
        configured = [job.gan.workers, job.classifier.workers] if job else []
        needed = max([os.cpu_count() or 1, cpus, *(workers for workers in configured if workers != "auto")])
        gpus = _declare_gpus(not cpu_only)
        _init_ray(address="local", num_cpus=needed, include_dashboard=dashboard, dashboard_host="127.0.0.1", **gpus)
        hardware = read_hardware(cpu_only)
        preflight.check_embedded(job, hardware)
    return hardware


def read_cluster(cpu_only: bool = False) -> Hardware:
    """Return the hardware of the cluster that RAY_ADDRESS names; a connection that is made for it ends.

    Raises:
        UserError: no cluster answers there.
    """
    is_connected = ray.is_initialized()
    hardware = connect(cpu_only=cpu_only)
    if not is_connected:
        disconnect()
    return hardware


def start_private(cpus: int, uses_gpus: bool = False) -> None:
    """Start Ray for this process alone: its daemons listen on 127.0.0.1, where other machines cannot reach them.

    Args:
        cpus: that it declares.
        uses_gpus: whether it declares this machine's GPUs too, which must then be of use.

    Raises:
        UserError: torch cannot use them.
    """
    ray_constants.ENABLE_RAY_CLUSTER = False  # Ray's only switch for it; an address of 127.0.0.1 it resolves away
    _init_ray(address="local", num_cpus=cpus, include_dashboard=False, **_declare_gpus(uses_gpus))
    if uses_gpus:
        preflight.check_embedded(None, read_hardware(), without="--gpus 0")


def _declare_gpus(used: bool) -> dict[str, int]:
    """Return what ray.init is told of this machine's GPUs: nothing where Ray counts them itself."""
    if not used:
        return {"num_gpus": 0}
    if not has_apple_gpu():
        return {}
    # In Ray's workers, what torch cannot do on Apple's GPU is done on the CPU, instead of an error.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    return {"num_gpus": 1}


def _init_ray(**options: Any) -> Any:
    """Call ray.init. Ray has SIGTERM abort the process, with a stack: it goes on to mean what it did before."""
    os.environ.setdefault("RAY_get_check_signal_interval_milliseconds", str(SIGNAL_CHECK_INTERVAL_MS))
    global _is_connected_here
    before = signal.getsignal(signal.SIGTERM)
    with wait_for_node():
        context = ray.init(**options)
    _is_connected_here = True
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
    return context


@contextmanager
def wait_for_node() -> Iterator[None]:
    """Have Ray wait NODE_PATIENCE_S for a node that this process starts; its own 30 seconds are written into its code.

    Raises:
        UserError: the node has not come up by then.
    """
    os.environ.setdefault("RAY_agent_register_timeout_ms", str(round(NODE_PATIENCE_S * 1000)))
    asked: Callable = services.get_node

    def get_node(*args: Any) -> Any:
        deadline = time.monotonic() + NODE_PATIENCE_S
        while True:
            try:
                return asked(*args)
            except RuntimeError:  # the node is not known yet
                if time.monotonic() > deadline:
                    raise UserError(
                        f"Ray did not start within {NODE_PATIENCE_S:.0f} seconds: other work probably takes "
                        "this machine's processors or memory; try again when there is less of it"
                    ) from None
                time.sleep(0.1)

    services.get_node = get_node
    try:
        yield
    finally:
        services.get_node = asked


def _probe_address(address: str) -> None:
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
    """Disconnect from the cluster that this module connected to, if it did; a Ray that it started ends."""
    global _is_connected_here
    if _is_connected_here:
        with kill_stuck_ray():
            _end_monitor()
            ray.shutdown()
    _is_connected_here = False


@contextmanager
def kill_stuck_ray() -> Iterator[None]:
    """Kill the Ray that this process started if the context has not ended within STOP_PATIENCE_S.

    Ray waits for its own processes without a limit, and Ctrl-C does not reach it there. Once they are dead it goes on.
    """
    killer = threading.Timer(STOP_PATIENCE_S, _kill_local_ray)
    killer.daemon = True
    killer.start()
    try:
        yield
    finally:
        killer.cancel()


def _kill_local_ray() -> None:
    node = worker._global_node
    if node is not None:
        node.kill_all_processes(check_alive=False, allow_graceful=False)


def _end_monitor() -> None:
    """End the autoscaler of a Ray that this process started; asked to end, it does not, and Ray waits a second."""
    node = worker._global_node
    if node is not None and ray_constants.PROCESS_TYPE_MONITOR in node.all_processes:
        node._kill_process_type(ray_constants.PROCESS_TYPE_MONITOR, check_alive=False, allow_graceful=False)


def read_max_resources() -> dict[str, float]:
    """Return how much of each resource the cluster has, or can grow to if it has an autoscaler."""
    resources: dict[str, float] = ray.cluster_resources()
    limits = state.get_max_resources_from_cluster_config() or {}
    for name, limit in limits.items():
        resources[name] = max(resources.get(name, 0), limit)
    return resources


def read_hardware(cpu_only: bool = False) -> Hardware:
    """Return the nodes of the connected cluster and what it can grow to; of ``cpu_only``, without their GPUs."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    hardware = Hardware.from_ray(nodes, read_max_resources())
    return hardware.without_gpus() if cpu_only else hardware


def get_reserved_gpu_share() -> float:
    """Return the GPUs, or the share of one, that this task or actor has reserved; 0.0 if none."""
    return float(ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0))


def get_reserved_device() -> str:
    """Return "cuda", or "mps" on a Mac, in a task or actor that has reserved a GPU or a share of one, else "cpu".

    Not by what torch sees: Ray does not hide GPUs from processes that have reserved none.
    """
    if not ray.get_gpu_ids():
        return "cpu"
    return "mps" if has_apple_gpu() else "cuda"
