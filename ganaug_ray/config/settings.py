"""Explains a setting of a job, or all settings of a section: description, type, range and default."""

from __future__ import annotations

import difflib
import textwrap
from typing import Any

import yaml

from ganaug_ray.config.schema import Schema, build_job_schema
from ganaug_ray.errors import UserError

LINE_WIDTH = 100  # characters
TYPE_NAMES = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text"}


def explain_setting(key: str) -> str:
    """Explain a setting by its dotted key, a section with all that is in it, or, of an empty key, a whole job.

    Raises:
        UserError: a job has no such setting.
    """
    schema = build_job_schema()
    required: list[str] = schema["required"]
    node: Schema = schema
    walked: list[str] = []
    for part in key.split(".") if key else []:
        section = _find_section(schema, node)
        settings = section.get("properties", {})
        if "patternProperties" in section:  # the user's own names, which may be left out of the key
            (entry,) = section["patternProperties"].values()
            entry_settings = _resolve(schema, entry).get("properties", {})
            node = entry_settings.get(part, entry)
            required = []
        elif part in settings:
            node = settings[part]
            required = section.get("required", [])
        else:
            raise UserError(_describe_unknown(".".join(walked), part, list(settings)))
        walked.append(part)
    heading = [f"{key}: {describe_type(schema, node, walked[-1] in required)}"] if key else []
    text = node.get("description", "")
    return "\n".join([*heading, *textwrap.wrap(text, LINE_WIDTH), *_list_settings(schema, node)])


def describe_type(schema: Schema, node: Schema, required: bool = False) -> str:
    """Say what a setting may be and what it is by default.

    Args:
        schema: of a job.
        node: of the setting.
        required: whether a job must have it.
    """
    kind = describe_values(schema, node)
    if required:
        return f"{kind}; required"
    default = describe_default(node)
    return f"{kind}; default {default}" if default else kind


def describe_default(node: Schema) -> str:
    """Say what a setting is by default, in YAML; empty where it is a section, or depends on others."""
    if "default" not in node:
        return "empty" if node.get("type") == "array" else ""
    default = node["default"]
    if isinstance(default, dict):
        return ""
    return "absent" if default is None else _format_value(default)


def describe_values(schema: Schema, node: Schema) -> str:
    """Say which values a setting may have, such as ``whole number, 4 to 512``."""
    if "anyOf" in node:
        words_first = sorted(node["anyOf"], key=lambda option: "const" not in option and "enum" not in option)
        options = [describe_values(schema, option) for option in words_first if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(options))
    if "const" in node:
        return _format_value(node["const"])
    if "enum" in node:
        values = [_format_value(value) for value in node["enum"]]
        return f"one of {', '.join(values)}"
    if "$ref" in node or "patternProperties" in node or node.get("type") == "object":
        return "a section"
    if node.get("type") == "array":
        return f"a list, each {describe_values(schema, node['items'])}"
    limits = _describe_range(node)
    name = TYPE_NAMES[node["type"]]
    return f"{name}, {limits}" if limits else name


def _describe_range(node: Schema) -> str:
    low = node.get("minimum", node.get("exclusiveMinimum"))
    high = node.get("maximum", node.get("exclusiveMaximum"))
    above = "more than " if "exclusiveMinimum" in node else ""
    below = "less than " if "exclusiveMaximum" in node else ""
    if low is None:
        return "" if high is None else f"{below or 'at most '}{high:g}"
    if high is None:
        return f"{above}{low:g}" if above else f"{low:g} or more"
    if above or below:
        return f"{above or 'at least '}{low:g} and {below or 'at most '}{high:g}"
    return f"{low:g} to {high:g}"


def _format_value(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n...\n").strip()


def _resolve(schema: Schema, node: Schema) -> Schema:
    """Return what a node refers to, or the node itself."""
    name = node.get("$ref", "").rpartition("/")[2]
    return schema["$defs"][name] if name else node


def _find_section(schema: Schema, node: Schema) -> Schema:
    """Return the schema with the settings of a node; an empty one where it has none."""
    for option in [node, *node.get("anyOf", [])]:
        section = _resolve(schema, option)
        if "properties" in section or "patternProperties" in section:
            return section
        if "items" in option:
            return _find_section(schema, option["items"])
    return {}


def _list_settings(schema: Schema, node: Schema) -> list[str]:
    section = _find_section(schema, node)
    if "patternProperties" in section:
        (entry,) = section["patternProperties"].values()
        section = _resolve(schema, entry)
    lines = []
    for name, setting in section.get("properties", {}).items():
        required = name in section.get("required", [])
        lines += ["", f"{name}: {describe_type(schema, setting, required)}"]
        text = setting.get("description", "")
        lines += textwrap.wrap(text, LINE_WIDTH, initial_indent="    ", subsequent_indent="    ")
    return lines


def _describe_unknown(section: str, part: str, known: list[str]) -> str:
    where = f"{section}: " if section else ""
    if not known:
        return f"{section}: has no settings of its own"
    close = difflib.get_close_matches(part, known, n=1)
    if close:
        return f"{where}unknown setting {part}; did you mean {close[0]}?"
    return f"{where}unknown setting {part}; expected one of {', '.join(known)}"
