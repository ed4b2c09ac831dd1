"""``fit``, ``validate``, ``test`` and ``predict``: from a command line to trainer, model, data and run directory.

`options.py` parses the options, `arguments.py` finds run and checkpoint. This module builds what they name, with what
every run needs beside it, lets the trainer run, and says what happens before and after.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.profilers import PassThroughProfiler

from ner_module.arguments import complete_arguments
from ner_module.data.batching import training_plan
from ner_module.data.datamodule import NERDataModule
from ner_module.errors import RunError, UserError
from ner_module.files import check_output
from ner_module.model.module import NERModule
from ner_module.options import Parser, build_parser, in_brief
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
from ner_module.training.runs import Run, checkpoint_path, clear_unsaved, remove_if_unused
from ner_module.training.save_run import SaveRun
from ner_module.training.streams import lossy_output, silence_libraries
from ner_module.training.trainer_options import check_trainer

log = logging.getLogger(__name__)

_SAMPLE = "ner_module/data/sample/train.conll"
"""What the quickstart trains on; all others have data of their own."""


def run_command(arguments: list[str]) -> None:
    """Run ``fit``, ``validate``, ``test`` or ``predict``; a :class:`RunError` explains failures of the libraries."""
    silence_libraries()
    command, *options = arguments
    parser = build_parser(command)
    if "--help-all" in options:
        options = ["--help"]
    if any(re.match(r"--(help|print_config|.*\.help$)", option) for option in options):
        parser.parse(options)  # prints, and exits
    run = complete_arguments(arguments)
    # The processes that Lightning starts for DDP run the same command line, which it takes from here.
    saved, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        with own_wandb_variables(), contextlib.ExitStack() as stack:
            if command == "fit" and cluster.is_first_process():
                stack.enter_context(run_lock(run.run_dir))
                stack.enter_context(lossy_output())
                if run.starts_anew:
                    clear_unsaved(run.run_dir)
            _build_and_run(run, parser)
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
        remove_if_unused(run.run_dir)


def _build_and_run(run: Run, parser: Parser) -> None:
    options = parser.parse(run.arguments[1:])
    checkpoint = _read_checkpoint(run, options)
    try:
        seed_everything(options.seed_everything, workers=True)
    except ValueError as error:
        raise RunError(f"--seed_everything: {error}") from error
    check_trainer(options.trainer)
    if run.command == "predict":
        _check_output(run, options)
    precision_is_chosen = choose_precision(options.trainer)
    options.trainer.default_root_dir = str(run.run_dir)
    set_up_loggers(options.trainer, run.command, run.run_dir, options.seed_everything, run.recipe)

    built = parser.instantiate(options)
    model: NERModule = built.model
    data: NERDataModule = built.data
    trainer = build_trainer(run, parser, options, {**built.trainer})
    if run.checkpoint is not None and checkpoint is not None:  # it brings labels, tokenizer and architecture: no hub
        warn_of_broken_weights(checkpoint, run.checkpoint)
        data.load_state_dict(checkpoint["NERDataModule"])
        model.restore(checkpoint)
        del checkpoint

    # What Lightning may unpickle from a checkpoint is limited to plain data and tensors.
    how: dict[str, Any] = {"ckpt_path": run.checkpoint, "weights_only": True}
    if run.command == "fit":
        _before_fit(run, trainer, data, precision_is_chosen, options.seed_everything)
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
    """The checkpoint that a command starts from; what it decides is put into the options of ``fit``."""
    if run.checkpoint is None:
        return None
    checkpoint = read_checkpoint(run.checkpoint)
    if run.command == "fit" and not checkpoint.get("optimizer_states"):
        raise RunError(
            f"{run.checkpoint} holds weights only, from which no training resumes: `export` it, and name the folder as "
            "--model.model_name_or_path"
        )
    log.info("%-10s %s", "checkpoint", described(checkpoint, run.checkpoint))
    if run.command == "fit":
        keep_options(options, checkpoint)
    return checkpoint


def _check_output(run: Run, options: Any) -> None:
    """Refuse to write predictions over anything but predictions; a pipe or a device is written to, whatever it is."""
    output = Path(options.output) if options.output else None
    if output and (output.is_file() or not output.exists()):
        read = [*_as_list(options.data.predict_file), run.checkpoint]
        check_output(output, holds_predictions, [Path(path) for path in read if path])


def build_trainer(run: Run, parser: Parser, options: Any, trainer: dict[str, Any]) -> Trainer:
    """The trainer with the callbacks and loggers that every run has; those that ``options`` name are built already."""
    callbacks = _as_list(trainer["callbacks"])
    check_named(callbacks)
    loggers = [logger for logger in _as_list(trainer["logger"]) if not isinstance(logger, bool)]
    for logger in loggers:
        guard(logger)
    if run.command == "fit":
        _check_config_survives(parser, options)
        loggers.insert(0, MetricsCSV(run.run_dir))
    own_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    callbacks += standard_callbacks(
        run,
        fast_dev_run=bool(trainer["fast_dev_run"]),
        checkpointing=trainer["enable_checkpointing"] is not False,
        progress_bar=trainer["enable_progress_bar"] is not False and not own_bar,
        output=Path(options.output) if options.get("output") else None,
        output_tags=options.get("output_tags", False),
        save_every_minutes=options.save_every_minutes,
        save_every_steps=options.save_every_steps,
    )
    if run.command == "fit" and not trainer["fast_dev_run"]:
        callbacks.append(SaveRun(parser, options))
    trainer["callbacks"], trainer["logger"] = callbacks, loggers or False
    trainer["plugins"] = with_own_plugins(trainer["plugins"])
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
    """Refuse options that `config.yaml` cannot hold, which a resumed run reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            parser.parse_string(parser.dump(options, skip_unset=False))
        except Exception as error:
            problem = f"these options cannot be written to config.yaml and read again: {in_brief(str(error))}"
            raise RunError(f"{problem}; give numbers, texts and lists only") from error


def _before_fit(run: Run, trainer: Trainer, data: NERDataModule, precision_is_chosen: bool, seed: int) -> None:
    """Say where and how training runs; where it resumes in another directory, the best checkpoint so far goes along."""
    device = f"{trainer.world_size} x {type(trainer.accelerator).__name__.removesuffix('Accelerator')}"
    threads = f", {torch.get_num_threads()} threads" if trainer.strategy.root_device.type == "cpu" else ""
    precision = f"precision {trainer.precision}" + precision_is_chosen * ", which this GPU has (32-true is float32)"
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
    """Print where everything is and what to type next."""
    lines = [f"Saved in {run.run_dir}", "", "Next:"]
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
    say("\n".join(lines))


def _example(data: NERDataModule) -> str:
    """A short sentence of the data that were held out, or of the training data."""
    split = "validation" if "validation" in data.stored else "train"
    source, chosen = data.sentences_of(split)
    count = len(data.stored[source]) if chosen is None else len(chosen)
    found = [data.sentence_of(split, index)[0] for index in range(min(20, count))]
    short = min(found, key=lambda tokens: abs(len(tokens) - 8))
    return " ".join(short)


def _as_list(value: Any) -> list[Any]:
    """The values of an option that takes one, several or none."""
    return list(value) if isinstance(value, list) else [] if value is None else [value]
