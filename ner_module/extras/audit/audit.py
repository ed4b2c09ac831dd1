"""The whole audit: from the data to numbers and findings, and both as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_module.data.datamodule import NERDataModule
from ner_module.errors import DataError, PretrainedError
from ner_module.extras.audit.consistency import consistency_findings
from ner_module.extras.audit.corpus import Corpus
from ner_module.extras.audit.entities import balance_findings, split_sizes
from ner_module.extras.audit.plan import count_steps, schedule_findings
from ner_module.extras.audit.reading import read_data
from ner_module.extras.audit.sentences import duplicate_findings
from ner_module.extras.audit.sequences import Tokenization, count_sequences
from ner_module.extras.audit.tags import changed_spans, illegal_tags
from ner_module.extras.audit.wording import plural
from ner_module.extras.audit.words import character_findings
from ner_module.extras.findings import SEVERITIES, Finding, most_severe_first
from ner_module.files import write_atomically

VERSION = 1
"""Of the JSON; raised when a reader of the old one would misread the new."""


@dataclass
class Audit:
    """The result.

    Attributes:
        splits: numbers of each split.
        findings: the most severe first.
        types: entity types, the most frequent in training first.
        tokenizer: its name and the length of sequences, where a model is configured.
        schedule: the planned steps, where there is training data.
        memory: see `plan.py`.
        train_lengths: subword tokens of each training sequence, where a model is configured; not in the JSON.
        failure: why ``fit`` would not get as far as this, where some file could not be read; likewise.
    """

    splits: dict[str, dict[str, Any]]
    findings: list[Finding]
    types: list[str]
    tokenizer: dict[str, Any] | None = None
    schedule: dict[str, Any] | None = None
    memory: dict[str, Any] | None = None
    train_lengths: list[int] | None = None
    failure: DataError | None = None

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
            "time": None,  # version 1 has it; nothing is measured now
        }

    def write(self, path: Path) -> None:
        """Write the JSON, whole or not at all."""
        write_atomically(path, json.dumps(self.as_json(), indent=1, ensure_ascii=False) + "\n")

    def summary(self) -> str:
        """How many errors, warnings and notes there are; empty without any."""
        counts = Counter(finding.severity for finding in self.findings)
        nouns = {"error": "error", "warning": "warning", "info": "note"}
        return ", ".join(plural(counts[severity], nouns[severity]) for severity in SEVERITIES if counts[severity])


def audit_data(data: NERDataModule, trainer: Mapping[str, Any], warmup_ratio: float) -> Audit:
    """Audit the data that a configuration names, and the training planned on it.

    Args:
        data: its splits are read unless it has read them.
        trainer: the trainer's options.
        warmup_ratio: share of the steps.

    Raises:
        DataError: no split can be read, or ``max_tokens`` is too small.
    """
    corpus, findings, failure = read_data(data)
    tokenization = None
    try:
        if data.tokenizer is not None or data.hparams["model_name_or_path"] is not None:
            data.load_tokenizer()
            tokenization = Tokenization(data.tokenizer, data.max_seq_length, data.stride)
    except PretrainedError as error:
        advice = "what needs subword tokens is left out here"
        findings.append(Finding("no_tokenizer", "error", 1, str(error), None, advice))
    audit = audit_corpus(corpus, tokenization, findings)
    audit.failure = failure
    if "train" in audit.splits:
        lengths, options = audit.train_lengths, data.hparams
        if lengths is None:  # each sentence counts as one sequence
            lengths, options = [1] * audit.splits["train"]["sentences"], {**options, "max_tokens": None}
        audit.schedule = count_steps(lengths, options["batch_size"], options["max_tokens"], trainer, warmup_ratio)
        audit.findings = most_severe_first([*audit.findings, *schedule_findings(audit.schedule)])
    return audit


def audit_corpus(corpus: Corpus, tokenization: Tokenization | None = None, findings: Sequence[Finding] = ()) -> Audit:
    """Audit sentences, without the planned training.

    Args:
        corpus: the sentences.
        tokenization: the tokenizer; without it, what needs subword tokens is left out.
        findings: what was found while reading.
    """
    types = list(dict.fromkeys(span.entity_type for sentence in corpus.sentences for span in sentence.spans))
    sizes = split_sizes(corpus, types)
    mentions = {split: numbers["entities_by_type"] for split, numbers in sizes.items()}
    found = [
        *findings,
        *illegal_tags(corpus),
        *changed_spans(corpus.sources),
        *balance_findings(corpus, mentions),
        *duplicate_findings(corpus),
        *consistency_findings(corpus, types),
        *character_findings(corpus),
    ]
    tokenizer, lengths = None, None
    if tokenization is not None:
        sequences = count_sequences(corpus, tokenization)
        sizes = {split: numbers | sequences.sizes[split] for split, numbers in sizes.items()}
        found += sequences.findings
        lengths = sequences.train_lengths
        tokenizer = {
            "name": tokenization.tokenizer.name_or_path,
            "max_seq_length": tokenization.max_seq_length,
            "stride": tokenization.stride,
        }
    frequency = next(iter(mentions.values()))
    ordered = sorted(types, key=lambda name: (-frequency[name], name))
    return Audit(sizes, most_severe_first(found), ordered, tokenizer, train_lengths=lengths)
