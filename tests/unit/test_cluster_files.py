"""The files in cluster/ are what Ray and Kubernetes would take: checked against their own schemas, no field unknown."""

from __future__ import annotations

import functools
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import ServeDeploySchema

from ganaug_ray.serve import metrics, serve_config
from ganaug_ray.serve.deployment_settings import DeploymentSettings
from ganaug_ray.version import __version__
from tests.conftest import ROOT
from tests.helpers import dockerfile
from tests.helpers.dashboard import list_dashboard_metrics
from tests.helpers.serving import free_port

CLUSTER = ROOT / "cluster"
CRDS = Path(os.environ.get("GANAUG_DATA") or ROOT.parent / "shared" / "data") / "kuberay-crds"
LAUNCHERS = ["aws", "gcp", "onprem"]
KINDS = {"raycluster": "rayclusters", "rayjob": "rayjobs", "rayservice": "rayservices"}


def content(name: str) -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", LAUNCHERS)
def test_ray_up_accepts_launcher_file(name: str) -> None:
    """The command ray up accepts every launcher file."""
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(content(name), schema)
    validate_config(prepare_config(content(name)))


@pytest.mark.parametrize("name", LAUNCHERS)
def test_launched_nodes_require_the_token(name: str) -> None:
    """Every node of a launched cluster requires the token, and the dashboard is hidden."""
    config = content(name)
    head, worker = config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]
    assert "RAY_AUTH_MODE=token" in head
    assert "RAY_AUTH_MODE=token" in worker
    assert "--dashboard-host=127.0.0.1" in head
    assert "~/.ray/auth_token" in config["file_mounts"]


def strict(schema: Any, top: bool = True) -> Any:
    """A CRD's schema, with every field an error that an API server would drop: all but what it is told to keep."""
    if isinstance(schema, list):
        return [strict(one, False) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value, False) for key, value in schema.items() if key != "properties"}
    if "properties" in schema:
        made["properties"] = {key: strict(value, False) for key, value in schema["properties"].items()}
        if top:
            made["properties"]["metadata"] = {"type": "object"}  # the API server knows it without being told
    if schema.get("x-kubernetes-int-or-string"):
        made = {"type": ["integer", "string"]}
    elif schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


@functools.cache
def crd(name: str) -> Any:
    path = CRDS / f"ray.io_{KINDS[name]}.yaml"
    if not path.exists():
        pytest.skip(f"KubeRay's definitions are not here: {path}")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the definitions are large, and Python slow at reading them
    found = yaml.load(path.read_text(), loader)  # noqa: S506  # a SafeLoader
    versions = {one["name"]: one for one in found["spec"]["versions"]}
    schema = versions[content(name)["apiVersion"].removeprefix("ray.io/")]["schema"]["openAPIV3Schema"]
    return jsonschema.Draft202012Validator(strict(schema))  # jsonschema.validate would judge the schema, too: seconds


@pytest.mark.parametrize("name", KINDS)
def test_kubernetes_accepts_every_manifest(name: str) -> None:
    """Kubernetes accepts every manifest and drops no field of it."""
    definition = crd(name)
    definition.validate(content(name))
    for place in (["spec"], ["spec", "headGroupSpec"] if name == "raycluster" else ["spec"]):
        broken = content(name)
        here = broken
        for key in place:
            here = here[key]
        here["headGruopSpec"] = {}
        with pytest.raises(jsonschema.ValidationError, match="headGruopSpec"):
            definition.validate(broken)


def pods(value: Any) -> Iterator[dict[str, Any]]:
    """Every pod's spec in a manifest."""
    if isinstance(value, dict):
        if "containers" in value:
            yield value
        for inner in value.values():
            yield from pods(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from pods(inner)


def clusters(value: dict[str, Any]) -> dict[str, Any]:
    spec = value["spec"]
    return spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec


@pytest.mark.parametrize("name", KINDS)
def test_pods_are_limited_and_unprivileged(name: str) -> None:
    """Pods have limits and probes and do not run as root, and the cluster requires the token."""
    manifest = content(name)
    cluster = clusters(manifest)
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"]
    found = list(pods(manifest))
    assert len(found) == 2, "a head and a group of workers"
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        environment = {one["name"]: one.get("value") for one in container["env"]}
        assert environment["HOME"] == "/home/ray"
        assert not [name for name, text in environment.items() if text and re.search("KEY|SECRET|TOKEN", name)]
        assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
        assert container["readinessProbe"]
        assert container["livenessProbe"]
        assert {"shared", "memory"} <= {mount["name"] for mount in container["volumeMounts"]}
        assert not container["image"].endswith(":latest")
    assert found[1]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_service_manifest_matches_ganaug_serve() -> None:
    """The service in the manifest is the one that ganaug serve would write."""
    embedded = yaml.safe_load(content("rayservice")["spec"]["serveConfigV2"])
    ServeDeploySchema.model_validate(embedded)
    settings = DeploymentSettings("/shared/runs/digits", min_replicas=1, max_replicas=8, gpus=1)
    assert embedded == yaml.safe_load(serve_config.render_config(settings, serve_config.ListenAddress("0.0.0.0", 8000)))
    assert asdict(settings)["needs_key"], "no replica without a key"


def test_image_files_are_in_clone() -> None:
    """All files that the image copies are in a clone of the repository, and not kept from Docker."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copies = [line.split()[1:-1] for line in dockerfile.read_instructions() if line.startswith("COPY ")]
    named = [word for words in copies if not words[0].startswith("--from") for word in words]
    assert {"pyproject.toml", "constraints.txt", "ganaug_ray", "LICENSE"} <= set(named)
    assert all((ROOT / name).exists() and name not in ignored for name in named)


def test_image_runs_unprivileged_and_offline() -> None:
    """The image runs as a user with a home folder and fetches no weights."""
    lines = dockerfile.read_instructions()
    final = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM ")) :]
    (user,) = [line.removeprefix("USER ") for line in final if line.startswith("USER ")]
    settings = dict(re.findall(r"(\w+)=(\S+)", next(line for line in final if line.startswith("ENV "))))
    assert user not in ("0", "root")
    assert any(f"useradd --create-home --uid {user} ray" in line for line in final)
    assert settings["HOME"] == "/home/ray"
    assert settings["HF_HUB_OFFLINE"] == "1"
    after = final[final.index(f"USER {user}") :]
    assert not [line for line in after if line.startswith(("RUN", "CMD", "ENTRYPOINT", "ADD"))], "nothing is fetched"


def test_image_is_built_in_two_stages() -> None:
    """Two stages: pip runs in the first alone, in two variants; the second is checked for its health."""
    lines = dockerfile.read_instructions()
    starts = [number for number, line in enumerate(lines) if line.startswith("FROM ")]
    assert len(starts) == 2
    assert not [line for line in lines[starts[1] :] if "pip install" in line]
    assert any(line.startswith("HEALTHCHECK ") for line in lines[starts[1] :])
    (choice,) = [line for line in lines if "$VARIANT" in line]
    assert all(f"{variant})" in choice for variant in ("gpu", "cpu", "*"))


@contextmanager
def answering(status: int) -> Iterator[tuple[int, list[str]]]:
    """A server that answers every request with a status: its port, and the paths that it was asked for."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_health_check_asks_node_and_server() -> None:
    """A container is healthy if its Ray node or its server answers with 200, and not if neither does."""
    nobody = free_port()
    assert not dockerfile.is_healthy(nobody, nobody)
    with answering(200) as (port, asked):
        assert dockerfile.is_healthy(port, nobody)
        assert dockerfile.is_healthy(nobody, port)
    assert asked == ["/api/local_raylet_healthz", "/healthz"]
    with answering(503) as (port, _):
        assert not dockerfile.is_healthy(port, port)


def test_images_are_of_this_version() -> None:
    """Every file of the cluster names the image of this version."""
    tags = {
        tag
        for path in CLUSTER.iterdir()
        for tag in re.findall(r"ganaug-ray:([\w.]+)", path.read_text(encoding="utf-8"))
    }
    assert tags == {__version__}


def test_dashboard_panels_do_not_overlap() -> None:
    """Grafana's dashboard has panels with queries each, of one data source that is chosen there, beside each other."""
    dashboard = json.loads((CLUSTER / "grafana.json").read_text())
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        taken |= cells


def test_dashboard_shows_every_metric_of_the_server() -> None:
    """Each of the server's own metrics has a panel, and no panel asks for one that the server does not have."""
    declared = set(re.findall(r'"(ganaug_\w+)"', Path(metrics.__file__).read_text()))
    asked = {name for name in list_dashboard_metrics() if name.startswith("ray_ganaug_")}
    assert {re.sub(r"^ray_|_(bucket|sum|count|total)$", "", name) for name in asked} == declared
