"""Refusals as problem JSON (RFC 9457), which say what a caller may know and nothing of what is inside."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_METHOD_CHARS = 20  # said back
ASKED_METHOD = "ganaug.asked_method"  # of a scope whose method AccessGate has changed
RETRY_AFTER_S = "1"  # seconds, from a server that is busy


class ProblemError(Exception):
    """A refusal of a request: an HTTP status from 400, a sentence for the caller, and headers."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        if status in (429, 503):
            self.headers.setdefault("Retry-After", RETRY_AFTER_S)

    def to_response(self, path: str) -> Response:
        """Return the refusal as a response; on a path of the Open Inference Protocol also with its key ``error``."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if path == "/v2" or path.startswith("/v2/"):
            body["error"] = self.detail
        return Response(json.dumps(body), self.status, self.headers, MEDIA_TYPE)


def install_handlers(app: FastAPI) -> None:
    """Make an application answer every error as problem JSON."""

    async def answer_problem(request: Request, problem: Exception) -> Response:
        assert isinstance(problem, ProblemError)
        return problem.to_response(request.url.path)

    async def answer_routing_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        if headers.get("Allow") == "GET":
            headers["Allow"] = "GET, HEAD"  # AccessGate answers HEAD as GET
        asked = request.scope.get(ASKED_METHOD, request.method)
        taken = headers.get("Allow", "another method").replace(", ", " and ")
        details = {
            404: "there is no such route; /docs lists them",
            405: f"this route takes {taken}, not {asked[:MAX_METHOD_CHARS]}",
        }
        detail = details.get(error.status_code, HTTPStatus(error.status_code).phrase)
        return ProblemError(error.status_code, detail, headers).to_response(request.url.path)

    async def answer_failure(request: Request, error: Exception) -> Response:
        logger.exception("a request failed", exc_info=error)
        return ProblemError(500, "the server failed to answer; its log says why").to_response(request.url.path)

    app.add_exception_handler(ProblemError, answer_problem)
    app.add_exception_handler(HTTPException, answer_routing_error)
    app.add_exception_handler(Exception, answer_failure)
