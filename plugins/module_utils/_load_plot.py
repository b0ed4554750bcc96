# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Line charts as SVG text, without scripts or anything to load. Pure. PRIVATE to the collection."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 46
# Distinguishable for colour-blind readers: Okabe and Ito, 2008.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
# A second line style, so that a printed page in grey still tells the lines apart.
_DASHES = ("none", "7 3", "2 3", "9 3 2 3", "12 4", "4 4", "1 4")


@dataclass(frozen=True)
class Series:
    """A line. `points` are (x, y); `labels`, where given, say what a point is."""

    name: str
    points: list[tuple[float, float]]
    labels: list[str] | None = None


def line_chart(series: list[Series], x_label: str, y_label: str, log_x: bool = False) -> str:
    """An <svg> with axes from zero (or logarithmic), a legend, and a tooltip for each point; "" if there is nothing to see."""
    series = [line for line in series if line.points]
    if not series:
        return ""
    xs = [x for line in series for x, _y in line.points]
    ys = [y for line in series for _x, y in line.points]
    if log_x:
        xs = [max(x, 1e-6) for x in xs]
        low_x, high_x = min(xs), max(xs) if max(xs) > min(xs) else min(xs) * 10
        x_ticks = _log_ticks(low_x, high_x)
    else:
        low_x = 0.0
        x_ticks = _ticks(max(xs))
        high_x = max(x_ticks[-1], *xs)
    y_ticks = _ticks(max(ys))
    high_y = y_ticks[-1]

    def place_x(x: float) -> float:
        if log_x:
            share = (math.log(max(x, low_x)) - math.log(low_x)) / (math.log(high_x) - math.log(low_x))
        else:
            share = (x - low_x) / (high_x - low_x)
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def place_y(y: float) -> float:
        return round(HEIGHT - _BOTTOM - y / high_y * (HEIGHT - _TOP - _BOTTOM), 1)

    legend_rows = -(-len(series) // 3)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 20 * legend_rows}" role="img" '
        f'aria-label="{escape(y_label)} over {escape(x_label)}" xmlns="http://www.w3.org/2000/svg">'
    ]
    for tick in y_ticks:
        y = place_y(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        x = place_x(tick)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    parts.append(
        f'<text class="label" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_label)}</text>'
    )
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text class="label" x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(y_label)}</text>'
    )
    for number, line in enumerate(series):
        colour, dash = COLOURS[number % len(COLOURS)], _DASHES[number % len(_DASHES)]
        path = " ".join(f"{place_x(x)},{place_y(y)}" for x, y in line.points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
        )
        if len(line.points) <= 60:
            for position, (x, y) in enumerate(line.points):
                label = line.labels[position] if line.labels else f"{x:g}"
                parts.append(
                    f'<circle cx="{place_x(x)}" cy="{place_y(y)}" r="3" fill="{colour}">'
                    f"<title>{escape(line.name)}: {y:g} at {escape(label)}</title></circle>"
                )
        left, top = _LEFT + (number % 3) * 190, HEIGHT + 12 + 20 * (number // 3)
        parts.append(
            f'<line x1="{left}" x2="{left + 24}" y1="{top - 4}" y2="{top - 4}" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dash}"/><text class="tick" x="{left + 30}" y="{top}">{escape(line.name)}</text>'
        )
    return "".join(parts) + "</svg>"


def _ticks(highest: float) -> list[float]:
    """Round numbers from 0 to at least `highest`."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    return [round(step * number, 10) for number in range(math.ceil(highest / step - 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    found = [
        factor * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for factor in (1, 2, 5)
    ]
    inside = [round(tick, 10) for tick in found if low <= tick <= high]
    return inside if len(inside) <= 10 else [tick for tick in inside if f"{tick:e}"[0] == "1"]
