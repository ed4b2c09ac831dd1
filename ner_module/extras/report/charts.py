"""Plots as inline SVG: plain strings whose colours, fonts and themes come from `assets/report.css`.

Series differ by dash and marker as well as by colour. Each plot says in words what it shows (``<title>``), and its
numbers stand in a table beside it. Drawn 340 units wide, so that text keeps its size on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 340, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 38


@dataclass(frozen=True)
class Series:
    """A line: its name and its points, in order of x; points that are not finite are left out."""

    name: str
    points: Sequence[tuple[float, float]]
    marked: int | None = None
    """Index of a point to be ringed: the best epoch."""

    @property
    def finite(self) -> list[tuple[float, float]]:
        """The points that can be drawn."""
        return [(x, y) for x, y in self.points if math.isfinite(x) and math.isfinite(y)]


def line_chart(
    title: str, series: Sequence[Series], x_label: str, y_limits: tuple[float, float] | None = None
) -> Markup | None:
    """Lines over a common x axis with a legend below.

    Args:
        title: what is shown; read out by screen readers.
        series: up to six lines.
        x_label: what x counts.
        y_limits: the y axis; fitted to the data, and reaching 0, when not given.

    Returns:
        The SVG; ``None`` where no point can be drawn.
    """
    drawn = [one for one in series if one.finite]
    if not drawn:
        return None
    xs = [x for one in drawn for x, _ in one.finite]
    ys = [y for one in drawn for _, y in one.finite]
    x_ticks = _ticks(min(0.0, *xs), max(xs), 6, whole=True)
    y_ticks = _ticks(*(y_limits or (min(0.0, *ys), max(ys))), 5)
    rows = -(-len(drawn) // 3) if len(drawn) > 1 else 0  # the caption names a single line
    plot = _Plot(x_ticks, y_ticks, HEIGHT + 18 * rows)
    parts = [plot.frame(x_label)]
    for number, one in enumerate(drawn):
        places = [plot.place(x, y) for x, y in one.finite]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(Markup('<path class="line s{}" d="{}"/>').format(number % 6, path))
        if len(places) <= 25:
            parts += [_marker(number, x, y) for x, y in places]
        if one.marked is not None:
            x, y = one.points[one.marked]
            if math.isfinite(y):
                parts.append(Markup('<circle class="ring" cx="{:.1f}" cy="{:.1f}" r="6.5"/>').format(*plot.place(x, y)))
        if not rows:
            break
        left, top = 44 + number % 3 * 98, HEIGHT + 10 + number // 3 * 18
        parts.append(Markup('<path class="line s{}" d="M{} {}h20"/>').format(number % 6, left, top))
        parts.append(_marker(number, left + 10, top))
        parts.append(_text(left + 25, top + 4, _shortened(one.name, 12)))
    return plot.wrap(title, parts)


def reliability_chart(title: str, bins: Sequence[tuple[float, float, int]]) -> Markup | None:
    """Precision over confidence: a dot per bin, its area by number, and the diagonal where both agree.

    Args:
        title: what is shown.
        bins: mean confidence, precision and number of predictions of each bin that has any.
    """
    if not bins:
        return None
    plot = _Plot(_ticks(0, 1, 5), _ticks(0, 1, 5), HEIGHT)
    (x0, y0), (x1, y1) = plot.place(0, 0), plot.place(1, 1)
    parts = [
        plot.frame("mean confidence", "precision"),
        Markup('<path class="diagonal" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(x0, y0, x1, y1),
    ]
    most = max(number for _, _, number in bins)
    for confidence, precision, number in bins:
        x, y = plot.place(confidence, precision)
        parts.append(
            Markup('<path class="gap" d="M{0:.1f} {1:.1f}V{2:.1f}"/>').format(x, y, plot.place(0, confidence)[1])
        )
        radius = 2.5 + 6 * math.sqrt(number / most)
        parts.append(Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(x, y, radius))
    return plot.wrap(title, parts)


def interval_bar(value: float, low: float | None = None, high: float | None = None) -> Markup:
    """A score between 0 and 1 as a dot on a line, with its interval; for a table's cell that also holds the number."""
    width, height = 150, 14

    def at(score: float) -> float:
        return 4 + (width - 8) * min(max(score, 0.0), 1.0)

    parts = [Markup('<path class="track" d="M4 7H{}M4 4v6M{} 4v6M{} 4v6"/>').format(width - 4, width // 2, width - 4)]
    if low is not None and high is not None:
        parts.append(Markup('<path class="interval" d="M{:.1f} 7H{:.1f}"/>').format(at(low), at(high)))
    parts.append(Markup('<circle class="dot" cx="{:.1f}" cy="7" r="3.5"/>').format(at(value)))
    return Markup(
        '<svg class="bar" viewBox="0 0 {0} {1}" width="{0}" height="{1}" aria-hidden="true">{2}</svg>'
    ).format(width, height, Markup().join(parts))


class _Plot:
    """Axes from ticks: places of values, and the frame."""

    def __init__(self, x_ticks: Sequence[float], y_ticks: Sequence[float], height: int) -> None:
        self.x_ticks, self.y_ticks, self.height = x_ticks, y_ticks, height

    def place(self, x: float, y: float) -> tuple[float, float]:
        x_share = (x - self.x_ticks[0]) / (self.x_ticks[-1] - self.x_ticks[0])
        y_share = (y - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0])
        return (
            _LEFT + x_share * (WIDTH - _LEFT - _RIGHT),
            HEIGHT - _BOTTOM - y_share * (HEIGHT - _TOP - _BOTTOM),
        )

    def frame(self, x_label: str, y_label: str = "") -> Markup:
        parts = []
        for tick in self.y_ticks:
            x, y = self.place(self.x_ticks[0], tick)
            parts.append(Markup('<path class="grid" d="M{:.1f} {:.1f}H{}"/>').format(x, y, WIDTH - _RIGHT))
            parts.append(_text(x - 6, y + 4, _number(tick, self.y_ticks), "end"))
        for tick in self.x_ticks:
            x, y = self.place(tick, self.y_ticks[0])
            parts.append(Markup('<path class="tick" d="M{:.1f} {:.1f}v4"/>').format(x, y))
            parts.append(_text(x, y + 17, _number(tick, self.x_ticks), "middle"))
        parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 4, x_label, "middle"))
        if y_label:
            parts.append(_text(_LEFT + 6, _TOP + 10, y_label))
        return Markup().join(parts)

    def wrap(self, title: str, parts: Sequence[Markup]) -> Markup:
        return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
            WIDTH, self.height, title, Markup().join(parts)
        )


def _marker(number: int, x: float, y: float) -> Markup:
    """The series' own shape: disc, square, triangle, in turn."""
    shape = number % 3
    if shape == 0:
        return Markup('<circle class="mark s{}" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(number % 6, x, y)
    outline = "M{:.1f} {:.1f}h5v5h-5z" if shape == 1 else "M{:.1f} {:.1f}l6 0l-3 -5.5z"
    start = (x - 2.5, y - 2.5) if shape == 1 else (x - 3, y + 2.5)
    return Markup('<path class="mark s{}" d="{}"/>').format(number % 6, outline.format(*start))


def _text(x: float, y: float, text: str, anchor: str = "start") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, escape(text))


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _ticks(low: float, high: float, count: int, *, whole: bool = False) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``.

    >>> _ticks(0, 0.87, 5), _ticks(0, 3, 5, whole=True), _ticks(2, 2, 5)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 1.0, 2.0, 3.0], [2.0, 2.2, 2.4, 2.6, 2.8, 3.0])
    """
    if high - low < 1e-300:
        high = low + 1
    magnitude = 10 ** math.floor(math.log10((high - low) / count))
    steps = [magnitude * factor for factor in (1, 2, 2.5, 5, 10)]
    step = next(step for step in steps if (high - low) / step <= count)
    step = max(math.ceil(step), 1) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.10g}") for number in range(first, last + 1)]


def _number(tick: float, ticks: Sequence[float]) -> str:
    """A tick's label with as many decimals as the axis needs.

    >>> _number(0.5, [0, 0.5, 1]), _number(3000.0, [0, 3000.0]), _number(5e-05, [0, 5e-05])
    ('0.5', '3,000', '5e-05')
    """
    if tick == 0:
        return "0"
    if max(map(abs, ticks)) < 0.001:
        return f"{tick:.2g}"
    if all(float(one).is_integer() for one in ticks):
        return f"{tick:,.0f}"
    return f"{tick:.10g}" if max(map(abs, ticks)) >= 0.001 else f"{tick:.1e}"
