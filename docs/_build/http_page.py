"""The page with every route of the server, from the OpenAPI document that it publishes."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

from page_parts import build_table, escape_text

from ganaug_ray.serve import app
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.service import Service

INTRODUCTION = """# HTTP routes

The server describes itself at `/openapi.json`, and for people at `/docs`. Where it has keys, send yours as `X-API-Key`
or as a bearer token. What answers GET answers HEAD too. A refusal is problem JSON (RFC 9457), with a sentence in
`detail` that says what to do.
"""
Schema = dict[str, Any]


def build_document() -> Schema:
    """Return the OpenAPI document of a server; its routes are the same whichever model it serves."""
    model = SimpleNamespace(name="MODEL", version="VERSION")
    service = SimpleNamespace(champion=SimpleNamespace(current=model), limits=RequestLimits(), trial=None)
    return app.describe_api(cast(Service, service))


def build_page() -> str:
    """Return the page as Markdown."""
    document = build_document()
    parts = [INTRODUCTION]
    refusals: dict[str, set[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append(f"## `{method.upper()} {path}`\n\n{escape_text(operation.get('description', ''))}\n")
            parts += _iterate_request(operation)
            parts += _iterate_answers(operation, refusals)
    rows = [(status, " ".join(sorted(texts))) for status, texts in sorted(refusals.items())]
    parts += ["## Refusals\n", build_table(["Status", "When"], rows)]
    parts.append("## Fields of the answers\n")
    for name, schema in document["components"]["schemas"].items():
        if "Validation" not in name:  # FastAPI's own: the server answers with problem JSON instead
            parts += _iterate_fields(name, schema)
    return "\n".join(parts)


def _iterate_request(operation: Schema) -> Iterator[str]:
    parameters = [
        (f"`{parameter['name']}`", parameter["in"], escape_text(parameter.get("description", "")))
        for parameter in operation.get("parameters", [])
    ]
    if parameters:
        yield build_table(["Parameter", "Where", "What it is"], parameters)
    body = operation.get("requestBody")
    if body:
        yield f"{escape_text(body.get('description', ''))}\n"
        rows = [(f"`{kind}`", _describe(content["schema"])) for kind, content in body["content"].items()]
        yield build_table(["Body", "Fields"], rows)


def _iterate_answers(operation: Schema, refusals: dict[str, set[str]]) -> Iterator[str]:
    """Yield what an operation answers; what its refusals mean is collected, by status."""
    refused = []
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            kinds = [f"`{kind}` {_describe(content.get('schema', {}))}".strip() for kind, content in answer.get("content", {}).items()]
            yield f"Answers with {status}: {' or '.join(kinds) or 'no body'}.\n"
        else:
            refused.append(status)
            refusals.setdefault(status, set()).add(escape_text(answer["description"]))
    if refused:
        yield f"Refuses with {', '.join(sorted(refused))}, see [refusals](#refusals).\n"


def _iterate_fields(name: str, schema: Schema) -> Iterator[str]:
    yield f"### {name}\n\n{escape_text(schema.get('description', ''))}\n"
    rows = [
        (f"`{key}`", _describe(field), escape_text(field.get("description", "")))
        for key, field in schema["properties"].items()
    ]
    yield build_table(["Field", "Type", "What it is"], rows)


def _describe(schema: Schema) -> str:
    """Say in a few words what a schema allows, with a link where it has a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_describe(option) for option in schema["anyOf"])
    if "items" in schema:
        return f"list of {_describe(schema['items'])}"
    if "properties" in schema:
        return ", ".join(f"`{name}` ({_describe(field)})" for name, field in schema["properties"].items())
    if schema.get("format") == "binary":
        return "bytes"
    return {"null": "nothing", "object": "mapping"}.get(schema.get("type", ""), schema.get("type", ""))
