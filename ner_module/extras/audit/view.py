"""The audit in a terminal: numbers side by side, then findings, the most severe first."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ner_module.extras.audit.audit import Audit
from ner_module.extras.audit.wording import plural, share
from ner_module.extras.findings import Finding

_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_BARS = " ▁▂▃▄▅▆▇█"
_FORMS_SHOWN = 5
_TYPES_SHOWN = 25
_FIRST_WIDTH = 28


def show(audit: Audit, console: Console) -> None:
    """Print all of it."""
    for part in (_sizes(audit), _types(audit), _plan(audit)):
        if part is not None:
            console.print(part, "")
    if not audit.findings:
        console.print("Nothing to complain about.", style="bold green")
        return
    console.print(Text("Findings", style="bold"), "")
    for finding in audit.findings:
        console.print(_finding(finding, console.width), soft_wrap=False, highlight=False)
    counts = [plural(audit.count(severity), severity) for severity in ("error", "warning") if audit.count(severity)]
    notes = audit.count("info")
    console.print(Text(", ".join([*counts, plural(notes, "note")] if notes else counts), style="bold"))


# ---------------------------------------------------------------------- numbers


def _table(title: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_style="bold", title_justify="left", padding=(0, 1, 0, 1))
    table.add_column(columns[0], overflow="fold", min_width=_FIRST_WIDTH)
    for name in columns[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _sizes(audit: Audit) -> RenderableType:
    splits = audit.splits
    table = _table("Sizes", "", *splits)

    def add(label: str, cells: list[str]) -> None:
        if any(cells):
            table.add_row(label, *cells)

    def number(*keys: str) -> list[str]:
        return [f"{_get(split, *keys):,}" if _get(split, *keys) is not None else "" for split in splits.values()]

    add("sentences", number("sentences"))
    add("words", number("words"))
    add("subwords", number("subwords"))
    for unit in ("words", "subwords"):
        key = f"{unit}_per_sentence"
        add(f"{unit} a sentence", number(key, "p50"))
        add("  95 % up to", number(key, "p95"))
        add("  longest", number(key, "longest"))
        add("  1, 2, 4, … 512 or more", [_bars(_get(split, key, "histogram")) for split in splits.values()])
    windowed = [split.get("windowed_sentences") for split in splits.values()]
    add("in several windows", [f"{count:,}" if count else "0" for count in windowed] if any(windowed) else [])
    unknown = [(split.get("unknown_words"), split["words"]) for split in splits.values()]
    add("words unknown to tokenizer", [share(part, whole) if part is not None else "" for part, whole in unknown])
    table.add_section()
    add("entities", number("entities"))
    add("  distinct", number("distinct_entities"))
    with_entities = [share(split["sentences_with_entities"], split["sentences"]) for split in splits.values()]
    add("sentences with an entity", with_entities)
    add("words in entities", [share(split["words_in_entities"], split["words"]) for split in splits.values()])
    labels = (
        ("seen in training, same type", "same_type"),
        ("seen with other types only", "other_type"),
        ("never seen in training", "unseen"),
    )
    for label, key in labels:
        cells = []
        for split in splits.values():
            seen = split.get("entities_seen_in_training")
            cells.append(share(seen[key], sum(seen.values())) if seen else "")
        add(f"  {label}", cells)
    return table


def _types(audit: Audit) -> RenderableType | None:
    if not audit.types:
        return None
    table = _table("Entities by type", "", *audit.splits, "share of training" if "train" in audit.splits else "share")
    first = next(iter(audit.splits.values()))
    for name in audit.types[:_TYPES_SHOWN]:
        counts = [split["entities_by_type"][name] for split in audit.splits.values()]
        part = share(first["entities_by_type"][name], first["entities"])
        cells = [Text(f"{count:,}", style="bold red" if count == 0 else "") for count in counts]
        table.add_row(name, *cells, part)
    hidden = len(audit.types) - _TYPES_SHOWN
    if hidden > 0:
        table.caption = f"and {plural(hidden, 'rarer type')}, which --output FILE.json lists"
    return table


def _plan(audit: Audit) -> RenderableType | None:
    lines: list[Text] = []
    schedule = audit.schedule
    if schedule is not None:
        unit = "rows" if audit.tokenizer else "sentences"
        devices = f" x {schedule['devices']} devices" if schedule["devices"] > 1 else ""
        accumulated = f" x {schedule['accumulate']} accumulated" if schedule["accumulate"] > 1 else ""
        steps = "no end" if schedule["steps"] is None else f"{schedule['steps']:,} steps in all"
        epochs = "" if schedule["epochs"] is None else f" in {plural(schedule['epochs'], 'epoch')}"
        lines.append(
            Text(
                f"{steps}{epochs}: {schedule['steps_per_epoch']:,} an epoch ({schedule['rows']:,} {unit}, batches of "
                f"{schedule['batch_size']}{devices}{accumulated})"
            )
        )
    if audit.memory is not None:
        memory = audit.memory
        fixed = memory["weights"] + memory["gradients"] + memory["optimizer"]
        text = f"{memory['parameters'] / 1e6:.1f} million weights; {_bytes(fixed)} for weights, gradients and AdamW"
        if memory["activations"] is not None:
            text += (
                f", and up to {_bytes(memory['activations'])} for a batch of {memory['rows']} x {memory['row_length']} "
                "subwords (float32; counted on the model's operations, GPU attention kernels need less)"
            )
        lines.append(Text(text))
    if audit.time is not None:
        timing = audit.time
        text = (
            f"{timing['seconds_per_batch']:.2f} s a batch, measured here ({timing['device']}; "
            f"{plural(timing['steps'], 'step')} of {timing['rows']} rows)"
        )
        if timing["seconds"] is not None:
            text += f": about {_duration(timing['seconds'])} for all of it on such devices, without validation"
        lines.append(Text(text))
    if not lines:
        return None
    return Group(Text("Training", style="bold"), "", *(Padding(line, (0, 0, 0, 1)) for line in lines))


# ---------------------------------------------------------------------- findings


def _finding(finding: Finding, width: int) -> RenderableType:
    grid = Table.grid(padding=(0, 1, 0, 1))
    grid.add_column(width=7)
    grid.add_column(overflow="fold", max_width=max(width - 11, 20))
    grid.add_row(Text(finding.severity, style=_STYLES[finding.severity]), Text(finding.message, style="bold"))
    if finding.example is not None and not (finding.details and "readings" in finding.details[0]):
        grid.add_row("", Text.assemble((finding.example.place, "underline"), "  ", finding.example.text))
    if finding.details and "readings" in finding.details[0]:
        grid.add_row("", _forms(finding.details[:_FORMS_SHOWN]))
        if len(finding.details) > _FORMS_SHOWN:
            grid.add_row(
                "", Text(f"… {len(finding.details) - _FORMS_SHOWN:,} more with --output FILE.json", style="dim")
            )
    grid.add_row("", Text(f"→ {finding.advice}", style="italic"))
    grid.add_row("", "")
    return grid


def _forms(details: list[dict[str, Any]]) -> RenderableType:
    """The most telling forms: how often each reading, and one place that goes against the usual one."""
    lines: list[RenderableType] = []
    for form in details:
        counts = ", ".join(f"{reading['reading']} {reading['count']:,}" for reading in form["readings"])
        lines.append(Text.assemble((form["form"], "bold"), f"   {counts}"))
        for reading in reversed(form["readings"]):
            if reading["places"]:
                place = reading["places"][0]
                line = "" if place["line"] is None else f":{place['line']}"
                lines.append(
                    Padding(
                        Text.assemble(
                            f"{reading['reading']} in ", (f"{place['file']}{line}", "underline"), f"  {place['text']}"
                        ),
                        (0, 0, 0, 2),
                    )
                )
                break
    return Group(*lines)


# ---------------------------------------------------------------------- cells


def _get(values: Any, *keys: str) -> Any:
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _bars(histogram: list[int] | None) -> str:
    """Counts as bars; a class that is not empty is always seen."""
    if not histogram:
        return ""
    shown = histogram[1:] if not histogram[0] else histogram
    top = max(shown)
    return "".join(_BARS[max(round(8 * count / top), 1) if count else 0] for count in shown)


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
