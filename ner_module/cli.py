"""``fit``, ``validate``, ``test`` and ``predict``: from a command line to trainer, model, data and run directory.

`options.py` parses the options, `arguments.py` finds run and checkpoint. This module builds model, data and trainer
with the standard callbacks and loggers, runs the trainer, and prints messages before and after.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.profilers import PassThroughProfiler

from ner_module.arguments import complete_arguments
from ner_module.data.batching import training_plan
from ner_module.data.datamodule import NERDataModule
from ner_module.errors import RunError, UserError
from ner_module.files import check_output
from ner_module.inference.tagger import unpack_run
from ner_module.model.module import NERModule
from ner_module.options import Parser, build_parser, in_brief
from ner_module.tables import say
from ner_module.training import cluster
from ner_module.training.callbacks import standard_callbacks
from ner_module.training.checkpoint_files import copy_checkpoint
from ner_module.training.checkpoints import check_saved, described, read_checkpoint, warn_of_broken_weights
from ner_module.training.distributed import choose_precision, fit_to_launcher, leave_group, set_up_ddp, with_own_plugins
from ner_module.training.failures import explain
from ner_module.training.loggers import MetricsCSV, guard, name_wandb_run, set_up_loggers
from ner_module.training.predictions import holds_predictions
from ner_module.training.results import best_f1
from ner_module.training.resume import keep_options
from ner_module.training.runs import (
    Run,
    checkpoint_path,
    clear_unsaved,
    private_folder,
    remove_if_unused,
    run_lock,
)
from ner_module.training.save_run import SaveRun
from ner_module.training.streams import lossy_output, silence_libraries
from ner_module.training.trainer_options import check_callbacks, check_trainer

log = logging.getLogger(__name__)

_SAMPLE = "ner_module/data/sample/train.conll"
"""The training data of the quickstart."""


def run_command(arguments: list[str]) -> None:
    """Run ``fit``, ``validate``, ``test`` or ``predict``; library errors are raised as a :class:`RunError`."""
    silence_libraries()
    command, *options = arguments
    parser = build_parser(command)
    if "--help-all" in options:
        options = ["--help"]
    if any(re.match(r"--(help|print_config|.*\.help$)", option) for option in options):
        parser.parse(options)  # prints, and exits
    run = complete_arguments(arguments)
    # Lightning starts its DDP processes with the command line in sys.argv.
    saved, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        with contextlib.ExitStack() as stack:
            if command == "fit" and cluster.is_first_process():
                stack.enter_context(run_lock(run.run_dir))
                stack.enter_context(lossy_output())
                if run.starts_anew:
                    clear_unsaved(run.run_dir)
            _run(NERCLI(run, parser))
        leave_group()
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise stop.__context__ from None
        raise
    except UserError:
        raise
    except Exception as error:
        problem = explain(error, run)
        if problem is None:
            raise
        raise RunError(problem) from error
    finally:
        sys.argv = saved
        remove_if_unused(run.run_dir)


class NERCLI(LightningCLI):
    """Builds trainer, model and data from the options of a command; :func:`_run` runs it.

    Args:
        run: the command's run directory and checkpoint.
        parser: the command's parser.
    """

    def __init__(self, run: Run, parser: Parser) -> None:
        self.run, self._own_parser = run, parser
        super().__init__(
            NERModule,
            NERDataModule,
            args=run.arguments[1:],
            run=False,  # one parser without subcommands
            save_config_callback=None,  # it would write to the first logger's directory; `SaveRun` replaces it
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def setup_parser(self, *_: Any) -> None:
        """Use the parser of `options.py`."""
        self.parser = self._own_parser

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Parse the options; a checkpoint overrides some of them."""
        self.config = parser.parse(args)
        self.checkpoint = _read_checkpoint(self.run, self.config)

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise RunError(f"--seed_everything: {error}") from error

    def before_instantiate_classes(self) -> None:
        """Refuse options that cannot work; set precision, loggers and output directory."""
        run, trainer = self.run, self.config.trainer
        check_trainer(trainer)
        if run.command == "predict":
            _check_output(run, self.config)
        self.precision_is_chosen = choose_precision(trainer)
        if trainer.default_root_dir:
            log.warning("--trainer.default_root_dir has no effect: --run_dir says where everything of a run goes")
            trainer.default_root_dir = None
        set_up_loggers(trainer, run.command, run.run_dir)
        if self.checkpoint is None or (run.command == "fit" and self.config.model.distillation):
            unpack_run(self.config.model.model_name_or_path)

    def instantiate_trainer(self, **_: Any) -> Trainer:
        """Build the trainer with the standard callbacks and loggers."""
        return build_trainer(self.run, self.parser, self.config, {**self.config_init.trainer})

    def after_instantiate_classes(self) -> None:
        """Restore labels, tokenizer and architecture from the checkpoint, without the hub."""
        if self.checkpoint is not None and self.run.checkpoint is not None:
            warn_of_broken_weights(self.checkpoint, self.run.checkpoint)
            self.datamodule.load_state_dict(self.checkpoint["NERDataModule"])
            self.model.restore(self.checkpoint)
            self.checkpoint = None


def _run(cli: NERCLI) -> None:
    run, trainer, model, data = cli.run, cli.trainer, cli.model, cli.datamodule
    # Lightning unpickles only plain data and tensors from a checkpoint.
    how: dict[str, Any] = {"ckpt_path": run.checkpoint, "weights_only": True}
    if run.command == "fit":
        _before_fit(cli)
        trainer.fit(model, datamodule=data, **how)
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            check_saved(trainer.strategy.checkpoint_io, run.run_dir)
            _say_next(run, trainer, model, data)
    elif run.command == "predict":
        data.private_folder = private_folder()
        trainer.predict(model, datamodule=data, return_predictions=False, **how)
    else:
        getattr(trainer, run.command)(model, datamodule=data, verbose=False, **how)


def _read_checkpoint(run: Run, options: Any) -> dict[str, Any] | None:
    """Read the checkpoint that a command starts from; for ``fit``, apply the options that it fixes."""
    if run.checkpoint is None:
        return None
    checkpoint = read_checkpoint(run.checkpoint)
    if run.command == "fit" and not checkpoint.get("optimizer_states"):
        raise RunError(
            f"{run.checkpoint} cannot be resumed: it has only weights, or is of an earlier version; to train on from "
            "its weights, `export` it, and name the folder as --model.model_name_or_path"
        )
    log.info("%-10s %s", "checkpoint", described(checkpoint, run.checkpoint))
    if run.command == "fit":
        keep_options(options, checkpoint)
    return checkpoint


def _check_output(run: Run, options: Any) -> None:
    """Refuse to overwrite anything but predictions; pipes and ``/dev/null`` are allowed."""
    output = Path(options.output).expanduser() if options.output else None
    options.output = output and str(output)
    if output and not output.is_fifo() and output != Path(os.devnull):
        read = [*_as_list(options.data.predict_file), run.checkpoint]
        check_output(output, holds_predictions, [Path(path) for path in read if path])


def build_trainer(run: Run, parser: Parser, options: Any, trainer: dict[str, Any]) -> Trainer:
    """Build a trainer with the standard callbacks and loggers, in addition to those built from ``options``."""
    callbacks = _as_list(trainer["callbacks"])
    loggers = [logger for logger in _as_list(trainer["logger"]) if not isinstance(logger, bool)]
    for logger in loggers:
        name_wandb_run(logger, run.run_dir, options.seed_everything, run.recipe)
        guard(logger)
    if run.command == "fit":
        check_callbacks(callbacks)
        _check_config_survives(parser, options)
        loggers.insert(0, MetricsCSV(run.run_dir))
    own_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    callbacks += standard_callbacks(run, options, own_bar)
    if run.command == "fit" and not trainer["fast_dev_run"]:
        callbacks.append(SaveRun(parser, options))
    trainer["default_root_dir"] = str(run.run_dir)
    trainer["callbacks"], trainer["logger"] = callbacks, loggers or False
    trainer["plugins"] = with_own_plugins(_as_list(trainer["plugins"]), trainer["strategy"])
    trainer["enable_progress_bar"] = own_bar or trainer["enable_progress_bar"]
    fit_to_launcher(trainer)
    try:
        built = Trainer(**trainer)
    except (ImportError, TypeError, ValueError) as error:  # Lightning's checks of its options
        raise MisconfigurationException(str(error)) from error
    set_up_ddp(built.strategy)
    profiler: Any = built.profiler  # type: ignore[attr-defined]
    if not isinstance(profiler, PassThroughProfiler):
        profiler.dirpath = Path(profiler.dirpath or run.run_dir)
        profiler.filename = profiler.filename or "profile"
        log.info("%-10s %s", "profile", profiler.dirpath / f"{run.command}-{profiler.filename}.txt")
    return built


def _check_config_survives(parser: Parser, options: Any) -> None:
    """Refuse options that `config.yaml`, which a resumed run reads, cannot represent."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            parser.parse_string(parser.dump(options, skip_unset=False))
        except Exception as error:
            problem = f"these options cannot be written to config.yaml and read again: {in_brief(str(error))}"
            raise RunError(f"{problem}; give only numbers, strings and lists") from error


def _before_fit(cli: NERCLI) -> None:
    """Log where and how training runs; when resuming in another directory, copy the best checkpoint there."""
    run, trainer, data, seed = cli.run, cli.trainer, cli.datamodule, cli.config.seed_everything
    device = f"{trainer.world_size} x {type(trainer.accelerator).__name__.removesuffix('Accelerator')}"
    number = torch.get_num_threads()
    threads = f", {number} thread{'s'[: number > 1]}" if trainer.strategy.root_device.type == "cpu" else ""
    precision = f"precision {trainer.precision}" + cli.precision_is_chosen * ", this GPU's default (32-true is float32)"
    how = f"({device}{threads}), {training_plan(data.hparams, trainer).step()}, {precision}, seed {seed}"
    log.info("%-10s %s %s", "run", run.run_dir, how)
    finished = data.begun.epoch if data.begun else 0
    if finished and trainer.max_epochs is not None and finished >= trainer.max_epochs > 0:
        log.warning("All %d epochs are done; to continue, give --trainer.max_epochs %d", finished, finished + 1)
    if run.checkpoint is not None and trainer.is_global_zero:
        best, copied = run.checkpoint.with_name("best.ckpt"), checkpoint_path(run.run_dir, "best")
        if best.is_file() and not copied.is_file():
            copy_checkpoint(best, copied)


def _say_next(run: Run, trainer: Trainer, model: NERModule, data: NERDataModule) -> None:
    """Print the run directory and the next commands."""
    lines = []
    saved = [name for name in ("best", "last") if checkpoint_path(run.run_dir, name).is_file()]
    asked = f"--run_dir {shlex.quote(str(run.run_dir))}" + (" --ckpt_path last" if saved == ["last"] else "")
    if saved:
        lines.append(f"  {run.launch} test {asked}" + ("" if "test" in data.encoded else " --data.test_file FILE"))
    if saved and best_f1(trainer) != 0:
        text = shlex.quote(_example(data))
        lines.append(f"  echo {text} | {run.launch} predict {asked} --data.predict_file -")
    if _SAMPLE in map(str, _as_list(data.hparams["train_file"])):
        name = model.hparams["model_name_or_path"]
        lines.append(f"  {run.launch} fit --model.model_name_or_path {name} --data.train_file YOUR_FILE")
    where = f"Saved in {run.run_dir}"
    if not saved:
        where += ", without the model: --trainer.enable_checkpointing is false"
    say("\n".join([where, *(["", "Next:"] if lines else []), *lines]))


def _example(data: NERDataModule) -> str:
    """A short sentence of the validation data, or else of the training data."""
    split = "validation" if "validation" in data.stored else "train"
    _, chosen = data.sentences_of(split)
    found = [data.sentence_of(split, index)[0] for index in range(min(20, len(chosen)))]
    short = min(found, key=lambda tokens: abs(len(tokens) - 8))
    return " ".join(short)


def _as_list(value: Any) -> list[Any]:
    """The values of an option that is a list, a single value or ``None``."""
    return list(value) if isinstance(value, list) else [] if value is None else [value]
