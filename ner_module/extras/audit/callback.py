"""The audit in short at the start of ``fit``, and whole in ``RUN/audit.json``."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ner_module.data.datamodule import NERDataModule
from ner_module.data.inventory import choose_source_scheme
from ner_module.extras.audit.audit import Audit, audit_sources
from ner_module.extras.audit.corpus import SPLITS, Source
from ner_module.extras.audit.subwords import Tokenization
from ner_module.extras.audit.tags import misspelt_tags
from ner_module.extras.audit.wording import plural

log = logging.getLogger(__name__)

_LINES = 4

# What is told anyway: by `data/report.py` and `data/inventory.py` while the data is read, by `health.py` after.
_TOLD = frozenset(
    {
        "misspelt_tag",
        "unknown_tag",
        "rare_tag",
        "changed_spans",
        "illegal_tags",
        "type_not_in_training",
        "windows",
        "clipped_words",
        "words_without_subword",
        "few_steps",
        "no_end",
    }
)


class DataAudit(Callback):
    """Looks at the data of a training that begins; on the first process only.

    Args:
        run_dir: where ``audit.json`` goes.
        launch: how a user starts this program, for messages.
    """

    def __init__(self, run_dir: Path, launch: str) -> None:
        self.run_dir, self.launch = run_dir, launch
        self._audit: Audit | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look, and say the worst; a training that goes on has been told."""
        data: NERDataModule = trainer.datamodule  # type: ignore[attr-defined]
        if stage != "fit" or not trainer.is_global_zero or (self.run_dir / "audit.json").is_file():
            return
        self._audit = audit_data(data, trainer, float(pl_module.hparams["warmup_ratio"]))
        worth_saying = [
            finding
            for finding in self._audit.findings
            if finding.severity in ("error", "warning") and finding.code not in _TOLD
        ]
        for finding in worth_saying[:_LINES]:
            log.warning("%s", finding.line())
        counts = [
            plural(self._audit.count(severity), noun)
            for severity, noun in (("error", "error"), ("warning", "warning"), ("info", "note"))
            if self._audit.count(severity)
        ]
        if counts:
            config = shlex.quote(str(self.run_dir / "config.yaml"))
            log.info("%-10s %s; see all: %s audit --config %s", "audit", ", ".join(counts), self.launch, config)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the whole, once a training that cannot start would have stopped."""
        if self._audit is not None:
            self._audit.write(self.run_dir / "audit.json")
            self._audit = None


def audit_data(data: NERDataModule, trainer: Trainer, warmup_ratio: float) -> Audit:
    """Audit the data that a data module has read."""
    options = data.hparams
    held_out = data.sentences_of("validation")[1]
    sources = {
        name: Source(
            data.stored[name],
            choose_source_scheme(data.stored[name], options["source_scheme"]),
            held_out if name == "train" else None,
        )
        for name in SPLITS
        if name in data.stored
    }
    declared = options["label_names"] or next(
        (source.stored.meta["declared_names"] for source in sources.values() if source.stored.meta["declared_names"]),
        None,
    )
    stored = [source.stored for source in sources.values()]
    return audit_sources(
        sources,
        data.outside_label,
        tokenization=Tokenization(data.tokenizer, data.max_seq_length, data.stride),
        batch_size=options["batch_size"],
        trainer={
            "devices": trainer.world_size // trainer.num_nodes,
            "num_nodes": trainer.num_nodes,
            "accumulate_grad_batches": trainer.accumulate_grad_batches,
            "max_epochs": trainer.max_epochs,
            "max_steps": trainer.max_steps,
            "limit_train_batches": trainer.limit_train_batches,
        },
        warmup_ratio=warmup_ratio,
        findings=misspelt_tags(stored, declared, next(iter(sources.values())).scheme),
        label_map=data.label_map,
        max_tokens=options["max_tokens"],
    )


def callbacks(run: Any) -> list[Callback]:
    """What a command runs with."""
    return [DataAudit(run.run_dir, run.launch)] if run.command == "fit" else []
