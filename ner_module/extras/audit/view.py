"""The audit in a terminal: numbers side by side, then findings, the most severe first; and the ranked annotations."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from rich import get_console
from rich.padding import Padding
from rich.text import Text

from ner_module.errors import printable
from ner_module.extras.audit.audit import Audit
from ner_module.extras.audit.findings import Finding, plural, share
from ner_module.extras.audit.suspects import Suspect
from ner_module.tables import Column, Table, count

_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_FORMS_SHOWN = 5

# Label, key, and for a share the key of the whole.
_SIZES = (
    ("sentences", "sentences", ""),
    ("words", "words", ""),
    ("subword tokens", "subwords", ""),
    ("words per sentence: median, 95th percentile, longest", "words_per_sentence", ""),
    ("subword tokens per sentence, likewise", "subwords_per_sentence", ""),
    ("sentences split into windows", "windowed_sentences", ""),
    ("words unknown to the tokenizer", "unknown_words", "words"),
    ("entities", "entities", ""),
    ("sentences with an entity", "sentences_with_entities", "sentences"),
    ("words in entities", "words_in_entities", "words"),
)


def show(audit: Audit) -> None:
    """Print all of it."""
    console, splits = get_console(), audit.splits.values()
    for file in audit.files:
        console.print(Text(printable(f"{file['file']} ({file['split']})"), style="bold"))
        console.print(Padding(Text(printable("; ".join(file["read_as"]))), (0, 0, 1, 2)))
    columns = [Column(""), *(Column(split, count) for split in audit.splits)]
    sizes = [[label, *(_cell(split, key, whole) for split in splits)] for label, key, whole in _SIZES]
    console.print(Table("Sizes", columns, [row for row in sizes if row[1:] != [None] * len(splits)]).for_terminal(), "")
    if types := [[name, *(split["entities_by_type"][name] for split in splits)] for name in audit.entity_types]:
        console.print(Table("Entities by type", columns, types).for_terminal(), "")
    by_file = [[file["file"], *file["entities_by_type"].values()] for file in audit.files]
    lacks = any(None in row for row in by_file)
    if types and (lacks or len(by_file) > len({file["split"] for file in audit.files})):
        columns = [Column("file"), *(Column(name, count) for name in audit.entity_types)]
        note = "An empty cell: the file does not annotate the type (--data.annotated_types)." * lacks
        console.print(Table("Entities by file", columns, by_file, note=note).for_terminal(), "")
    if not audit.findings:
        console.print("No problems found.", style="bold green")
        return
    console.print(Text("Findings", style="bold"), "")
    for finding in audit.findings:
        title = (finding.severity, _STYLES[finding.severity]), "  ", (printable(finding.message), "bold")
        console.print(Text.assemble(*title))
        for line in _evidence(finding):
            console.print(Padding(Text(printable(line)), (0, 0, 0, 2)))
        console.print(Padding(Text(printable(f"→ {finding.advice}"), style="italic"), (0, 0, 1, 2)))
    console.print(Text(audit.summary(), style="bold"))


def _cell(numbers: dict[str, Any], key: str, whole: str) -> Any:
    value = numbers.get(key)
    if isinstance(value, dict):
        return ", ".join(f"{number:,}" for number in value.values())
    return value if value is None or not whole else share(value, numbers[whole])


def _evidence(finding: Finding) -> Iterator[str]:
    """One place; for forms with several readings, the first forms: each reading's count, and an unusual place."""
    forms = [form for form in finding.details or [] if "readings" in form]
    if finding.example is not None and not forms:
        yield f"{finding.example.place}  {finding.example.text}"
    for form in forms[:_FORMS_SHOWN]:
        yield f"{form['form']}   " + ", ".join(f"{r['reading']} {r['count']:,}" for r in form["readings"])
        unusual = form["readings"][-1]
        yield "  {} in {file}:{line}  {text}".format(unusual["reading"], **unusual["places"][0])


def show_suspects(suspects: Sequence[Suspect], own: argparse.Namespace) -> None:
    """The first of them, each with its place, what is annotated, what the model predicts, and the sentence."""
    console = get_console()
    disagreed = sum(suspect["kind"] != "agreed" for suspect in suspects)
    summary = f"{plural(len(suspects), 'annotation')}, annotated or predicted; gold and model differ in {disagreed:,}. "
    summary += "Ranked by the lowest probability of a gold tag in each: the first are the most likely wrong."
    console.print(Text(summary), "")
    for rank, suspect in enumerate(suspects[: own.top], 1):
        gold, predicted = (
            ", ".join(f"{entity['type']} {entity['text']!r}" for entity in entities) or "nothing"
            for entities in (suspect["gold"], suspect["predicted"])
        )
        verdict = f"annotated {gold}" + (f", the model says {predicted}" if suspect["kind"] != "agreed" else "")
        console.print(Text.assemble(f"{rank:>3}  {suspect['score']:.4f}  ", (printable(verdict), "bold")))
        console.print(Padding(Text(printable("{file}:{line}  {text}".format_map(suspect))), (0, 0, 0, 13)))
    if own.folds is None and own.split == "train":
        note = "This model was trained on these annotations; `--folds 5` ranks by models that have not seen them."
        console.print("", Text(note, style="italic"))
    if own.output is not None:
        console.print("", Text(f"All of them: {own.output}"), soft_wrap=True)
