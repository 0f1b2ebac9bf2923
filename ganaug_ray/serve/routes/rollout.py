"""The routes for feedback on answers, and for the state of a candidate and of drift."""

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

from ganaug_ray.core.records import ModelSpec
from ganaug_ray.serve import image_input, request_body
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.live_model import ModelVersion
from ganaug_ray.serve.problem_details import ProblemError
from ganaug_ray.serve.routes.schemas import FEEDBACK_BODY, Feedback, RolloutStatus, describe_refusals
from ganaug_ray.serve.service import Service
from ganaug_ray.serve.traffic import RolloutTrial

logger = logging.getLogger(__name__)

FORM_TYPE = b"multipart/form-data"
FEEDBACK_FIELDS = ("id", "label", "image")
HOW_TO_SEND = "send a form, with curl -F id=ID -F label=cat -F image=@cat.jpg"
MAX_TEXT_CHARS = 1000  # bytes of an id or a label


@dataclass(frozen=True)
class FeedbackRequest:
    """The content of a feedback request: the answer that is meant, the true label, and perhaps the image."""

    id: str
    label: str
    image: bytes | None = None


def build_router(service: Service) -> APIRouter:
    """Build the router of feedback and rollout."""
    routes = APIRouter(prefix="/v1", tags=["rollout"])
    refused = describe_refusals(400, 404, 408, 409, 413, 415, 422, 429, 507)

    @routes.post(
        "/feedback",
        response_model=Feedback,
        responses=refused,
        openapi_extra=FEEDBACK_BODY,
        include_in_schema=service.trial is not None,
    )
    async def feedback(request: Request) -> Response:
        """Say what an image really was. It is counted; stored it is where the server was told to, and if it is sent."""
        trial = service.trial
        if trial is None:
            raise ProblemError(404, "this server takes no feedback; start it with --feedback, --shadow or --canary")
        submission = await _read_feedback(request, service.limits)
        model = service.champion.current
        classes = model.classifier.classes
        if submission.label not in classes:
            raise ProblemError(400, f"label: there is no class {submission.label[:100]!r}; GET /v1/model lists them")
        reply = await _record_feedback(trial, submission, service.limits, model.record)
        return Response(json.dumps(reply), media_type="application/json")

    @routes.get("/rollout", response_model=RolloutStatus, responses=describe_refusals())
    async def rollout() -> Response:
        """Tell how a candidate does against the champion, and what feedback there was."""
        return Response(json.dumps(await _describe_status(service)), media_type="application/json")

    return routes


async def _record_feedback(
    trial: RolloutTrial, feedback: FeedbackRequest, limits: RequestLimits, model: ModelSpec
) -> dict[str, Any]:
    is_stored = False
    size = None
    kind = ""
    if feedback.image is not None:
        decoded_image = await asyncio.to_thread(image_input.decode_image, feedback.image, "image", limits.pixels, model)
        kind = decoded_image.format
        if trial.shelf is not None:
            is_stored = True
            size = len(feedback.image)
    reply = await trial.call_ledger("label", feedback.id, feedback.label, size)
    if not reply["known"]:
        raise ProblemError(404, "id: no such answer is remembered; predict's answers carry an id for each image")
    if reply["labelled"]:
        raise ProblemError(409, "id: that answer already has a label")
    if is_stored and not reply["has_room"]:
        raise ProblemError(507, "the label was counted; the image was not stored, since the folder for them is full")
    if is_stored:
        assert trial.shelf is not None
        assert feedback.image is not None
        facts = {"version": reply["version"], "predicted": reply["predicted"]}
        try:
            await asyncio.to_thread(trial.shelf.store_image, feedback.id, feedback.label, feedback.image, kind, facts)
        except OSError:
            logger.exception("feedback could not be stored")
            raise ProblemError(507, "the label was counted; the image could not be stored") from None
    return {
        "id": feedback.id,
        "version": reply["version"],
        "predicted": reply["predicted"],
        "correct": reply["predicted"] == feedback.label,
        "stored": is_stored,
    }


async def _describe_status(service: Service) -> dict[str, Any]:
    status: dict[str, Any] = {
        "champion": service.champion.current.version,
        "candidate": None,
        "mode": None,
        "share": None,
        "stores_images": False,
        "feedback": None,
        "drift": _describe_drift(service.champion.current),
        "candidate_drift": None,
    }
    trial = service.trial
    if trial is None:
        return status
    status["stores_images"] = trial.shelf is not None
    status["feedback"] = await trial.call_ledger("status")
    if trial.candidate is not None:
        rollout = trial.candidate.rollout
        model = trial.candidate.model.current
        status |= {"candidate": model.version, "mode": rollout.mode, "share": rollout.share}
        if rollout.mode == "canary":
            status["candidate_drift"] = _describe_drift(model)
    return status


def _describe_drift(model: ModelVersion) -> dict[str, Any] | None:
    return None if model.drift is None else model.drift.describe_status()


async def _read_feedback(request: Request, limits: RequestLimits) -> FeedbackRequest:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    content = await request_body.read_body(request, limits)
    if kind == FORM_TYPE:
        parts: dict[str, bytes] = {}
        for part in request_body.parse_form(content, options, request_body.MAX_OTHER_FIELDS):
            if part.is_empty:
                continue
            if part.field in parts and part.field in FEEDBACK_FIELDS:
                raise ProblemError(400, f"{part.field}: is given twice; send one answer's feedback at a time")
            parts[part.field] = part.content
        return FeedbackRequest(
            _check_text(parts.get("id"), "id"), _check_text(parts.get("label"), "label"), parts.get("image")
        )
    try:
        content_json = json.loads(content)
    except (ValueError, RecursionError):
        raise ProblemError(400, f"the body is neither JSON nor a multipart form; {HOW_TO_SEND}") from None
    if not isinstance(content_json, dict):
        raise ProblemError(400, "expected a JSON object with id and label")
    if "image" in content_json:
        raise ProblemError(400, f"image: cannot be sent in JSON; {HOW_TO_SEND}")
    return FeedbackRequest(_check_text(content_json.get("id"), "id"), _check_text(content_json.get("label"), "label"))


def _check_text(value: Any, name: str) -> str:
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise ProblemError(400, f"{name}: is not UTF-8 text") from None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT_CHARS:
        raise ProblemError(400, f"{name}: expected text")
    return value
