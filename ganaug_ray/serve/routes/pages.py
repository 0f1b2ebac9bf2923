"""The web page, the description of the API, and health checks; nothing is loaded from other hosts."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

from ganaug_ray.serve.routes.examples import show_example

PAGE_FOLDER = Path(__file__).parents[1] / "page"
PAGE_FILES = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/feedback.js": ("feedback.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/docs": ("docs.html", "text/html"),
    "/docs.js": ("docs.js", "text/javascript"),
}


def build_router() -> APIRouter:
    """Build the router of the pages and health checks; files are read once."""
    routes = APIRouter()
    for path, (name, kind) in PAGE_FILES.items():
        routes.add_api_route(path, _build_file_route((PAGE_FOLDER / name).read_bytes(), kind), include_in_schema=False)

    @routes.get("/healthz", tags=["health"], responses=show_example({"status": "ok"}))
    async def healthz() -> dict[str, str]:
        """Answer once a model is loaded and warm."""
        return {"status": "ok"}

    return routes


def _build_file_route(content: bytes, kind: str):  # type: ignore[no-untyped-def]  # FastAPI reads the inner function's annotations
    async def file() -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return file
