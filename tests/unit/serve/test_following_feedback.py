"""What a refused request on answers, classes or versions is advised, followed in the next one: then it is answered."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from ganaug_ray.core.storage import Folder
from ganaug_ray.serve import app
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.live_model import LiveModel
from ganaug_ray.serve.problem_details import ProblemError
from ganaug_ray.serve.request_books import RequestBooks
from ganaug_ray.serve.service import Service
from tests.helpers.serving import encoded
from tests.unit.serve.test_serve_rollout import ask, pets, served

__all__ = ["pets"]  # a fixture

IMAGE = encoded(0)


def refuse(answer: Any, advice: str) -> re.Match[str]:
    """Return where the advice stands in the reason of a refusal."""
    assert 400 <= answer.status_code < 500, answer.text
    match = re.search(advice, answer.json()["detail"])
    assert match, answer.text
    return match


def find_listed_classes(client: TestClient, route: str) -> list[str]:
    """Get what a message names as the list of classes."""
    method, path = route.split()
    return client.request(method, path).json()["classes"]


@pytest.mark.parametrize("option", ["--feedback", "--shadow", "--canary"])
def test_feedback_is_taken_with_advised_option(option: str, pets: Folder, tmp_path: Path) -> None:
    """A server that takes no feedback says with which options it would, and takes some with each of them."""
    service = Service(LiveModel(str(pets)), RequestLimits())
    with TestClient(app.build_application(service, []), "http://localhost") as client:
        told = {"id": ask(client, 0)["predictions"][0].get("id", "x"), "label": "cat"}
        options = refuse(client.post("/v1/feedback", json=told), "start it with (.*)$")[1]
    service.shut_down()
    assert option in re.split(", | or ", options)
    candidate = f"{pets}/registry/versions/2"
    modes: dict[str, dict[str, Any]] = {
        "--feedback": {"shelf": Folder.from_uri(tmp_path / "returned")},
        "--shadow": {"shadow": candidate},
        "--canary": {"canary": f"{candidate}:0.5"},
    }
    with served(pets, **modes[option]) as client:
        told["id"] = ask(client, 0)["predictions"][0]["id"]
        assert client.post("/v1/feedback", json=told).status_code == 200


def test_feedback_is_counted_once_mended(pets: Folder, tmp_path: Path) -> None:
    """Feedback of an unknown class or answer, or in another form, is counted once it is sent as the message says."""
    with served(pets, Folder.from_uri(tmp_path / "returned")) as client:
        route = refuse(client.post("/v1/feedback", json={"id": "x", "label": "cow"}), "(GET \\S+) lists them$")[1]
        label = find_listed_classes(client, route)[0]
        refuse(client.post("/v1/feedback", json={"id": "x", "label": label}), "predict's answers carry an id for each")
        ids = [ask(client, seed)["predictions"][0]["id"] for seed in range(3)]
        assert client.post("/v1/feedback", json={"id": ids[0], "label": label}).status_code == 200
        twice = [("id", (None, ids[1])), ("label", (None, label)), ("label", (None, label))]
        refuse(client.post("/v1/feedback", files=twice), "send one answer's feedback at a time$")
        assert client.post("/v1/feedback", files=twice[:2]).status_code == 200
        refused = client.post("/v1/feedback", json={"id": ids[2], "label": label, "image": "iVBORw0KGgo="})
        words = shlex.split(refuse(refused, "(curl .*)")[1])
        parts = dict(word.split("=", 1) for word in words if "=" in word)
        assert parts.keys() == {"id", "label", "image"}
        form = {"id": (None, ids[2]), "label": (None, label), "image": ("a.png", IMAGE)}
        assert client.post("/v1/feedback", files=form).json()["stored"]


def test_listed_class_is_explained(service: Service) -> None:
    """A heat map for an unknown class is refused, and drawn for one that the route in the message lists."""
    with TestClient(app.build_application(service, []), "http://localhost") as client:
        refused = client.post("/v1/explain", content=IMAGE, params={"class": "cow"})
        for name in find_listed_classes(client, refuse(refused, r"(GET \S+) lists them$")[1]):
            answer = client.post("/v1/explain", content=IMAGE, params={"class": name})
            assert answer.headers["content-type"] == "image/png", answer.text


def test_named_model_and_version_answer(service: Service) -> None:
    """A model or version that is not there is refused with the name of the one that answers, which it does."""
    with TestClient(app.build_application(service, []), "http://localhost") as client:
        name = refuse(client.get("/v2/models/dogs"), "it is called '(.*)'$")[1]
        assert client.get(f"/v2/models/{name}").status_code == 200
        version = refuse(client.get(f"/v2/models/{name}/versions/99"), "; version '(.*)' answers now$")[1]
        assert client.get(f"/v2/models/{name}/versions/{version}").status_code == 200


def test_waiting_helps_where_too_many_ask() -> None:
    """A request for which there is no room is told to try again, and has room once the one before is answered."""
    books = RequestBooks(RequestLimits(waiting=1))
    first = books.open_booking(len(IMAGE))
    with pytest.raises(ProblemError) as caught:
        books.open_booking(len(IMAGE))
    assert (caught.value.status, caught.value.detail.endswith("try again in a moment")) == (429, True)
    first.close()
    books.open_booking(len(IMAGE))
