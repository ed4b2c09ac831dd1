"""What a command line means beyond its options: which run, which checkpoint, which configuration.

Before anything is parsed the arguments are completed (:func:`complete_arguments`): a checkpoint brings its run's
configuration along, so that no label, configuration or data argument is ever repeated.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ner_module.errors import RunError
from ner_module.training import cluster
from ner_module.training.runs import check_free, find_checkpoint, has_progress, new_run_dir, run_dir_of

log = logging.getLogger(__name__)

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
    launch: str = field(default_factory=lambda: f"{_python()} -m ner_module")
    """How to start this program again, for messages."""


def _python() -> str:
    """What to type for this Python: ``python`` where that means the same one, else its path."""
    found = shutil.which("python")
    if found and Path(found).absolute() == Path(sys.executable).absolute():
        return "python"
    executable = Path(sys.executable).absolute()
    return str(executable.relative_to(Path.cwd()) if executable.is_relative_to(Path.cwd()) else executable)


def complete_arguments(arguments: list[str]) -> Run:
    """Find the run directory and checkpoint of a command, and add the run's own configuration where none is named.

    Raises:
        RunError: a checkpoint is needed and not found, or a new run's directory is taken.
    """
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    wants_text = any(argument in ("-h", "--help") or argument.startswith("--print_config") for argument in arguments)
    if command not in COMMANDS or wants_text:
        return Run(command, arguments, None, None)
    configs = _values(arguments, "--config", "-c")
    asked, given_dir = _asked(arguments, configs, "ckpt_path"), _asked(arguments, configs, "run_dir")
    run_dir = Path(given_dir) if given_dir else None
    arguments = _without(arguments, "--ckpt_path")
    restarted = False
    if asked == "auto" or (command == "fit" and asked in (None, "null", "None") and cluster.is_restart()):
        run_dir = run_dir or _new_run_dir(configs)
        restarted = has_progress(run_dir)
        asked = "last" if restarted else None
    if asked in (None, "null", "None"):
        if command != "fit":
            raise RunError(
                f"`{command}` needs a trained model: give --ckpt_path best, --ckpt_path last or --ckpt_path FILE"
            )
        run_dir = run_dir or _new_run_dir(configs)
        if "LOCAL_RANK" not in os.environ:
            check_free(run_dir)
        return Run(command, arguments, run_dir, None)
    if _values(arguments, "--data.predict_file")[-1:] == ["-"]:
        arguments = [*_without(arguments, "--data.predict_file"), "--data.predict_file", str(_standard_input())]
    checkpoint = find_checkpoint(asked, run_dir)
    if restarted:
        log.info("%-10s going on from %s", "restart", checkpoint)
    run_dir = run_dir or run_dir_of(checkpoint) or new_run_dir(checkpoint.stem)
    if not configs:
        saved = checkpoint.absolute().parent.parent / "config.yaml"
        if not saved.is_file():
            saved = _embedded_config(checkpoint)
        place = arguments.index(command) + 1
        arguments = [*arguments[:place], "--config", str(saved), *arguments[place:]]
    return Run(command, [*arguments, "--ckpt_path", str(checkpoint)], run_dir, checkpoint)


def _new_run_dir(configs: list[str]) -> Path:
    return new_run_dir(Path(configs[0]).stem if configs else "fit")


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


def _values(arguments: list[str], *options: str) -> list[str]:
    """The values given to an option under any of its names, written ``--option value`` or ``--option=value``."""
    found = []
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if argument in options and index + 1 < len(arguments):
            found.append(arguments[index + 1])
        elif equals and name in options:
            found.append(value)
    return found


def _asked(arguments: list[str], configs: list[str], name: str) -> str | None:
    """What is asked for by an option, on the command line or else in a configuration file; the last one counts."""
    given = _values(arguments, f"--{name}")
    for path in [] if given else configs:
        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue  # the parser says what is wrong with it
        if isinstance(content, dict) and content.get(name) is not None:
            given.append(str(content[name]))
    return given[-1] if given else None


def _without(arguments: list[str], option: str) -> list[str]:
    kept = []
    skip = False
    for index, argument in enumerate(arguments):
        if skip:
            skip = False
        elif argument == option and index + 1 < len(arguments):
            skip = True
        elif not argument.startswith(option + "="):
            kept.append(argument)
    return kept


def _embedded_config(checkpoint: Path) -> Path:
    """The configuration a checkpoint carries, as a file; for one that was moved away from its run."""
    from ner_module.training.checkpoints import read_checkpoint

    text = read_checkpoint(checkpoint)["ner_module"]["config"]
    handle, name = tempfile.mkstemp(prefix="config-", suffix=".yaml")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    atexit.register(Path(name).unlink, missing_ok=True)
    return Path(name)
