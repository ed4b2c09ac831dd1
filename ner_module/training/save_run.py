"""The files that record a run: ``config.yaml`` and ``train_entities.json``."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from ner_module.data.datamodule import NERDataModule
from ner_module.files import write_atomically
from ner_module.training.loggers import remember_wandb_run
from ner_module.training.results import update_results


class SaveRun(SaveConfigCallback):
    """Writes ``config.yaml`` and ``train_entities.json`` at the start of ``fit``; logs the configuration."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Pass the configuration to the model, which stores it in checkpoints."""
        if stage == "fit":
            pl_module.config_text = _portable_config(self.parser.dump(self.config, skip_unset=False))  # type: ignore[assignment]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, in the first process, once data, model and optimiser exist: a run that cannot start leaves no files.

        Also saves the entities of the training data, for later analyses of seen and unseen ones.
        """
        if trainer.is_global_zero:
            run_dir = Path(trainer.default_root_dir)
            write_atomically(run_dir / "config.yaml", str(pl_module.config_text))
            data: NERDataModule = trainer.datamodule  # type: ignore[attr-defined]
            entities = json.dumps(data.train_entities(), ensure_ascii=False, indent=0, sort_keys=True)
            write_atomically(run_dir / "train_entities.json", entities)
            if (run_dir / "results.json").is_file():  # a resumed training
                update_results(run_dir, {}, ["config.yaml", "train_entities.json"])
            for logger in trainer.loggers:
                remember_wandb_run(logger, run_dir)
                logger.log_hyperparams(yaml.safe_load(pl_module.config_text))  # type: ignore[arg-type]


def _portable_config(text: str) -> str:
    """The configuration without settings specific to one run."""
    config = yaml.safe_load(text)
    for name in ("run_dir", "ckpt_path", "config"):
        config.pop(name, None)
    loggers = config.get("trainer", {}).get("logger")
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if isinstance(logger, dict) and "save_dir" in logger.get("init_args", {}):
            logger["init_args"]["save_dir"] = "."  # the run directory, for `set_up_loggers`
    dumped: str = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return dumped
