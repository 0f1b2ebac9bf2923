"""A server of one promoted model, for several modules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ganaug_ray.core.storage import Folder
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.live_model import LiveModel
from ganaug_ray.serve.service import Service
from tests.helpers.serving import promote


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that takes four images a request."""
    folder = Folder.from_uri(tmp_path_factory.mktemp("serve") / "pets")
    promote(folder, 0)
    service = Service(LiveModel(str(folder)), RequestLimits(images=4))
    yield service
    service.shut_down()
