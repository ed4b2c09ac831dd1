"""Resolves the run directory, checkpoint and configuration of a command line.

Before parsing, the arguments are completed (:func:`complete_arguments`): a checkpoint supplies its run's configuration,
so that no label, configuration or data argument is ever repeated.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
from pathlib import Path
from typing import Any

import yaml

from ner_module.errors import DataError, RunError
from ner_module.files import read_json_object
from ner_module.options import build_parser, read_ahead
from ner_module.training import cluster
from ner_module.training.checkpoints import read_checkpoint
from ner_module.training.results import is_as_written
from ner_module.training.runs import (
    Run,
    check_free,
    checkpoint_path,
    find_checkpoint,
    has_progress,
    new_run_dir,
    private_folder,
    run_dir_of,
)
from ner_module.training.saved_config import plain_config, read_config

log = logging.getLogger(__name__)


def complete_arguments(arguments: list[str]) -> Run:
    """Find the run directory and checkpoint of a command, and add the run's configuration if none is given.

    ``--ckpt_path auto`` resumes from ``last`` if the run has a checkpoint and starts from scratch if not; so does a
    ``fit`` without ``--ckpt_path`` that SLURM or torchrun has restarted. ``--data.predict_file -`` is standard input.

    Raises:
        RunError: a required checkpoint is not found, or a new run's directory is in use.
    """
    command = arguments[0]
    ahead, _ = read_ahead(arguments)
    configs = [Path(path) for path in ahead["config"]]
    in_configs: dict[str, Any] = {}
    for config in configs:
        in_configs |= read_config(config) if config.exists() else {}  # a missing file is reported by the parser

    def last_value(name: str) -> str | None:
        """The last value given; ``null`` or an empty value on the command line overrides a configuration's."""
        value = [in_configs.get(name), *ahead[name]][-1]
        return None if value in (None, "", "null", "None") else str(value)

    recipe = configs[0].stem if configs else "fit"
    chosen_dir, checkpoint_name = last_value("run_dir"), last_value("ckpt_path")
    run_dir = Path(chosen_dir).expanduser() if chosen_dir else None
    resumes = starts_anew = False
    if checkpoint_name == "auto" or (checkpoint_name is None and command == "fit" and cluster.is_restart()):
        run_dir = run_dir or new_run_dir(recipe)
        # Keyed by attempt: after a restart there may be a checkpoint.
        resumes = cluster.agree_on(f"resumes/{cluster.attempt()}", "yes" if has_progress(run_dir) else "") == "yes"
        starts_anew = not resumes
        checkpoint_name = "last" if resumes else None
    if checkpoint_name is None and command == "fit":
        run_dir = run_dir or new_run_dir(recipe)
        if not starts_anew and cluster.is_first_process():
            check_free(run_dir)
        return Run(command, arguments, run_dir, None, starts_anew, recipe)

    if ahead["data.predict_file"][-1:] == ["-"]:
        arguments = [*arguments, f"--data.predict_file={_standard_input()}"]
    checkpoint = find_checkpoint(checkpoint_name or "best", run_dir)
    if resumes:
        log.info("%-10s resuming from %s", "restart", checkpoint)
    if not configs:
        arguments = [*arguments, f"--config={_saved_config(checkpoint, command)}"]
    run_dir = run_dir or run_dir_of(checkpoint) or new_run_dir(checkpoint.stem)
    is_others = checkpoint.resolve().parent != checkpoint_path(run_dir, "last").resolve().parent
    if command == "fit" and is_others and cluster.is_first_process() and not cluster.is_restart():
        check_free(run_dir)  # its `best.ckpt` would be taken for this training's
    return Run(command, arguments, run_dir, checkpoint, recipe=recipe)


def _standard_input() -> Path:
    """Copy standard input to a file in the private folder, in the first process for all; returns its path."""
    path = private_folder() / "input.txt"
    if cluster.is_first_process():
        _copy_input(path)
    path = Path(cluster.agree_on(f"input/{cluster.attempt()}", str(path)))
    if not path.is_file():
        raise RunError("standard input is read on the first machine only: give --data.predict_file a file that all see")
    return path


def _copy_input(path: Path) -> None:
    """Copy standard input, unless it cannot be text."""
    with contextlib.suppress(OSError):  # it has no file descriptor
        kind = os.fstat(sys.stdin.fileno())
        is_null = os.path.samestat(kind, Path(os.devnull).stat())
        if stat.S_ISCHR(kind.st_mode) and not is_null and not sys.stdin.isatty():
            raise RunError("standard input is a device: give --data.predict_file a file, or pipe text into `predict`")
    unended = 0
    with path.open("wb") as file:
        while block := sys.stdin.buffer.read(1 << 20):
            unended = 0 if b"\n" in block else unended + len(block)
            if not block.strip(b"\0") or unended > 1 << 30:
                problem = "standard input holds zero bytes, or a line of more than 1 GiB"
                raise RunError(f"{problem}: pipe text into `predict`")
            file.write(block)


def _saved_config(checkpoint: Path, command: str) -> Path:
    """The configuration of a checkpoint's run, reduced to plain values, as a file.

    It comes from the run's ``config.yaml``, or from the checkpoint if that file is missing, damaged or invalid.
    """
    run_dir, keep_all = checkpoint.absolute().parent.parent, command == "fit"
    saved, path = run_dir / "config.yaml", private_folder() / f"config-{os.getpid()}.yaml"
    if saved.is_file():
        try:
            text = yaml.safe_dump(read_config(saved))
        except RunError as error:
            problem = str(error)
        else:
            path.write_text(plain_config(text, str(saved), keep_all), encoding="utf-8")
            if not (problem := _config_problem(saved, path, command)):
                return path
        log.warning("%s: %s; using the configuration in %s", saved, problem, checkpoint)
    carried = read_checkpoint(checkpoint)["ner_module"]["config"]
    path.write_text(plain_config(carried, f"the configuration in {checkpoint}", keep_all), encoding="utf-8")
    return path


def _config_problem(saved: Path, plain: Path, command: str) -> str:
    """Why an edited ``config.yaml`` cannot be parsed; empty if it can, or was not edited."""
    results: dict[str, Any] = {}
    with contextlib.suppress(DataError):
        results = read_json_object(saved.parent / "results.json")
    if is_as_written(saved, saved.parent, results):
        return ""
    try:
        build_parser(command).parse(["--config", str(plain)])
    except Exception as error:
        return " ".join(str(error).split())[:300]
    return ""
