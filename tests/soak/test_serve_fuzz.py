"""Two thousand damaged images and malformed requests: nothing fails, and memory stays."""

from __future__ import annotations

from pathlib import Path

import psutil
from starlette.testclient import TestClient

from ganaug_ray.serve import app
from ganaug_ray.serve.champion import Champion
from ganaug_ray.serve.limits import Limits
from ganaug_ray.serve.service import Service
from ganaug_ray.storage import Folder
from tests import fuzz
from tests.serving import encoded, promote

GROWTH = 60_000_000  # bytes, of the second half of the requests


def test_two_thousand_requests_leave_the_server_as_it_was(tmp_path: Path) -> None:
    promote(Folder.at(tmp_path / "pets"), 0)
    service = Service(Champion(str(tmp_path / "pets")), Limits(bytes=300_000, pixels=1_000_000))
    used = []
    with TestClient(app.build(service, []), "http://localhost", raise_server_exceptions=False) as client:
        for number, request in enumerate(fuzz.requests(2, 2000, "pets")):
            headers = {name: value.encode() for name, value in request.headers.items()}
            answer = client.post(request.path, content=request.body, headers=headers)
            assert answer.status_code < 500, request
            if number in (999, 1999):
                used.append(psutil.Process().memory_info().rss)
        assert client.post("/v1/predict", content=encoded()).is_success
    service.close()
    assert used[1] - used[0] < GROWTH
