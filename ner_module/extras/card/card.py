"""The model card: ``README.md`` as the hub reads it, from what a run left behind.

Behind the metadata (`card_facts.py`) stands what a reader needs before using the model: scores with their mode and
interval, how to load it and where that differs from ``pipeline``, limits, settings, the rows of training.

Written after ``fit`` and ``test`` into the run, and by ``export`` beside the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ner_module.extras.card.facts import (
    CardFacts,
    base_model,
    best_scores,
    file_names,
    hub_dataset,
    licence_on_hub,
    metadata,
    option,
    read_run_facts,
)
from ner_module.inference.model_folder import public_name
from ner_module.tagging import entity_types

_EPOCH_COLUMNS = (
    ("Training loss", "train/loss"),
    ("Epoch", "epoch"),
    ("Step", "step"),
    ("Validation loss", "val/loss"),
    ("Precision", "val/precision"),
    ("Recall", "val/recall"),
    ("F1", "val/f1"),
    ("Accuracy", "val/accuracy"),
)

_FRAMEWORKS = ("torch", "transformers", "lightning", "datasets", "tokenizers")


def write_run_card(run_dir: Path) -> None:
    """Write ``README.md`` of a run."""
    card_of(read_run_facts(run_dir)).save(run_dir / "README.md")


def card_of(facts: CardFacts) -> Any:
    """The card, a ``huggingface_hub.ModelCard``."""
    from huggingface_hub import ModelCard

    sections = [
        f"# {facts.name}",
        _introduction(facts),
        _scores(facts),
        _use(facts),
        _parity(facts),
        _limits(facts),
        _training(facts),
        _versions(),
    ]
    body = "\n\n".join(section for section in sections if section)
    return ModelCard(f"---\n{metadata(facts).to_yaml()}\n---\n\n{body}\n", ignore_metadata_errors=False)


def _introduction(facts: CardFacts) -> str:
    types = entity_types(facts.label_names, facts.scheme, facts.outside_label)
    base, licence = base_model(facts)
    dataset = hub_dataset(facts)
    data_licence = licence_on_hub(dataset, "dataset", option(facts, "data", "dataset_revision")) if dataset else None
    name = option(facts, "model", "model_name_or_path")
    training_data = dataset or file_names(option(facts, "data", "train_file")) or "unknown"
    given = f"[{base}](https://huggingface.co/{base})" if base else public_name(name) if name else "unknown"
    data = f"[{dataset}](https://huggingface.co/datasets/{dataset})" if dataset else training_data
    rows = [
        ("Task", "named entity recognition (token classification)"),
        ("Entity types", ", ".join(types)),
        ("Labels", f"{len(facts.label_names)}, scheme {facts.scheme}"),
        ("Base model", f"{given}, licence {licence or 'unknown'}"),
        ("Training data", f"{data}, licence {data_licence or 'unknown'}"),
    ]
    return _table(("", ""), rows)


def _scores(facts: CardFacts) -> str:
    found = best_scores(facts)
    if found is None:
        return ""
    split, scores = found
    lines = [f"## Scores ({split} data)", ""]
    if "f1_low" in scores:
        lines += [f"F1 {scores['f1']:.4f}, 95 % interval {scores['f1_low']:.4f} to {scores['f1_high']:.4f}.", ""]
    types = sorted(entity_types(facts.label_names, facts.scheme, facts.outside_label))
    rows = []
    for name in types:
        if f"f1/{name}" in scores:
            cells = [f"{scores[f'{key}/{name}']:.4f}" for key in ("precision", "recall", "f1")]
            rows.append((name, *cells, f"{scores[f'support/{name}']:,.0f}"))
    rows.append(("**all (micro)**", *(f"{scores[key]:.4f}" for key in ("precision", "recall", "f1")), ""))
    lines += [_table(("Entity type", "Precision", "Recall", "F1", "Support"), rows), ""]
    lines.append(
        f"Whole entities by the rules of `conlleval` (seqeval's default mode), micro average; accuracy of single words "
        f"{scores['accuracy']:.4f}." + (" The interval is a bootstrap over sentences." if "f1_low" in scores else "")
    )
    return "\n".join(lines)


def _use(facts: CardFacts) -> str:
    place = facts.repo or "FOLDER"
    is_onnx = (facts.export_format or "").startswith("onnx")
    if facts.export_format is None:
        return (
            "## Use\n\nThis is a training run. `python -m ner_module export` makes a model folder of it; in Python:\n\n"
            '```python\nfrom ner_module import NERTagger\n\ntagger = NERTagger.load("RUN")  # this directory\n'
            'tagger.predict(["Ada Lovelace met the mayor of Lincoln."])\n```'
        )
    lines = [
        "## Use\n\nWith the project it was trained with, text of any length, every word predicted once:\n\n"
        f'```python\nfrom ner_module import NERTagger\n\ntagger = NERTagger.load("{place}")\n'
        'tagger.predict(["Ada Lovelace met the mayor of Lincoln."])\n```'
    ]
    if is_onnx:
        lines.append(
            "`model.onnx` takes `input_ids` and `attention_mask` (int64, any number of rows and subwords) and gives "
            "`logits`; the tokenizer beside it makes the former from words (`is_split_into_words=True`), and the "
            "prediction of a word is the highest logit at its first subword."
        )
    else:
        lines.append(
            "With transformers alone:\n\n```python\nfrom transformers import pipeline\n\n"
            f'tagger = pipeline("token-classification", "{place}", aggregation_strategy="first")\n'
            'tagger("Ada Lovelace met the mayor of Lincoln.")\n```\n\n'
            "`pipeline` follows rules of its own, so its entities can differ: it finds words by the tokenizer's notion "
            "of them (the model was trained, and is scored, on the words of its data); it reads B- and I- prefixes "
            "only" + _scheme_note(facts) + "; and it cuts text at the model's limit without a word, unless `stride` is "
            "given. For words that are given, use the tokenizer with `is_split_into_words=True` and take the highest "
            "logit at each word's first subword."
        )
    return "\n\n".join(lines)


def _scheme_note(facts: CardFacts) -> str:
    if facts.scheme in ("iob1", "iob2"):
        return ""
    return f" (these labels are {facts.scheme}: do not use it for this model)"


def _parity(facts: CardFacts) -> str:
    if not facts.parity:
        return ""
    lines = ["## Compared with the checkpoint it was made from", ""]
    rows = []
    for parity in facts.parity:
        f1 = f"{parity.original_f1:.4f} → {parity.f1:.4f}" if parity.against_gold else f"{parity.f1:.4f} *"
        counts = (parity.sentences, parity.too_long, parity.entities, parity.missing, parity.added)
        rows.append((parity.way, *(f"{count:,}" for count in counts), f1))
    titles = ("Run by", "Sentences", "Longer than a row", "Entities", "Missing", "Added", "F1")
    lines.append(_table(titles, rows))
    if any(not parity.against_gold for parity in facts.parity):
        lines += ["", "\\* against the checkpoint's own entities, for want of gold annotation of these types."]
    return "\n".join(lines)


def _limits(facts: CardFacts) -> str:
    data = hub_dataset(facts) or file_names(option(facts, "data", "train_file")) or "its training data"
    lines = [
        "## Intended use and limits",
        "",
        f"Finding entities of the types above in text like that of {data}. Text of another kind, time or language has "
        "not been tested. Scores in predictions are the model's own probabilities, not frequencies of being right.",
    ]
    found = best_scores(facts)
    if found is not None and "f1_unseen" in found[1]:
        lines += [
            "",
            f"On entities that do not occur in the training data F1 is {found[1]['f1_unseen']:.4f} "
            f"(on all {found[1]['f1']:.4f}).",
        ]
    if found is not None:
        types = sorted(entity_types(facts.label_names, facts.scheme, facts.outside_label))
        never = [name for name in types if found[1].get(f"f1/{name}") == 0 and found[1].get(f"support/{name}", 0) > 0]
        if never:
            lines += ["", f"It found no entity of {', '.join(never)} in the {found[0]} data."]
    findings = (facts.audit or {}).get("findings") or []
    if findings:
        lines += ["", "The audit of the data found:", ""]
        lines += [
            f"- {finding.get('severity', 'info')}: {finding.get('message', finding.get('code', ''))}"
            for finding in findings
        ]
    return "\n".join(lines)


def _training(facts: CardFacts) -> str:
    model, data, trainer = (facts.config.get(name) or {} for name in ("model", "data", "trainer"))
    settings = [
        ("learning_rate", model.get("learning_rate")),
        ("lr_scheduler_type", model.get("lr_scheduler_type")),
        ("warmup_ratio", model.get("warmup_ratio")),
        ("weight_decay", model.get("weight_decay")),
        ("dropout", model.get("dropout")),
        ("optimizer", "AdamW" if model else None),
        ("batch_size", data.get("batch_size")),
        ("batching", data.get("batching")),
        ("accumulate_grad_batches", trainer.get("accumulate_grad_batches")),
        ("gradient_clip_val", trainer.get("gradient_clip_val")),
        ("max_epochs", trainer.get("max_epochs")),
        ("max_steps", trainer.get("max_steps") if (trainer.get("max_steps") or -1) > 0 else None),
        ("precision", trainer.get("precision") or ("32-true" if trainer else None)),
        ("seed", facts.config.get("seed_everything")),
    ]
    rows = [(f"`{name}`", str(value)) for name, value in settings if value is not None]
    parts = ["## Training\n\n" + _table(("Setting", "Value"), rows)] if rows else []
    epochs = facts.results.get("epochs") or []
    if epochs:
        cells = [[_epoch_cell(key, row.get(key)) for _, key in _EPOCH_COLUMNS] for row in epochs]
        parts.append("Validation data:\n\n" + _table([title for title, _ in _EPOCH_COLUMNS], cells))
    return "\n\n".join(parts)


def _epoch_cell(key: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if key == "step" else f"{value:.2f}" if key == "epoch" else f"{value:.4f}"


def _versions() -> str:
    found = []
    for name in _FRAMEWORKS:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return "## Framework versions\n\n" + _table(("Package", "Version"), found)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
