"""Fills the templates: `write_report` for one run, `write_comparison` for several.

Pages load nothing: style and script are inlined, and a Content-Security-Policy allows exactly these two by their hash,
so that markup that came in with the data could do nothing even if it were not escaped (it is: autoescape is on, and
`assets/report.js` writes text only).
"""

from __future__ import annotations

import base64
import hashlib
import math
import shlex
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import ner_module
from ner_module.extras.report import comparison, tables
from ner_module.extras.report.charts import Series, line_chart, reliability_chart
from ner_module.extras.report.contents import PREFIX_OF, RunContents, Split, read_run
from ner_module.extras.report.errors_data import errors_json
from ner_module.extras.report.figure import write_figure

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


def write_report(run_dir: Path, output: Path | None = None, split: Split | None = None) -> Path:
    """Write the report of a run, and its plots as PNG beside it.

    Args:
        run_dir: the run directory.
        output: the HTML file; ``RUN/report.html`` by default.
        split: whose predictions to show; by default the test data's, else the validation data's.

    Returns:
        The HTML file.

    Raises:
        RunError: the directory holds no run, or a damaged one.
    """
    run = read_run(run_dir, split)
    path = output or run_dir / "report.html"
    _write(path, render_report(run))
    write_figure(run, path.with_suffix(".png"))
    return path


def write_comparison(run_dirs: Sequence[Path], output: Path, split: Split | None = None) -> Path:
    """Write a page that compares runs; the first one is what the others are tested against.

    Raises:
        RunError: a directory holds no run, or a damaged one.
    """
    runs = [read_run(run_dir, split) for run_dir in run_dirs]
    _write(output, _render("comparison.html", **comparison.view(runs)))
    return output


def render_report(run: RunContents) -> str:
    """The page as text."""
    analysis = run.analysis
    environment = run.results.get("environment")
    view: dict[str, Any] = {
        "sections": [(key, name) for key, name in _SECTIONS.items() if analysis or key not in _NEED_PREDICTIONS],
        "run": run,
        "facts": _facts(run),
        "headline": _headline(run),
        "health": run.results.get("health"),
        "scores": tables.scores_table(run),
        "epochs": tables.epochs_table(run),
        "curves": _curves(run),
        "types": tables.types_table(run),
        "analysis": analysis,
        "errors_total": 0,
        "data": _data_table(environment),
        "audit": tables.audit_table(run.audit) if run.audit else None,
        "throughput": tables.throughput_table(run.results.get("throughput") or {}),
        "environment": _environment_table(environment),
        "commands": _commands(run),
    }
    if analysis is not None:
        data, shown, total = errors_json(analysis)
        unseen_note = "An entity is seen if the training data has exactly its words, case included."
        view |= {
            "outcomes": tables.outcomes_table(analysis),
            "confusion": tables.confusion_table(analysis),
            "by_training": tables.part_table("Entities seen in training or not", analysis.by_training, unseen_note),
            "by_frequency": tables.part_table("By occurrences in training", analysis.by_frequency),
            "by_length": tables.part_table("By length in words", analysis.by_length),
            "calibration": tables.calibration_table(analysis),
            "calibration_chart": reliability_chart(
                "Precision of predicted entities by their confidence", tables.calibration_bins(analysis)
            ),
            "errors": data,
            "errors_shown": shown,
            "errors_total": total,
        }
    return _render("report.html", **view)


@cache
def _environment() -> Environment:
    loader = FileSystemLoader(_HERE / "templates")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )


def _render(template: str, **view: Any) -> str:
    style, script = ((_HERE / "assets" / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return (
        _environment()
        .get_template(template)
        .render(
            **view,
            style=Markup(style),
            script=Markup(script),
            style_hash=_csp_hash(style),
            script_hash=_csp_hash(script),
            version=ner_module.__version__,
            written=datetime.now().strftime("%Y-%m-%d %H:%M"),
        )
    )


def _csp_hash(text: str) -> Markup:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(f"'sha256-{digest}'")


def _write(path: Path, text: str) -> None:
    """Write the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(text, encoding="utf-8", newline="\n", errors="replace")
    scratch.replace(path)


def _headline(run: RunContents) -> dict[str, Any] | None:
    split = run.split or ("test" if run.scores("test") else "validation")
    scores = run.scores(split)
    if scores is None:
        return None
    prefix = PREFIX_OF[split]
    f1 = scores.get(f"{prefix}f1", math.nan)
    low, high = scores.get(f"{prefix}f1_low"), scores.get(f"{prefix}f1_high")
    parts = [
        f"{name} {tables.decimals(scores[prefix + key])}"
        for key, name in {"precision": "precision", "recall": "recall", "accuracy": "word accuracy"}.items()
        if prefix + key in scores
    ]
    best = run.best_epoch
    if best is not None:
        parts.append(f"best epoch {best.get('epoch', 0):g} of {run.epochs[-1].get('epoch', 0):g}")
    zero = ""
    if f1 == 0:
        steps = run.epochs[-1].get("step", 0) if run.epochs else 0
        zero = f"The training had {steps:,.0f} steps." if steps else ""
    return {
        "split": split,
        "f1": tables.decimals(f1),
        "interval": None if low is None or high is None else f"{low:.4f} to {high:.4f}",
        "rest": " · ".join(parts),
        "zero": zero,
    }


def _facts(run: RunContents) -> list[tuple[str, str]]:
    facts = {"Model": run.option("model.model_name_or_path"), "Training data": run.option("data.dataset_name")}
    if not facts["Training data"]:
        files = run.option("data.train_file")
        facts["Training data"] = ", ".join(files) if isinstance(files, list) else files
    facts["Learning rate"] = run.option("model.learning_rate")
    facts["Batch size"] = run.option("data.batch_size")
    facts["Seed"] = run.option("seed_everything")
    if run.epochs:
        facts["Steps"] = f"{run.epochs[-1].get('step', 0):,.0f}"
    return [(name, f"{value:g}" if isinstance(value, float) else str(value)) for name, value in facts.items() if value]


def _curves(run: RunContents) -> list[tuple[str, Markup]]:
    rows, logged = run.epochs, run.metrics
    best = rows.index(run.best_epoch) if run.best_epoch else None

    def by_step(
        key: str, source: Sequence[dict[str, float]], marked: int | None = None
    ) -> Sequence[tuple[float, float]]:
        return [(row["step"], row[key]) for row in source if key in row and "step" in row]

    drawn = {
        "Loss": line_chart(
            "Training and validation loss by step",
            [
                Series("training", by_step("train/loss", logged) or by_step("train/loss", rows)),
                Series("validation", by_step("val/loss", rows)),
            ],
            "step",
        ),
        "Validation scores": line_chart(
            "F1, precision and recall on validation data by step",
            [
                Series("F1", by_step("val/f1", rows), best),
                Series("precision", by_step("val/precision", rows)),
                Series("recall", by_step("val/recall", rows)),
            ],
            "step",
            (0.0, 1.0),
        ),
        "Learning rate": line_chart("Learning rate by step", [Series("rate", by_step("lr", logged))], "step"),
        "Gradient norm": line_chart(
            "Norm of the gradients by step, before clipping",
            [Series("norm", by_step("train/grad_norm", logged))],
            "step",
        ),
    }
    return [(title, chart) for title, chart in drawn.items() if chart is not None]


def _data_table(environment: dict[str, Any] | None) -> tables.TableView | None:
    splits = (environment or {}).get("data") or {}
    rows = [
        [
            tables.Cell(name),
            tables.Cell(f"{split.get('sentences', 0):,}"),
            tables.Cell(", ".join(map(str, split.get("sources", [])))),
            tables.Cell(", ".join(map(str, split.get("sha256", [])))),
        ]
        for name, split in splits.items()
    ]
    heads = ["Split", "Sentences", "Source", "SHA-256"]
    return tables.TableView("Data this run was trained on", heads, rows, prose=True) if rows else None


def _environment_table(environment: dict[str, Any] | None) -> tables.TableView | None:
    rest = {name: value for name, value in (environment or {}).items() if name not in ("data", "command")}
    return tables.pairs_table("Environment of the training", rest)


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
