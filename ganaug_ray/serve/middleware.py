"""Checks API keys and limits before any route is called."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ganaug_ray.serve.auth import Keyring
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.problem_details import ProblemError

# What is open without a key: the page with its parts, what describes the service, and what watches over it.
OPEN_PATHS = frozenset(
    {
        "/",
        "/page.js",
        "/page.css",
        "/icon.svg",
        "/docs",
        "/docs.js",
        "/openapi.json",
        "/healthz",
        "/v2/health/live",
        "/v2/health/ready",
    }
)
SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'self'"),
]


class AccessGate:
    """An ASGI application that checks each request before another one answers it.

    It adds no CORS header: other sites' pages cannot read answers.

    Args:
        app: what answers.
        keyring: who may pass.
        limits: how many requests, and bytes of bodies, at a time.
    """

    def __init__(self, app: ASGIApp, keyring: Keyring, limits: RequestLimits) -> None:
        self._app = app
        self._keyring = keyring
        self._limits = limits
        self._inside = 0
        self._memory = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        path = scope["path"]
        try:
            if path not in OPEN_PATHS:
                self._keyring.check_headers(headers)
            size = self._check_size(headers) if scope["method"] == "POST" else 0
        except ProblemError as problem:
            await problem.to_response(path)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS]
            await send(message)

        if scope["method"] != "POST":
            await self._app(scope, receive, send_with_headers)
            return
        self._inside += 1
        self._memory += size
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1
            self._memory -= size

    def _check_size(self, headers: dict[bytes, bytes]) -> int:
        """Return what a body may take. Raises ProblemError where it is too long, or too much is being done already."""
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise ProblemError(415, "send the body as it is, without Content-Encoding", {"Connection": "close"})
        try:
            size = int(headers.get(b"content-length", self._limits.bytes))
        except ValueError:
            raise ProblemError(400, "Content-Length: expected a number", {"Connection": "close"}) from None
        if size > self._limits.bytes:
            raise ProblemError(413, f"the body is longer than {self._limits.bytes} bytes", {"Connection": "close"})
        if self._inside >= self._limits.waiting or self._memory + size > self._limits.memory:
            raise ProblemError(429, "too many requests at a time; come back in a moment", {"Connection": "close"})
        return size
