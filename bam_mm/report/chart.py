"""Charts as SVG that takes its colours from the page's stylesheet, light or dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

Points = Sequence[Sequence[float]]
"""The (x, y) points of a line."""

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 38
MAX_MARKED_POINTS = 40
"""A line with more points than this has no mark on each point."""

MAX_OPEN_LEGEND = 8
"""A legend with more names than this is folded."""

COLOURS, WEIGHTS = 6, 4
"""Numbers of styles in the stylesheet: colours ``.s0`` to ``.s5``, weights ``.w0`` to ``.w3``."""

Place = Callable[[float, float], tuple[float, float]]
"""A function from the values of a point to its place in the drawing."""


def drawable(series: Mapping[str, Points], *, log: bool = False) -> dict[str, list[list[float]]]:
    """Keep the points that can be drawn, and the lines that have any.

    Args:
        series: Points of each line by name.
        log: Whether the horizontal axis is logarithmic, which excludes x <= 0.
    """
    lines = {
        name: [[x, y] for x, y in points if math.isfinite(y) and (x > 0 or not log)]
        for name, points in series.items()
    }
    return {name: points for name, points in lines.items() if points}


def line_chart(
    series: Mapping[str, Points],
    *,
    x_label: str,
    y_label: str,
    log: bool = False,
    order: Sequence[str] = (),
) -> str:
    """Draw lines.

    Args:
        series: Points of each line by name.
        x_label: Label of the horizontal axis.
        y_label: Label of the vertical axis, and the title of the chart.
        log: Whether the horizontal axis is logarithmic.
        order: Names of all lines of the page, which keep one colour per name across charts.

    Returns:
        A ``<figure>`` with the SVG and a legend; an empty string if there is nothing to draw.
    """
    transform = math.log10 if log else float
    lines = {
        name: [(transform(x), y) for x, y in points]
        for name, points in drawable(series, log=log).items()
    }
    if not lines:
        return ""
    place, parts = _axes(
        [x for points in lines.values() for x, _ in points],
        [y for points in lines.values() for _, y in points],
        x_label,
        log=log,
    )
    styles = {name: _style(name, order, lines) for name in lines}
    for name, points in lines.items():
        spots = [place(x, y) for x, y in points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
        parts.append(
            f'<path class="line {styles[name]}" d="M{path}"><title>{escape(name)}</title></path>'
        )
        if len(spots) <= MAX_MARKED_POINTS:
            parts += [
                f'<circle class="{styles[name]}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>'
                for x, y in spots
            ]
    summary = "; ".join(_summary(name, points, log) for name, points in lines.items())
    description = escape(f"{y_label} over {x_label}. {summary}", quote=True)
    legend = "".join(
        f'<li><svg class="key" viewBox="0 0 22 8" aria-hidden="true"><path class="line '
        f'{styles[name]}" d="M1 4H21"/></svg>{escape(name)}</li>'
        for name in lines
    )
    return _figure(y_label, description, parts, legend, len(lines))


def scatter_chart(
    points: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    y_label: str,
    log: bool = False,
    order: Sequence[str] = (),
) -> str:
    """Draw one numbered point for each name, and the interval of y where it is known.

    Args:
        points: (x, y), or (x, y, low, high) with the ends of the interval, by name.
        x_label: Label of the horizontal axis.
        y_label: Label of the vertical axis, and the title of the chart.
        log: Whether the horizontal axis is logarithmic.
        order: Names of all points of the page, which keep one number and colour across charts.

    Returns:
        A ``<figure>`` with the SVG and a legend; an empty string if there is nothing to draw.
    """
    transform = math.log10 if log else float
    spots = {
        name: [transform(values[0]), *values[1:]]
        for name, values in points.items()
        if all(map(math.isfinite, values)) and (values[0] > 0 or not log)
    }
    if not spots:
        return ""
    xs = [values[0] for values in spots.values()]
    ys = [y for values in spots.values() for y in values[1:]]
    place, parts = _axes(xs, ys, x_label, log=log)
    names = list(order) if all(name in order for name in spots) else list(spots)
    legend = []
    for name, (x, y, *ends) in spots.items():
        style, number = _style(name, order, spots), names.index(name) + 1
        left, top = place(x, y)
        text = f"{name}: {y:.4g} at {10**x if log else x:.4g}"
        mark = f'<circle class="{style}" cx="{left:.1f}" cy="{top:.1f}" r="4"/>'
        if ends:
            text += f", interval {ends[0]:.4g} to {ends[1]:.4g}"
            low, high = (place(x, end)[1] for end in ends)
            mark += f'<path class="line {style} whole" d="M{left:.1f} {low:.1f}V{high:.1f}"/>'
        side, anchor = (-6, "end") if left > WIDTH - RIGHT - 20 else (6, "start")
        mark += (
            f'<text class="number" x="{left + side:.1f}" y="{top + 4:.1f}" '
            f'text-anchor="{anchor}">{number}</text>'
        )
        parts.append(f"<g><title>{escape(text)}</title>{mark}</g>")
        legend.append(
            f'<li><svg class="key dot" viewBox="0 0 8 8" aria-hidden="true"><circle '
            f'class="{style}" cx="4" cy="4" r="4"/></svg>{number} {escape(name)}</li>'
        )
    described = "; ".join(
        f"{name}: {y:.4g} at {10**x if log else x:.4g}" for name, (x, y, *_) in spots.items()
    )
    description = escape(f"{y_label} against {x_label}. {described}", quote=True)
    return _figure(y_label, description, parts, "".join(legend), len(spots))


def _axes(
    xs: Sequence[float], ys: Sequence[float], x_label: str, *, log: bool
) -> tuple[Place, list[str]]:
    """Return where the values of a chart are, and its grid with numbers and the label of x."""
    x_ticks = _log_ticks(min(xs), max(xs)) if log else ticks(min(xs), max(xs))
    y_ticks = ticks(min(ys), max(ys))
    x_range = _range(xs, [] if log else x_ticks)
    y_range = _range(ys, y_ticks)

    def place(x: float, y: float) -> tuple[float, float]:
        inner = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return (
            LEFT + inner[0] * (x - x_range[0]) / (x_range[1] - x_range[0]),
            TOP + inner[1] * (1 - (y - y_range[0]) / (y_range[1] - y_range[0])),
        )

    parts = []
    for tick in y_ticks:
        y = place(x_range[0], tick)[1]
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    for tick in x_ticks:
        x = place(tick, y_range[0])[0]
        number = f"{10**tick:.4g}" if log else f"{tick:.4g}"
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{number}</text>'
        )
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(
        f'<text x="{middle:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return place, parts


def _figure(title: str, description: str, parts: Sequence[str], entries: str, number: int) -> str:
    legend = f'<ul class="legend">{entries}</ul>'
    if number > MAX_OPEN_LEGEND:
        legend = f"<details><summary>{number} names</summary>{legend}</details>"
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{description}">'
        f"{''.join(parts)}</svg>{legend}</figure>"
    )


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return about ``most`` round numbers, from at most ``low`` to at least ``high``."""
    if high <= low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / (most - 1)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Logarithms of round numbers between ``low`` and ``high``, which are logarithms too."""
    factors = (1, 2, 5) if high - low < 2.5 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    every = [n + math.log10(factor) for n in powers for factor in factors]
    marks = [mark for mark in every if low - 1e-9 <= mark <= high + 1e-9]
    while len(marks) > 7:
        marks = marks[::2]
    return marks if len(marks) > 1 else sorted({low, high})


def _range(values: Sequence[float], marks: Sequence[float]) -> tuple[float, float]:
    low, high = min([*values, *marks]), max([*values, *marks])
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _style(name: str, order: Sequence[str], others: Mapping[str, object]) -> str:
    number = (list(order) if name in order else list(others)).index(name)
    return f"s{number % COLOURS} w{number // COLOURS % WEIGHTS}"


def _summary(name: str, points: Points, log: bool) -> str:
    (x0, y0), (x1, y1) = points[0], points[-1]
    x0, x1 = (10**x0, 10**x1) if log else (x0, x1)
    return f"{name}: from {y0:.4g} at {x0:.4g} to {y1:.4g} at {x1:.4g}"
