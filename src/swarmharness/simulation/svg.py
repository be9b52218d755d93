"""Draws small charts as SVG text: lines over time, and bars; it knows nothing of simulations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby

WIDTH, HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 30, 36
_ROUND = (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10)
"""Numbers whose quarters are short too."""
COLOURS = ("#1f6feb", "#d1570b", "#2da44e", "#8250df", "#bf3989", "#57606a", "#9a6700", "#0a7ea4")


def line_chart(
    at: Sequence[float], lines: Mapping[str, Sequence[float | None]], *, x_label: str, y_label: str, dots: bool = False
) -> str:
    """Return a chart of several lines over one axis, from 0 upwards; a line is broken where it has None."""
    most_x = max(at, default=1) or 1
    most_y = nice(max((value for values in lines.values() for value in values if value is not None), default=0))
    parts = [_frame(most_y, y_label), _x_axis(most_x, x_label)]
    for colour, values in zip(COLOURS, lines.values(), strict=False):
        places = [
            None if y is None else (f"{_x(x, most_x):.1f}", f"{_y(y, most_y):.1f}")
            for x, y in zip(at, values, strict=True)
        ]
        for drawn, run in groupby(places, key=lambda place: place is not None):
            points = [",".join(place) for place in run if place] if drawn else []
            if len(points) > 1:
                line = " ".join(points)
                parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.6" points="{line}"/>')
            elif points:
                x, _, y = points[0].partition(",")
                parts.append(f'<circle cx="{x}" cy="{y}" r="1.6" fill="{colour}"/>')
        if dots:
            parts += [f'<circle cx="{place[0]}" cy="{place[1]}" r="2.5" fill="{colour}"/>' for place in places if place]
    parts.append(_legend(list(lines)))
    return _document(parts)


def bar_chart(bars: Mapping[str, float], *, y_label: str) -> str:
    """Return a chart of named bars, which may be negative."""
    most = nice(max([abs(value) for value in bars.values()], default=0))
    least = -most if any(value < 0 for value in bars.values()) else 0.0
    parts = [_frame(most, y_label, least)]
    step = (WIDTH - _LEFT - _RIGHT) / max(1, len(bars))
    zero = _y(0, most, least)
    for number, (name, value) in enumerate(bars.items()):
        x, y = _LEFT + step * number + step * 0.15, _y(value, most, least)
        top, height = min(y, zero), abs(zero - y)
        colour = COLOURS[number % len(COLOURS)]
        parts.append(
            f'<rect x="{x:.1f}" y="{top:.1f}" width="{step * 0.7:.1f}" height="{height:.1f}" fill="{colour}"/>'
        )
        label = (
            f'<text x="{x + step * 0.35:.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{escape(name)}</text>'
        )
        parts.append(label)
        parts.append(f'<text x="{x + step * 0.35:.1f}" y="{top - 3:.1f}" text-anchor="middle">{short(value)}</text>')
    return _document(parts)


def nice(value: float) -> float:
    """Return a round number that is at least `value`."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value:
        power /= 10
    return next(
        power * factor for factor in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10) if power * factor >= value * 0.999999
    )


def short(value: float) -> str:
    """Return a number with three digits and a unit prefix."""
    for bound, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= bound:
            return f"{value / bound:.3g}{unit}"
    return f"{value:.3g}"


def _x(value: float, most: float) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * value / most


def _y(value: float, most: float, least: float = 0.0) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (value - least) / (most - least)


def _frame(most: float, label: str, least: float = 0.0) -> str:
    parts = [f'<text x="4" y="12">{escape(label)}</text>']
    for quarter in range(5):
        value = least + (most - least) * quarter / 4
        y = _y(value, most, least)
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(value)}</text>')
    return "".join(parts)


def _x_axis(most: float, label: str) -> str:
    step = most / 12
    power = 10.0 ** math.floor(math.log10(step))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * 0.999999)
    parts = [
        f'<text x="{_x(step * number, most):.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">'
        f"{short(step * number)}</text>"
        for number in range(int(most / step * 1.000001) + 1)
    ]
    parts.append(f'<text x="{WIDTH / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(label)}</text>')
    return "".join(parts)


def _legend(names: Sequence[str]) -> str:
    parts, x = [], _LEFT + 140
    for colour, name in zip(COLOURS, names, strict=False):
        parts.append(f'<rect x="{x}" y="4" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 14}" y="13">{escape(name)}</text>')
        x += 30 + 7 * len(name)
    return "".join(parts)


def _document(parts: Sequence[str]) -> str:
    style = 'font-family="system-ui, sans-serif" font-size="11" fill="#24292f"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" {style}>'
        f"{''.join(parts)}</svg>"
    )
