"""Fills the templates: `write_report` for one run, `write_comparison` for several.

Pages load nothing: style and script are inlined, pictures are ``data:`` addresses, and a Content-Security-Policy allows
exactly these, so that markup that came in with the data could do nothing even if it were not escaped (it is: autoescape
is on, and `assets/report.js` writes text only).
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import ner_module
from ner_module.extras.analysis.analysis import Analysis
from ner_module.extras.analysis.tables import (
    confusion_table,
    outcomes_table,
    part_table,
    reliability_table,
    types_table,
)
from ner_module.extras.report import comparison, figure
from ner_module.extras.report.comparison import flatten
from ner_module.extras.report.errors_data import errors_json
from ner_module.extras.report.run import RunContents, Split, read_run
from ner_module.files import write_atomically
from ner_module.tables import Column, Table, count, score
from ner_module.training.results import EPOCH_COLUMNS

_HERE = Path(__file__).parent

_SECTIONS = {
    "results": "Results",
    "curves": "Learning curves",
    "types": "Entity types",
    "generalisation": "Seen and unseen",
    "calibration": "Calibration",
    "errors": "Errors",
    "data": "Data",
    "speed": "Speed and memory",
    "setup": "Configuration",
    "reproduce": "Reproduce",
}

_NEED_PREDICTIONS = ("generalisation", "calibration", "errors")

_SCORES = {
    "f1": "F1 (micro)",
    "interval": "95 % interval of F1",
    "precision": "Precision",
    "recall": "Recall",
    "f1_macro": "F1, macro average over types",
    "f1_weighted": "F1, weighted by support",
    "accuracy": "Word accuracy",
    "loss": "Loss",
    "f1_partial": "F1, overlap counts half (SemEval partial)",
    "f1_type": "F1, right type and some word (SemEval type)",
    "f1_boundary": "F1, boundaries only (SemEval exact)",
    "f1_seen": "F1 on entities seen in training",
    "f1_unseen": "F1 on entities not seen in training",
    "calibration_error": "Expected calibration error",
}

_THROUGHPUT = {
    "sentences_per_second": ("Sentences per second", "{:,.0f}"),
    "subwords_per_second": ("Subword tokens per second", "{:,.0f}"),
    "padding": ("Padding, of all tokens computed", "{:.0%}"),
    "attention_padding": ("Padding, within attention", "{:.0%}"),
    "step_ms": ("A batch", "{:,.1f} ms"),
    "data_ms": ("– its data", "{:,.1f} ms"),
    "forward_ms": ("– forward", "{:,.1f} ms"),
    "backward_ms": ("– backward", "{:,.1f} ms"),
    "optimizer_ms": ("– optimiser", "{:,.1f} ms"),
    "gflops_per_second": ("Computed", "{:,.0f} GFLOP/s"),
    "matmul_gflops_per_second": ("This machine's matrix products", "{:,.0f} GFLOP/s"),
    "utilization": ("Share of that", "{:.0%}"),
    "peak_memory_mb": ("Peak memory", "{:,.0f} MB"),
}
"""Keys of ``results.json["throughput"]``: what they mean, and how they are written."""


def write_report(
    run_dir: Path, output: Path | None = None, split: Split | None = None, analysis: Analysis | None = None
) -> Path:
    """Write the report of a run, and its plots as PNG beside it.

    Args:
        run_dir: the run directory.
        output: the HTML file; ``RUN/report.html`` by default.
        split: whose predictions to show; by default the test data's, else the validation data's.
        analysis: of its predictions, where it has been made already.

    Returns:
        The HTML file.

    Raises:
        UserError: the directory holds no run, or a damaged one.
    """
    run = read_run(run_dir, split, analysis)
    path = output or run_dir / "report.html"
    write_atomically(path, _render("report.html", **_view(run)))
    figure.write_figure(run, path.with_suffix(".png"))
    return path


def write_comparison(run_dirs: Sequence[Path], output: Path, split: Split | None = None) -> Path:
    """Write a page that compares runs; the first one is what the others are tested against.

    Raises:
        UserError: a directory holds no run, or a damaged one.
    """
    runs = [read_run(run_dir, split) for run_dir in run_dirs]
    write_atomically(output, _render("comparison.html", **comparison.view(runs)))
    return output


def _view(run: RunContents) -> dict[str, Any]:
    """The values of `templates/report.html`."""
    analysis = run.analysis
    calibration = figure.calibration(run)
    view: dict[str, Any] = {
        "sections": [(key, name) for key, name in _SECTIONS.items() if analysis or key not in _NEED_PREDICTIONS],
        "run": run,
        "facts": _facts(run),
        "headline": _headline(run),
        "health": run.results.get("health"),
        "scores": _scores_table(run),
        "epochs": _epochs_table(run),
        "curves": [(title, figure.as_data_uri(draw)) for title, draw in figure.curves(run).items()],
        "types": types_table(analysis) if analysis else _types_without_predictions(run),
        "types_chart": figure.as_data_uri(draw) if (draw := figure.types(run)) else None,
        "analysis": analysis,
        "errors_total": 0,
        "data": _data_table(run),
        "audit": _audit_table(run),
        "throughput": throughput_table(run.results.get("throughput") or {}),
        "environment": _environment_table(run),
        "commands": _commands(run),
    }
    if analysis is not None:
        view["outcomes"], view["confusion"] = outcomes_table(analysis), confusion_table(analysis, 16)
        for name, title, parts in (
            ("by_training", "Entities seen in training or not", analysis.by_training),
            ("by_frequency", "Entities by occurrences in training", analysis.by_frequency),
            ("by_length", "Entities by length in words", analysis.by_length),
        ):
            view[name] = part_table(title, parts) if parts and any(map(any, parts.values())) else None
        view["calibration"] = reliability_table(analysis) if calibration else None
        view["calibration_chart"] = figure.as_data_uri(calibration) if calibration else None
        view["errors"], view["errors_shown"], view["errors_total"] = errors_json(analysis)
    return view


@cache
def _environment() -> Environment:
    loader = FileSystemLoader(_HERE / "templates")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )


def _render(template: str, **view: Any) -> str:
    style, script = ((_HERE / "assets" / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        _environment()
        .get_template(template)
        .render(
            **view,
            style=Markup(style),
            script=Markup(script),
            style_hash=Markup(f"'sha256-{hashes[0]}'"),
            script_hash=Markup(f"'sha256-{hashes[1]}'"),
            version=ner_module.__version__,
            written=datetime.now().strftime("%Y-%m-%d %H:%M"),
        )
    )


# ---------------------------------------------------------------------- what the page shows


def _headline(run: RunContents) -> dict[str, Any] | None:
    split = run.split or ("test" if run.scores("test") else "validation")
    scores = run.scores(split)
    if not scores:
        return None
    f1 = scores.get("f1")
    parts = [
        f"{name} {score(scores[key])}"
        for key, name in {"precision": "precision", "recall": "recall", "accuracy": "word accuracy"}.items()
        if key in scores
    ]
    best = run.best_epoch
    if best is not None:
        parts.append(f"best epoch {best.get('epoch', 0):g} of {run.epochs[-1].get('epoch', 0):g}")
    steps = run.epochs[-1].get("step", 0) if run.epochs else 0
    return {
        "split": split,
        "f1": "–" if f1 is None else score(f1),
        "interval": f"{scores['f1_low']:.4f} to {scores['f1_high']:.4f}" if "f1_low" in scores else None,
        "rest": " · ".join(parts),
        "zero": f"The training had {steps:,.0f} steps." if f1 == 0 and steps else "",
        "is_zero": f1 == 0,
    }


def _facts(run: RunContents) -> list[tuple[str, str]]:
    files = run.option("data.train_file")
    facts = {
        "Model": run.option("model.model_name_or_path"),
        "Training data": run.option("data.dataset_name") or (", ".join(files) if isinstance(files, list) else files),
        "Learning rate": run.option("model.learning_rate"),
        "Batch size": run.option("data.batch_size"),
        "Seed": run.option("seed_everything"),
        "Steps": f"{run.epochs[-1].get('step', 0):,.0f}" if run.epochs else None,
    }
    return [(name, f"{value:g}" if isinstance(value, float) else str(value)) for name, value in facts.items() if value]


def _epochs_table(run: RunContents) -> Table | None:
    if not run.epochs:
        return None
    best = run.best_epoch
    rows = [["best" if row is best else "", *(row.get(key) for _, key in EPOCH_COLUMNS)] for row in run.epochs]
    columns = [Column(""), *(column for column, _ in EPOCH_COLUMNS)]
    emphasised = frozenset(index for index, row in enumerate(run.epochs) if row is best)
    return Table("Training results on validation data", columns, rows, emphasised)


def _scores_table(run: RunContents) -> Table | None:
    """All overall scores, one column for each split that was scored."""
    splits = {split: dict(run.scores(split)) for split in ("validation", "test") if run.scores(split)}
    for scores in splits.values():
        if "f1_low" in scores:
            scores["interval"] = f"{scores['f1_low']:.4f} to {scores['f1_high']:.4f}"  # type: ignore[assignment]
    rows = [
        (name, *(scores.get(key) for scores in splits.values()))
        for key, name in _SCORES.items()
        if any(key in scores for scores in splits.values())
    ]
    columns = [Column(""), *(Column(f"{split.capitalize()} data", score) for split in splits)]
    return Table("Scores (entities by the conlleval rules)", columns, rows, frozenset({0})) if splits else None


def _types_without_predictions(run: RunContents) -> Table | None:
    """Scores of each type in the best epoch."""
    scores = run.scores("validation")
    names = sorted(key.removeprefix("f1/") for key in scores if key.startswith("f1/"))
    keys = ("precision", "recall", "f1", "support")
    rows = [(name, *(scores.get(f"{key}/{name}") for key in keys)) for name in names]
    columns = [Column("type"), Column("precision", score), Column("recall", score), Column("F1", score)]
    note = "Intervals need predictions: run validate or test."
    caption = "Entity types on validation data, best epoch"
    return Table(caption, [*columns, Column("gold", count)], rows, note=note) if rows else None


def _data_table(run: RunContents) -> Table | None:
    splits = (run.results.get("environment") or {}).get("data") or {}
    rows = [
        (name, split.get("sentences"), *(", ".join(map(str, split.get(key, []))) for key in ("sources", "sha256")))
        for name, split in splits.items()
    ]
    columns = [Column("Split"), Column("Sentences", count), Column("Source"), Column("SHA-256")]
    return Table("Data this run was trained on", columns, rows) if rows else None


def _audit_table(run: RunContents) -> Table | None:
    rows = []
    for finding in (run.audit or {}).get("findings", []):
        example = finding.get("example") or {}
        place = f"{example.get('file')}:{example.get('line')}" if example else None
        rows.append((*(finding.get(key) for key in ("severity", "count", "message")), place, finding.get("advice")))
    columns = [Column("Severity"), Column("Count", count), Column("Finding"), Column("First case"), Column("Advice")]
    return Table("Findings of the data audit", columns, rows) if rows else None


def throughput_table(numbers: Mapping[str, Any]) -> Table | None:
    """Speed and memory in words with units; what has no words is shown by its key."""
    known = [name for name in _THROUGHPUT if name in numbers]
    rows = [(_THROUGHPUT[name][0], _THROUGHPUT[name][1].format(numbers[name])) for name in known]
    rows += [(name, _text(value)) for name, value in numbers.items() if name not in known]
    return Table("Throughput and memory", [Column(""), Column("Value")], rows) if rows else None


def _environment_table(run: RunContents) -> Table | None:
    environment = run.results.get("environment") or {}
    shown = {name: value for name, value in environment.items() if name not in ("data", "command")}
    rows = [(name, _text(value)) for name, value in flatten(shown).items()]
    return Table("Environment of the training", [Column(""), Column("Value")], rows) if rows else None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _commands(run: RunContents) -> list[tuple[str, str]]:
    where = shlex.quote(str(run.run_dir))
    environment = run.results.get("environment") or {}
    found = []
    if environment.get("command"):
        found.append(("The command that made this run:", str(environment["command"])))
    if run.config_text:
        command = f"python -m ner_module fit --config {shlex.quote(str(run.run_dir / 'config.yaml'))}"
        found.append(("The same training again, from its saved configuration:", command))
    for name in ("validate", "test"):
        command = f"python -m ner_module {name} --run_dir {where} --ckpt_path best"
        found.append((f"The {'validation' if name == 'validate' else name} scores again:", command))
    found.append(("This page again:", f"python -m ner_module report {where}"))
    return found
