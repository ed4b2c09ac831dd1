"""``report.png``: the report's plots as one picture, for slides, chats and papers.

Drawn with matplotlib, which brings its own fonts: turning the page's SVG into pixels would need those of the machine,
and a container has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ner_module.extras.report.contents import RunContents
from ner_module.extras.report.tables import calibration_bins

_COLOURS = ("#1f5fa8", "#a8440a", "#2a7340")
_STYLES = ("o-", "s--", "^:")
_INK, _SOFT, _RULE = "#1c1e21", "#565c64", "#dcdcd6"
_MOST_TYPES = 20


def write_figure(run: RunContents, path: Path) -> None:
    """Draw loss, validation scores, F1 by type with intervals, and calibration; what is missing says so."""
    types = _types(run)
    figure = Figure(figsize=(10, 5.2 + 0.22 * max(len(types), 6)), layout="constrained")
    axes: Any = figure.subplots(2, 2)
    figure.suptitle(run.name, x=0.01, ha="left", fontsize=13, color=_INK, parse_math=False)
    best = run.best_epoch
    losses = {
        "training": _points(run.metrics, "train/loss") or _points(run.epochs, "train/loss"),
        "validation": _points(run.epochs, "val/loss"),
    }
    _lines(axes[0, 0], "Loss", losses)
    names = {"F1": "val/f1", "precision": "val/precision", "recall": "val/recall"}
    _lines(axes[0, 1], "Validation scores", {name: _points(run.epochs, key) for name, key in names.items()})
    axes[0, 1].set_ylim(0, 1)
    if best is not None and "val/f1" in best:
        axes[0, 1].plot(best["step"], best["val/f1"], "o", ms=12, mfc="none", mec=_INK, clip_on=False)
    _type_bars(axes[1, 0], f"F1 by type, {run.split or 'validation'} data", types)
    _calibration(axes[1, 1], run)
    scratch = path.with_name(f".{path.name}.tmp")
    figure.savefig(scratch, dpi=110, format="png", metadata={"Software": None})
    scratch.replace(path)


def _points(rows: Sequence[dict[str, float]], key: str) -> list[tuple[float, float]]:
    return [(row["step"], row[key]) for row in rows if "step" in row and math.isfinite(row.get(key, math.nan))]


def _types(run: RunContents) -> Sequence[tuple[str, float, float | None, float | None]]:
    """Name, F1 and the ends of its interval, the most frequent types only."""
    if run.analysis is not None:
        frequent = sorted(run.analysis.by_type.items(), key=lambda item: -item[1][0].num_gold)[:_MOST_TYPES]
        return [(name, scores.f1, interval.low, interval.high) for name, (scores, interval) in sorted(frequent)]
    scores = run.scores("validation") or {}
    return [
        (key.removeprefix("val/f1/"), value, None, None)
        for key, value in sorted(scores.items())
        if key.startswith("val/f1/")
    ][:_MOST_TYPES]


def _lines(axes: Any, title: str, lines: dict[str, list[tuple[float, float]]]) -> None:
    _dress(axes, title)
    drawn = False
    for (name, points), colour, style in zip(lines.items(), _COLOURS, _STYLES, strict=False):
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, style, color=colour, label=name, ms=4 if len(points) <= 25 else 0, lw=1.6)
            drawn = True
    if drawn:
        axes.legend(frameon=False, labelcolor=_INK, fontsize=9)
        axes.set_xlabel("step", color=_SOFT)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
    else:
        _say(axes, "nothing was logged")


def _type_bars(axes: Any, title: str, types: Sequence[tuple[str, float, float | None, float | None]]) -> None:
    _dress(axes, title)
    if not types:
        _say(axes, "no scores by type")
        return
    for row, (_, f1, low, high) in enumerate(types):
        if low is not None and high is not None:
            axes.plot((low, high), (row, row), color=_COLOURS[0], alpha=0.45, lw=4, solid_capstyle="butt")
        axes.plot(f1, row, "o", color=_COLOURS[0], ms=6, clip_on=False)
    axes.set_yticks(range(len(types)), [name for name, *_ in types], parse_math=False)
    axes.set_ylim(len(types) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("F1" + (", line: 95 % interval" if types[0][2] is not None else ""), color=_SOFT)


def _calibration(axes: Any, run: RunContents) -> None:
    _dress(axes, "Precision over confidence")
    bins = calibration_bins(run.analysis) if run.analysis is not None else []
    if not bins:
        _say(axes, "needs predicted entities:\nrun validate or test" if run.analysis is None else "no entity predicted")
        return
    most = max(number for _, _, number in bins)
    axes.plot((0, 1), (0, 1), "--", color=_SOFT, lw=1)
    confidence, precision, numbers = zip(*bins, strict=True)
    axes.vlines(confidence, confidence, precision, color=_COLOURS[1], lw=1.2)
    axes.scatter(
        confidence, precision, s=[20 + 120 * n / most for n in numbers], color=_COLOURS[0], zorder=3, clip_on=False
    )
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_xlabel("mean confidence; a dot's area is the number of predictions", color=_SOFT)


def _dress(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=_INK, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_RULE)
    axes.tick_params(colors=_SOFT, labelsize=9)
    axes.grid(axis="both", color=_RULE, lw=0.6)
    axes.set_axisbelow(True)


def _say(axes: Any, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=_SOFT)
    axes.set_xticks([])
    axes.set_yticks([])
