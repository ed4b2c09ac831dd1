"""``fit``, ``validate``, ``test`` and ``predict``: from a command line to trainer, model, data and run directory.

Lightning's CLI parses the options (`options.py`); this module adds what every run needs: its callbacks and loggers,
what a checkpoint decides, and messages before and after training. `arguments.py` finds run and checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.profilers import PassThroughProfiler

from ner_module.arguments import Run, complete_arguments
from ner_module.data.batching import training_plan
from ner_module.data.datamodule import NERDataModule
from ner_module.errors import RunError, UserError
from ner_module.files import check_output
from ner_module.help import COMMANDS
from ner_module.inference.tagger import unpack_run
from ner_module.model.module import NERModule
from ner_module.options import Parser, add_options, files_first, in_brief, parse_options
from ner_module.tables import say
from ner_module.training import cluster
from ner_module.training.callbacks import blamed, check_named, standard_callbacks
from ner_module.training.checkpoint_files import copy_checkpoint
from ner_module.training.checkpoints import check_saved, described, read_checkpoint, warn_of_broken_weights
from ner_module.training.distributed import choose_precision, fit_to_launcher, leave_group, set_up_ddp, with_own_plugins
from ner_module.training.failures import explain
from ner_module.training.loggers import MetricsCSV, guard, own_wandb_variables, set_up_loggers
from ner_module.training.predictions import holds_predictions
from ner_module.training.private import private_folder
from ner_module.training.results import best_f1
from ner_module.training.resume import keep_options
from ner_module.training.run_lock import run_lock
from ner_module.training.runs import checkpoint_path, clear_unsaved, remove_if_unused
from ner_module.training.save_run import SaveRun
from ner_module.training.streams import lossy_output, silence_libraries
from ner_module.training.trainer_options import check_trainer

log = logging.getLogger(__name__)

_SAMPLE = "ner_module/data/sample/train.conll"
"""What the quickstart trains on; all others have data of their own."""


def parse_fit_options(arguments: Sequence[str]) -> dict[str, Any]:
    """The options that ``fit`` would get from a command line, as nested dictionaries; nothing is built or run.

    Args:
        arguments: those of ``fit``. A model may be missing: ``data.model_name_or_path`` is then ``None``.
    """
    options: dict[str, Any] = parse_options(
        "fit", ["--model.model_name_or_path=", *files_first(list(arguments))]
    ).as_dict()
    options["data"]["model_name_or_path"] = options["data"]["model_name_or_path"] or None
    return options


class NERCLI(LightningCLI):
    """``python -m ner_module {fit,validate,test,predict}``.

    Args:
        run: the completed command line.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        super().__init__(
            NERModule,
            NERDataModule,
            save_config_callback=SaveRun,
            args=run.arguments,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_class=Parser,
        )

    # ------------------------------------------------------------------ parsing

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The commands, and the arguments of the trainer's methods, none of which is an option."""
        fixed = {"model", "datamodule", "ckpt_path", "weights_only", "verbose", "return_predictions"}
        loaders = {"train_dataloaders", "val_dataloaders", "dataloaders"}
        return dict.fromkeys(COMMANDS, fixed | loaders)

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        # Building a parser takes a while: only that of the given command is built.
        name = self.run.command
        usage = f"{self.run.launch} {name} [--config FILE] [options]"
        subparser = self._prepare_subcommand_parser(Trainer, name, description=COMMANDS[name], usage=usage)
        self._subcommand_parsers = {name: subparser}
        parser.add_subcommands().add_subcommand(name, subparser)
        subparser.check_keys(self.run.arguments)

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Nothing: :func:`add_options` adds all."""

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """All options of the command."""
        add_options(parser, self.run.command)

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise MisconfigurationException(f"--seed_everything: {error}") from error

    def _parse_ckpt_path(self) -> None:
        # Lightning's own would let the checkpoint's hyperparameters silently override the command line.
        self.checkpoint = None
        if self.run.checkpoint is None:
            return
        self.checkpoint = read_checkpoint(self.run.checkpoint)
        if self.run.command == "fit" and not self.checkpoint.get("optimizer_states"):
            raise RunError(
                f"{self.run.checkpoint} holds weights only, from which no training resumes: `export` it, and name the "
                "folder as --model.model_name_or_path"
            )
        log.info("%-10s %s", "checkpoint", described(self.checkpoint, self.run.checkpoint))
        if self.run.command == "fit":
            keep_options(self.config["fit"], self.checkpoint)

    # ------------------------------------------------------------------ building

    def before_instantiate_classes(self) -> None:
        """Settle where the trainer and the loggers write."""
        assert self.run.run_dir is not None
        trainer = self.config[self.subcommand].trainer
        check_trainer(trainer)
        output, named = self._get(self.config, "output", None), self.config[self.subcommand].data.predict_file
        if output and self.subcommand == "predict" and (Path(output).is_file() or not Path(output).exists()):
            read = [*_as_list(named), self.run.checkpoint]  # a pipe or a device is written to, whatever it is
            check_output(Path(output), holds_predictions, [Path(path) for path in read if path])
        self._chosen = choose_precision(trainer)
        trainer.default_root_dir = str(self.run.run_dir)
        seed = self._get(self.config, "seed_everything")
        set_up_loggers(trainer, self.run.command, self.run.run_dir, seed, self.run.recipe)

    def instantiate_classes(self) -> None:
        """Build data, model and trainer; a checkpoint brings labels, tokenizer and architecture, so no hub is asked."""
        checkpoint, self.checkpoint = self.checkpoint, None
        if checkpoint is None:
            unpack_run(self.config[self.subcommand].model.model_name_or_path)
        super().instantiate_classes()
        if self.subcommand == "predict":
            self.datamodule.private_folder = private_folder()
        if checkpoint is not None:
            assert self.run.checkpoint is not None
            warn_of_broken_weights(checkpoint, self.run.checkpoint)
            self.datamodule.load_state_dict(checkpoint["NERDataModule"])
            self.model.restore(checkpoint)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer with the callbacks and loggers that every run has."""
        config = self._get(self.config_init, "trainer")
        run_dir = self.run.run_dir
        assert run_dir is not None
        loggers = [logger for logger in _as_list(config.get("logger")) if not isinstance(logger, bool)]
        for logger in loggers:
            guard(logger)
        if self.subcommand == "fit":
            loggers.insert(0, MetricsCSV(run_dir))
        output = self._get(self.config, "output") if self.subcommand == "predict" else None
        named = _as_list(config.get("callbacks"))
        check_named(named)
        if self.subcommand == "fit":
            self._check_config_survives()
        own_bar = any(isinstance(callback, ProgressBar) for callback in named)
        if own_bar:
            config["enable_progress_bar"] = True
        callbacks = standard_callbacks(
            self.run,
            fast_dev_run=bool(config.get("fast_dev_run")),
            checkpointing=config.get("enable_checkpointing") is not False,
            progress_bar=config.get("enable_progress_bar") is not False and not own_bar,
            output=Path(output) if output else None,
            output_tags=self.subcommand == "predict" and self._get(self.config, "output_tags"),
            save_every_minutes=self._get(self.config, "save_every_minutes"),
            save_every_steps=self._get(self.config, "save_every_steps"),
        )
        config["callbacks"] = [*named, *callbacks]
        config["plugins"] = with_own_plugins(config.get("plugins"))
        fit_to_launcher(config)
        try:
            trainer: Trainer = super().instantiate_trainer(logger=loggers or False, **kwargs)
        except (ImportError, TypeError, ValueError) as error:  # Lightning's checks of its options
            raise MisconfigurationException(str(error)) from error
        set_up_ddp(trainer.strategy)
        profiler: Any = trainer.profiler  # type: ignore[attr-defined]
        if not isinstance(profiler, PassThroughProfiler):
            profiler.dirpath = profiler.dirpath or run_dir
            profiler.filename = profiler.filename or "profile"
        return trainer

    def _check_config_survives(self) -> None:
        """Refuse options that `config.yaml` cannot hold, which a resumed run reads."""
        parser = self._subcommand_parsers["fit"]
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            try:
                parser.parse_string(parser.dump(self.config["fit"], skip_unset=False))
            except Exception as error:
                problem = f"these options cannot be written to config.yaml and read again: {in_brief(str(error))}"
                raise RunError(f"{problem}; give numbers, texts and lists only") from error

    # ------------------------------------------------------------------ running

    def _run_subcommand(self, subcommand: str) -> None:
        super()._run_subcommand(subcommand)
        profiler, run_dir = self.trainer.profiler, self.run.run_dir  # type: ignore[attr-defined]
        if not isinstance(profiler, PassThroughProfiler) and run_dir is not None and self.trainer.is_global_zero:
            for path in sorted(run_dir.glob(f"{subcommand}-*.txt")):
                log.info("%-10s %s", "profile", path)

    # What Lightning may unpickle from a checkpoint is limited to plain data and tensors throughout.

    def before_fit(self) -> None:
        """Print where and how training runs."""
        trainer = self.trainer
        device = f"{trainer.world_size} x {type(trainer.accelerator).__name__.removesuffix('Accelerator')}"
        threads = f", {torch.get_num_threads()} threads" if trainer.strategy.root_device.type == "cpu" else ""
        seed = self._get(self.config, "seed_everything")
        precision = f"precision {trainer.precision}" + self._chosen * ", which this GPU has (32-true is float32)"
        how = f"({device}{threads}), {training_plan(self.datamodule.hparams, trainer).step()}, {precision}, seed {seed}"
        log.info("%-10s %s %s", "run", self.run.run_dir, how)
        finished = self.datamodule.begun.epoch if self.datamodule.begun else 0
        if finished and trainer.max_epochs is not None and finished >= trainer.max_epochs > 0:
            log.warning("All %d epochs are done; to continue, give --trainer.max_epochs %d", finished, finished + 1)

    def fit(self, **kwargs: Any) -> None:
        """Train; when training resumes in another directory, the best checkpoint so far is copied there."""
        checkpoint, run_dir = self.run.checkpoint, self.run.run_dir
        if checkpoint is not None and run_dir is not None and self.trainer.is_global_zero:
            best, copied = checkpoint.with_name("best.ckpt"), checkpoint_path(run_dir, "best")
            if best.is_file() and not copied.is_file():
                copy_checkpoint(best, copied)
        self.trainer.fit(ckpt_path=checkpoint, weights_only=True, **kwargs)

    def validate(self, **kwargs: Any) -> None:
        """Score the validation data; callbacks print and save the scores."""
        self.trainer.validate(ckpt_path=self.run.checkpoint, weights_only=True, verbose=False, **kwargs)

    def test(self, **kwargs: Any) -> None:
        """Score the test data, likewise."""
        self.trainer.test(ckpt_path=self.run.checkpoint, weights_only=True, verbose=False, **kwargs)

    def predict(self, **kwargs: Any) -> None:
        """Predict; results are written as they come, not collected in memory."""
        self.trainer.predict(ckpt_path=self.run.checkpoint, weights_only=True, return_predictions=False, **kwargs)

    def after_fit(self) -> None:
        """Print where everything is and what to type next."""
        run_dir = self.run.run_dir
        if not self.trainer.is_global_zero or self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        assert run_dir is not None
        check_saved(self.trainer.strategy.checkpoint_io, run_dir)
        launch, where = self.run.launch, shlex.quote(str(run_dir))
        lines = [f"Saved in {run_dir}", "", "Next:"]
        saved = [name for name in ("best", "last") if checkpoint_path(run_dir, name).is_file()]
        asked = f"--run_dir {where}" + (" --ckpt_path last" if saved == ["last"] else "")
        if saved and "test" in self.datamodule.encoded:
            lines.append(f"  {launch} test {asked}")
        elif saved:
            lines.append(f"  {launch} test {asked} --data.test_file FILE")
        if saved and best_f1(self.trainer) != 0:
            text = shlex.quote(self._example())
            lines.append(f"  echo {text} | {launch} predict {asked} --data.predict_file -")
        if _SAMPLE in map(str, _as_list(self.datamodule.hparams["train_file"])):
            model = self.model.hparams["model_name_or_path"]
            lines.append(f"  {launch} fit --model.model_name_or_path {model} --data.train_file YOUR_FILE")
        say("\n".join(lines))

    def _example(self) -> str:
        """A short sentence of the data that were held out, or of the training data."""
        data: NERDataModule = self.datamodule
        split = "validation" if "validation" in data.stored else "train"
        _, chosen = data.sentences_of(split)
        found = [data.sentence_of(split, index)[0] for index in range(min(20, len(chosen)))]
        short = min(found, key=lambda tokens: abs(len(tokens) - 8))
        return " ".join(short)


def _as_list(value: Any) -> list[Any]:
    """The values of an option that takes one, several or none."""
    return value if isinstance(value, list) else [] if value is None else [value]


# ---------------------------------------------------------------------- the program


def run_command(arguments: list[str]) -> None:
    """Run ``fit``, ``validate``, ``test`` or ``predict``; a :class:`RunError` explains failures of the libraries."""
    silence_libraries()
    run = complete_arguments(arguments)
    # The processes that Lightning starts for DDP run the same command line, which it takes from here.
    saved, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        with own_wandb_variables(), contextlib.ExitStack() as stack:
            if run.command == "fit" and run.run_dir is not None and cluster.is_first_process():
                stack.enter_context(run_lock(run.run_dir))
                stack.enter_context(lossy_output())
                if run.starts_anew:
                    clear_unsaved(run.run_dir)
            NERCLI(run)
        leave_group()
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise stop.__context__ from None
        raise
    except UserError:
        raise
    except Exception as error:
        problem = explain(error, run.run_dir) or blamed(error)
        if problem is None:
            raise
        raise RunError(problem) from error
    finally:
        sys.argv = saved
        if run.run_dir is not None:
            remove_if_unused(run.run_dir)
