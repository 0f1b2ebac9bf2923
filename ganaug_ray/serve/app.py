"""Builds the ASGI application from its parts; it knows nothing of Ray."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ganaug_ray.serve import problem_details
from ganaug_ray.serve.auth import Keyring
from ganaug_ray.serve.middleware import AccessGate
from ganaug_ray.serve.routes import pages, rollout, v1, v2
from ganaug_ray.serve.routes.schemas import Refusal, Refusal2
from ganaug_ray.serve.service import Service

API_DESCRIPTION = (
    "Image classification by the champion of a ganaug experiment. If the server has an API key, send it as X-API-Key. "
    "Every route that answers GET also answers HEAD."
)
FASTAPI_VALIDATION = "Validation Error"


def build_application(service: Service, keys: Sequence[str]) -> AccessGate:
    """Build the ASGI application of a service; without API keys it answers only under the name localhost."""
    return AccessGate(_build_routes(service, bool(keys)), Keyring(keys), service.limits)


def describe_api(service: Service) -> dict:
    """Return the OpenAPI document of a service, as the server publishes it."""
    return _build_routes(service, needs_key=False).openapi()


def _build_routes(service: Service, needs_key: bool) -> FastAPI:
    app = FastAPI(
        title=service.champion.current.name,
        version=service.champion.current.version,
        description=API_DESCRIPTION,
        docs_url=None,  # FastAPI's own pages load their scripts from another host
        redoc_url=None,
    )
    app.include_router(v1.build_router(service))
    app.include_router(rollout.build_router(service))
    app.include_router(v2.build_router(service))
    app.include_router(pages.build_router())
    problem_details.install_handlers(app)
    app.openapi = lambda: _build_openapi(app, needs_key)  # type: ignore[method-assign]  # FastAPI's way to amend the document
    return app


def _build_openapi(app: FastAPI, needs_key: bool) -> dict:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= {shape.__name__: shape.model_json_schema() for shape in (Refusal, Refusal2)}
        document["components"]["securitySchemes"] = {
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
        document["security"] = [{"key": []}, {"bearer": []}] + ([] if needs_key else [{}])
        _leave_out_validation_errors(document)
        app.openapi_schema = document
    return app.openapi_schema


def _leave_out_validation_errors(document: dict) -> None:
    """Take out the refusal that FastAPI lists for every route with a name in its path: any text is one."""
    for operations in document["paths"].values():
        for operation in operations.values():
            if operation["responses"].get("422", {}).get("description") == FASTAPI_VALIDATION:
                del operation["responses"]["422"]
    for shape in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(shape, None)
