"""The model card: a ``README.md`` that the hub reads, from the files of a run.

`card.md.jinja` holds its text: the metadata (`facts.py`), then what a reader needs before using the model: scores with
their mode and interval, how to load it and where that differs from ``pipeline``, limits, settings, results by epoch.

Written after ``fit``, ``validate`` and ``test`` into the run, and by ``export`` into the model folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from ner_module.extras.card.facts import CardFacts, file_names, licence_on_hub, metadata, read_run_facts
from ner_module.inference.model_folder import public_name
from ner_module.tables import Column, Table, score
from ner_module.training.results import EPOCH_COLUMNS, types_table

# Group of options -> those the card lists.
_SETTINGS = {
    "model": ("learning_rate", "lr_scheduler_type", "warmup_ratio", "weight_decay", "dropout"),
    "data": ("batch_size", "batching"),
    "trainer": ("accumulate_grad_batches", "gradient_clip_val", "max_epochs", "max_steps", "precision"),
}

_FRAMEWORKS = ("torch", "transformers", "lightning", "datasets", "tokenizers")


def write_run_card(run_dir: Path) -> None:
    """Write ``README.md`` of a run; see :func:`~ner_module.extras.card.facts.read_run_facts` for what it raises."""
    card_of(read_run_facts(run_dir)).save(run_dir / "README.md")


def card_of(facts: CardFacts) -> Any:
    """The card, a ``huggingface_hub.ModelCard``."""
    from huggingface_hub import ModelCard

    split, scores = facts.best_scores
    types = sorted(facts.labels.entity_types)
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"markdown": to_markdown, "score": score}
    text = environment.get_template("card.md.jinja").render(
        facts=facts,
        metadata=metadata(facts).to_yaml(),
        overview=_overview(facts),
        split=split,
        scores=scores,
        types=types_table(scores, "", facts.labels, "") if scores else None,
        data=facts.dataset or file_names(facts.option("data", "train_file")) or "its training data",
        never_found=[name for name in types if scores.get(f"f1/{name}") == 0 and scores.get(f"support/{name}")],
        findings=facts.audit.get("findings"),
        settings=_pairs("Setting", "Value", _settings(facts)),
        epochs=_epochs(facts.results.get("epochs") or []),
        versions=_pairs("Package", "Version", {name: version(name) for name in _FRAMEWORKS}),
    )
    return ModelCard(re.sub(r"\n{3,}", "\n\n", text) + "\n", ignore_metadata_errors=False)


def to_markdown(table: Table) -> str:
    """A table in Markdown with its note below; the heading is the caller's."""
    rule = ["---" if column.write is str else "---:" for column in table.columns]
    lines = [[column.title for column in table.columns], rule]
    for index, cells in enumerate(table.cells()):
        lines.append([f"**{cell}**" if cell and index in table.emphasised else cell for cell in cells])
    text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"{text}\n\n{table.note}" if table.note else text


def _pairs(first: str, second: str, values: Mapping[str, Any]) -> Table:
    """Names and their values; those without one are left out."""
    rows = [pair for pair in values.items() if pair[1] is not None]
    return Table("", (Column(first), Column(second)), rows)


def _overview(facts: CardFacts) -> Table:
    base, licence = facts.base_model
    name, dataset = facts.option("model", "model_name_or_path"), facts.dataset
    data_licence = licence_on_hub(dataset, "dataset", facts.option("data", "dataset_revision"))
    model = f"[{base}](https://huggingface.co/{base})" if base else public_name(name) if name else "unknown"
    files = file_names(facts.option("data", "train_file")) or "unknown"
    data = f"[{dataset}](https://huggingface.co/datasets/{dataset})" if dataset else files
    rows = {
        "Task": "named entity recognition (token classification)",
        "Entity types": ", ".join(facts.labels.entity_types),
        "Labels": f"{len(facts.labels.names)}, scheme {facts.labels.scheme}",
        "Base model": f"{model}, licence {licence or 'unknown'}",
        "Training data": f"{data}, licence {data_licence or 'unknown'}",
    }
    return _pairs("", "", rows)


def _settings(facts: CardFacts) -> dict[str, Any]:
    found = {f"`{name}`": facts.option(group, name) for group, names in _SETTINGS.items() for name in names}
    if found["`max_steps`"] == -1:  # Lightning's way to say that there is no bound
        found["`max_steps`"] = None
    if facts.config:
        found["`precision`"] = found["`precision`"] or "32-true"
    return found | {"`optimizer`": "AdamW" if facts.config else None, "`seed`": facts.config.get("seed_everything")}


def _epochs(rows: list[dict[str, float]]) -> Table:
    cells = [[row.get(key) for _, key in EPOCH_COLUMNS] for row in rows]
    return Table("", [column for column, _ in EPOCH_COLUMNS], cells)
