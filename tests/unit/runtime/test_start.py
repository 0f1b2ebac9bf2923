"""A Ray that is started on this machine may take its time; what does not come up ends in a sentence."""

from __future__ import annotations

import os
from typing import Any

import pytest
from ray._private import services

from ganaug_ray.errors import UserError
from ganaug_ray.runtime import cluster


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A node that is known at the fourth request."""
    requests: list[int] = []

    def get_node(address: str, node_id: int) -> dict[str, Any]:
        requests.append(node_id)
        if len(requests) < 4:
            raise RuntimeError("unknown")
        return {"NodeID": node_id}

    def init(**options: Any) -> Any:
        return services.get_node("127.0.0.1:1", 7)

    monkeypatch.setattr(services, "get_node", get_node)
    monkeypatch.setattr(cluster.ray, "init", init)
    monkeypatch.setattr(cluster, "_is_connected_here", False)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return requests


def test_slow_node_is_waited_for(requests: list[int]) -> None:
    """A node that is not known at once is asked for again, whatever Ray's own patience is; then all is as before."""
    asked = services.get_node
    assert cluster._init_ray(address="local") == {"NodeID": 7}
    assert requests == [7, 7, 7, 7]
    assert services.get_node is asked


def test_absent_node_ends_in_one_sentence(requests: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not come up in time is told as the likely cause and what to do, without a traceback."""
    monkeypatch.setattr(cluster, "NODE_PATIENCE_S", 0.0)
    with pytest.raises(UserError, match=r"^Ray did not start within 0 seconds: .* when there is less of it$"):
        cluster._init_ray(address="local")
    assert requests == [7]
