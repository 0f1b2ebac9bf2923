"""The page with the Prometheus metrics that the server adds to those of Ray Serve."""

from __future__ import annotations

from page_parts import build_table, escape_text

from ganaug_ray.serve.metrics import ServeMetrics

INTRODUCTION = """# Metrics

Prometheus metrics of a server, at the address that `ganaug serve` prints. Ray Serve adds its own, of requests and
their latency. Ray exports a counter under its name with `_total` at the end.
"""


def build_page() -> str:
    """Return the page as Markdown."""
    rows = []
    for metric in vars(ServeMetrics()).values():
        info = metric.info
        tags = ", ".join(f"`{tag}`" for tag in info["tag_keys"])
        bounds = ", ".join(f"{bound:g}" for bound in info.get("boundaries", []))
        kind = type(metric).__name__.lower()
        rows.append((f"`{info['name']}`", kind, escape_text(info["description"]), tags, bounds))
    return INTRODUCTION + "\n" + build_table(["Metric", "Kind", "What it says", "Labels", "Bounds"], rows)
