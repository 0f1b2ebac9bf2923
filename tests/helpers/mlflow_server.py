"""An MLflow server as `mlflow server` sets it up, served from a thread of the tests."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PATIENCE
from tests.helpers import wsgi

PACKAGES = ("mlflow", "sqlalchemy", "alembic")
INSTALL = "pip install mlflow-skinny sqlalchemy alembic"


@contextmanager
def serve_mlflow(folder: Path) -> Iterator[str]:
    """Serve MLflow with a SQLite store, and with artifacts that go through the server; return its address.

    MLflow keeps one store a process, so a second server would have the first one's.
    """
    for name in PACKAGES:
        pytest.importorskip(name, reason=f"MLflow and its SQLite store are not installed: {INSTALL}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(PATIENCE))  # a busy machine may need more than a user has
        patch.setenv("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", str(folder / "artifacts"))
        from mlflow.server import app, handlers

        handlers.initialize_backend_stores(f"sqlite:///{folder}/mlflow.db", None, "mlflow-artifacts:/")
        with wsgi.serve(app) as port:
            yield f"http://127.0.0.1:{port}"


def ask(address: str, method: str, **body: Any) -> dict[str, Any]:
    """Ask by the server's own interface, so that what is read does not depend on what wrote it."""
    request = urllib.request.Request(
        f"{address}/api/2.0/mlflow/{method}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)
