"""The JSON schema of a job, generated from the models: editors complete and explain a job file by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ganaug_ray.config.job import Job

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def build_job_schema() -> Schema:
    """Build the JSON schema of a job file, with the description of every setting on one line."""
    schema = Job.model_json_schema()
    for node in _iterate_nodes(schema):
        node.pop("title", None)
        if isinstance(node.get("description"), str):
            node["description"] = " ".join(node["description"].replace("``", "").split())
    return {"$schema": DIALECT, "title": "A job of ganaug", **schema}


def _iterate_nodes(node: Any) -> Iterator[Schema]:
    """Yield every schema inside a schema; what is called ``title`` among properties is a setting."""
    if isinstance(node, list):
        for item in node:
            yield from _iterate_nodes(item)
    elif isinstance(node, dict):
        yield node
        for key, value in node.items():
            if key in ("properties", "patternProperties", "$defs"):
                value = list(value.values())
            if key not in ("default", "enum"):
                yield from _iterate_nodes(value)
