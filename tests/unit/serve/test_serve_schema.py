"""The OpenAPI description against the application, by a generator of requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from ganaug_ray.core.storage import Folder
from ganaug_ray.serve import app
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.live_model import LiveModel
from ganaug_ray.serve.service import Service
from tests.helpers.serving import promote

schemathesis = pytest.importorskip("schemathesis")
conformance = pytest.importorskip("schemathesis.specs.openapi.checks")
hypothesis = pytest.importorskip("hypothesis")

CHECKS = (
    schemathesis.checks.not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_schema_conformance,
    conformance.unsupported_method,
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = Folder.from_uri(tmp_path_factory.mktemp("serve") / "pets")
    promote(folder, 0)
    service = Service(LiveModel(str(folder)), RequestLimits(bytes=300_000))
    yield service
    service.shut_down()


def test_every_route_matches_openapi_description(service: Service) -> None:
    """Every route answers generated requests as the OpenAPI description says."""
    schema = schemathesis.openapi.from_asgi(
        "/openapi.json", app.build_application(service, []), headers={"Host": "localhost"}
    )
    tried = 0
    for operation in schema.get_all_operations():
        strategy = operation.ok().as_strategy()

        @hypothesis.settings(
            max_examples=6, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        @hypothesis.given(case=strategy)
        def one(case: schemathesis.Case) -> None:
            nonlocal tried
            tried += 1
            case.call_and_validate(checks=CHECKS, headers={"Host": "localhost"})

        one()
    assert tried > 40


def test_description_says_whether_a_key_is_needed(service: Service) -> None:
    """The OpenAPI description of a server with a key has no way without one, so that /docs writes it into its calls."""
    for keys, is_open in (([], True), (["0123456789abcdef0123456789abcdef"], False)):
        client = TestClient(app.build_application(service, keys), base_url="http://localhost")
        assert ({} in client.get("/openapi.json").json()["security"]) is is_open
