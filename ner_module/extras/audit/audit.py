"""The whole audit: from sources to numbers and findings, and both as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ner_module.extras.audit.balance import balance_findings, count_balance
from ner_module.extras.audit.characters import character_findings
from ner_module.extras.audit.consistency import consistency_findings
from ner_module.extras.audit.corpus import Corpus, Source
from ner_module.extras.audit.duplicates import duplicate_findings
from ner_module.extras.audit.entities import collect_entities
from ner_module.extras.audit.schedule import plan, schedule_findings
from ner_module.extras.audit.sizes import split_sizes
from ner_module.extras.audit.subwords import Tokenization, count_subwords
from ner_module.extras.audit.tags import changed_spans, illegal_tags
from ner_module.extras.findings import Finding, most_severe_first

VERSION = 1
"""Of the JSON; raised when a reader of the old one would misread the new."""


@dataclass
class Audit:
    """The result.

    Attributes:
        splits: numbers of each split.
        findings: the most severe first.
        types: entity types, the most frequent in training first.
        tokenizer: its name and the rows' length, where a model is configured.
        schedule: the planned steps, where there is training data.
        memory: see `cost.py`.
        time: likewise.
    """

    splits: dict[str, dict[str, Any]]
    findings: list[Finding]
    types: list[str]
    tokenizer: dict[str, Any] | None = None
    schedule: dict[str, Any] | None = None
    memory: dict[str, Any] | None = None
    time: dict[str, Any] | None = None
    row_lengths: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    """Of the training rows, for `cost.py`; not in the JSON."""

    def as_json(self) -> dict[str, Any]:
        """Plain data: what ``audit.json`` and ``--json`` hold."""
        return {
            "version": VERSION,
            "splits": self.splits,
            "findings": [finding.as_json() for finding in self.findings],
            "entity_types": self.types,
            "tokenizer": self.tokenizer,
            "schedule": self.schedule,
            "memory": self.memory,
            "time": self.time,
        }

    def write(self, path: Path) -> None:
        """Write the JSON, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.tmp")
        scratch.write_text(json.dumps(self.as_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        scratch.replace(path)

    def count(self, *severities: str) -> int:
        """How many findings have one of these severities."""
        return sum(finding.severity in severities for finding in self.findings)


def audit_sources(
    sources: Mapping[str, Source],
    outside_label: str | None,
    *,
    tokenization: Tokenization | None = None,
    batch_size: int = 16,
    trainer: Mapping[str, Any] | None = None,
    warmup_ratio: float = 0.0,
    findings: list[Finding] | None = None,
    label_map: Mapping[str, str] | None = None,
    max_tokens: int | None = None,
) -> Audit:
    """Look at everything but memory and time.

    Args:
        sources: the stored splits by name.
        outside_label: of flat labels, if there is one.
        tokenization: the tokenizer; without it, what needs subwords is left out.
        batch_size: of a training step on one device.
        trainer: the trainer's options; without them, steps are not counted.
        warmup_ratio: share of the steps.
        findings: what was found while reading.
        label_map: renames or drops types, as training will.
        max_tokens: of a training step on one device, in place of ``batch_size``.
    """
    found = list(findings or [])
    with Corpus(sources, outside_label, label_map) as corpus:
        entities = collect_entities(corpus)
        balance = count_balance(corpus, entities)
        files = {
            name: sources[name if name in sources else "train"].stored.meta["sources"][0] for name in corpus.splits
        }
        found += illegal_tags(corpus)
        found += changed_spans(sources)
        found += balance_findings(corpus, entities, balance, files)
        found += duplicate_findings(corpus)
        found += consistency_findings(corpus, entities)
        found += character_findings(corpus)
        subwords = count_subwords(corpus, tokenization) if tokenization is not None else None
        sizes = split_sizes(corpus, balance, subwords)
        frequency = balance.mentions.get("train") or next(iter(balance.mentions.values()), {})
        types = sorted(corpus.types, key=lambda name: (-frequency[name], name))
    schedule = None
    if subwords is not None:
        found += subwords.findings
    if trainer is not None and "train" in sizes:
        rows = sizes["train"]["rows" if subwords is not None else "sentences"]
        lengths = subwords.row_lengths.astype(np.int64) if subwords is not None else None
        planned = plan(rows, batch_size, trainer, warmup_ratio, lengths, max_tokens)
        schedule = planned.as_json()
        found += schedule_findings(planned)
    tokenizer = None
    if tokenization is not None:
        tokenizer = {
            "name": tokenization.tokenizer.name_or_path,
            "max_seq_length": tokenization.max_seq_length,
            "stride": tokenization.stride,
        }
    return Audit(
        sizes,
        most_severe_first(found),
        types,
        tokenizer,
        schedule,
        row_lengths=subwords.row_lengths if subwords is not None else np.zeros(0, dtype=np.int32),
    )
