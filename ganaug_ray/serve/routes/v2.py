"""The Open Inference Protocol, version 2, over REST, with the binary tensor extension.

One input, ``image`` UINT8 [-1, H, W, C], already brought to size; outputs ``probabilities`` FP32 [-1, K] and ``label``
BYTES [-1]. See https://github.com/kserve/open-inference-protocol and, for binary tensors, Triton's extension of it.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ganaug_ray.serve import request_body
from ganaug_ray.serve.live_model import LiveModel, ModelVersion
from ganaug_ray.serve.problem_details import ProblemError
from ganaug_ray.serve.routes import examples
from ganaug_ray.serve.routes.examples import show_example
from ganaug_ray.serve.routes.schemas import BINARY_SCHEMA, Refusal2, describe_refusals
from ganaug_ray.serve.routes.v2_tensors import LENGTH_HEADER, TensorRequest, build_reply, parse_request
from ganaug_ray.serve.service import Service
from ganaug_ray.version import __version__

INFER_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {"id": {"type": "string"}, "inputs": {"type": "array", "items": {"type": "object"}}},
                }
            },
            "application/octet-stream": {"schema": BINARY_SCHEMA},
        },
    }
}


def build_router(service: Service) -> APIRouter:
    """Build the router of the Open Inference Protocol."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    _add_health(routes)
    _add_model_routes(routes, service.champion)
    _add_inference(routes, service)
    return routes


def _get_version(champion: LiveModel, name: str, version: str | None = None) -> ModelVersion:
    model = champion.current
    if name != model.name:
        raise ProblemError(404, f"there is no model {name[:100]!r}; it is called {model.name!r}")
    if version not in (None, model.version):
        raise ProblemError(404, f"there is no version {str(version)[:100]!r}; version {model.version!r} answers now")
    return model


def _add_health(routes: APIRouter) -> None:
    @routes.get("", responses=describe_refusals(shape=Refusal2) | show_example(examples.SERVER))
    async def server() -> dict[str, Any]:
        """Name the server and what it understands."""
        return {"name": "ganaug", "version": __version__, "extensions": ["binary_tensor_data"]}

    @routes.get("/health/live", responses=show_example({"live": True}))
    async def live() -> dict[str, bool]:
        """Answer while the server runs."""
        return {"live": True}

    @routes.get("/health/ready", responses=show_example({"ready": True}))
    async def ready() -> dict[str, bool]:
        """Answer once the model is loaded and warm."""
        return {"ready": True}


def _add_model_routes(routes: APIRouter, champion: LiveModel) -> None:
    """Add the routes that describe the model and say whether it is ready."""
    unknown = describe_refusals(404, shape=Refusal2)

    @routes.get("/models/{name}", responses=unknown | show_example(examples.MODEL_METADATA))
    async def metadata(name: str) -> dict[str, Any]:
        """Describe the model's input and outputs."""
        return _describe_model(_get_version(champion, name))

    @routes.get("/models/{name}/versions/{version}", responses=unknown | show_example(examples.MODEL_METADATA))
    async def metadata_of_version(name: str, version: str) -> dict[str, Any]:
        """Describe the model's input and outputs, if it is of that version."""
        return _describe_model(_get_version(champion, name, version))

    @routes.get("/models/{name}/ready", responses=unknown | show_example(examples.READY))
    async def model_ready(name: str) -> dict[str, Any]:
        """Answer if there is such a model."""
        return {"name": _get_version(champion, name).name, "ready": True}

    @routes.get("/models/{name}/versions/{version}/ready", responses=unknown | show_example(examples.READY))
    async def version_ready(name: str, version: str) -> dict[str, Any]:
        """Answer if there is such a model, of that version."""
        return {"name": _get_version(champion, name, version).name, "ready": True}


def _add_inference(routes: APIRouter, service: Service) -> None:
    refusals = describe_refusals(400, 404, 408, 413, 415, 429, shape=Refusal2)
    inference = refusals | show_example(examples.INFERENCE)

    @routes.post("/models/{name}/infer", responses=inference, openapi_extra=INFER_BODY)
    async def infer(name: str, request: Request) -> Response:
        """Classify images that are already of the network's size."""
        return await _infer(request, name, None)

    @routes.post("/models/{name}/versions/{version}/infer", responses=inference, openapi_extra=INFER_BODY)
    async def infer_of_version(name: str, version: str, request: Request) -> Response:
        """Classify images that are already of the network's size, by that version or not at all."""
        return await _infer(request, name, version)

    async def _infer(request: Request, name: str, version: str | None) -> Response:
        model = _get_version(service.champion, name, version)
        content = await request_body.read_body(request, service.limits)
        header = request.headers.get(LENGTH_HEADER)
        # In a thread: megabytes of JSON take their time.
        tensor_request: TensorRequest = await asyncio.to_thread(
            parse_request, content, header, model.shape, service.limits.images
        )
        answer = await service.classify_pixels(tensor_request.pixels, by_champion=version is not None)
        if version not in (None, answer.model.version):  # it changed in between
            _get_version(service.champion, name, version)
        return build_reply(tensor_request, answer)


def _describe_model(model: ModelVersion) -> dict[str, Any]:
    classes = model.classifier.classes
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "pytorch_ganaug",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, *model.shape]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(classes)]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
        ],
        "properties": {"classes": json.dumps(classes, ensure_ascii=False)},
    }
