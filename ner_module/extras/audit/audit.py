"""The whole audit: from the data to numbers and findings; as JSON, and at the start of ``fit``."""

from __future__ import annotations

import json
import logging
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ner_module.data.datamodule import NERDataModule
from ner_module.data.tag_census import TagCensus
from ner_module.errors import PretrainedError, RunError
from ner_module.extras.audit.annotations import balance_findings, changed_spans, illegal_tags, split_sizes
from ner_module.extras.audit.consistency import consistency_findings
from ner_module.extras.audit.corpus import Corpus, read_data
from ner_module.extras.audit.findings import SEVERITIES, Finding, plural
from ner_module.extras.audit.sentences import duplicate_findings
from ner_module.extras.audit.words import Tokenization, character_findings, subword_findings
from ner_module.files import write_atomically
from ner_module.inference.tagger import unpack_run
from ner_module.training.runs import Run

log = logging.getLogger(__name__)

# Of the JSON; raised when a reader of the old one would misread the new.
_VERSION = 2
# `data/` has reported these while it read the data.
_REPORTED = ("how_counted", "misspelt_tag", "unknown_tag", "rare_tag", "changed_spans", "illegal_tags",
             "type_not_in_training", "windows", "clipped_words", "words_without_subword")  # fmt: skip


@dataclass
class Audit:
    """How files were read, numbers of each split, findings (the most severe first), types (the most frequent first)."""

    files: list[dict[str, Any]]
    splits: dict[str, dict[str, Any]]
    findings: list[Finding]
    entity_types: list[str]

    def as_json(self) -> str:
        """What ``audit.json`` and ``--json`` hold."""
        return json.dumps({"version": _VERSION, **asdict(self)}, indent=1, ensure_ascii=False)

    def summary(self) -> str:
        """How many errors, warnings and notes there are; empty without any."""
        counts = Counter(finding.severity for finding in self.findings)
        nouns = {"error": "error", "warning": "warning", "info": "note"}
        return ", ".join(plural(counts[severity], nouns[severity]) for severity in SEVERITIES if counts[severity])


def audit_data(data: NERDataModule) -> Audit:
    """Audit the data that a configuration names; the splits are read unless the data module has read them.

    Raises:
        DataError: a file cannot be read.
    """
    corpus, findings = read_data(data)
    tokenization = None
    try:
        if data.tokenizer is not None or data.hparams["model_name_or_path"] is not None:
            unpack_run(str(data.hparams["model_name_or_path"]))
            data.load_tokenizer()
            tokenization = data.tokenizer, data.max_seq_length, data.stride
    except (PretrainedError, RunError) as error:
        advice = "checks that need subword tokens are skipped"
        findings.append(Finding("no_tokenizer", "error", 1, str(error), None, advice))
    return audit_corpus(corpus, tokenization, findings)


def audit_corpus(corpus: Corpus, tokenization: Tokenization | None = None, findings: Sequence[Finding] = ()) -> Audit:
    """Audit sentences, beside what was found while reading; subword tokens only where there is a tokenizer."""
    types = list(dict.fromkeys(span.entity_type for sentence in corpus.sentences for span in sentence.spans))
    sizes = split_sizes(corpus, types)
    mentions = {split: numbers["entities_by_type"] for split, numbers in sizes.items()}
    found = [
        *findings,
        *illegal_tags(corpus),
        *changed_spans(corpus),
        *balance_findings(corpus, mentions),
        *duplicate_findings(corpus),
        *consistency_findings(corpus, types),
        *character_findings(corpus),
    ]
    if tokenization is not None:
        of_words, of_splits = subword_findings(corpus, tokenization)
        found += of_words
        sizes = {split: numbers | of_splits[split] for split, numbers in sizes.items()}
    frequency = next(iter(mentions.values()))
    ordered = sorted(types, key=lambda name: (-frequency[name], name))
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Audit(list(_how_read(corpus, ordered)), sizes, found, ordered)


def _how_read(corpus: Corpus, types: Sequence[str]) -> Iterator[dict[str, Any]]:
    """For each file the format and why, which column holds what, what was left out, and the evidence for the scheme.

    And how many entities of each type it has, ``None`` of those that it does not annotate.
    """
    files: dict[Any, tuple[TagCensus, Counter[str]]] = defaultdict(lambda: (TagCensus(), Counter()))
    for sentence in corpus.sentences:
        census, mentions = files[sentence.source.stored, sentence.file]
        census.add(sentence.tags)
        mentions.update(span.entity_type for span in sentence.spans)
    for split, (stored, scheme, _) in corpus.sources.items():
        for file in stored.meta["sources"]:
            census, mentions = files[stored, file]
            found = census.scheme_report()
            tagged = found["prefixed_words"] or found["flat_words"]
            fitting = tagged - found["illegal_words"].get(scheme, 0)
            how = f"{fitting:,} of {plural(tagged, 'tagged word')} fit" if tagged else "no word is tagged"
            notes = [note for path, note, _ in stored.meta["notes"] if path == file]
            annotated = corpus.types_by_file[file]
            counts = {name: mentions[name] if annotated is None or name in annotated else None for name in types}
            read = {"file": file, "split": split, "scheme": scheme, "read_as": [*notes, f"scheme {scheme}: {how}"]}
            yield {**read, "entities_by_type": counts}


class DataAudit(Callback):
    """Audits the data of a training that begins; on the first process only."""

    def __init__(self, run_dir: Path, launch: str) -> None:
        self.run_dir, self.launch = run_dir, launch
        self._audit: Audit | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Audit, and log the four worst findings; a resumed training has done both."""
        if stage != "fit" or not trainer.is_global_zero or (self.run_dir / "audit.json").is_file():
            return
        self._audit = audit_data(trainer.datamodule)  # type: ignore[attr-defined]
        worst = [each for each in self._audit.findings if each.severity != "info" and each.code not in _REPORTED]
        for finding in worst[:4]:
            log.warning("%s", finding.line())
        if counts := self._audit.summary():
            config = shlex.quote(str(self.run_dir / "config.yaml"))
            log.info("%-10s %s; see all:\n  %s audit --config %s", "audit", counts, self.launch, config)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the whole, once a training that cannot start would have stopped."""
        if self._audit is not None:
            write_atomically(self.run_dir / "audit.json", self._audit.as_json() + "\n")
            self._audit = None


def callbacks(run: Run) -> list[Callback]:
    """What a command runs with."""
    return [DataAudit(run.run_dir, run.launch)] if run.command == "fit" else []
