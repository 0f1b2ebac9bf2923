"""The routes by which the service learns: feedback on its answers, and how a candidate and the inputs do."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from python_multipart.multipart import parse_options_header
from starlette.requests import Request
from starlette.responses import Response

from ganaug_ray.serve import image_input, request_body
from ganaug_ray.serve.limits import Limits
from ganaug_ray.serve.live_model import Model
from ganaug_ray.serve.problem_details import Problem
from ganaug_ray.serve.routes.schemas import FEEDBACK_BODY, Feedback, RolloutStatus, refusals
from ganaug_ray.serve.service import Service
from ganaug_ray.serve.traffic import Trial

log = logging.getLogger(__name__)

FORM = b"multipart/form-data"
MOST_TEXT = 1000  # bytes of an id or a label


@dataclass(frozen=True)
class Given:
    """What a request says: which answer is meant, what the image was, and perhaps the image."""

    id: str
    label: str
    image: bytes | None = None


def router(service: Service) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/v1", tags=["rollout"])
    refused = refusals(400, 404, 408, 409, 413, 415, 422, 429, 507)

    @routes.post("/feedback", response_model=Feedback, responses=refused, openapi_extra=FEEDBACK_BODY)
    async def feedback(request: Request) -> Response:
        """Say what an image really was. It is counted; stored it is where the server was told to, and if it is sent."""
        trial = service.trial
        if trial is None:
            raise Problem(404, "this server takes no feedback; start it with --feedback, --shadow or --canary")
        given = await _given(request, service.limits)
        classes = service.champion.current.classifier.classes
        if given.label not in classes:
            raise Problem(400, f"label: there is no class {given.label[:100]!r}; GET /v1/model lists them")
        return Response(json.dumps(await _taken(trial, given, service.limits)), media_type="application/json")

    @routes.get("/rollout", response_model=RolloutStatus, responses=refusals())
    async def rollout() -> Response:
        """Tell how a candidate does against the champion, and what feedback there was."""
        return Response(json.dumps(await _status(service)), media_type="application/json")

    return routes


async def _taken(trial: Trial, given: Given, limits: Limits) -> dict[str, Any]:
    kind, stores = "", trial.shelf is not None and given.image is not None
    if given.image is not None:
        found = await asyncio.to_thread(image_input.decoded, given.image, "image", limits.pixels)
        kind = found.format
    told = await trial.ask("label", given.id, given.label, len(given.image or b"") if stores else None)
    if not told["known"]:
        raise Problem(404, "id: no such answer is remembered; predict's answers carry an id for each image")
    if told["labelled"]:
        raise Problem(409, "id: that answer has its label already")
    if stores and not told["has_room"]:
        raise Problem(507, "the label was counted; the image was not stored, since the folder for them is full")
    if stores:
        assert trial.shelf is not None
        assert given.image is not None
        facts = {"version": told["version"], "predicted": told["predicted"]}
        try:
            await asyncio.to_thread(trial.shelf.put, given.id, given.label, given.image, kind, facts)
        except OSError:
            log.exception("feedback could not be stored")
            raise Problem(507, "the label was counted; the image could not be stored") from None
    return {
        "id": given.id,
        "version": told["version"],
        "predicted": told["predicted"],
        "correct": told["predicted"] == given.label,
        "stored": stores,
    }


async def _status(service: Service) -> dict[str, Any]:
    trial = service.trial
    candidate = None if trial is None else trial.candidate
    beside = None if candidate is None or candidate.rollout.mode == "shadow" else candidate.model.current
    return {
        "champion": service.champion.current.version,
        "candidate": None if candidate is None else candidate.model.current.version,
        "mode": None if candidate is None else candidate.rollout.mode,
        "share": None if candidate is None else candidate.rollout.share,
        "stores_images": trial is not None and trial.shelf is not None,
        "feedback": None if trial is None else await trial.ask("status"),
        "drift": _drift(service.champion.current),
        "candidate_drift": _drift(beside),
    }


def _drift(model: Model | None) -> dict[str, Any] | None:
    return None if model is None or model.drift is None else model.drift.status()


async def _given(request: Request, limits: Limits) -> Given:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    content = await request_body.body(request, limits)
    if kind == FORM:
        parts = {part.field: part.content for part in request_body.form(content, options, limits.images)}
        image = parts.get("image") or None
        return Given(_text(parts.get("id"), "id"), _text(parts.get("label"), "label"), image)
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        raise Problem(400, "the body is neither JSON nor a form") from None
    if not isinstance(said, dict):
        raise Problem(400, "expected a JSON object with id and label")
    return Given(_text(said.get("id"), "id"), _text(said.get("label"), "label"))


def _text(value: Any, name: str) -> str:
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise Problem(400, f"{name}: is no UTF-8 text") from None
    if not isinstance(value, str) or not 0 < len(value) <= MOST_TEXT:
        raise Problem(400, f"{name}: expected text")
    return value
