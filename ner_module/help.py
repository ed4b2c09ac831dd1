"""The list of commands and the short help of each, without importing torch.

The full help of a command (``--help-all``) is that of its parser (`options.py`).
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shutil
import textwrap
from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import NoReturn

from ner_module import __version__
from ner_module.errors import UsageError, did_you_mean
from ner_module.offers import find_commands

COMMANDS = {
    "fit": "Train a model, or resume training with --ckpt_path last.",
    "validate": "Score a trained model on the validation data.",
    "test": "Score a trained model on the test data.",
    "predict": "Find the entities in --data.predict_file.",
}

_SYNONYMS = {"train": "fit", "eval": "test", "evaluate": "test", "infer": "predict", "score": "test"}

# Options of transformers' and other scripts -> the equivalent here.
_EQUIVALENTS = {
    **dict.fromkeys(("epochs", "num_epochs", "num_train_epochs"), "--trainer.max_epochs"),
    **dict.fromkeys(("gpus", "num_gpus", "device"), "--trainer.devices"),
    **dict.fromkeys(("output_dir", "save_dir"), "--run_dir"),
    **dict.fromkeys(("resume", "resume_from_checkpoint", "checkpoint"), "--ckpt_path"),
    **dict.fromkeys(("fp16", "bf16"), "--trainer.precision"),
    "per_device_train_batch_size": "--data.batch_size",
    "gradient_accumulation_steps": "--trainer.accumulate_grad_batches",
}

OPTIONS = {
    "config": "A YAML file of options, as often as needed: a later one wins, and the command line wins over all.",
    "run_dir": "The directory of the run. Default: runs/<name of the first --config>/<time>.",
    "ckpt_path": "best, last or a file: the checkpoint to use (best), or to resume training from. best and last are "
    "those of --run_dir, else of the newest run below runs/. It brings its configuration, labels and tokenizer along. "
    "auto resumes from last if the run has one, and starts from scratch if not.",
    "seed_everything": "The random seed of weights, dropout and the order of the data.",
    "save_every_minutes": "For fit: save last.ckpt every N minutes; a crash loses about that much work. 0: only after "
    "each epoch.",
    "save_every_steps": "For fit: also save last.ckpt every N optimiser steps.",
    "output": "For predict: the JSONL file to write. Default: standard output.",
    "output_tags": "For predict: also write word_tags, each word's tag and the probabilities of its likeliest labels.",
    "threshold": "For predict: the minimum score of an entity, or PER=0.8,ORG=0.7 by type; others are dropped.",
    "precision": "For predict: per type, the lowest threshold with this precision on validation data (see `validate`).",
    "recall": "For predict: per type, the highest threshold with this recall on validation data.",
    "f_beta": "For predict: per type, the threshold with the best F-beta on validation data; below 1 for precision.",
    "candidates": "For predict: also list candidates, enough per type to contain this share of its entities.",
    "calibrated": "For predict: write calibrated scores, as precision, recall and f_beta do.",
    "trainer.max_epochs": "passes over the training data (3)",
    "trainer.max_steps": "end training after this many optimiser steps, if that is earlier",
    "trainer.max_time": "time limit of the training, as DD:HH:MM:SS",
    "trainer.accelerator": "cpu, gpu or mps; by default the best available",
    "trainer.devices": "the number of devices, or which: 2, or [1, 3]",
    "trainer.strategy": "ddp, for several devices",
    "trainer.precision": "32-true, bf16-mixed or 16-mixed; by default bf16-mixed on CUDA devices that support it",
    "trainer.accumulate_grad_batches": "batches per optimiser step: a batch_size of 8 and 2 train like 16",
    "trainer.val_check_interval": "validate after this many batches, or this share of an epoch",
    "trainer.limit_train_batches": "only this many batches per epoch, to try something out",
}
"""Help texts of the run's options and of ten common trainer options; ``--help-all`` shows Lightning's for the rest."""

FILLED = {"model": {"label_names", "scheme", "outside_label"}, "data": {"model_name_or_path", "revision", "seed"}}
"""Arguments of model and data that are not options: filled from the data, a checkpoint or other options."""
_SOURCES = {"model": ("model/module.py", "NERModule"), "data": ("data/datamodule.py", "NERDataModule")}

# Options in the short help of every command, and of each; `fit` also lists all model options and ten of the trainer.
_ALWAYS = (
    "config run_dir ckpt_path seed_everything data.dataset_name data.text_column_name data.label_column_name "
    "data.format data.eval_batch_size data.num_workers trainer.accelerator trainer.devices trainer.precision"
)
_LISTED = {
    "fit": "save_every_minutes save_every_steps data.dataset_config_name data.train_file data.validation_file "
    "data.test_file data.label_names data.source_scheme data.label_map data.validation_fraction data.max_seq_length "
    "data.context_size data.batch_size data.max_tokens",
    "validate": "data.validation_file",
    "test": "data.test_file",
    "predict": "data.predict_file output output_tags threshold precision recall f_beta candidates calibrated",
}

_FIRST_RUNS = """\
A first run on the bundled corpus, and one on data of your own:
  {launch} fit --config configs/quickstart.yaml
  {launch} fit --model.model_name_or_path NAME --data.train_file FILE

`{launch} COMMAND --help` explains a command."""


class CommandParser(argparse.ArgumentParser):
    """Parser of the other commands: no abbreviations, and one-line errors."""

    def __init__(self, command: str, description: str, epilog: str | None = None) -> None:
        prog, layout = f"python -m ner_module {command}", argparse.RawDescriptionHelpFormatter
        about = textwrap.fill(description, shutil.get_terminal_size().columns - 2)
        super().__init__(prog, None, about, epilog, formatter_class=layout, allow_abbrev=False)
        self.register("type", Path, lambda text: Path(text).expanduser())  # shells do not expand --output=~/x

    def error(self, message: str) -> NoReturn:
        """Raise a ``UsageError``."""
        raise UsageError(with_suggestion(message, self._option_string_actions), f"{self.prog} --help")


def with_suggestion(message: str, options: Iterable[str]) -> str:
    """A parser's message; for an unknown option, with similar option names."""
    if found := re.match(r"unrecognized arguments: (-[^\s=]+)", message):
        named = [name for name in options if not name.endswith(("+", ".help"))]
        same = _EQUIVALENTS.get(found[1].strip("-").replace("-", "_"))
        meant = f"; did you mean {same}?" if same in named else did_you_mean(found[1], named)
        return f"there is no option {found[1]}{meant}"
    return message


def answer(arguments: list[str], launch: str) -> bool:
    """Print the version, the commands, or the help of one; returns ``False`` if a command is to be run.

    Args:
        arguments: the command line.
        launch: the command that starts this program.

    Raises:
        UsageError: unknown command.
    """
    command = arguments[0] if arguments else "--help"
    offered = COMMANDS | {
        name: plain(str(importlib.import_module(".".join(re.split("[.:]", place)[:3])).__doc__).partition("\n")[0])
        for name, place in find_commands().items()
    }
    if command == "--version":
        print(__version__)
    elif command in ("-h", "--help", "help"):
        about = "Fine-tune transformers for named entity recognition."
        _print_page(f"{launch} COMMAND [options]", about, {"commands": offered}, _FIRST_RUNS.format(launch=launch))
    elif command not in offered:
        meant = "".join(get_close_matches(command, [*offered, *_SYNONYMS], 1))
        hint = f" (did you mean {_SYNONYMS.get(meant, meant)}?)" if meant else ""
        problem = f"there is no command {command!r}{hint}; the first argument is one of {', '.join(offered)}"
        raise UsageError(problem, f"{launch} --help")
    elif command in COMMANDS and {"-h", "--help"} & set(arguments):
        usage = f"{launch} {command} [--config FILE] [options]"
        in_full = f"All options, in full: {launch} {command} --help-all"
        _print_page(usage, COMMANDS[command], _options(command), in_full)
    else:
        return False
    return True


def _options(command: str) -> dict[str, dict[str, str]]:
    """The options in the short help of a command: section -> option -> first sentence of its help."""
    listed = f"{_ALWAYS} {_LISTED[command]}".split()
    sections: dict[str, dict[str, str]] = {"run": {}, "model": {}, "data": {}, "trainer": {}}
    for name, text in (OPTIONS | class_options("model") | class_options("data")).items():
        section = name.rpartition(".")[0] or "run"
        if name in listed or (command == "fit" and section in ("model", "trainer")):
            sections[section][f"--{name}"] = plain(re.split(r"(?<=[^.]{3})[.;](?: |$)", text)[0])
    return sections


def _print_page(usage: str, about: str, sections: dict[str, dict[str, str]], end: str) -> None:
    """Print names and descriptions side by side, in the width of the terminal."""
    width = min(shutil.get_terminal_size().columns, 120)
    layout = partial(argparse.RawDescriptionHelpFormatter, max_help_position=38, width=width)
    page = argparse.ArgumentParser(usage, "%(prog)s", about, end, add_help=False, formatter_class=layout)
    for title, names in sections.items():
        group = page.add_argument_group(title)
        for name, text in names.items():
            kind = "store_true" if name.startswith("--") else "store"
            group.add_argument(name, action=kind, help=text.replace("%", "%%"))
    page.print_help()


def class_options(section: str) -> dict[str, str]:
    """The options of ``model`` or ``data`` with their help, read from the docstring in their class's source."""
    file, name = _SOURCES[section]
    tree = ast.parse((Path(__file__).parent / file).read_text(encoding="utf-8"))
    [found] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    texts = re.split(r"^    (\w+): ", str(ast.get_docstring(found)).partition("Args:\n")[2], flags=re.MULTILINE)[1:]
    pairs = zip(texts[::2], texts[1::2], strict=True)
    return {f"{section}.{name}": " ".join(text.split()) for name, text in pairs if name not in FILLED[section]}


def plain(text: str) -> str:
    """A help text without docstring markup and without Lightning's defaults."""
    text = re.sub(r"\s*Defaults?(?: to)?:? ``[^`]*``\.?", "", text)
    return re.sub(r":\w+:`~?([^`<]*)[^`]*`|`+([^`]*)`+(?:__?)?", lambda match: match[1] or match[2], text)
