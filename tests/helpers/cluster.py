"""Clusters of several nodes on one machine: real `ray start` processes, ended by their own numbers."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.conftest import PATIENCE, ROOT, environment

BIN = Path(sys.executable).parent
ATTEMPTS = 10


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        return [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(n)]


@dataclass
class Nodes:
    """A head, and workers beside it.

    Attributes:
        extra: environment of nodes and of what is run against them.
        has_dashboard: whether jobs can be submitted to it; half of a head's start is its dashboard.
        dashboard: the address that jobs are submitted to.
        address: the cluster's, for RAY_ADDRESS.
    """

    extra: dict[str, str]
    has_dashboard: bool = True
    dashboard: str = ""
    address: str = ""
    _files: str = field(default_factory=lambda: tempfile.mkdtemp(prefix="ray-"))  # sockets: the path must be short
    _started: list[subprocess.Popen] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def environment(self, **extra: str) -> dict[str, str]:
        """For nodes and clients: `python` is this one."""
        return environment(
            PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}",
            RAY_DASHBOARD_STARTUP_TIMEOUT_S="300",
            **{**self.extra, **extra},
        )

    def start(self, cpus: int, ip: str = "127.0.0.1", inside: tuple[str, ...] = ()) -> subprocess.Popen:
        """Start a node, the head first, and wait until it is up.

        Args:
            cpus: that it declares.
            ip: its address.
            inside: a command that runs the one behind it somewhere else, as `ip netns exec NAME`.
        """
        number = next(self._numbers)
        command = [*inside, *self._command(number, cpus, ip)]
        for attempt in range(ATTEMPTS):  # on a busy machine Ray gives up on itself after 30 seconds, unasked
            log = Path(self._files) / f"node-{number}-{attempt}.txt"
            with log.open("w") as stream:
                node = subprocess.Popen(
                    command, env=self.environment(), stdout=stream, stderr=stream, start_new_session=True
                )
            self._started.append(node)  # before it is up: whatever interrupts this, it is ended
            while node.poll() is None and "Ray runtime started" not in log.read_text():
                time.sleep(0.2)
            if node.poll() is None:
                return node
        raise AssertionError(log.read_text())

    @property
    def head(self) -> psutil.Process:
        """The process that the head's others come from."""
        return psutil.Process(next(node.pid for node in self._started if node.poll() is None))

    def _command(self, number: int, cpus: int, ip: str) -> list[str]:
        agent, first, second, third = free_ports(4)
        ports = ["--min-worker-port=0", "--max-worker-port=0", f"--dashboard-agent-listen-port={agent}"]
        if number:
            where = [f"--address={self.address}"]
        else:
            self.address, self.dashboard = f"{ip}:{first}", f"http://127.0.0.1:{second}"
            where = ["--head", f"--port={first}", f"--dashboard-port={second}", f"--ray-client-server-port={third}"]
            where += ["--disable-usage-stats", f"--include-dashboard={str(self.has_dashboard).lower()}"]
        # Each its own, as machines have: where a job's code is unpacked on one node, the other's is deleted.
        where += [f"--temp-dir={self._files}/{number}"]
        if ip != "127.0.0.1":
            where.append(f"--node-ip-address={ip}")
        size = [f"--num-cpus={cpus}", "--object-store-memory=200000000"]
        return [str(BIN / "ray"), "start", "--block", *where, *ports, *size]

    def run(self, *command: str, cwd: Path = ROOT, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a user of the cluster does."""
        return subprocess.run(
            command, cwd=cwd, env=self.environment(**extra), capture_output=True, text=True, check=False
        )

    def end(self) -> None:
        """End all that was started here, and nothing else."""
        for node in reversed(self._started):
            end(node)
        shutil.rmtree(self._files, ignore_errors=True)


def ray_s_name(node: subprocess.Popen) -> str:
    """The hex digits that Ray calls a node by."""
    mark = "--node_id="
    (raylet,) = (process for process in psutil.Process(node.pid).children() if process.name() == "raylet")
    return next(word for word in raylet.cmdline() if word.startswith(mark)).removeprefix(mark)


def end(node: subprocess.Popen) -> None:
    """End a node with all its processes, as a machine that is switched off."""
    family: list[psutil.Process] = []
    if node.poll() is None:
        first = psutil.Process(node.pid)
        family = [first, *first.children(recursive=True)]
    for process in family:
        kill_if_alive(process)
    node.wait()
    psutil.wait_procs(family, timeout=PATIENCE)


def kill_if_alive(process: psutil.Process) -> None:
    """Kill a process; one that has just ended of itself is as dead."""
    with suppress(psutil.NoSuchProcess):
        process.kill()
