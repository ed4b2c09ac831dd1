"""The parser of ``fit``, ``validate``, ``test`` and ``predict``; its help texts are docstrings of model and data."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ActionConfigFile
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from ner_module.data.datamodule import NERDataModule
from ner_module.errors import QUOTE_ADVICE, UsageError, did_you_mean
from ner_module.files import shipped
from ner_module.help import COMMANDS, FILLED, OPTIONS, plain, with_suggestion
from ner_module.model.module import NERModule
from ner_module.training.operating_points import POINT_OPTIONS
from ner_module.training.runs import launch_command
from ner_module.training.saved_config import read_config

# Name -> type and default. All commands accept all but those of `predict`, since they read a run's configuration.
_RUN_OPTIONS: dict[str, tuple[Any, Any]] = {
    "run_dir": (str | None, None),
    "ckpt_path": (str | None, None),
    "seed_everything": (int, 42),
    "save_every_minutes": (NonNegativeFloat, 10.0),
    "save_every_steps": (PositiveInt | None, None),
    "output": (str | None, None),
    "output_tags": (bool, False),
    "threshold": (str | None, None),
    "precision": (float | None, None),
    "recall": (float | None, None),
    "f_beta": (float | None, None),
    "candidates": (float | None, None),
    "calibrated": (bool, False),
}
_OF_PREDICT = ("output", "output_tags", *POINT_OPTIONS)
_TRAINER_DEFAULTS = {
    "gradient_clip_val": 1.0,
    "max_epochs": 3,
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
    "logger": False,
    "enable_model_summary": False,
    "log_every_n_steps": 10,
}


class Parser(LightningArgumentParser):
    """Parser without abbreviations, with one-line errors that suggest similar names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a ``UsageError``."""
        message = with_suggestion(message, self._option_string_actions)
        if found := re.match(r"unrecognized arguments: ([^-\s]\S*)", message):
            message = f"{found[1]!r} has no option before it: name one, such as --config or --run_dir"
        elif re.search(r'Parser key "model.model_name_or_path":\s+Expected .* Got value: None', message):
            message = "no model is named: give --model.model_name_or_path NAME, or a --config"
        message = in_brief(message)
        if re.search("Expected str. Got value: (True|False)", message):
            message += f"; {QUOTE_ADVICE}"
        raise UsageError(message, f"{self.prog} --help-all") from ex

    def parse(self, arguments: Sequence[str]) -> Any:
        """Parse a command line; its options take precedence over its configuration files in any position.

        Raises:
            UsageError: unknown option or wrong type; in a file, with its line.
            RunError: a file is not a configuration.
        """
        ahead, others = read_ahead(arguments)
        for path in map(Path, ahead["config"]):
            if not path.exists():
                near = [other.name for other in shipped(path.parent).glob("*.yaml")]
                self.error(f"--config {path}: there is no such file{did_you_mean(path.name, near)}")
            read_config(path)  # raises if it is not a configuration
            self._check_keys(path, yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader), "")
        files_first = [f"--{name}={value}" for name, values in ahead.items() for value in values]
        return self.parse_args([*files_first, *others])

    def _check_keys(self, config: Path, node: Any, above: str) -> None:
        is_file = isinstance(node, yaml.ScalarNode) and node.value.endswith((".yaml", ".yml", ".json"))
        if not isinstance(node, yaml.MappingNode) and not is_file:
            where = f"{config}:{node.start_mark.line + 1}: the section {above.removesuffix('.')!r}"
            self.error(f"{where} has no options: write them below it, indented, as `name: value`")
        known = {action.dest for action in self._actions if not action.dest.endswith(".help")}
        seen = set()
        for key, value in () if is_file else node.value:
            name, where = f"{above}{key.value}".removesuffix("+"), f"{config}:{key.start_mark.line + 1}"
            if name in seen:
                self.error(f"{where}: {name!r} is given twice, of which YAML takes the last; keep one")
            seen.add(name)
            if name in self.groups:
                self._check_keys(config, value, f"{name}.")
            elif name not in known and key.value != "<<":  # YAML's merge key
                kind = "option" if above else "section"
                meant = did_you_mean(name, (other for other in known if other.startswith(above)))
                self.error(f"{where}: there is no {kind} {name!r}{meant}")


# Lines of jsonargparse's messages that list all accepted types of a value.
_NOISE = re.compile(
    r"Does not validate|Subtypes:|Errors:|Given value type|Not a valid sub|Subclass types|Expected collections|"
    r"a (class path|dict) |.*None"
)


def in_brief(message: str) -> str:
    """The parser's message in one line, without Python types and ``None``, which mean nothing to a user."""
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    text = "; ".join(dict.fromkeys(line for line in lines if line and not _NOISE.match(line)))
    text = re.sub(r'^Parser key "([\w.]+)":;?', r"--\1:", text)
    text += " it cannot be null" * text.endswith(":")  # all other lines were noise
    text = re.sub(r"a <class '([\w.]+)'>", r"\1", text).replace("a typing.Literal", "one of ")
    return text.replace("Expected a dot import path string:", "there is no class")


def build_parser(command: str) -> Parser:
    """The parser of a command: options of the run, the model, the data and the trainer."""
    prog, usage = f"{launch_command()} {command}", "%(prog)s [--config FILE] [options]"
    parser = Parser(prog=prog, usage=usage, description=COMMANDS[command])
    parser.add_argument("-c", "--config", action=ActionConfigFile)
    for name, (kind, default) in _RUN_OPTIONS.items():
        if command == "predict" or name not in _OF_PREDICT:
            parser.add_argument(f"--{name}", type=kind, default=default)
    parser.add_class_arguments(NERModule, "model", skip=FILLED["model"], fail_untyped=False, sub_configs=True)
    parser.add_class_arguments(NERDataModule, "data", fail_untyped=False, sub_configs=True)
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.set_defaults({f"trainer.{name}": value for name, value in _TRAINER_DEFAULTS.items()})
    parser.link_arguments("model.model_name_or_path", "data.model_name_or_path")
    parser.link_arguments("model.revision", "data.revision")
    parser.link_arguments("seed_everything", "data.seed")
    # Use this project's help texts, and remove links and markup.
    for action in parser._actions:
        action.help = plain(OPTIONS.get(action.dest, action.help or ""))
    for name, group in parser.groups.items():
        group.title = name
    parser._action_groups.remove(parser._links_group)
    return parser


def parse_fit_options(arguments: Sequence[str]) -> dict[str, Any]:
    """Parse a command line of ``fit`` into nested dictionaries, without building or running anything.

    Args:
        arguments: the options of ``fit``. Without a model, ``data.model_name_or_path`` is ``None``.
    """
    options: dict[str, Any] = build_parser("fit").parse(["--model.model_name_or_path=", *arguments]).as_dict()
    options["data"]["model_name_or_path"] = options["data"]["model_name_or_path"] or None
    return options


def read_ahead(arguments: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Parse the options needed first; returns their values by name, and all other arguments.

    Raises:
        UsageError: a value is missing.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-c", "--config", action="append", default=[])
    for name in ("model", "data", "trainer", "run_dir", "ckpt_path", "data.predict_file"):
        parser.add_argument(f"--{name}", action="append", default=[])
    try:
        found, others = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UsageError(str(error), f"{launch_command()} --help") from error
    found.config = [str(shipped(Path(name).expanduser())) for name in found.config]
    return vars(found), others
