"""The templates of the pages; skeleton and style are shared with the dataset card."""

import base64
import functools
import hashlib
import importlib.resources
import re
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ganaug_ray.report import search_scales

NO_BREAK_SPACE = "\u00a0"


def render_template(name: str, **values: Any) -> str:
    """Render a template to the HTML of a page."""
    script = _read_script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = _build_environment().get_template(name)
    return template.render(script=Markup(script), script_hash=f"sha256-{digest}", **values)


@functools.cache
def _read_script() -> str:
    """The one script that the report may run; its hash in the page's policy keeps every other from running."""
    return (importlib.resources.files("ganaug_ray") / "report/page/report.js").read_text(encoding="utf-8")


@functools.cache  # it keeps the templates that it has compiled
def _build_environment() -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("ganaug_ray", f"{folder}/page") for folder in ("report", "data/card")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=lambda share: f"{100 * share:.1f}",
        points=format_points,
        minus=write_minus,
        duration=lambda seconds: format_duration(seconds).replace(" ", NO_BREAK_SPACE),
        cost=lambda hours_by_unit: format_cost(hours_by_unit).replace(" ", NO_BREAK_SPACE),
        setting=search_scales.format_setting,
        add_costs=add_costs,
        code=mark_code,
        list_headings=list_headings,
        breakable=lambda arm: Markup(escape(arm).replace("+", Markup("+<wbr>"))),
    )
    return environment


def write_minus(text: str) -> str:
    """Write the sign of negative numbers as a minus; hyphens stay.

    >>> write_minus("pseudo-labelled: -0.5")
    'pseudo-labelled: −0.5'
    """
    return re.sub(r"-(?=\d)", "−", text)


def mark_code(text: str) -> Markup:
    """Turn what is in backticks into code, of which no word is broken where there is room for it on a line.

    >>> mark_code("`ganaug run` < you")
    Markup('<code><span>ganaug</span> <span>run</span></code> &lt; you')
    """
    return Markup(re.sub("`([^`]+)`", _mark_command, str(escape(text))))


def _mark_command(command: re.Match[str]) -> str:
    return f"<code>{' '.join(f'<span>{word}</span>' for word in command[1].split(' '))}</code>"


def list_headings(html: str) -> list[tuple[str, Markup]]:
    """Return anchor and text of each heading of the second level that has an anchor, as the list of contents.

    >>> list_headings('<h2 id="arms">The arms</h2><h2>Other</h2>')
    [('arms', Markup('The arms'))]
    """
    return [(anchor, Markup(title)) for anchor, title in re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', html)]


def format_cost(hours_by_unit: Mapping[str, float]) -> str:
    """Format hours of processor cores and of GPUs; a dash where none are known.

    >>> format_cost({"cores": 1.5}), format_cost({"gpus": 0.0123}), format_cost({})
    ('1.5 core-hours', '0.012 GPU-hours', '–')
    """
    names = {"cores": "core-hours", "gpus": "GPU-hours"}
    parts = [f"{format_hours(hours)} {names[unit]}" for unit, hours in sorted(hours_by_unit.items())]
    return " + ".join(parts) or "–"


def format_hours(hours: float) -> str:
    """Format a number of hours, the more digits the fewer there are.

    >>> [format_hours(hours) for hours in (0.0001, 0.0123, 1.234, 98.7, 1234.5)]
    ['< 0.001', '0.012', '1.2', '99', '1,234']
    """
    if hours < 0.001:
        return "< 0.001"
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def add_costs(costs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Add up hours by unit.

    >>> add_costs([{"cores": 1.0}, {"cores": 0.5, "gpus": 2.0}, {}])
    {'cores': 1.5, 'gpus': 2.0}
    """
    total: dict[str, float] = {}
    for cost in costs:
        for unit, hours in cost.items():
            total[unit] = total.get(unit, 0.0) + hours
    return total


def format_points(share: float) -> str:
    """Format a difference of shares in percentage points.

    >>> [format_points(share) for share in (0.0123, -0.0123, -0.0001)]
    ['+1.2', '−1.2', '0.0']
    """
    rounded = round(100 * share, 1)
    return f"{rounded:+.1f}".replace("-", "−") if rounded else "0.0"


def format_duration(seconds: float) -> str:
    """Format seconds in the two largest units.

    >>> [format_duration(s) for s in (0.123, 59.9, 61, 7320)]
    ['0.1 s', '59.9 s', '1 min 1 s', '2 h 2 min']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    parts = [(round(seconds) // 3600, "h"), (round(seconds) // 60 % 60, "min"), (round(seconds) % 60, "s")]
    first = next(i for i, (value, _) in enumerate(parts) if value)
    return " ".join(f"{value} {unit}" for value, unit in parts[first : first + 2])
