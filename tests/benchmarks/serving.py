"""Requests a second of ``ganaug serve`` beside a bare web server and a plain deployment, one after another.

    python -m tests.benchmarks.serving [--seconds 10] [--rounds 2]
    python -m tests.benchmarks.serving --arch torchvision:resnet18 --size 224 --cpus 2 --without-serve

(a) ours, of so many replicas with so many threads each; (b) uvicorn with torch in one process, as many threads in all,
images decoded in a thread of their own, no batches; (c) Ray Serve written the plain way: FastAPI, one replica, no
batches, Serve's own proxy; of our settings it has the priority of its processes alone. The same model and memory format
(channels last), image and client (wrk) for all, taken in turns in each round, so that what else the machine does meets
all of them; the ratios are what counts.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ganaug_ray.core.storage import Folder
from ganaug_ray.serve.serve_config import RAY_ENVIRONMENT
from tests.conftest import environment
from tests.helpers.serving import free_port, promote

BARE = """
import asyncio, sys, torch, uvicorn
from fastapi import FastAPI, Request
import ganaug_ray
torch.set_num_threads(int(sys.argv[2]))
model = ganaug_ray.load(sys.argv[1])
app = FastAPI()

@app.post("/v1/predict")
async def predict(request: Request):
    content = await request.body()
    row = await asyncio.to_thread(model.preprocess, content)
    (found,) = model.predict_probabilities(row[None])
    return dict(zip(model.classes, found.tolist()))

print("ready", flush=True)
uvicorn.run(app, port=int(sys.argv[3]), log_level="error")
"""
PLAIN = """
import sys, threading, ray, torch
from fastapi import FastAPI, Request
from ray import serve
import ganaug_ray
app = FastAPI()

@serve.deployment
@serve.ingress(app)
class Plain:
    def __init__(self, path):
        self.model = ganaug_ray.load(path)

    @app.post("/v1/predict")
    async def predict(self, request: Request):
        return self.model.predict([await request.body()])[0].probabilities

ray.init(address="local", include_dashboard=False, log_to_driver=False)
serve.start(http_options={"port": int(sys.argv[2])})
serve.run(Plain.bind(sys.argv[1]))
print("ready", flush=True)
threading.Event().wait()
"""
LUA = 'wrk.method = "POST"; local f = io.open("{}", "rb"); wrk.body = f:read("*a"); f:close()'


def jpeg(size: int) -> bytes:
    """A photograph-like JPEG of that many pixels a side."""
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2)).save(sink, "JPEG", quality=85)
    return sink.getvalue()


def wrk(url: str, script: Path, connections: int, seconds: int) -> tuple[float, float, float, int]:
    """Return requests a second, p50 and p99 in ms, and the number of errors."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "30", "--latency", "-s", str(script), url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    p50, p99 = (
        float(number) * scale[unit]
        for number, unit in (re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", said).groups() for share in (50, 99))  # type: ignore[union-attr]  # wrk always says it
    )
    bad = [int(number) for number in re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", said)]
    with suppress(urllib.error.HTTPError):  # answered after what is still under way: the next one's time is its own
        urllib.request.urlopen(urllib.request.Request(url, script.with_suffix(".lua.jpg").read_bytes())).read()
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]), p50, p99, sum(bad)  # type: ignore[index]  # likewise


def start(name: str, command: list[str], port: int) -> subprocess.Popen[str]:
    """Start a server and wait until it says that it is ready."""
    server = subprocess.Popen(
        [sys.executable, *command, str(port)], env=environment(**RAY_ENVIRONMENT), stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    while "ready" not in (line := server.stdout.readline()):
        assert line, f"{name} did not start"
    return server


def measure(told: argparse.Namespace, place: Path) -> dict[tuple[str, int], list[tuple[float, float, float, int]]]:
    """Start each, ask them in turns, stop them; return what ``wrk`` did, by name and connections."""
    folder, image, script = place / "model", place / "post.lua.jpg", place / "post.lua"
    promote(Folder.from_uri(folder), 0, told.size, told.arch)
    image.write_bytes(jpeg(told.size))
    script.write_text(LUA.format(image))
    ours = ["-m", "ganaug_ray", "serve", str(folder), "--replicas", str(told.replicas)]
    ours += ["--cpus", str(told.cpus), "--port"]
    commands = {"ours": ours, "bare": ["-c", BARE, str(folder), str(told.replicas * told.cpus)]}
    if not told.without_serve:
        commands["plain Serve"] = ["-c", PLAIN, str(folder)]
    ports = {name: free_port() for name in commands}
    found: dict[tuple[str, int], list[tuple[float, float, float, int]]] = {}
    servers = []
    try:
        for name, command in commands.items():
            servers.append(start(name, command, ports[name]))
        urls = {name: f"http://127.0.0.1:{port}/v1/predict" for name, port in ports.items()}
        for url in urls.values():
            wrk(url, script, 16, 3)
        for _ in range(told.rounds):
            for connections in told.connections:
                for name, url in urls.items():
                    row = wrk(url, script, connections, told.seconds)
                    print(f"{name}, {connections}: {row[0]:.0f} requests/s", flush=True)
                    found.setdefault((name, connections), []).append(row)
    finally:
        for server in servers:
            server.send_signal(signal.SIGINT)
        for server in servers:
            server.wait(120)
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="cnn")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--cpus", type=int, default=1, help="threads of a replica")
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--without-serve", action="store_true", help="leave the plain Serve out")
    told = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed (Debian: apt-get install wrk)")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # or in a shell's background no server would hear of it
    with tempfile.TemporaryDirectory() as place:
        found = measure(told, Path(place))
    shape = f"{told.arch}, {told.size} px, {told.replicas} replicas of {told.cpus} threads"
    print(f"{shape}, medians of {told.rounds} rounds of {told.seconds} s")
    titles = ["requests/s", "p50 ms", "p99 ms", "p99/p50", "errors", "ours is"]
    print(f"{'':12} {'connections':>11} {' '.join(f'{title:>10}' for title in titles)}")
    rates = {key: statistics.median(row[0] for row in rows) for key, rows in found.items()}
    for (name, connections), rows in sorted(found.items(), key=lambda item: item[0][1]):
        p50, p99 = (statistics.median(row[i] for row in rows) for i in (1, 2))
        rate, errors = rates[name, connections], sum(row[3] for row in rows)
        share = rates["ours", connections] / rate
        figures = f"{rate:>10.1f} {p50:>10.1f} {p99:>10.1f} {p99 / p50:>10.2f} {errors:>10} {share:>9.2f}x"
        print(f"{name:12} {connections:>11} {figures}")


if __name__ == "__main__":
    main()
