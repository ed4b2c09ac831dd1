"""What a command line means beyond its options: which run, which checkpoint, which configuration.

Before anything is parsed the arguments are completed (:func:`complete_arguments`): a checkpoint brings its run's
configuration along, so that no label, configuration or data argument is ever repeated.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from ner_module.errors import DataError, RunError
from ner_module.files import read_json_object
from ner_module.help import COMMANDS
from ner_module.options import files_first, parse_options, take
from ner_module.training import cluster
from ner_module.training.checkpoints import read_checkpoint
from ner_module.training.results import is_as_written
from ner_module.training.runs import (
    Run,
    check_free,
    find_checkpoint,
    has_progress,
    new_run_dir,
    private_folder,
    run_dir_of,
)
from ner_module.training.saved_config import plain_config, read_config

__all__ = ["COMMANDS", "Run", "complete_arguments"]

log = logging.getLogger(__name__)

# Set for the processes that Lightning starts: standard input can be read only once.
_INPUT_VARIABLE = "NER_MODULE_STANDARD_INPUT"


def complete_arguments(arguments: list[str]) -> Run:
    """Find the run directory and checkpoint of a command, and add the run's own configuration where none is named.

    ``--ckpt_path auto`` resumes from ``last`` if the run has a checkpoint and starts anew if not; so does a ``fit``
    without ``--ckpt_path`` that SLURM or torchrun has restarted. ``--data.predict_file -`` is standard input.

    Raises:
        RunError: a checkpoint is needed and not found, or a new run's directory is taken.
    """
    command = arguments[0]
    if "--help-all" in arguments:
        return Run(command, [command, "--help"], None, None)
    arguments = [command, *files_first(arguments[1:])]
    if any(argument.startswith("--print_config") or argument.endswith(".help") for argument in arguments):
        return Run(command, arguments, None, None)
    configs, _ = take(arguments, "--config")
    run_dirs, _ = take(arguments, "--run_dir")
    checkpoints, arguments = take(arguments, "--ckpt_path")
    inputs, other_arguments = take(arguments, "--data.predict_file")

    recipe = Path(configs[0]).stem if configs else "fit"
    chosen_dir = _last([*_in_configs(configs, "run_dir"), *run_dirs])
    run_dir = Path(chosen_dir) if chosen_dir else None
    asked = _last([*_in_configs(configs, "ckpt_path"), *checkpoints])
    resumes = starts_anew = False
    if asked == "auto" or (asked is None and command == "fit" and cluster.is_restart()):
        run_dir = run_dir or new_run_dir(recipe)
        # Not by the restarts of the job: after one there may be a checkpoint.
        resumes = cluster.agree_on(f"resumes/{cluster.attempt()}", "yes" if has_progress(run_dir) else "") == "yes"
        asked = "last" if resumes else None
        starts_anew = not resumes
    if asked is None and command != "fit":
        asked = "best"
    if asked is None:
        run_dir = run_dir or new_run_dir(recipe)
        if not starts_anew and cluster.is_first_process():
            check_free(run_dir)
        return Run(command, arguments, run_dir, None, starts_anew, recipe)

    if inputs[-1:] == ["-"]:
        arguments = [*other_arguments, "--data.predict_file", str(_standard_input())]
    checkpoint = find_checkpoint(asked, run_dir)
    if resumes:
        log.info("%-10s resuming from %s", "restart", checkpoint)
    run_dir = run_dir or run_dir_of(checkpoint) or new_run_dir(checkpoint.stem)
    if not configs:
        arguments[1:1] = ["--config", str(_saved_config(checkpoint, command))]
    return Run(command, [*arguments, "--ckpt_path", str(checkpoint)], run_dir, checkpoint, recipe=recipe)


def _in_configs(configs: list[str], name: str) -> list[str]:
    """The values of a top-level option in configuration files."""
    # A missing file is reported by the full parser.
    values = (read_config(Path(path)).get(name) for path in configs if Path(path).exists())
    return [str(value) for value in values if value is not None]


def _last(values: list[str]) -> str | None:
    """The value that counts: the last one; ``null`` on the command line withdraws one of a configuration."""
    return values[-1] if values and values[-1] not in ("null", "None") else None


def _standard_input() -> Path:
    """Standard input as a file, read by the first process for all."""
    inherited = os.environ.get(_INPUT_VARIABLE)
    if inherited:
        return Path(inherited)
    path = private_folder() / "input.txt"
    if cluster.is_first_process():
        with path.open("wb") as file:
            _copy_input(file)
    path = Path(cluster.agree_on(f"input/{cluster.attempt()}", str(path)))
    if not path.is_file():
        raise RunError("standard input is read on the first machine only: give --data.predict_file a file that all see")
    os.environ[_INPUT_VARIABLE] = str(path)
    return path


def _copy_input(file: BinaryIO) -> None:
    """Copy standard input, as long as it can be text."""
    with contextlib.suppress(OSError):  # no file is behind it
        kind = os.fstat(sys.stdin.fileno())
        is_null = os.path.samestat(kind, Path(os.devnull).stat())
        if stat.S_ISCHR(kind.st_mode) and not is_null and not sys.stdin.isatty():
            raise RunError("standard input is a device: give --data.predict_file a file, or pipe text into `predict`")
    unended = 0
    while block := sys.stdin.buffer.read(1 << 20):
        unended = 0 if b"\n" in block else unended + len(block)
        if not block.strip(b"\0") or unended > 1 << 30:
            raise RunError("standard input holds zero bytes, or a line of more than 1 GiB: pipe text into `predict`")
        file.write(block)


def _saved_config(checkpoint: Path, command: str) -> Path:
    """The configuration of a checkpoint's run as a file that holds nothing but plain values.

    Taken from ``config.yaml`` of the run; where that is missing, damaged, or was edited into something impossible, from
    the checkpoint itself.
    """
    keep_all, run_dir = command == "fit", checkpoint.absolute().parent.parent
    saved, path = run_dir / "config.yaml", private_folder() / f"config-{os.getpid()}.yaml"
    if saved.is_file():
        found, problem = None, None
        try:
            found = read_config(saved)
        except RunError as error:
            problem = str(error)
        if found is not None:
            path.write_text(plain_config(yaml.safe_dump(found), str(saved), keep_all), encoding="utf-8")
            results: dict[str, Any] = {}
            with contextlib.suppress(DataError):
                results = read_json_object(run_dir / "results.json")
            problem = None if is_as_written(saved, run_dir, results) else _options_problem(path, command)
            if problem is None:
                return path
        log.warning("%s: %s; the configuration that %s carries is used", saved, problem, checkpoint)
    carried = read_checkpoint(checkpoint)["ner_module"]["config"]
    path.write_text(plain_config(carried, f"the configuration in {checkpoint}", keep_all), encoding="utf-8")
    return path


def _options_problem(config: Path, command: str) -> str | None:
    """Why a configuration file is none for a command; ``None`` for one that is."""
    try:
        parse_options(command, ["--config", str(config)])
    except Exception as error:
        return " ".join(str(error).split())[:300]
    return None
