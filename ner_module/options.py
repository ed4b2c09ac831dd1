"""The parser of ``fit``, ``validate``, ``test`` and ``predict``, whose help is in the docstrings of model and data."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ActionConfigFile
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from ner_module.data.datamodule import NERDataModule
from ner_module.errors import UsageError, did_you_mean
from ner_module.help import RUN_OPTIONS, TRAINER_OPTIONS, plain
from ner_module.model.module import NERModule
from ner_module.training.runs import launch_command
from ner_module.training.saved_config import read_config

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
    """Takes no abbreviated names, and says what is wrong in one error, with the name that may have been meant."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a ``UsageError``."""
        parser = getattr(ex, "subcommand_parser", None) or self
        known = [name for name in parser._option_string_actions if name.startswith("--")]
        if found := re.match(r"unrecognized arguments: (\S+)", message):
            name = found[1].partition("=")[0]
            message = f"there is no option {name}{did_you_mean(name, known)}"
        elif found := re.search(r'Parser key "model.model_name_or_path":\s+Expected .* Got value: None', message):
            message = "no model is named: give --model.model_name_or_path NAME, or a --config"
        command = getattr(parser, "subcommand", None) or "fit"
        raise UsageError(in_brief(message), f"{launch_command()} {command} --help-all") from ex

    def check_keys(self, arguments: list[str]) -> None:
        """Refuse a configuration file with an option that does not exist, with its line.

        Raises:
            UsageError: names the option, and the one that may have been meant.
            RunError: the file is no configuration.
        """
        known = {action.dest for action in self._actions if not action.dest.endswith(".help")}

        def check(config: Path, node: Any, above: str) -> None:
            for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
                name = f"{above}{key.value}".removesuffix("+")
                if name in self.groups:
                    check(config, value, f"{name}.")
                elif name not in known and key.value != "<<":  # a merge
                    siblings = [other for other in known if other.startswith(above)]
                    kind = "option" if above else "section"
                    self.error(
                        f"{config}:{key.start_mark.line + 1}: there is no {kind} {name!r}{did_you_mean(name, siblings)}"
                    )

        for config in map(Path, take(arguments, "--config", "-c")[0]):
            if config.is_file():  # else that is reported when it is read
                read_config(config)  # whether it is a configuration at all
                check(config, yaml.compose(config.read_text(encoding="utf-8"), Loader=yaml.SafeLoader), "")


def in_brief(message: str) -> str:
    """The message of the parser without what says nothing to a user: types of Python, and what else would be valid."""
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    noise = (
        r"Does not validate|Subtypes:|Errors:|Given value|Not a valid sub|Subclass types|a (class path|dict) |.*None"
    )
    found = re.search(r"Given value: (.*)", message)
    kept = list(dict.fromkeys(line for line in lines if line and not re.match(noise, line)))
    text = "; ".join(kept) + (f"; got {found[1]}" if found and len(found[1]) < 200 else "")
    text = re.sub(r'^Parser key "([\w.]+)":;?', r"--\1:", text)
    return re.sub(r"a <class '([\w.]+)'>", r"\1", text).replace("a typing.Literal", "one of ")


def add_options(parser: LightningArgumentParser, command: str) -> None:
    """Add the options of a command: those of the run, then the model's, the data's and the trainer's.

    Args:
        parser: that of the command.
        command: its name.
    """
    kinds: dict[str, tuple[Any, Any]] = {
        "run_dir": (str | None, None),
        "ckpt_path": (str | None, None),
        "seed_everything": (int, 42),
        # Known to all commands, which read a run's configuration.
        "save_every_minutes": (NonNegativeFloat, 10.0),
        "save_every_steps": (PositiveInt | None, None),
        **({"output": (str | None, None), "output_tags": (bool, False)} if command == "predict" else {}),
    }
    for name, (kind, default) in kinds.items():
        parser.add_argument(f"--{name}", type=kind, default=default, help=RUN_OPTIONS[name])
    # Labels are filled from the data or a checkpoint.
    labels = {"label_names", "scheme", "outside_label"}
    parser.add_class_arguments(NERModule, "model", skip=labels, fail_untyped=False, sub_configs=True)
    parser.add_class_arguments(NERDataModule, "data", fail_untyped=False, sub_configs=True)
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.set_defaults({f"trainer.{name}": value for name, value in _TRAINER_DEFAULTS.items()})
    parser.link_arguments("model.model_name_or_path", "data.model_name_or_path")
    parser.link_arguments("model.revision", "data.revision")
    parser.link_arguments("seed_everything", "data.seed")
    # In the words of this project, without links and markup.
    for action in parser._actions:
        section, _, name = action.dest.rpartition(".")
        action.help = plain(TRAINER_OPTIONS.get(name, action.help or "") if section == "trainer" else action.help or "")
    for name, group in parser.groups.items():
        group.title = name
    parser._action_groups.remove(parser._links_group)


def parse_options(command: str, arguments: list[str]) -> Any:
    """The options of a command line as a namespace; nothing is built or run.

    Raises:
        UsageError: it is none.
    """
    parser = Parser()
    parser.add_argument("-c", "--config", action=ActionConfigFile)
    add_options(parser, command)
    parser.check_keys(arguments)
    return parser.parse_args(arguments)


def take(arguments: list[str], *names: str) -> tuple[list[str], list[str]]:
    """The values given to an option under any of its names, and the remaining arguments in their order.

    Raises:
        UsageError: a value is missing.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(*names, dest="values", action="append", default=[])
    try:
        found, others = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UsageError(str(error), f"{launch_command()} --help") from error
    return found.values, others


def files_first(arguments: list[str]) -> list[str]:
    """The arguments with those that name a file of options in front: an option wins wherever it stands."""
    files: list[str] = []
    for names in (("--config", "-c"), ("--model",), ("--data",), ("--trainer",)):
        values, arguments = take(arguments, *names)
        files += [f"{names[0]}={value}" for value in values]
    return [*files, *arguments]
