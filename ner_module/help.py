"""What is printed before anything is run: the commands, a short help of each, and what a misspelt name may have meant.

No torch, nor Lightning: a page is there at once. Options of model and data are read from the source of their classes;
the full help of a command (``--help-all``) is that of its parser (`options.py`).
"""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import textwrap
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from ner_module.errors import UsageError
from ner_module.offers import find_commands

COMMANDS = {
    "fit": "Train a model, or resume training with --ckpt_path last.",
    "validate": "Score a trained model on the validation data.",
    "test": "Score a trained model on the test data.",
    "predict": "Find the entities in --data.predict_file.",
}

_SYNONYMS = {"train": "fit", "eval": "test", "evaluate": "test", "infer": "predict", "score": "test"}

RUN_OPTIONS = {
    "config": "A YAML file of options, as often as needed: a later one wins, and the command line wins over all.",
    "run_dir": "Where everything of this run goes. Default: runs/<name of the first --config>/<time>.",
    "ckpt_path": "best, last or a file: the checkpoint to use (best), or to resume training from. best and last are "
    "those of --run_dir, else of the newest run below runs/. It brings its configuration, labels and tokenizer along. "
    "auto resumes from last if the run has one, and starts from scratch if not.",
    "seed_everything": "The seed of weights, dropout and the order of the data.",
    "save_every_minutes": "For fit: save last.ckpt every N minutes; a crash loses about that much work. 0: only after "
    "each epoch.",
    "save_every_steps": "For fit: also save last.ckpt each time this many optimiser steps are done.",
    "output": "For predict: the JSONL file to write. Default: standard output.",
    "output_tags": "For predict: also write word_tags, each word's tag and the probabilities of its likeliest labels.",
}
TRAINER_OPTIONS = {
    "max_epochs": "passes over the training data (3)",
    "max_steps": "updates of the weights after which training ends, if that is earlier",
    "max_time": "the longest training, as DD:HH:MM:SS",
    "accelerator": "cpu, gpu or mps; the best that is there unless named",
    "devices": "how many of them, or which: 2, or [1, 3]",
    "strategy": "ddp, for several devices",
    "precision": "32-true, bf16-mixed or 16-mixed; bf16-mixed on a CUDA device that has it, unless named",
    "accumulate_grad_batches": "batches of one step: a batch_size of 8 and 2 of them train as 16 does",
    "val_check_interval": "validate after this many batches, or this share of an epoch",
    "limit_train_batches": "only so many batches of each epoch, to try something out",
}
"""The ten that most need; the others are explained in Lightning's words, by ``--help-all``."""

# What the short help lists beside the options of the run: of model, data and trainer.
_TRAINING = (
    "text_column_name label_column_name label_names format source_scheme label_map validation_fraction max_seq_length "
    "context_size batch_size max_tokens eval_batch_size num_workers"
)
_EVALUATION = "text_column_name label_column_name format eval_batch_size num_workers"
_LISTED = {
    "fit": (None, f"dataset_name dataset_config_name train_file validation_file test_file {_TRAINING}", None),
    "validate": ("", f"dataset_name validation_file {_EVALUATION}", "accelerator devices precision"),
    "test": ("", f"dataset_name test_file {_EVALUATION}", "accelerator devices precision"),
    "predict": ("", f"predict_file {_EVALUATION}", "accelerator devices precision"),
}
_SOURCES = {"model": ("model/module.py", "NERModule"), "data": ("data/datamodule.py", "NERDataModule")}
_FILLED = ("label_names scheme outside_label", "model_name_or_path revision seed")
"""Arguments of model and data that are no options."""

_OVERVIEW = """\
usage: {launch} COMMAND [options]

Fine-tune transformers for named entity recognition.

{commands}

A first run on the bundled corpus, and one on data of your own:
  {launch} fit --config configs/quickstart.yaml
  {launch} fit --model.model_name_or_path NAME --data.train_file FILE

`{launch} COMMAND --help` explains a command."""


def answer(arguments: list[str], launch: str) -> bool:
    """Print what needs no run: the commands, or the help of one; ``False`` where a command is to be run.

    Args:
        arguments: the command line.
        launch: how this program was started.

    Raises:
        UsageError: there is no such command.
    """
    command = arguments[0] if arguments else "--help"
    offered = COMMANDS | {
        name: plain(str(importlib.import_module(place.rpartition(".")[0]).__doc__).partition("\n")[0])
        for name, place in find_commands().items()
    }
    if command in ("-h", "--help"):
        print(_OVERVIEW.format(launch=launch, commands=_columns(offered.items(), 12)))
    elif command not in offered:
        meant = "".join(get_close_matches(command, [*offered, *_SYNONYMS], 1))
        hint = f" (did you mean {_SYNONYMS.get(meant, meant)}?)" if meant else ""
        problem = f"there is no command {command!r}{hint}; the first argument is one of {', '.join(offered)}"
        raise UsageError(problem, f"{launch} --help")
    elif command in COMMANDS and {"-h", "--help"} & set(arguments):
        print(_page(command, launch))
    else:
        return False
    return True


def _page(command: str, launch: str) -> str:
    """The short help of a command: its options, each in a sentence."""
    run = {name: text for name, text in RUN_OPTIONS.items() if _is_of(text, command)}
    sections = {"run": [(f"--{name}", _sentence(text)) for name, text in run.items()]}
    for section, listed in zip(("model", "data", "trainer"), _LISTED[command], strict=True):
        options = TRAINER_OPTIONS if section == "trainer" else class_options(section)
        names = options if listed is None else listed.split()
        sections[section] = [(f"--{section}.{name}", _sentence(options[name])) for name in names]
    tables = "\n\n".join(f"{name}:\n{_columns(rows, 34)}" for name, rows in sections.items() if rows)
    usage = f"usage: {launch} {command} [--config FILE] [options]\n\n{COMMANDS[command]}"
    return f"{usage}\n\n{tables}\n\nAll options, in full: {launch} {command} --help-all"


def class_options(section: str) -> dict[str, str]:
    """The options of ``model`` or ``data`` and what their class says of each, read from its source."""
    file, name = _SOURCES[section]
    tree = ast.parse((Path(__file__).parent / file).read_text(encoding="utf-8"))
    [found] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    texts = re.split(r"^    (\w+): ", str(ast.get_docstring(found)).partition("Args:\n")[2], flags=re.MULTILINE)[1:]
    pairs = zip(texts[::2], texts[1::2], strict=True)
    filled = _FILLED[section == "data"].split()
    return {name: " ".join(text.split()) for name, text in pairs if name not in filled}


def plain(text: str) -> str:
    """A help text without the markup of docstrings, nor defaults that are Lightning's."""
    text = re.sub(r"\s*Defaults?(?: to)?:? ``[^`]*``\.?", "", text)
    return re.sub(r":\w+:`~?([^`<]*)[^`]*`|`+([^`]*)`+(?:__?)?", lambda match: match[1] or match[2], text)


def _sentence(text: str) -> str:
    """The first sentence, up to a semicolon."""
    return plain(re.split(r"(?<=[^.]{3})[.;](?: |$)", text)[0])


def _is_of(text: str, command: str) -> bool:
    named = re.match(r"For (\w+): ", text)
    return named is None or named[1] == command


def _columns(rows: Iterable[tuple[str, str]], width: int) -> str:
    """Names and texts side by side, in the width of the terminal."""
    lines = []
    for name, text in rows:
        indent = " " * (width + 2)
        wrapped = textwrap.fill(
            text, min(shutil.get_terminal_size().columns, 120), initial_indent=indent, subsequent_indent=indent
        )
        lines.append(f"  {name:<{width}}" + wrapped[width + 2 :] if len(name) < width else f"  {name}\n{wrapped}")
    return "\n".join(lines)
