"""Fills the templates: `write_report` for one run, `write_comparison` for several.

Pages load nothing: style and script are inlined, pictures are ``data:`` addresses, and a Content-Security-Policy allows
exactly these, so that markup that came in with the data could do nothing even if it were not escaped (it is: autoescape
is on, and `assets/report.js` writes text only).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from lightning.pytorch import Callback
from markupsafe import Markup, escape

import ner_module
from ner_module.extras.after_run import AfterRun, RunContents, read_run
from ner_module.extras.analysis import tables
from ner_module.extras.analysis.analysis import Analysis, analyse
from ner_module.extras.analysis.tables import analysis_of
from ner_module.extras.report import comparison, figure
from ner_module.files import check_output, write_atomically
from ner_module.tables import Column, Table, count, interval, score
from ner_module.tagging import LabelSet
from ner_module.training.results import types_table

_HERE = Path(__file__).parent

MOST_ERRORS = 20_000
"""More would make the page heavy; the rest is in the JSONL file, and the page says so."""
_CONTEXT = 40
"""Words shown on either side of an error in a long sentence."""
_UNITS = {"step_ms": "ms per step", "peak_memory_mb": "peak memory (MB)"}


def write(options: argparse.Namespace) -> int:
    """``python -m ner_module report RUN [RUN …]``: write the page and print its path; returns the exit code.

    Raises:
        UserError: a directory holds no run, or a damaged one.
    """
    first, *others = options.runs
    output = options.output or (Path("comparison.html") if others else first / "report.html")
    check_output(output, _is_report)
    if others:
        write_comparison(options.runs, output, options.split)
    else:
        write_report(first, output, options.split)
    print(f"Report: {output}")
    return 0


def _is_report(path: Path) -> bool:
    """Whether a file is a page of this program, of any version."""
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(4096)
    return 'content="ner-module report"' in head or "NER report</title>" in head


def callbacks(run: Any) -> list[Callback]:
    """``RUN/report.html``: written after ``fit``, ``validate`` and ``test``."""
    if run.command == "predict":
        return []
    return [AfterRun(run.run_dir, "report", lambda trainer: write_report(run.run_dir, analysis=analysis_of(trainer)))]


def write_report(
    run_dir: Path, output: Path | None = None, split: str | None = None, analysis: Analysis | None = None
) -> Path:
    """Write the report of a run; returns the HTML file.

    Args:
        run_dir: the run directory.
        output: the HTML file; ``RUN/report.html`` by default.
        split: whose predictions to show; by default the test data's, else the validation data's.
        analysis: of its predictions, where it has been made already.

    Raises:
        UserError: the directory holds no run, or a damaged one.
    """
    run = read_run(run_dir)
    analysis = analysis or _analyse(run_dir, split)
    path = output or run_dir / "report.html"
    write_atomically(path, _render("report.html", **_view(run, analysis)))
    return path


def write_comparison(run_dirs: Sequence[Path], output: Path, split: str | None = None) -> None:
    """Write a page that compares runs; the first one is what the others are tested against."""
    runs = [read_run(run_dir) for run_dir in run_dirs]
    analyses = [_analyse(run_dir, split) for run_dir in run_dirs]
    write_atomically(output, _render("comparison.html", **comparison.view(runs, analyses)))


def _analyse(run_dir: Path, split: str | None) -> Analysis | None:
    present = (name for name in ("test", "validation") if (run_dir / "predictions" / f"{name}.jsonl").is_file())
    chosen = split or next(present, None)
    return analyse(run_dir, chosen) if chosen else None


def _render(template: str, **view: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.filters |= {"score": score, "count": count, "interval": interval, "quote": shlex.quote, "wrap": _wrap}
    for name in ("css", "js"):
        text = (_HERE / "assets" / f"report.{name}").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        view |= {name: Markup(text), f"{name}_hash": Markup(f"'sha256-{digest}'")}
    written = datetime.now().strftime("%Y-%m-%d %H:%M")
    return environment.get_template(template).render(**view, version=ner_module.__version__, written=written)


def _wrap(text: str) -> Markup:
    """Text in which paths may be wrapped after each slash."""
    return escape(text).replace("/", Markup("/<wbr>"))


def _view(run: RunContents, analysis: Analysis | None) -> dict[str, Any]:
    """The values of `templates/report.html`."""
    environment = run.results.get("environment") or {}
    split = analysis.split if analysis else run.scored_split
    types = None
    if analysis is not None:
        types = tables.types_table(analysis)
    elif scores := run.scores("validation"):
        types = types_table(scores, "", LabelSet.from_fields(run.results), "Entity types on validation data")
    about = {name: value for name, value in environment.items() if name not in ("data", "command")}
    return {
        "run": run,
        "analysis": analysis,
        "tables": tables,
        "split": split,
        "headline": run.scores(split),
        "still_rising": len(run.epochs) > 1 and run.best_epoch is run.epochs[-1],
        "command_line": environment.get("command"),
        "curves": list(figure.curves(run).items()),
        "types": types,
        "types_chart": figure.types(run, analysis),
        "calibration_chart": figure.calibration(analysis),
        "scores": comparison.scores_table({"": run}),
        "data": _data_table(environment.get("data") or {}),
        "audit": _audit_table(run),
        "throughput": _numbers_table("Throughput and memory", run.results.get("throughput") or {}),
        "settings": _numbers_table("Environment of the training", about),
        "errors": errors_by_text(analysis) if analysis else [],
        "errors_shown": min(len(analysis.errors), MOST_ERRORS) if analysis else 0,
    }


def errors_by_text(analysis: Analysis) -> list[dict[str, Any]]:
    """The first errors for the page: a sentence once, however many it has; of a long one the words around each.

    A text is ``{"s": sentence number, "f": "file:line" or null, "w": words, "a": words left out before, "z": words left
    out after, "e": errors}``, and an error is ``{"c": class, "g": [start, end, type] or null, "p": [start, end, type,
    score or null] or null}``; places are within the text.
    """
    texts: dict[tuple[int, int, int], dict[str, Any]] = {}
    for record in analysis.errors[:MOST_ERRORS]:
        number, tokens, gold, predicted = (record[key] for key in ("sentence", "tokens", "gold", "predicted"))
        first, last = 0, len(tokens)
        if len(tokens) > 2 * _CONTEXT:
            first = max(min(entity["start"] for entity in (gold, predicted) if entity) - _CONTEXT, 0)
            last = min(max(entity["end"] for entity in (gold, predicted) if entity) + _CONTEXT, len(tokens))
        text = {"s": number, "f": analysis.sentences[number - 1].place, "w": tokens[first:last]}
        g, p = (e and [e["start"] - first, e["end"] - first, e["type"]] for e in (gold, predicted))
        errors = texts.setdefault((number, first, last), text | {"a": first, "z": len(tokens) - last, "e": []})["e"]
        errors.append({"c": record["error"], "g": g, "p": p and [*p, predicted.get("score")]})
    return list(texts.values())


def _data_table(splits: Mapping[str, Any]) -> Table:
    rows = [
        (name, split.get("sentences"), *(", ".join(map(str, split.get(key, []))) for key in ("sources", "sha256")))
        for name, split in splits.items()
    ]
    columns = [Column("Split"), Column("Sentences", count), Column("Source"), Column("SHA-256")]
    return Table("Data this run was trained on", columns, rows)


def _audit_table(run: RunContents) -> Table:
    rows = []
    for finding in run.audit.get("findings", []):
        example = finding.get("example") or {}
        place = f"{example.get('file')}:{example.get('line')}" if example else None
        rows.append((*map(finding.get, ("severity", "count", "message")), place, finding.get("advice")))
    columns = [Column("Severity"), Column("Count", count), Column("Finding"), Column("First case"), Column("Advice")]
    return Table("Findings of the data audit", columns, rows)


def _numbers_table(title: str, values: Mapping[str, Any]) -> Table:
    """Names and values, numbers with four digits, ``seconds`` as people say them."""

    def text(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
        return f"{value:,}" if type(value) is int else str(value)

    rows = [
        ("time", _duration(value)) if name == "seconds" else (_UNITS.get(name, name.replace("_", " ")), text(value))
        for name, value in comparison.flatten(values).items()
    ]
    return Table(title, [Column(""), Column("Value")], rows)


def _duration(seconds: float) -> str:
    """Two units at most.

    >>> _duration(42.4), _duration(2551), _duration(100_000)
    ('42 s', '42 min 31 s', '27 h 46 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
