"""Jinja's environment: every value is escaped; filters for numbers and times; URLs of static files.

Knows templates; knows no tenant and no request.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from components.console.charts import draw_lane, draw_sparkline

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
_QUOTED = re.compile("`([^`]+)`")
_MOMENT = re.compile(r"(\b\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:\d\d))")


@cache
def open_templates() -> Environment:
    """Return the environment of all templates."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["draw_lane"] = draw_lane
    environment.filters |= {
        "code": mark_code,
        "count": format_count,
        "score": format_score,
        "share": format_share,
        "ms": format_ms,
        "time": mark_time,
        "day": format_day,
        "number_text": format_number_text,
        "pretty": format_pretty,
        "series": make_series,
        "to_json": write_json,
        "sparkline": draw_sparkline,
    }
    return environment


def make_asset_url(root: str) -> Callable[[str], str]:
    """Return a function from a static file to its URL, which changes with its content."""
    return lambda name: f"{root}/static/{name}?v={_digest(name)}"


@cache
def _digest(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def write_json(value: Any) -> Markup:
    """Return JSON that may stand inside a `script` element: `<` and `&` are escaped."""
    from jinja2.utils import htmlsafe_json_dumps

    return htmlsafe_json_dumps(value)


def mark_code(text: str) -> Markup:
    """Return escaped text; a part in backquotes becomes a `code` element, and a moment in ISO 8601 a `time` element."""
    parts = enumerate(_QUOTED.split(text))
    return Markup().join(
        Markup("<code>{}</code>").format(part) if index % 2 else _mark_moments(part) for index, part in parts
    )


def _mark_moments(text: str) -> Markup:
    parts = enumerate(_MOMENT.split(text))
    return Markup().join(mark_time(part) if index % 2 else part for index, part in parts)


def format_count(value: float | None) -> str:
    """Return a whole number with separators; a dash for None."""
    return "–" if value is None else f"{value:,.0f}"


def format_score(value: float | None) -> str:
    """Return points with one decimal; a dash for None."""
    return "–" if value is None else f"{value:.1f}"


def format_share(value: float | None) -> str:
    """Return a share as a percentage; a dash for None."""
    if value is None:
        return "–"
    return "0 %" if value == 0 else f"{100 * value:.1f} %" if value < 0.1 else f"{100 * value:.0f} %"


def format_ms(value: float | None) -> str:
    """Return milliseconds, or seconds from 10 s on; a dash for None."""
    if value is None:
        return "–"
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.0f} s"


def format_number_text(text: str | None) -> str:
    """Return a number that is stored as text with one decimal; a dash for anything else."""
    try:
        return format_score(float(text or ""))
    except ValueError:
        return "–"


def format_day(seconds: float) -> str:
    """Return the day in UTC of a moment in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%a %Y-%m-%d")


def format_pretty(value: Any) -> str:
    """Return a value as indented JSON, for people."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def make_series(curves: Mapping[str, Sequence[tuple[int, float]]]) -> list[dict[str, Any]]:
    """Return curves as the macro `chart` wants them; training losses are dashed."""
    return [
        {"label": name.replace("_", " "), "points": [list(point) for point in points], "dashed": "train" in name}
        for name, points in curves.items()
    ]


def mark_time(at: str | float | None, style: str = "full") -> Markup:
    """Return a `time` element: UTC, which console.js turns into the reader's zone; a dash for "", 0 and None.

    `at` is ISO 8601 or seconds since 1970. `style`: full, or age ("3 days ago").
    """
    if not at:
        return Markup("–")
    try:
        moment = datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else datetime.fromisoformat(at)
    except ValueError:
        return Markup("{}").format(at)
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Markup('<time datetime="{}" data-style="{}">{} UTC</time>').format(
        moment.isoformat(timespec="seconds"), style, moment.strftime("%Y-%m-%d %H:%M")
    )
