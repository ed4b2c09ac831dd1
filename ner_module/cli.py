"""NERCLI: YAML and flags -> trainer, model, data and one directory per run.

Lightning's CLI does the parsing; this module adds what a run needs: where it lives, which checkpoint is meant, what is
saved, and what is said at the end. Before parsing, the arguments are completed (:func:`complete_arguments`): a
checkpoint brings its run's configuration along, so no label, config or data argument is ever repeated.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import shlex
import shutil
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from rich import get_console

from ner_module.callbacks.health import TrainingHealth
from ner_module.callbacks.interruption import Interruption
from ner_module.callbacks.metrics_csv import MetricsCSV
from ner_module.callbacks.predictions import EvaluationFiles, PredictionFile
from ner_module.callbacks.progress import LineProgress
from ner_module.callbacks.random_state import RandomState
from ner_module.callbacks.results import ResultsTable
from ner_module.checkpoints import read_checkpoint
from ner_module.data.datamodule import NERDataModule
from ner_module.model.module import NERModule
from ner_module.runs import RunError, find_checkpoint, new_run_dir, run_dir_of

log = logging.getLogger(__name__)

COMMANDS = ("fit", "validate", "test", "predict")

# Set for the processes Lightning starts: standard input can be read once only.
_INPUT_VARIABLE = "NER_MODULE_STANDARD_INPUT"

# What the checkpoint decides when training goes on: changing them on the command line would do nothing.
_FIXED_ON_RESUME = ("learning_rate", "weight_decay", "model_name_or_path", "revision", "dropout")


@dataclass(frozen=True)
class Run:
    """What a command line means beyond its options."""

    command: str
    arguments: list[str]
    run_dir: Path | None
    checkpoint: Path | None
    launch: str = "python -m ner_module"


def complete_arguments(arguments: list[str]) -> Run:
    """Find the run directory and checkpoint of a command, and add the run's own configuration where none is named.

    Raises:
        RunError: a checkpoint is needed and not found, or a new run's directory is taken.
    """
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    wants_text = any(argument in ("-h", "--help") or argument.startswith("--print_config") for argument in arguments)
    if command not in COMMANDS or wants_text:
        return Run(command, arguments, None, None)
    asked, given_dir = _value(arguments, "--ckpt_path"), _value(arguments, "--run_dir")
    config = _value(arguments, "--config") or _value(arguments, "-c")
    run_dir = Path(given_dir) if given_dir else None
    arguments = _without(arguments, "--ckpt_path")
    if asked in (None, "null", "None"):
        if command != "fit":
            raise RunError(
                f"`{command}` needs a trained model: give --ckpt_path best, --ckpt_path last or --ckpt_path FILE"
            )
        run_dir = run_dir or new_run_dir(Path(config).stem if config else "fit")
        if (run_dir / "config.yaml").exists() and "LOCAL_RANK" not in os.environ:
            raise RunError(
                f"{run_dir} holds a run already: go on with `fit --run_dir {run_dir} --ckpt_path last`, "
                "or choose another --run_dir"
            )
        return Run(command, arguments, run_dir, None)
    if _value(arguments, "--data.predict_file") == "-":
        arguments = [*_without(arguments, "--data.predict_file"), "--data.predict_file", str(_standard_input())]
    checkpoint = find_checkpoint(asked, run_dir)
    run_dir = run_dir or run_dir_of(checkpoint) or new_run_dir(checkpoint.stem)
    if config is None:
        saved = checkpoint.absolute().parent.parent / "config.yaml"
        if not saved.is_file():
            saved = _embedded_config(checkpoint)
        place = arguments.index(command) + 1
        arguments = [*arguments[:place], "--config", str(saved), *arguments[place:]]
    return Run(command, [*arguments, "--ckpt_path", str(checkpoint)], run_dir, checkpoint)


def _standard_input() -> Path:
    """Standard input as a file, so that it is read like any other and by every process."""
    inherited = os.environ.get(_INPUT_VARIABLE)
    if inherited:
        return Path(inherited)
    with tempfile.NamedTemporaryFile("wb", prefix="input-", suffix=".txt", delete=False) as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    os.environ[_INPUT_VARIABLE] = file.name
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return Path(file.name)


def _value(arguments: list[str], option: str) -> str | None:
    """The last value given to an option, written ``--option value`` or ``--option=value``."""
    found = None
    for index, argument in enumerate(arguments):
        if argument == option and index + 1 < len(arguments):
            found = arguments[index + 1]
        elif argument.startswith(option + "="):
            found = argument.partition("=")[2]
    return found


def _without(arguments: list[str], option: str) -> list[str]:
    kept = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == option:
            skip = True
        elif not argument.startswith(option + "="):
            kept.append(argument)
    return kept


def _embedded_config(checkpoint: Path) -> Path:
    """The configuration a checkpoint carries, as a file; for one that was moved away from its run."""
    text = read_checkpoint(checkpoint)["ner_module"]["config"]
    handle, name = tempfile.mkstemp(prefix="config-", suffix=".yaml")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(name)


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
                "description": "Fine-tune transformers for named entity recognition.",
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
            help="best, last or a file: the checkpoint to use, or to go on training from. best and last are looked up in "
            "--run_dir, else in the newest run. It brings its configuration, labels and tokenizer along.",
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

    def _parse_ckpt_path(self) -> None:
        # Lightning's own would let the checkpoint's hyperparameters silently override the command line.
        pass

    # ------------------------------------------------------------------ building

    def before_instantiate_classes(self) -> None:
        """Where loggers write, and the run's configuration inside the checkpoint's limits."""
        config = self.config[self.subcommand]
        if self.run.run_dir is None:
            raise RunError(f"`{self.subcommand}` has no run directory")
        config.trainer.default_root_dir = str(self.run.run_dir)
        if self.subcommand != "fit":
            config.trainer.logger = False
        loggers = config.trainer.logger if isinstance(config.trainer.logger, list) else [config.trainer.logger]
        for logger in loggers:
            class_path = str(getattr(logger, "class_path", ""))
            if class_path.endswith("WandbLogger") and logger.init_args.save_dir in (None, "."):
                self.run.run_dir.mkdir(parents=True, exist_ok=True)
                logger.init_args.save_dir = str(self.run.run_dir)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer with the callbacks and loggers every run has."""
        config = self._get(self.config_init, "trainer")
        run_dir = self.run.run_dir
        assert run_dir is not None
        fast = bool(config.get("fast_dev_run"))
        asked = config.get("logger")
        loggers = [
            logger for logger in (asked if isinstance(asked, list) else [asked]) if logger not in (None, True, False)
        ]
        callbacks: list[Callback] = [ResultsTable(None if fast else run_dir)]
        if self.subcommand == "fit":
            loggers.insert(0, MetricsCSV(run_dir))
            if not fast:
                callbacks += [RandomState(), TrainingHealth(), Interruption(run_dir, self.run.launch)]
                callbacks += _checkpoints(run_dir) if config.get("enable_checkpointing") is not False else []
        elif self.subcommand == "predict":
            output = self._get(self.config, "output")
            callbacks.append(PredictionFile(Path(output) if output else None))
        elif not fast:
            callbacks.append(EvaluationFiles(run_dir))
        if config.get("enable_progress_bar") is not False:
            callbacks.append(_progress_bar(self.run.command))
        config["callbacks"] = [*(config.get("callbacks") or []), *callbacks]
        return super().instantiate_trainer(logger=loggers or False, **kwargs)

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
        device = f"{trainer.num_devices} x {type(trainer.accelerator).__name__.removesuffix('Accelerator')}"
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
        """Train."""
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
        lines = [f"Saved in {run_dir}", "", "Next:"]
        if self.datamodule.hparams.test_file or "test" in self.datamodule.encoded:
            lines.append(f"  {launch} test --run_dir {where} --ckpt_path best")
        lines.append(
            f'  echo "Ada Lovelace met the mayor of Lincoln." | {launch} predict --run_dir {where} --ckpt_path best '
            "--data.predict_file -"
        )
        model = self.model.hparams["model_name_or_path"]
        lines.append(
            f"  {launch} fit --model.model_name_or_path {model} --data.train_file YOUR_FILE "
            "   # your own data: CoNLL columns or JSONL"
        )
        get_console().print("\n".join(lines), highlight=False, soft_wrap=True)


def _checkpoints(run_dir: Path) -> list[Callback]:
    """``best.ckpt`` by ``val/f1`` and ``last.ckpt`` after each epoch."""
    common: dict[str, Any] = {
        "dirpath": run_dir / "checkpoints",
        "auto_insert_metric_name": False,
        "enable_version_counter": False,
    }
    best = ModelCheckpoint(filename="best", monitor="val/f1", mode="max", save_on_train_epoch_end=False, **common)
    last = ModelCheckpoint(filename="last", every_n_epochs=1, save_on_train_epoch_end=True, **common)
    return [best, last]


def _progress_bar(command: str) -> Callback:
    """A bar in a terminal, a line now and then elsewhere."""
    stream = sys.stderr if command == "predict" else sys.stdout
    return RichProgressBar(console_kwargs={"stderr": command == "predict"}) if stream.isatty() else LineProgress()


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
    ):
        warnings.filterwarnings("ignore", message=message)
    saved, sys.argv = sys.argv, sys.argv[:1]  # Lightning warns of arguments given twice
    try:
        NERCLI(complete_arguments(arguments))
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        sys.argv = saved
