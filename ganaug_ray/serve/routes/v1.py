"""The routes of the service's own API: predict, explain, model."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ganaug_ray.serve import request_body
from ganaug_ray.serve.inference_queue import Answer
from ganaug_ray.serve.live_model import ModelVersion
from ganaug_ray.serve.problem_details import ProblemError
from ganaug_ray.serve.routes.schemas import IMAGE_BODY, ModelCard, Predictions, describe_refusals
from ganaug_ray.serve.service import Service

# Of what was promoted, the parts that are no paths and no settings.
LINEAGE_KEYS = ("arm", "seed", "reason", "inputs", "change")


def build_router(service: Service) -> APIRouter:
    """Build the router of the service's own API."""
    routes = APIRouter(prefix="/v1", tags=["images"])
    inference = describe_refusals(400, 408, 413, 415, 422, 429)

    @routes.post("/predict", response_model=Predictions, responses=inference, openapi_extra=IMAGE_BODY)
    async def predict(request: Request) -> Response:
        """Classify an image, or several; all of a request by the same version of the model."""
        started = time.perf_counter()
        images = await request_body.read_images(request, service.limits)
        answer = await service.classify_images(images)
        content = _describe_answer(answer, [image.get_notes(answer.model) for image in images], started)
        return Response(json.dumps(content), media_type="application/json")

    heat_map = {"description": "The heat map over the image.", "content": {"image/png": {}}}
    class_parameter = {
        "name": "class",
        "in": "query",
        "schema": {"type": "string"},
        "description": "The class to explain; by default the likeliest.",
    }

    @routes.post(
        "/explain",
        response_class=Response,
        responses={**inference, 200: heat_map},
        openapi_extra={**IMAGE_BODY, "parameters": [class_parameter]},
    )
    async def explain(request: Request) -> Response:
        """Show as a heat map (Grad-CAM) what in an image speaks for a class."""
        images = await request_body.read_images(request, service.limits)
        if len(images) > 1:
            raise ProblemError(400, "expected one image")
        model, label, content = await service.explain_image(images[0], request.query_params.get("class") or None)
        headers = {"X-Model-Version": model.version, "X-Class": json.dumps(label)}
        return Response(content, media_type="image/png", headers=headers)

    @routes.get("/model", response_model=ModelCard, responses=describe_refusals())
    async def model() -> Response:
        """Tell which model answers, and where it comes from."""
        return Response(json.dumps(describe_model(service.champion.current)), media_type="application/json")

    return routes


def _describe_answer(answer: Answer, notes: Sequence[tuple[str, ...]], started: float) -> dict[str, Any]:
    classes = answer.model.classifier.classes
    rows = answer.probabilities_NK.tolist()
    predictions = []
    for number, (label, row) in enumerate(zip(answer.labels, rows, strict=True)):
        prediction = {
            "id": f"{answer.id}-{number}",
            "label": label,
            "probability": max(row),
            "probabilities": dict(zip(classes, row, strict=True)),
        }
        if notes[number]:
            prediction["notes"] = list(notes[number])
        predictions.append(prediction)
    return {
        "model": answer.model.name,
        "version": answer.model.version,
        "milliseconds": round(1000 * (time.perf_counter() - started), 2),
        "predictions": predictions,
    }


def describe_model(model: ModelVersion) -> dict[str, Any]:
    """Describe a model: its input and classes, its metrics, and the hashes of what it was made from."""
    record = model.record
    lineage = model.lineage
    validation = {"val_accuracy": record.val_accuracy, "val_loss": record.val_loss}
    return {
        "name": model.name,
        "version": model.version,
        "hash": record.hash,
        "arch": record.arch,
        "parameters": record.parameters,
        "classes": record.classes,
        "input": {"size": record.image_size, "channels": record.channels, "resize": record.resize},
        "metrics": lineage.get("figures") or validation,
        "verdict": lineage.get("verdict"),
        "sentence": lineage.get("sentence"),
        "generator": lineage.get("generator"),
        "lineage": _select_lineage(lineage) or _select_lineage(record.to_json()),
    }


def _select_lineage(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in LINEAGE_KEYS if name in record}
