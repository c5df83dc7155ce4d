"""Small pictures as SVG inside a page. Pure: numbers in, markup out."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH, _HEIGHT, _MARGIN = 64, 18, 2
_LANE_WIDTH, _LANE_HEIGHT, _BAR_HEIGHT, _LEAST_BAR = 1000, 26, 16, 3


@dataclass(frozen=True, slots=True)
class Bar:
    """A period in a lane of a time line; times are in seconds."""

    label: str
    began_s: float
    ended_s: float
    color: str = ""
    """Class of the style sheet; "": the usual colour."""


def draw_lane(bars: Sequence[Bar], began_s: float, ended_s: float, label: str) -> Markup:
    """Return one lane of a time line from `began_s` to `ended_s`, which every lane of the same picture shares."""
    scale = _LANE_WIDTH / ((ended_s - began_s) or 1)
    rectangles = Markup().join(
        Markup('<rect x="{}" y="{}" width="{}" height="{}" rx="3" class="{}"><title>{}</title></rect>').format(
            round(scale * (bar.began_s - began_s), 1),
            (_LANE_HEIGHT - _BAR_HEIGHT) / 2,
            max(_LEAST_BAR, round(scale * (bar.ended_s - bar.began_s), 1)),
            _BAR_HEIGHT,
            bar.color,
            bar.label,
        )
        for bar in bars
    )
    return Markup(
        '<svg class="lane" viewBox="0 0 {w} {h}" preserveAspectRatio="none" role="img" aria-label="{label}">{bars}'
        "</svg>"
    ).format(w=_LANE_WIDTH, h=_LANE_HEIGHT, label=label, bars=rectangles)


def draw_sparkline(values: Sequence[float], label: str) -> Markup:
    """Return a line over `values`, oldest first, with a dot at the last; nothing for fewer than two."""
    if len(values) < 2:
        return Markup()
    low, high = min(values), max(values)
    across, up = (_WIDTH - 2 * _MARGIN) / (len(values) - 1), (_HEIGHT - 2 * _MARGIN) / ((high - low) or 1)
    points = [
        (round(_MARGIN + across * index, 1), round(_HEIGHT - _MARGIN - up * (value - low), 1))
        for index, value in enumerate(values)
    ]
    text = f"{label}: {', '.join(f'{value:.1f}' for value in values)}"
    line = " ".join(f"{x},{y}" for x, y in points)
    return Markup(
        '<svg class="spark" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img" aria-label="{text}">'
        '<polyline points="{line}"/><circle cx="{x}" cy="{y}" r="2"/></svg>'
    ).format(w=_WIDTH, h=_HEIGHT, text=text, line=line, x=points[-1][0], y=points[-1][1])
