"""The Open Inference Protocol's routes, against its own description, in this process."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
import yaml
from starlette.testclient import TestClient

from ganaug_ray.serve import app
from ganaug_ray.serve.service import Service
from tests.conftest import ROOT
from tests.helpers.serving import CLASSES

PROTOCOL = ROOT.parent / "shared" / "data" / "open-inference-protocol" / "open_inference_rest.yaml"
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def client(service: Service) -> TestClient:
    return TestClient(app.build_application(service, []), "http://localhost", raise_server_exceptions=False)


def asked(**changes: object) -> dict:
    tensor = {"name": "image", "datatype": "UINT8", "shape": [2, 32, 32, 3], "data": PIXELS.ravel().tolist()}
    return {"id": "42", "inputs": [tensor | changes]}


def test_json_inference_request_and_response(client: TestClient, service: Service) -> None:
    """Pixels sent as JSON are answered in JSON with probabilities and labels."""
    expected = service.champion.current.predict_probabilities(PIXELS)
    for data in (PIXELS.ravel().tolist(), PIXELS.tolist()):
        said = client.post("/v2/models/pets/infer", json=asked(data=data)).json()
        probabilities, label = said["outputs"]
        assert (said["id"], said["model_name"], said["model_version"]) == ("42", "pets", "1")
        assert probabilities["shape"] == [2, 4]
        np.testing.assert_allclose(np.reshape(probabilities["data"], (2, 4)), expected, atol=1e-5)
        assert label["data"] == [CLASSES[k] for k in expected.argmax(1)]


def test_binary_tensor_request_and_response(client: TestClient, service: Service) -> None:
    """Pixels sent as bytes are answered with the outputs in bytes or JSON, as requested."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": [2, 32, 32, 3]}
    head = {
        "inputs": [tensor | {"parameters": {"binary_data_size": PIXELS.size}}],
        "outputs": [{"name": "label"}, {"name": "probabilities", "parameters": {"binary_data": False}}],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(head).encode()
    sent = {"Inference-Header-Content-Length": str(len(text))}
    answer = client.post("/v2/models/pets/versions/1/infer", content=text + PIXELS.tobytes(), headers=sent)
    length = int(answer.headers["Inference-Header-Content-Length"])
    said, behind = json.loads(answer.content[:length]), answer.content[length:]
    assert [output["name"] for output in said["outputs"]] == ["label", "probabilities"]
    expected = service.champion.current.predict_probabilities(PIXELS)
    np.testing.assert_allclose(np.reshape(said["outputs"][1]["data"], (2, 4)), expected, atol=1e-5)
    labels = [CLASSES[k].encode() for k in expected.argmax(1)]
    assert behind == b"".join(len(label).to_bytes(4, "little") + label for label in labels)
    assert said["outputs"][0]["parameters"]["binary_data_size"] == len(behind)


@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        (asked(name="picture"), 400, "named image"),
        (asked(datatype="FP32"), 400, "UINT8"),
        (asked(shape=[2, 32, 32]), 400, "[-1, 32, 32, 3]"),
        (asked(shape=[1, 32, 32, 3]), 400, "3072"),
        (asked(shape=[5, 32, 32, 3]), 413, "1 to 4 images"),
        (asked(shape=[0, 32, 32, 3], data=[]), 400, "1 to 4 images"),
        (asked(shape=[True, 32, 32, 3]), 400, "[-1, 32, 32, 3]"),
        (asked(data=[256] * PIXELS.size), 400, "0 to 255"),
        (asked(data=[0.5] * PIXELS.size), 400, "whole numbers"),
        (asked(data=[[1], 2]), 400, "whole numbers"),
        (
            asked(data=PIXELS.transpose(0, 3, 1, 2).tolist()),
            400,
            "nested as [2, 3, 32, 32], and shape is [2, 32, 32, 3]",
        ),
        (asked(data=PIXELS.reshape(2, -1).tolist()), 400, "nested as [2, 3072], and shape is [2, 32, 32, 3]"),
        (asked(parameters={"binary_data_size": 3}), 400, "binary_data_size"),
        (asked() | {"outputs": [{"name": "logits"}]}, 400, "probabilities and label"),
        (asked() | {"outputs": [{"name": "label", "parameters": {"classification": 1}}]}, 400, "classification"),
        ({"inputs": []}, 400, "expected one"),
        ([], 400, "JSON object"),
    ],
)
def test_inconsistent_tensors_are_refused(client: TestClient, request_: object, status: int, says: str) -> None:
    """Requests whose tensors contradict their description are refused with the reason."""
    answer = client.post("/v2/models/pets/infer", json=request_)
    assert answer.status_code == status
    assert says in answer.json()["error"]


def test_unknown_models_and_versions_return_404(client: TestClient) -> None:
    """Models and versions that are not served get status 404."""
    for path in ("models/dogs", "models/pets/versions/2", "models/dogs/ready", "models/pets/versions/2/ready"):
        assert client.get(f"/v2/{path}").status_code == 404
    for path in ("models/dogs/infer", "models/pets/versions/2/infer"):
        assert "there is no" in client.post(f"/v2/{path}", json=asked()).json()["error"]
    assert client.get("/v2/models/pets/versions/1/ready").is_success


@pytest.mark.skipif(not PROTOCOL.exists(), reason="the protocol's description is not on this machine")
def test_answers_match_open_inference_protocol(client: TestClient) -> None:
    """Every route and answer matches the schema of the Open Inference Protocol."""
    described = yaml.safe_load(PROTOCOL.read_text())

    def check(name: str, answer: dict) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
        jsonschema.validate(answer, schema)

    ours = client.get("/openapi.json").json()["paths"]
    for path in described["paths"]:
        mine = path.replace("${MODEL_NAME}", "{name}").replace("${MODEL_VERSION}", "{version}").rstrip("/")
        assert mine in ours, path
    check("metadata_server_response", client.get("/v2/").json())
    check("metadata_model_response", client.get("/v2/models/pets/versions/1").json())
    check("inference_request", asked())
    check("inference_response", client.post("/v2/models/pets/versions/1/infer", json=asked()).json())
    check("inference_error_response", client.post("/v2/models/pets/versions/1/infer", json={}).json())
    check("metadata_model_error_response", client.get("/v2/models/dogs").json())
