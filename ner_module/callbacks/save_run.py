"""The files that say what a run was: ``config.yaml`` and ``train_entities.json``."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from ner_module.data.datamodule import NERDataModule


class SaveRun(SaveConfigCallback):
    """Writes ``config.yaml`` and ``train_entities.json`` at the start of ``fit``; gives loggers the configuration."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save once, on the first process; nothing outside ``fit``."""
        if stage != "fit" or self.already_saved:
            return
        self.already_saved = True
        text = _portable_config(self.parser.dump(self.config, skip_unset=False))
        pl_module.config_text = text  # type: ignore[assignment]
        if trainer.is_global_zero:
            run_dir = Path(trainer.default_root_dir)
            run_dir.mkdir(parents=True, exist_ok=True)
            (run_dir / "config.yaml").write_text(text, encoding="utf-8")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what the training data taught: later analyses ask which entities were seen."""
        if trainer.is_global_zero:
            data: NERDataModule = trainer.datamodule  # type: ignore[attr-defined]
            entities = json.dumps(data.train_entities(), ensure_ascii=False, indent=0, sort_keys=True)
            (Path(trainer.default_root_dir) / "train_entities.json").write_text(entities, encoding="utf-8")
            for logger in trainer.loggers:
                logger.log_hyperparams(yaml.safe_load(pl_module.config_text))  # type: ignore[arg-type]


def _portable_config(text: str) -> str:
    """The configuration without what belongs to one run only."""
    config = yaml.safe_load(text)
    for name in ("run_dir", "ckpt_path", "config"):
        config.pop(name, None)
    dumped: str = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return dumped
