"""Panels and dashboards, and how Grafana's JSON says them. Knows Grafana's format; does not know a metric."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS, _HEIGHT, _STAT_HEIGHT = 24, 8, 4


@dataclass(frozen=True)
class Panel:
    """One picture: `queries` are pairs of a legend and a query; `kind` is one of Grafana's."""

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    text: str = ""
    bad_above: float | None = None
    """A stat turns red from here."""


@dataclass(frozen=True)
class Dashboard:
    """One page; its name is the name of its file."""

    name: str
    title: str
    panels: Sequence[Panel]
    by_tenant: bool = False
    """Whether the page has a choice of tenants, as the variable $tenant."""


def write_dashboard(dashboard: Dashboard) -> str:
    """Return a dashboard's JSON, which Grafana imports or reads from a folder."""
    page = {
        "uid": f"prefixfleet-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["prefixfleet"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-7d" if dashboard.name == "night" else "now-6h", "to": "now"},
        "templating": {"list": list(_make_variables(dashboard))},
        "panels": list(_place(dashboard.panels)),
    }
    return json.dumps(page, indent=2) + "\n"


def _make_variables(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}
    if dashboard.by_tenant:
        yield {
            "name": "tenant",
            "label": "Tenant",
            "type": "query",
            "datasource": _DATASOURCE,
            "query": {"query": "label_values(prefixfleet_requests_total, tenant)", "refId": "tenants"},
            "includeAll": True,
            "allValue": ".+",
            "multi": True,
            "refresh": 2,
            "current": {"text": "All", "value": "$__all"},
        }


def _place(panels: Sequence[Panel]) -> Iterator[dict[str, Any]]:
    """Yield the panels in rows from left to right."""
    x = y = height = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > _COLUMNS:
            x, y = 0, y + height
        height = _STAT_HEIGHT if panel.kind == "stat" else _HEIGHT
        yield _draw(number, panel, {"x": x, "y": y, "w": panel.width, "h": height})
        x += panel.width


def _draw(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bad_above is not None:
        steps.append({"color": "red", "value": panel.bad_above})
    targets = [
        {"refId": chr(ord("A") + index), "datasource": _DATASOURCE, "expr": query, "legendFormat": legend}
        for index, (legend, query) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "targets": targets,
    }
