"""Writes a job as YAML for people: a section a block, a setting a line, and why it is what it is behind it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from ganaug_ray.config import Job
from ganaug_ray.config.examples import format_schema_line
from ganaug_ray.config.job_dump import dump_given_settings
from ganaug_ray.config.relative_paths import shorten_paths

PLAN_KEYS = {"budget_minutes", "visible_gain", "planned_seeds", "planned_splits"}


def format_job(
    job: Job, reasons: Mapping[str, str], remarks: list[str], base: Path, relative: Collection[str] = ()
) -> str:
    """Return the text of a job file with the settings that are set in the job.

    Args:
        job: with its plan, whose splits and seeds are written in place of what it was made for.
        reasons: dotted key -> why it has this value.
        remarks: comments at the top, a line each.
        base: the folder of the file; paths inside it are named from there.
        relative: absolute paths that are named from there as well.
    """
    content = dump_given_settings(job)
    shorten_paths(content, base, relative)
    if len(content["data"]["source"]) == 1:
        (content["data"]["source"],) = content["data"]["source"]
    if content["data"].get("split") == {"given": False}:  # so it is without a word
        del content["data"]["split"]
    if job.compare.planned_seeds:
        compare = {key: value for key, value in content["compare"].items() if key not in PLAN_KEYS}
        content["compare"] = {"splits": job.compare.splits, "seeds": job.compare.seeds} | compare
    lines = [format_schema_line("job"), *(f"# {remark}" for remark in remarks)]
    for section, values in content.items():
        if not isinstance(values, dict) or not values:
            lines.append(_format_line("", section, values, reasons.get(section)))
            continue
        lines.append(f"{section}:")
        lines += [_format_line("  ", key, value, reasons.get(f"{section}.{key}")) for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _format_line(indent: str, key: str, value: Any, reason: str | None) -> str:
    options: dict[str, Any] = {"default_flow_style": True, "allow_unicode": True, "width": 10_000}
    text = yaml.safe_dump({key: value}, **options).strip()[1:-1]
    comment = f"  # {reason}" if reason else ""
    return f"{indent}{text}{comment}"
