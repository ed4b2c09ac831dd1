"""The options of ``fit``, ``validate``, ``test`` and ``predict``; their help is in the docstrings of model and data."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ActionConfigFile
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from ner_module.data.datamodule import NERDataModule
from ner_module.model.module import NERModule

_TRAINER_DEFAULTS = {
    "gradient_clip_val": 1.0,
    "max_epochs": 3,
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
    "logger": False,
    "enable_model_summary": False,
    "log_every_n_steps": 10,
}


def add_options(parser: LightningArgumentParser, command: str) -> None:
    """Add the options of a command: those of the run, then the model's, the data's and the trainer's.

    Args:
        parser: that of the command.
        command: its name; empty for an overview of all commands.
    """
    parser.add_argument(
        "--seed_everything", type=int, default=42, help="The seed of weights, dropout and the order of the data."
    )
    parser.add_argument(
        "--run_dir",
        type=str | None,
        default=None,
        help="Where everything of this run goes. Default: runs/<name of the first --config>/<time>.",
    )
    parser.add_argument(
        "--ckpt_path",
        type=str | None,
        default=None,
        help="best, last or a file: the checkpoint to use, or to resume training from. best and last are those of "
        "--run_dir, else of the newest run. It brings its configuration, labels and tokenizer along. auto resumes "
        "from last if the run has one, and starts from scratch if not.",
    )
    # Known to all commands, which read a run's configuration.
    parser.add_argument(
        "--save_every_minutes",
        type=NonNegativeFloat,
        default=10.0,
        help="For fit: how often to save last.ckpt within an epoch, which is what a crash can cost. 0: only after "
        "each epoch.",
    )
    parser.add_argument(
        "--save_every_steps",
        type=PositiveInt | None,
        default=None,
        help="For fit: also save last.ckpt each time this many optimiser steps are done.",
    )
    if command in ("", "predict"):
        parser.add_argument(
            "--output",
            type=str | None,
            default=None,
            help="For predict: the JSONL file to write. Default: standard output.",
        )
    # Labels are filled from the data or a checkpoint.
    labels = {"label_names", "scheme", "outside_label"}
    parser.add_class_arguments(NERModule, "model", skip=labels, fail_untyped=False, sub_configs=True)
    parser.add_class_arguments(NERDataModule, "data", fail_untyped=False, sub_configs=True)
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.set_defaults({f"trainer.{name}": value for name, value in _TRAINER_DEFAULTS.items()})
    parser.link_arguments("model.model_name_or_path", "data.model_name_or_path")
    parser.link_arguments("model.revision", "data.revision")
    parser.link_arguments("seed_everything", "data.seed")


def options_problem(config: Path, command: str) -> str | None:
    """Why a configuration file is none for a command; ``None`` for one that is."""
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_argument("-c", "--config", action=ActionConfigFile)
    add_options(parser, command)
    try:
        parser.parse_args(["--config", str(config)])
    except Exception as error:
        return " ".join(str(error).split())[:300]
    return None
