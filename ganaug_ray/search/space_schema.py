"""The JSON schema of a search space: which keys it may name, and the distribution that each may have."""

from __future__ import annotations

from ganaug_ray.config.schema import DIALECT, Schema, build_job_schema
from ganaug_ray.search.search_space import DISTRIBUTIONS, SECTION_BY_KIND, UNSEARCHABLE_FIELDS

_ENDS = {"type": "array", "minItems": 2, "maxItems": 2}
SHARED_PARTS: Schema = {
    "uniform": {**_ENDS, "items": {"type": "number"}, "description": "Lower and upper end."},
    "log_uniform": {
        **_ENDS,
        "items": {"type": "number", "exclusiveMinimum": 0},
        "description": "Lower and upper end; drawn evenly on a logarithmic scale.",
    },
    "integers": {**_ENDS, "items": {"type": "integer"}, "description": "Lowest and highest."},
    "when": {
        "type": "object",
        "description": "Other keys of the space with their values: only with these is this one used.",
    },
}
"""Name in the schema of any setting -> its schema."""


def build_space_schema() -> Schema:
    """Build the JSON schema of a space file. A space is of one kind of search: the sections are not told apart."""
    job = build_job_schema()
    settings: Schema = {}
    for section in SECTION_BY_KIND.values():
        settings |= _list_searchable(job, job["properties"][section], f"{section}.")
    return {
        "$schema": DIALECT,
        "title": "A search space for ganaug",
        "type": "object",
        "additionalProperties": False,
        "required": ["space"],
        "properties": {
            "about": {"type": "string", "description": "What is searched, in a sentence."},
            "space": {
                "type": "object",
                "description": "Keys of the job, each with a distribution.",
                "minProperties": 1,
                "additionalProperties": False,
                "properties": settings,
            },
        },
        "$defs": SHARED_PARTS | {"LaterRate": job["$defs"]["LaterRate"]},
    }


def _list_searchable(job: Schema, node: Schema, prefix: str) -> Schema:
    """Map the dotted key of each setting below a section to the schema of its distribution."""
    section = job["$defs"][node["$ref"].rpartition("/")[2]]
    schemas: Schema = {}
    for name, setting in section["properties"].items():
        if name in UNSEARCHABLE_FIELDS:
            continue
        if "$ref" in setting:
            schemas |= _list_searchable(job, setting, f"{prefix}{name}.")
        else:
            schemas[f"{prefix}{name}"] = _build_distribution(setting)
    return schemas


def _build_distribution(setting: Schema) -> Schema:
    values = {key: value for key, value in setting.items() if key not in ("default", "description")}
    choice = {"type": "array", "minItems": 1, "uniqueItems": True, "items": values}
    shared = {name: {"$ref": f"#/$defs/{name}"} for name in SHARED_PARTS}
    return {
        "type": "object",
        "description": setting["description"],
        "additionalProperties": False,
        "properties": {"choice": choice, **shared},
        "oneOf": [{"required": [name]} for name in DISTRIBUTIONS],
    }
