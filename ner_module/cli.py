"""NERCLI: YAML and flags -> trainer, model, data and one directory per run.

Lightning's CLI does the parsing; this module adds what every run needs: its callbacks and loggers, what a checkpoint
decides, and what is said at the end. Which run and checkpoint a command means is settled before (`arguments.py`).
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from rich import get_console

from ner_module.arguments import COMMANDS, Run, complete_arguments
from ner_module.data.datamodule import NERDataModule
from ner_module.errors import RunError
from ner_module.model.module import NERModule
from ner_module.offers import find_commands
from ner_module.training.callbacks import VALIDATION_METRICS, standard_callbacks, unknown_monitors
from ner_module.training.checkpoint_files import copy_checkpoint
from ner_module.training.checkpoints import check_saved, read_checkpoint
from ner_module.training.distributed import fit_to_launcher, leave_group, with_own_plugins
from ner_module.training.failures import explain
from ner_module.training.loggers import own_wandb_variables, set_up_loggers
from ner_module.training.metrics_csv import MetricsCSV
from ner_module.training.runs import checkpoint_path, remove_if_unused
from ner_module.training.save_run import SaveRun

log = logging.getLogger(__name__)


# What the checkpoint decides when training goes on: changing them on the command line would do nothing.
_FIXED_ON_RESUME = ("learning_rate", "weight_decay", "model_name_or_path", "revision", "dropout")


class NERCLI(LightningCLI):
    """``python -m ner_module {fit,validate,test,predict}``."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.checkpoint = read_checkpoint(run.checkpoint) if run.checkpoint else None
        super().__init__(
            NERModule,
            NERDataModule,
            save_config_callback=SaveRun,
            trainer_defaults={
                "gradient_clip_val": 1.0,
                "max_epochs": 3,
                "use_distributed_sampler": False,
                "num_sanity_val_steps": 0,
                "logger": False,
                "enable_model_summary": False,
                "log_every_n_steps": 10,
            },
            args=run.arguments,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            seed_everything_default=42,
            parser_kwargs={
                "description": "Fine-tune transformers for named entity recognition. Commands beside those below, each "
                f"with --help: {', '.join(find_commands())}.",
                "usage": f"{run.launch} COMMAND [options]",
            },
        )

    # ------------------------------------------------------------------ options

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The commands, and which arguments of the trainer's methods are no options."""
        fixed = {"model", "datamodule", "ckpt_path", "weights_only", "verbose", "return_predictions"}
        return {"fit": fixed | {"train_dataloaders", "val_dataloaders"}} | {
            name: fixed | {"dataloaders"} for name in COMMANDS[1:]
        }

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        # Building a parser takes a while: only that of the command that was asked for is built in full.
        descriptions = {
            "fit": "Train a model, or go on training with --ckpt_path last.",
            "validate": "Score a trained model on the validation data.",
            "test": "Score a trained model on the test data.",
            "predict": "Find the entities in --data.predict_file.",
        }
        self._subcommand_parsers = {}
        added = parser.add_subcommands()
        for name, description in descriptions.items():
            texts = {"description": description, "usage": f"{self.run.launch} {name} [--config FILE] [options]"}
            if self.run.command in ("", name):
                subparser = self._prepare_subcommand_parser(Trainer, name, **texts)
            else:
                subparser = self.init_parser(**texts)
                self._subcommand_method_arguments[name] = []
            self._subcommand_parsers[name] = subparser
            added.add_subcommand(name, subparser, help=description)
            subparser.prog = f"{self.run.launch} {name}"  # for the advice to ask for --help

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Options that belong to the run rather than to trainer, model or data."""
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
            help="best, last or a file: the checkpoint to use, or to go on training from. best and last are those of "
            "--run_dir, else of the newest run. It brings its configuration, labels and tokenizer along. auto goes on "
            "from last if the run has one, and starts anew if not.",
        )
        # Known to all commands, which read a run's configuration.
        parser.add_argument(
            "--save_every_minutes",
            type=NonNegativeFloat,
            default=10.0,
            help="For fit: save last.ckpt within an epoch so often: what a crash can cost. 0: after epochs only.",
        )
        parser.add_argument(
            "--save_every_steps",
            type=PositiveInt | None,
            default=None,
            help="For fit: save last.ckpt after so many optimiser steps, too.",
        )
        if self.run.command in ("", "predict"):
            parser.add_argument(
                "--output",
                type=str | None,
                default=None,
                help="For predict: the JSONL file to write. Default: standard output.",
            )

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The model's, the data's and the trainer's options, in the order of what most people look for."""
        # Labels are filled from the data or a checkpoint.
        labels = {"label_names", "scheme", "outside_label"}
        parser.add_class_arguments(NERModule, "model", skip=labels, fail_untyped=False, sub_configs=True)
        parser.add_class_arguments(NERDataModule, "data", fail_untyped=False, sub_configs=True)
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What the data takes from elsewhere."""
        parser.link_arguments("model.model_name_or_path", "data.model_name_or_path")
        parser.link_arguments("model.revision", "data.revision")
        parser.link_arguments("seed_everything", "data.seed")

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise MisconfigurationException(f"--seed_everything: {error}") from error

    def _parse_ckpt_path(self) -> None:
        # Lightning's own would let the checkpoint's hyperparameters silently override the command line.
        pass

    # ------------------------------------------------------------------ building

    def before_instantiate_classes(self) -> None:
        """Where loggers write, and the run's configuration inside the checkpoint's limits."""
        config = self.config[self.subcommand]
        if self.run.run_dir is None:
            raise RunError(f"`{self.subcommand}` has no run directory")
        if config.trainer.overfit_batches:
            raise RunError("--trainer.overfit_batches is not supported: give a small --data.train_file instead")
        config.trainer.default_root_dir = str(self.run.run_dir)
        seed = self._get(self.config, "seed_everything")
        set_up_loggers(config.trainer, self.run.command, self.run.run_dir, seed)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer with the callbacks and loggers every run has."""
        config = self._get(self.config_init, "trainer")
        run_dir = self.run.run_dir
        assert run_dir is not None
        asked = config.get("logger")
        loggers = [
            logger for logger in (asked if isinstance(asked, list) else [asked]) if logger not in (None, True, False)
        ]
        if self.subcommand == "fit":
            loggers.insert(0, MetricsCSV(run_dir))
        output = self._get(self.config, "output") if self.subcommand == "predict" else None
        callbacks = standard_callbacks(
            self.run,
            fast_dev_run=bool(config.get("fast_dev_run")),
            checkpointing=config.get("enable_checkpointing") is not False,
            progress_bar=config.get("enable_progress_bar") is not False,
            output=Path(output) if output else None,
            **self._save_options(),
        )
        asked = config.get("callbacks") or []
        config["callbacks"] = [*(asked if isinstance(asked, list) else [asked]), *callbacks]
        config["plugins"] = with_own_plugins(config.get("plugins"))
        fit_to_launcher(config)
        try:
            return super().instantiate_trainer(logger=loggers or False, **kwargs)
        except (ImportError, TypeError, ValueError) as error:  # Lightning's checks of its options
            raise MisconfigurationException(str(error)) from error

    def _save_options(self) -> dict[str, Any]:
        names = ("save_every_minutes", "save_every_steps")
        return {name: self._get(self.config, name) for name in names} if self.subcommand == "fit" else {}

    def after_instantiate_classes(self) -> None:
        """Take labels, tokenizer and architecture from the checkpoint, before anything asks the hub for them."""
        if self.checkpoint is None:
            return
        if self.subcommand == "fit":
            self._warn_of_fixed_options()
        self.datamodule.load_state_dict(self.checkpoint["NERDataModule"])
        self.model.restore(self.checkpoint)
        self.checkpoint = None

    def before_fit(self) -> None:
        """Say where and how training runs."""
        trainer = self.trainer
        for name in unknown_monitors(trainer.callbacks):  # type: ignore[attr-defined]
            known = ", ".join(f"val/{metric}" for metric in VALIDATION_METRICS)
            raise RunError(f"a callback watches {name!r}, which does not exist: give one of {known} or val/f1/TYPE")
        device = f"{trainer.world_size} x {type(trainer.accelerator).__name__.removesuffix('Accelerator')}"
        threads = f", {torch.get_num_threads()} threads" if trainer.strategy.root_device.type == "cpu" else ""
        log.info(
            "%-10s %s (%s%s), precision %s, seed %s",
            "run",
            self.run.run_dir,
            device,
            threads,
            trainer.precision,
            self._get(self.config, "seed_everything"),
        )
        finished = self.datamodule.finished_epochs
        if finished and trainer.max_epochs is not None and finished >= trainer.max_epochs > 0:
            log.warning(
                "All %d epochs are done; to train further, give --trainer.max_epochs %d", finished, finished + 1
            )

    def _warn_of_fixed_options(self) -> None:
        assert self.checkpoint is not None
        saved = self.checkpoint["hyper_parameters"]
        for name in _FIXED_ON_RESUME:
            asked = self.model.hparams[name]
            if asked != saved[name]:
                log.warning(
                    "--model.%s %s has no effect: training goes on from a checkpoint made with %s. "
                    "To train anew with other settings, leave --ckpt_path out.",
                    name,
                    asked,
                    saved[name],
                )

    # ------------------------------------------------------------------ running

    # What Lightning may unpickle from a checkpoint is limited to plain data and tensors throughout.

    def fit(self, **kwargs: Any) -> None:
        """Train; going on in another directory takes the best checkpoint so far along."""
        checkpoint, run_dir = self.run.checkpoint, self.run.run_dir
        if checkpoint is not None and run_dir is not None and self.trainer.is_global_zero:
            best, mine = checkpoint.with_name("best.ckpt"), checkpoint_path(run_dir, "best")
            if best.is_file() and not mine.is_file():
                copy_checkpoint(best, mine)
        self.trainer.fit(ckpt_path=self.run.checkpoint, weights_only=True, **kwargs)

    def validate(self, **kwargs: Any) -> None:
        """Score the validation data; the callbacks print and keep the scores."""
        self.trainer.validate(ckpt_path=self.run.checkpoint, weights_only=True, verbose=False, **kwargs)

    def test(self, **kwargs: Any) -> None:
        """Score the test data, likewise."""
        self.trainer.test(ckpt_path=self.run.checkpoint, weights_only=True, verbose=False, **kwargs)

    def predict(self, **kwargs: Any) -> None:
        """Predict without keeping the results in memory: they are written as they come."""
        self.trainer.predict(ckpt_path=self.run.checkpoint, weights_only=True, return_predictions=False, **kwargs)

    def after_fit(self) -> None:
        """Say where everything is and what to type next."""
        run_dir = self.run.run_dir
        if not self.trainer.is_global_zero or self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        launch = self.run.launch
        where = shlex.quote(str(run_dir))
        check_saved(self.trainer.strategy.checkpoint_io, run_dir)
        lines = [f"Saved in {run_dir}", "", "Next:"]
        saved = [name for name in ("best", "last") if run_dir and checkpoint_path(run_dir, name).is_file()]
        if saved and "test" in self.datamodule.encoded:
            lines.append(f"  {launch} test --run_dir {where} --ckpt_path {saved[0]}")
        if saved:
            lines.append(
                f'  echo "Ada Lovelace met the mayor of Lincoln." | {launch} predict --run_dir {where} '
                f"--ckpt_path {saved[0]} --data.predict_file -"
            )
        model = self.model.hparams["model_name_or_path"]
        lines.append(
            f"  {launch} fit --model.model_name_or_path {model} --data.train_file YOUR_FILE "
            "   # your own data: CoNLL columns or JSONL"
        )
        get_console().print("\n".join(lines), highlight=False, soft_wrap=True)


def run_command(arguments: list[str]) -> None:
    """Run ``fit``, ``validate``, ``test`` or ``predict``."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # set to INFO when it was imported
    # Evaluation has no use for the checkpoint callbacks of `fit`; going on in the same directory is what is asked for;
    # and the data module, not the loader, knows where in the epoch to go on.
    for message in (
        "Be aware that when using `ckpt_path`.*",
        "Checkpoint directory .* exists and is not empty.*",
        "You're resuming from a checkpoint that ended.*",
        "The dirpath has changed from.*",
        "It is recommended to use .*sync_dist=True.*",  # scores are summed over processes before they are logged
        "LightningCLI's args parameter is intended to run from within Python.*",
    ):
        warnings.filterwarnings("ignore", message=message)
    if "SLURM_JOB_ID" not in os.environ:  # on a login node srun is there and not wanted
        warnings.filterwarnings("ignore", message="The `srun` command is available on your system.*")
    run = complete_arguments(arguments)
    # The processes that Lightning starts for DDP run the same command line, which it takes from here.
    saved, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        with own_wandb_variables():
            NERCLI(run)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise stop.__context__ from None
        raise
    except (MemoryError, MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        problem = explain(error, run.run_dir)
        if problem is None:
            raise
        raise RunError(problem) from error
    finally:
        sys.argv = saved
        leave_group()
        if run.run_dir is not None:
            remove_if_unused(run.run_dir)
