"""The metrics that Grafana's dashboard in cluster/ asks Prometheus for."""

from __future__ import annotations

import json
import re

from tests.conftest import ROOT


def list_dashboard_metrics() -> set[str]:
    """Return the names in the queries of all panels and variables."""
    dashboard = json.loads((ROOT / "cluster" / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable]
    return set(re.findall(r"\bray_\w+", " ".join(queries)))
