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
from lightning.pytorch import Callback

from ner_module.extras.after_run import AfterRun, read_run
from ner_module.extras.card.facts import EXAMPLE, CardFacts, file_names, licence_on_hub, metadata, run_name
from ner_module.inference.model_folder import public_name
from ner_module.tables import Column, Table, score
from ner_module.tagging import LabelSet
from ner_module.training.results import types_table

_SETTINGS = (
    *("model.learning_rate", "model.head_learning_rate", "model.lr_scheduler_type", "model.warmup_ratio"),
    *("model.weight_decay", "model.dropout"),
    *("data.batch_size", "data.batching", "trainer.accumulate_grad_batches", "trainer.gradient_clip_val"),
    *("trainer.max_epochs", "trainer.max_steps", "trainer.precision", "seed_everything"),
)

_FRAMEWORKS = ("torch", "transformers", "lightning", "datasets", "tokenizers")


def callbacks(run: Any) -> list[Callback]:
    """``RUN/README.md``: written after ``fit``, and again after ``validate`` and ``test``."""
    return [AfterRun(run.run_dir, "model card", lambda _: write_run_card(run.run_dir))]


def write_run_card(run_dir: Path) -> Path:
    """Write ``README.md`` of a run; raises a :class:`UserError` where its files are damaged."""
    run = read_run(run_dir)
    path = run_dir / "README.md"
    facts = CardFacts(**vars(run), name=run_name(run_dir), labels=LabelSet.from_fields(run.results))
    card_of(facts).save(path)
    return path


def card_of(facts: CardFacts) -> Any:
    """The card, a ``huggingface_hub.ModelCard``."""
    from huggingface_hub import ModelCard

    split, scores = facts.scored_split, facts.scores(facts.scored_split)
    types = sorted(facts.labels.entity_types)
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"markdown": to_markdown, "score": score}
    text = environment.get_template("card.md.jinja").render(
        facts=facts,
        example=EXAMPLE,
        metadata=metadata(facts).to_yaml(),
        overview=_pairs("", "", _overview(facts)),
        split=split,
        scores=scores,
        types=types_table(scores, "", facts.labels, "") if scores else None,
        data=facts.dataset or file_names(facts.option("data.train_file")) or "its training data",
        never_found=[name for name in types if scores.get(f"f1/{name}") == 0 and scores.get(f"support/{name}")],
        findings=facts.audit.get("findings"),
        settings=_pairs("Setting", "Value", _settings(facts)),
        epochs=facts.epochs_table(),
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


def _overview(facts: CardFacts) -> dict[str, str]:
    base, licence = facts.base_model
    name, dataset = facts.option("model.model_name_or_path"), facts.dataset
    data_licence = licence_on_hub(dataset, "dataset", facts.option("data.dataset_revision"))
    model = f"[{base}](https://huggingface.co/{base})" if base else public_name(name) if name else "unknown"
    files = file_names(facts.option("data.train_file")) or "unknown"
    data = f"[{dataset}](https://huggingface.co/datasets/{dataset})" if dataset else files
    return {
        "Task": "named entity recognition (token classification)",
        "Entity types": ", ".join(facts.labels.entity_types),
        "Labels": f"{len(facts.labels.names)}, scheme {facts.labels.scheme}",
        "Base model": f"{model}, licence {licence or 'unknown'}",
        "Training data": f"{data}, licence {data_licence or 'unknown'}",
    }


def _settings(facts: CardFacts) -> dict[str, Any]:
    found = {f"`{name.rpartition('.')[2]}`": facts.option(name) for name in _SETTINGS}
    found["`optimizer`"] = "AdamW" if facts.config else None
    # -1 is Lightning's way to say that there is no bound.
    return {name: value for name, value in found.items() if (name, value) != ("`max_steps`", -1)}
