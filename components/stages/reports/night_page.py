"""A night's report as one HTML file that needs no other: readable in light and dark, on a phone and on paper.

Every value is escaped. Knows the report; reads nothing but its own template.
"""

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from components.stages.progress import count_nouns
from components.stages.reports.night_report import NEEDS_PERSON, ORDER, NightReport
from components.stages.run_scores import BASE_ALONE
from components.stages.triggers.run_causes import BY_HAND, BY_SCHEDULE

_FOLDER = Path(__file__).parent
_WORDS: Mapping[str, str] = {
    "failed": "failed",
    "rejected": "refused",
    "skipped": "not trained",
    "accepted": "accepted",
    "promoted": "promoted",
    "unchanged": "unchanged",
}


def write_page(report: NightReport) -> str:
    """Return the page."""
    counts = report.counts
    page: str = _open_template().render(
        report=report,
        words=_WORDS,
        style=Markup(_read_style()),  # noqa: S704 - the project's own file
        policy=make_policy(),
        summary=summarize(report),
        bar=_make_bar(counts),
        cause=_describe_trigger(report),
    )
    return page


def summarize(report: NightReport) -> str:
    """Return the run in one sentence."""
    counts, parts = report.counts, []
    waiting = sum(counts[one] for one in NEEDS_PERSON)
    for name, count in counts.items():
        parts += [f"{count:,} {_WORDS[name]}"] if count else []
    told = f"{', '.join(parts)}." if parts else "No tenant had anything to do."
    needed = f"{count_nouns(waiting, 'tenant needs', 'tenants need')} a person"
    who = needed if waiting else "Nobody is needed"
    return f"{who}: {told}" if parts else told


@cache
def make_policy() -> str:
    """Return the page's content security policy: its own style and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_read_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def _read_style() -> str:
    return (_FOLDER / "night.css").read_text(encoding="utf-8")


@cache
def _open_template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": lambda value: "–" if value is None else f"{value:.1f}",
        "time": _format_time,
        "duration": _format_duration,
        "compared": _describe_comparison,
    }
    return environment.get_template("night.html")


def _describe_comparison(name: str) -> str:
    if not name:
        return "–"
    return "the base alone" if name == BASE_ALONE else f"champion {name}"


def _describe_trigger(report: NightReport) -> str:
    run = report.run
    words = {BY_HAND: f"{run.by} started it.", BY_SCHEDULE: "The schedule started it."}
    return words.get(run.trigger, f"It was started by: {run.trigger}.")


def _make_bar(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the parts of a bar of 100 units, without unchanged tenants; each part has about half a unit or more."""
    sizes = {name: counts[name] for name in ORDER if counts[name]}
    widths = {name: max(0.5, 100 * size / sum(sizes.values())) for name, size in sizes.items()}
    parts, x = [], 0.0
    for name, width in widths.items():
        own = 100 * width / sum(widths.values())
        parts.append({"result": name, "x": f"{x:.3f}", "width": f"{own:.3f}"})
        x += own
    return parts


def _format_time(at: str) -> str:
    try:
        return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return at


def _format_duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.1f} s" if seconds < 10 else f"{seconds:,.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60:,} h {minutes % 60:02d} min"
