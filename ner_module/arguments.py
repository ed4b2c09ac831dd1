"""What a command line means beyond its options: which run, which checkpoint, which configuration.

Before anything is parsed the arguments are completed (:func:`complete_arguments`): a checkpoint brings its run's
configuration along, so that no label, configuration or data argument is ever repeated.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ner_module.runs import RunError, find_checkpoint, new_run_dir, run_dir_of

COMMANDS = ("fit", "validate", "test", "predict")

# Set for the processes Lightning starts: standard input can be read once only.
_INPUT_VARIABLE = "NER_MODULE_STANDARD_INPUT"


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
    from ner_module.checkpoints import read_checkpoint

    text = read_checkpoint(checkpoint)["ner_module"]["config"]
    handle, name = tempfile.mkstemp(prefix="config-", suffix=".yaml")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(name)
