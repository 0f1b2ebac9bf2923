"""The books of requests: bodies in chunks count with the bytes that arrived, and all books are closed again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from starlette.types import Message

from ganaug_ray.core.storage import Folder
from ganaug_ray.serve import app
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.live_model import LiveModel
from ganaug_ray.serve.middleware import AccessGate
from ganaug_ray.serve.service import Service
from tests.helpers.serving import encoded, promote

CALLERS = 64
IMAGE = encoded(0, (63, 63))  # of 12 kB


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = Folder.from_uri(tmp_path_factory.mktemp("serve") / "pets")
    promote(folder, 0)
    service = Service(LiveModel(str(folder)), RequestLimits())
    yield service
    service.shut_down()


def build_gate(service: Service, **limits: float) -> AccessGate:
    return app.build_application(Service(service.champion, replace(service.limits, **limits)), [])  # type: ignore[arg-type]


class Meeting:
    """Lets nobody on before all have come; who is refused has come too."""

    def __init__(self, size: int) -> None:
        self.missing = size
        self._all_came = asyncio.Event()

    def come(self) -> None:
        self.missing -= 1
        if self.missing == 0:
            self._all_came.set()

    async def wait(self) -> None:
        await self._all_came.wait()


async def post(
    gate: AccessGate,
    chunks: Sequence[bytes],
    meeting: Meeting | None = None,
    breaks_off: bool = False,
    declared_bytes: int | None = None,
) -> int:
    """Post a body in chunks; all callers of a meeting have sent the first before the second.

    Without ``declared_bytes`` there is no Content-Length.
    """
    sent = 0
    statuses: list[int] = []

    async def receive() -> Message:
        nonlocal sent
        if sent == 1 and meeting:
            meeting.come()
            await meeting.wait()
        if sent == len(chunks):
            if breaks_off:
                return {"type": "http.disconnect"}
            await asyncio.Event().wait()
        sent += 1
        return {"type": "http.request", "body": chunks[sent - 1], "more_body": breaks_off or sent < len(chunks)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [] if declared_bytes is None else [(b"content-length", str(declared_bytes).encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/predict", "query_string": b"", "headers": headers}
    await gate(scope, receive, send)
    if meeting and sent < 2:
        meeting.come()
    return statuses[0]


def test_chunked_bodies_are_booked_piecemeal(service: Service) -> None:
    """Of 64 callers that send 12 kB each in chunks none is refused, though 64 times the longest body would not fit."""
    assert CALLERS * service.limits.bytes > service.limits.memory > CALLERS * len(IMAGE)
    gate = build_gate(service)

    async def drive() -> list[int]:
        meeting = Meeting(CALLERS)
        return await asyncio.gather(*(post(gate, [IMAGE[:6000], IMAGE[6000:]], meeting) for _ in range(CALLERS)))

    assert asyncio.run(drive()) == [200] * CALLERS


def test_chunked_bodies_keep_within_memory(service: Service) -> None:
    """Bodies in chunks are refused with 429 as soon as all together are more than the memory, and not before."""
    room_for = 10
    gate = build_gate(service, memory=room_for * 6000 + len(IMAGE))

    async def drive() -> list[int]:
        meeting = Meeting(CALLERS)
        return await asyncio.gather(*(post(gate, [IMAGE[:6000], IMAGE[6000:]], meeting) for _ in range(CALLERS)))

    statuses = asyncio.run(drive())
    assert set(statuses) == {200, 429}
    assert 1 <= statuses.count(200) <= room_for + 2
    assert asyncio.run(post(gate, [IMAGE])) == 200, "the books are closed"


def test_declared_bytes_take_no_room(service: Service) -> None:
    """Callers that declare the longest body and send none of it yet keep nobody else from being answered."""
    gate = build_gate(service, memory=len(IMAGE), bytes=len(IMAGE))

    async def drive() -> tuple[int, list[int]]:
        meeting = Meeting(CALLERS + 1)
        slow = [
            asyncio.create_task(post(gate, [b"", IMAGE[:100]], meeting, declared_bytes=len(IMAGE)))
            for _ in range(CALLERS)
        ]
        while meeting.missing > 1:  # until each of them is inside, and waits
            await asyncio.sleep(0)
        status = await post(gate, [IMAGE], declared_bytes=len(IMAGE))
        meeting.come()
        return status, await asyncio.gather(*slow)

    status, slow_statuses = asyncio.run(drive())
    assert status == 200
    assert 429 not in slow_statuses
    assert asyncio.run(post(gate, [IMAGE], declared_bytes=len(IMAGE))) == 200, "the books are closed"


def test_books_are_closed_however_request_ends(service: Service) -> None:
    """After refused, slow and broken-off requests there is as much room as before."""
    half = IMAGE[:6000]
    gate = build_gate(service, memory=len(IMAGE), bytes=len(IMAGE), waiting=1, seconds=0.1)
    for _ in range(3):
        assert asyncio.run(post(gate, [half, half, half])) == 413
        assert asyncio.run(post(gate, [half], breaks_off=True)) == 400
        assert asyncio.run(post(gate, [half, half], Meeting(2))) == 408
        assert asyncio.run(post(gate, [half[:100]])) == 422
    assert asyncio.run(post(gate, [IMAGE])) == 200


def test_too_long_body_is_refused_unread(service: Service) -> None:
    """Of a body in chunks that is too long, nothing is read after the chunk that makes it so."""
    gate = build_gate(service, bytes=len(IMAGE) - 1)
    assert asyncio.run(post(gate, [IMAGE[:6000], IMAGE[6000:]], breaks_off=True)) == 413
