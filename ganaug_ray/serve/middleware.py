"""Checks API keys and limits before any route is called."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ganaug_ray.serve.auth import Keyring
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.problem_details import ASKED_METHOD, ProblemError
from ganaug_ray.serve.request_books import RequestBooks

# What is open without a key: the page with its parts, what describes the service, and what watches over it.
OPEN_PATHS = frozenset(
    {
        "/",
        "/page.js",
        "/feedback.js",
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
MAX_LENGTH_DIGITS = 18  # of a Content-Length
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
        self._books = RequestBooks(limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        path = scope["path"].rstrip("/") or "/"
        if path == scope.get("root_path", ""):  # the route / below it
            path = scope["path"]
        scope = {**scope, "path": path}  # with a slash at its end a path means the same; a redirect loses bodies
        try:
            if path not in OPEN_PATHS:
                self._keyring.check_headers(headers)
            booking = self._books.open_booking(_read_size(headers)) if scope["method"] == "POST" else None
        except ProblemError as problem:
            await problem.to_response(path)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS]
            await send(message)

        if booking is None:
            if scope["method"] == "HEAD":  # answered as GET; the server leaves out the body
                scope = {**scope, "method": "GET", ASKED_METHOD: "HEAD"}
            await self._app(scope, receive, send_with_headers)
            return

        async def receive_within_limits() -> Message:
            message = await receive()
            booking.add_bytes(len(message.get("body", b"")))
            return message

        try:
            await self._app(scope, receive_within_limits, send)
        finally:
            booking.close()


def _read_size(headers: dict[bytes, bytes]) -> int:
    """Return the bytes that a body declares; 0 where it comes in chunks. Raises ProblemError where it is encoded."""
    if (headers.get(b"content-encoding") or b"identity").lower() != b"identity":
        raise ProblemError(415, "send the body as it is, without Content-Encoding", {"Connection": "close"})
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > MAX_LENGTH_DIGITS:
        raise ProblemError(400, "Content-Length: expected a number", {"Connection": "close"})
    return int(length)
