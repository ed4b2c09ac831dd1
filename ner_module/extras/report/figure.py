"""The plots of the page, each drawn by one function.

Drawn with matplotlib, which brings its own fonts. Lines differ by dash and marker as well as by colour.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ner_module.extras.after_run import RunContents
from ner_module.extras.analysis.analysis import Analysis
from ner_module.tables import interval

_COLOURS = ("#1f5fa8", "#a8440a", "#2a7340", "#86308c", "#6d5a00", "#a81f4f")
_STYLES = ("o-", "s--", "^:")
_INK, _SOFT, _RULE = "#1c1e21", "#565c64", "#dcdcd6"
_MOST_TYPES = 20
_MOST_DOTS = 400

Points = Sequence[tuple[float, float]]
Values = list[tuple[float, float, str]]
"""Points that are worth reading off, and what to say about each."""


class Picture(NamedTuple):
    """A plot for the page: an SVG in a ``data:`` address, which can neither load nor run anything, and its values."""

    uri: str
    dots: Values
    """In percent from the left and from the top of the picture."""


def points(rows: Sequence[Mapping[str, float]], key: str) -> Points:
    """What a metric was at each step."""
    known = [(row["step"], row[key]) for row in rows if "step" in row and row.get(key) is not None]
    return [(step, value) for step, value in known if math.isfinite(value)]


def curves(run: RunContents) -> dict[str, Picture]:
    """Losses and scores by step: title -> plot; curves without a point are left out."""
    rows, logged, best = run.epochs, run.metrics, run.best_epoch
    train_loss = points(logged, "train/loss") or points(rows, "train/loss")
    scores = {name: points(rows, f"val/{name.lower()}") for name in ("F1", "precision", "recall")}
    plots = {
        "Loss": lines({"training": train_loss, "validation": points(rows, "val/loss")}),
        "Validation scores": lines(scores, 1.0, points([best], "val/f1") if best else ()),
        "Learning rate": lines({"rate": points(logged, "lr")}),
        "Gradient norm": lines({"norm, before clipping": points(logged, "train/grad_norm")}),
    }
    return {title: picture for title, picture in plots.items() if picture}


def lines(drawn: Mapping[str, Points], top: float | None = None, ringed: Points = ()) -> Picture | None:
    """Lines over steps; ``None`` where there is no point.

    Args:
        drawn: name -> points.
        top: the end of the y axis, which begins at 0; fitted to the data if not given.
        ringed: points to be ringed: the best epoch.
    """
    if not any(drawn.values()):
        return None

    axes = _axes()
    for number, (name, of_line) in enumerate(drawn.items()):
        if of_line:
            style, colour = _STYLES[number % len(_STYLES)], _COLOURS[number % len(_COLOURS)]
            markers = 4 if len(of_line) <= 25 else 0
            axes.plot(*zip(*of_line, strict=True), style, color=colour, label=name, ms=markers, lw=1.6)
    for point in ringed:
        axes.plot(*point, "o", ms=12, mfc="none", mec=_INK, clip_on=False)
    axes.legend(frameon=False, labelcolor=_INK, fontsize=9)
    axes.set_xlabel("step", color=_SOFT)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(left=0)
    axes.set_ylim(0, top)
    return _picture(
        axes, [(x, y, f"{name} {y:.4g}, step {x:,.0f}") for name, of_line in drawn.items() for x, y in of_line]
    )


def types(run: RunContents, analysis: Analysis | None) -> Picture | None:
    """F1 of the most frequent types, with intervals where there are predictions."""
    if analysis is not None:
        frequent = sorted(analysis.by_type.items(), key=lambda item: -item[1][0].num_gold)[:_MOST_TYPES]
        bars = [(name, f1.value, (f1.low, f1.high)) for name, (_, f1) in sorted(frequent)]
    else:
        scores = run.scores("validation")
        found = [(key.removeprefix("f1/"), value) for key, value in sorted(scores.items()) if key.startswith("f1/")]
        bars = [(name, value, (value, value)) for name, value in found[:_MOST_TYPES]]
    if not bars:
        return None

    axes = _axes()
    for row, (_, f1, ends) in enumerate(bars):
        axes.plot(ends, (row, row), color=_COLOURS[0], alpha=0.45, lw=4, solid_capstyle="butt")
        axes.plot(f1, row, "o", color=_COLOURS[0], ms=6, clip_on=False)
    axes.set_yticks(range(len(bars)), [name for name, *_ in bars], parse_math=False)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    # From where the first interval begins: on an axis from 0 those of a good model are dots.
    axes.set_xlim(max(0.0, math.floor(20 * min(low for _, _, (low, _) in bars) - 1) / 20), 1)
    axes.set_xlabel("F1" + (", line: 95 % interval" if analysis is not None else ""), color=_SOFT)
    return _picture(
        axes, [(f1, row, f"{name} {f1:.4f} ({interval(ends)})") for row, (name, f1, ends) in enumerate(bars)]
    )


def calibration(analysis: Analysis | None) -> Picture | None:
    """Precision over confidence, a dot for each bin."""
    bins = [each for each in (analysis.reliability if analysis else ()) if each.num_predicted]
    if not bins:
        return None

    axes = _axes()
    numbers, confidence, precision = zip(*bins, strict=True)
    axes.plot((0, 1), (0, 1), "--", color=_SOFT, lw=1)
    axes.vlines(confidence, confidence, precision, color=_COLOURS[1], lw=1.2)
    areas = [20 + 120 * number / max(numbers) for number in numbers]
    axes.scatter(confidence, precision, s=areas, color=_COLOURS[0], zorder=3, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_xlabel("mean confidence (dot area: number of predictions)", color=_SOFT)
    return _picture(axes, [(c, p, f"confidence {c:.2f}, precision {p:.2f}, {n:,} predictions") for n, c, p in bins])


def _axes() -> Any:
    axes = Figure(figsize=(4.6, 3.1), layout="constrained").subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_RULE)
    axes.tick_params(colors=_SOFT, labelsize=9)
    axes.grid(axis="both", color=_RULE, lw=0.6)
    axes.set_axisbelow(True)
    return axes


def _picture(axes: Any, values: Values) -> Picture:
    """What was drawn, and its values, in data coordinates."""
    picture, figure = io.BytesIO(), axes.figure
    with mpl.rc_context({"svg.hashsalt": "ner-module"}):
        figure.savefig(picture, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    uri = f"data:image/svg+xml;base64,{base64.b64encode(picture.getvalue()).decode()}"
    shown = values[:: max(1, len(values) // _MOST_DOTS)]
    to_figure = axes.transData + figure.transFigure.inverted()  # as laid out by the drawing
    places = to_figure.transform([(x, y) for x, y, _ in shown])
    dots = [(100 * x, 100 * (1 - y), text) for (x, y), (_, _, text) in zip(places, shown, strict=True)]
    return Picture(uri, [dot for dot in dots if 0 <= dot[1] <= 100])
