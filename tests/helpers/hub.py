"""A small server that answers as the Hugging Face Hub does, to whoever reads a data set or pushes a model."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from huggingface_hub import constants

from ganaug_ray.data.sources import hub
from tests.helpers import wsgi

Files = dict[str, bytes]


def hash_file(file: bytes) -> str:
    return hashlib.sha256(file).hexdigest()


def answer_json(start: Callable[..., Any], content: Any) -> list[bytes]:
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(content).encode()]


def answer_as_hub(revisions: dict[str, Files]) -> Callable[..., Any]:
    """A Hub with the data set someone/pets: revision -> its files."""

    commits = {revision: hashlib.sha1(revision.encode()).hexdigest() for revision in revisions}
    named = {**dict(zip(revisions, revisions, strict=True)), **{commit: name for name, commit in commits.items()}}

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        path = unquote(environ["PATH_INFO"])
        asked = re.fullmatch(r"/api/datasets/someone/pets(?:/(revision|tree)/(.+?))?/?", path)
        if asked and (revision := named.get(asked[2] or "main")):
            files = revisions[revision]
            if asked[1] == "tree":
                tree = [{"type": "file", "path": n, "size": len(f), "oid": hash_file(f)} for n, f in files.items()]
                return answer_json(start, tree)
            siblings = [{"rfilename": name, "size": len(file)} for name, file in files.items()]
            return answer_json(start, {"id": "someone/pets", "sha": commits[revision], "siblings": siblings})
        asked = re.fullmatch(r"/datasets/someone/pets/resolve/(\w+)/(.+)", path)
        if asked and asked[1] in named and asked[2] in revisions[named[asked[1]]]:
            file = revisions[named[asked[1]]][asked[2]]
            headers = {"ETag": f'"{hash_file(file)}"', "X-Repo-Commit": asked[1], "Content-Length": str(len(file))}
            start("200 OK", list(headers.items()))
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [file]
        start("404 Not Found", [("X-Error-Code", "RevisionNotFound"), ("Content-Length", "0")])
        return []

    return app


class PushedRepository:
    """A Hub to which someone/pets is pushed: what the repository is made with, by whom, and the files it then has."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}
        self.tokens: set[str] = set()
        self.files: Files = {}

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        """Answer a request of the Hub's library."""
        content = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
        self.tokens.add(environ.get("HTTP_AUTHORIZATION", ""))
        address = f"http://{environ['HTTP_HOST']}/someone/pets"
        answer: dict[str, Any] = {}
        match unquote(environ["PATH_INFO"]):
            case "/api/repos/create":
                self.made = json.loads(content)
                answer = {"url": address}
            case "/api/validate-yaml":
                answer = {"errors": [], "warnings": []}
            case "/api/models/someone/pets/preupload/main":
                names = [file["path"] for file in json.loads(content)["files"]]
                answer = {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
            case "/api/models/someone/pets/commit/main":
                for line in map(json.loads, content.splitlines()):
                    if line["key"] == "file":
                        self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                answer = {"success": True, "commitOid": "0" * 40, "commitUrl": f"{address}/commit/{'0' * 40}"}
            case _:
                start("404 Not Found", [("Content-Length", "0")])
                return []
        return answer_json(start, answer)


def point_to(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def serve_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, Files]], Any]]:
    """Serves a Hub, and has its library use it and an empty cache."""
    hub.fetch_dataset.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    point_to(monkeypatch, "http://127.0.0.1:9")  # nobody listens there

    def serve(revisions: dict[str, Files]) -> Any:
        context = wsgi.serve(answer_as_hub(revisions))
        point_to(monkeypatch, f"http://127.0.0.1:{context.__enter__()}")
        return context

    yield serve
    hub.fetch_dataset.cache_clear()
