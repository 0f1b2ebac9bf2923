"""The page with every setting of a job: its values, its default, and what it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from page_parts import build_table, escape_text

from ganaug_ray.config.schema import Schema, build_job_schema
from ganaug_ray.config.settings import describe_default, describe_values

INTRODUCTION = """# Settings

Every setting that a job file may have. On the command line `--set gan.lr=1e-4` overrides one,
and `ganaug explain gan.lr` explains it in the terminal. *absent* means that the setting need not be given.
"""
USER_NAME = "NAME"  # stands for a name that the user gives


@dataclass
class SettingsPage:
    """Collects the sections of the page; a kind of section that stands at several keys is listed once."""

    schema: Schema
    parts: list[str] = field(default_factory=lambda: [INTRODUCTION])
    keys: dict[str, str] = field(default_factory=dict)  # kind of section -> key that it was listed under

    def add_section(self, key: str, section: Schema) -> None:
        """Add the table of a section, then the sections in it."""
        settings = section["properties"]
        nested = {name: list(_iterate_kinds(node)) for name, node in settings.items()}
        new = [(f"{_join(key, name)}{tail}", kind) for name in settings for tail, kind in nested[name]]
        for inner_key, kind in new:
            self.keys.setdefault(kind, inner_key)
        rows = []
        for name, node in settings.items():
            links = [f"[{self.keys[kind]}](#{self.keys[kind]})" for _, kind in nested[name]]
            rows.append(self._build_row(_join(key, name), node, name in section.get("required", []), links))
        self.parts.append(build_table(["Setting", "Values", "Default", "What it does"], rows))
        for inner_key, kind in new:
            if self.keys[kind] == inner_key:
                self._add_heading(inner_key, self.schema["$defs"][kind])
                self.add_section(inner_key, self.schema["$defs"][kind])

    def _add_heading(self, key: str, section: Schema) -> None:
        level = "#" * (2 + min(key.replace(f".{USER_NAME}", "").count("."), 2))
        self.parts.append(f"{level} `{key}` {{#{key}}}\n\n{escape_text(section.get('description', ''))}\n")

    def _build_row(self, key: str, node: Schema, required: bool, links: list[str]) -> list[str]:
        default = "required" if required else describe_default(node)
        values = escape_text(describe_values(self.schema, node))
        if links:
            values = f"{values}: {', '.join(dict.fromkeys(links))}"
        name = f'<a id="{key}"></a>`{key}`' if not links else f"`{key}`"
        return [name, values, f"`{default}`" if default else "", escape_text(node.get("description", ""))]


def build_page() -> str:
    """Return the page as Markdown."""
    schema = build_job_schema()
    page = SettingsPage(schema)
    page.add_section("", schema)
    return "\n".join(page.parts)


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _iterate_kinds(node: Any, tail: str = "") -> Iterator[tuple[str, str]]:
    """Yield each kind of section that a setting may be, with what a user's own name adds to the key."""
    if "$ref" in node:
        yield tail, node["$ref"].rpartition("/")[2]
    for option in [*node.get("anyOf", []), *([node["items"]] if "items" in node else [])]:
        yield from _iterate_kinds(option, tail)
    for entry in node.get("patternProperties", {}).values():
        yield from _iterate_kinds(entry, f".{USER_NAME}")
