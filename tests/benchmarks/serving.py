"""Requests a second of ``ganaug serve`` beside a bare web server and a plain deployment, one after another.

Ours has replicas with threads of their own. The bare server is uvicorn with torch in one process, as many threads in
all, images decoded in a thread of their own, no batches. Plain Serve is Ray Serve as its documentation writes it:
FastAPI, one replica, no batches, Serve's own proxy; of our settings it has the priority of its processes alone. Model,
memory format (channels last), image, client (wrk) and device are the same for all. On a GPU, each of our replicas
takes an equal share of one, and ours computes in bfloat16, the others in float32 as a loaded model does.
"""

from __future__ import annotations

import io
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ganaug_ray.core.storage import Folder
from ganaug_ray.serve.serve_config import RAY_ENVIRONMENT
from tests.benchmarks.pairs import Benchmark, NotInstalled, Pair, Side
from tests.conftest import environment
from tests.helpers.serving import free_port, promote

BARE = """
import asyncio, sys, torch, uvicorn
from fastapi import FastAPI, Request
import ganaug_ray
torch.set_num_threads(int(sys.argv[2]))
model = ganaug_ray.load(sys.argv[1], sys.argv[3])
app = FastAPI()

@app.post("/v1/predict")
async def predict(request: Request):
    content = await request.body()
    row = await asyncio.to_thread(model.preprocess, content)
    (found,) = model.predict_probabilities(row[None])
    return dict(zip(model.classes, found.tolist()))

print("ready", flush=True)
uvicorn.run(app, port=int(sys.argv[4]), log_level="error")
"""
PLAIN = """
import sys, threading, ray, torch
from fastapi import FastAPI, Request
from ray import serve
import ganaug_ray
app = FastAPI()

@serve.deployment(ray_actor_options={"num_gpus": int(sys.argv[2] != "cpu")})
@serve.ingress(app)
class Plain:
    def __init__(self, path, device):
        self.model = ganaug_ray.load(path, device)

    @app.post("/v1/predict")
    async def predict(self, request: Request):
        return self.model.predict([await request.body()])[0].probabilities

ray.init(address="local", include_dashboard=False, log_to_driver=False)
serve.start(http_options={"port": int(sys.argv[3])})
serve.run(Plain.bind(*sys.argv[1:3]))
print("ready", flush=True)
threading.Event().wait()
"""
SECONDS, CONNECTIONS = 5, 64
LUA = 'wrk.method = "POST"; local f = io.open("{}", "rb"); wrk.body = f:read("*a"); f:close()'


def encode_jpeg(size: int) -> bytes:
    """A photograph-like JPEG of that many pixels a side."""
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2)).save(sink, "JPEG", quality=85)
    return sink.getvalue()


def request_often(url: str, script: Path, connections: int, seconds: int) -> float:
    """Return the requests a second of wrk.

    Raises:
        RuntimeError: some were not answered, or with an error.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "30", "-s", str(script), url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if errors := sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", said))):
        raise RuntimeError(f"{errors} requests were not answered well")
    with suppress(urllib.error.HTTPError):  # answered after what is still under way: the next one's time is its own
        urllib.request.urlopen(urllib.request.Request(url, script.with_suffix(".lua.jpg").read_bytes())).read()
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])  # type: ignore[index]  # wrk always says it


def start_server(name: str, command: list[str], port: int) -> subprocess.Popen[str]:
    """Start a server and wait until it says that it is ready."""
    server = subprocess.Popen(
        [sys.executable, *command, str(port)], env=environment(**RAY_ENVIRONMENT), stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    while "ready" not in (line := server.stdout.readline()):
        assert line, f"{name} did not start"
    return server


@dataclass(frozen=True)
class Service:
    """A model and what serves it: so many replicas with so many threads each, on the CPU or on one GPU (cuda)."""

    arch: str = "cnn"
    size: int = 64
    replicas: int = 1
    cpus: int = 1
    with_serve: bool = True
    device: str = "cpu"

    def list_commands(self, model: Path) -> dict[str, list[str]]:
        """Return the command of each side, for Python, without the port that comes last."""
        gpus = 0 if self.device == "cpu" else 1 / self.replicas
        ours = ["-m", "ganaug_ray", "serve", str(model), "--replicas", str(self.replicas)]
        commands = {
            "ganaug serve": [*ours, "--cpus", str(self.cpus), "--gpus", f"{gpus:g}", "--port"],
            "uvicorn": ["-c", BARE, str(model), str(self.replicas * self.cpus), self.device],
        }
        if self.with_serve:
            commands["plain Serve"] = ["-c", PLAIN, str(model), self.device]
        return commands

    @contextmanager
    def open_sides(self, folder: Path) -> Iterator[Mapping[str, Side]]:
        """The servers, started and warmed up."""
        if shutil.which("wrk") is None:
            raise NotInstalled("wrk (Debian: apt-get install wrk)")
        # In a shell's background, SIGINT is ignored, and the servers would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        model = folder / f"serve-{self.arch.rpartition(':')[2]}"
        image, script = folder / "post.lua.jpg", folder / "post.lua"
        promote(Folder.from_uri(model), 0, self.size, self.arch)
        image.write_bytes(encode_jpeg(self.size))
        script.write_text(LUA.format(image))
        urls, servers = {}, []
        try:
            for name, command in self.list_commands(model).items():
                port = free_port()
                urls[name] = f"http://127.0.0.1:{port}/v1/predict"
                servers.append(start_server(name, command, port))
            for url in urls.values():
                request_often(url, script, 16, 3)
            yield {name: lambda url=url: request_often(url, script, CONNECTIONS, SECONDS) for name, url in urls.items()}
        finally:
            for server in servers:
                server.send_signal(signal.SIGINT)
            for server in servers:
                _wait_or_kill(server)


def _wait_or_kill(server: subprocess.Popen[str]) -> None:
    """Wait for a server that was asked to end: what was measured must not be lost with one that does not."""
    try:
        server.wait(120)
    except subprocess.TimeoutExpired:
        server.kill()


def _pair(name: str, words: str, peer: str, least: float | None = None) -> Pair:
    question = f"{words}, {CONNECTIONS} connections, beside {peer}"
    return Pair(name, question, "ganaug serve", peer, "requests/s", least)


def list_benchmarks(device: str) -> list[Benchmark]:
    """Return the pairs of servers; all sides run on the device, cpu or cuda."""
    cnn, resnet = f"base CNN, JPEGs of 64 px, {device}", f"ResNet-18, 224 px, {device}"
    least = 2.0 if device == "cpu" else 1.5
    pairs = _pair("serve-uvicorn", cnn, "uvicorn", least), _pair("serve-plain", cnn, "plain Serve")
    benchmarks = [Benchmark(pairs, Service(device=device).open_sides)]
    for replicas, cpus in ((1, 2), (2, 1)):
        pair = _pair(f"serve-resnet-{replicas}", f"{resnet}, {replicas} × {cpus} threads", "uvicorn")
        service = Service("torchvision:resnet18", 224, replicas, cpus, with_serve=False, device=device)
        benchmarks.append(Benchmark((pair,), service.open_sides, slow=True))
    return benchmarks
