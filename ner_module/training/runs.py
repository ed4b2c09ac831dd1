"""Run directories: where a command writes, and which checkpoint it means. No torch.

``runs/<name>/<time>`` holds one training; ``--ckpt_path best|last`` means the one in ``--run_dir``, else in the newest
run anywhere below ``runs/``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ner_module.errors import DataError, RunError
from ner_module.files import read_json_object
from ner_module.training import cluster
from ner_module.training.checkpoint_files import damage

log = logging.getLogger(__name__)

RUNS = Path("runs")

_NAMES = ("best", "last", "previous")
_RUN_DIR_VARIABLE = "NER_MODULE_RUN_DIR"


def launch_command() -> str:
    """How to start this program again: ``python`` where that is this interpreter, else the interpreter's path."""
    executable = Path(sys.executable).absolute()
    found = shutil.which("python")
    if found and Path(found).absolute() == executable:
        return "python -m ner_module"
    if executable.is_relative_to(Path.cwd()):
        executable = executable.relative_to(Path.cwd())
    return f"{executable} -m ner_module"


@dataclass(frozen=True)
class Run:
    """What a command line means beyond its options.

    Attributes:
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        arguments: the complete command line.
        run_dir: where the command writes.
        checkpoint: the file it starts from.
        starts_anew: whether ``--ckpt_path auto`` found nothing to resume from: what is in ``run_dir`` is left over.
        recipe: the name of the first configuration.
        launch: how to start this program again, for messages.
    """

    command: str
    arguments: list[str]
    run_dir: Path
    checkpoint: Path | None
    starts_anew: bool = False
    recipe: str = "fit"
    launch: str = field(default_factory=launch_command)


def checkpoint_path(run_dir: Path, name: str) -> Path:
    """Where ``best``, ``last`` or ``previous`` lies in a run."""
    return run_dir / "checkpoints" / f"{name}.ckpt"


def new_run_dir(name: str) -> Path:
    """The directory of a run that starts now.

    It is created at once, so that several runs started in the same second each have their own. A job or rendezvous id
    takes the place of the time, so that all processes of a job, and the job after a requeue, agree on the directory.
    Processes that Lightning itself starts inherit the first one's choice.
    """
    inherited = os.environ.get(_RUN_DIR_VARIABLE)
    if inherited and "LOCAL_RANK" in os.environ:
        return Path(inherited)
    job = cluster.job_name()
    if job is not None:
        run_dir = RUNS / name / job
    else:
        mine = _create(RUNS / name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
        # torchrun without --rdzv-id gives its processes no common name: the first one's directory counts.
        run_dir = Path(cluster.agree_on("run_dir", str(mine)))
        if run_dir != mine:
            remove_if_unused(mine)
    os.environ[_RUN_DIR_VARIABLE] = str(run_dir)
    return run_dir


def _create(folder: Path) -> Path:
    """Create a folder, with a number after its name if the name is taken."""
    candidate, number = folder, 1
    while True:
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError:
            number += 1
            candidate = folder.with_name(f"{folder.name}-{number}")


def remove_if_unused(run_dir: Path) -> None:
    """Remove a directory of :func:`new_run_dir` into which nothing was written, and its empty parents."""
    if run_dir.is_relative_to(RUNS):
        for folder in (run_dir, run_dir.parent, RUNS):
            with contextlib.suppress(OSError):  # not empty, or not there
                folder.rmdir()


def check_free(run_dir: Path) -> None:
    """Refuse a directory that holds a training; what a failed start left does not count.

    Raises:
        RunError: it holds results, metrics or checkpoints.
    """
    if has_progress(run_dir):
        resume = f"resume it with `fit --run_dir {run_dir} --ckpt_path last`"
        raise RunError(f"{run_dir} already holds a run: {resume}, or choose another --run_dir")
    if any((run_dir / name).exists() for name in ("results.json", "metrics.csv", "checkpoints")):
        raise RunError(f"{run_dir} already holds a run: choose another --run_dir, or delete it")


def clear_unsaved(run_dir: Path) -> None:
    """Remove what a training left that ended before its first checkpoint, for the same command to start anew.

    Raises:
        RunError: ``results.json`` is not one of this project: the directory is somebody else's.
    """
    results = run_dir / "results.json"
    with contextlib.suppress(DataError):  # damaged
        if (found := read_json_object(results)) and "label_names" not in found:
            raise RunError(f"{results} is not this program's: choose another --run_dir")
    for name in ("results.json", "metrics.csv", "audit.json", "checkpoints/best.ckpt"):
        (run_dir / name).unlink(missing_ok=True)


def has_progress(run_dir: Path) -> bool:
    """Whether a run has a checkpoint to resume from."""
    return any(checkpoint_path(run_dir, name).is_file() for name in ("last", "previous"))


def find_checkpoint(asked: str, run_dir: Path | None) -> Path:
    """The file that ``--ckpt_path best|last|previous|FILE`` means; ``previous`` replaces a damaged or missing ``last``.

    Raises:
        RunError: it does not exist, or is damaged; the message names the alternatives.
    """
    if asked not in _NAMES:
        if Path(asked).is_file():
            return Path(asked)
        raise RunError(f"no checkpoint {asked}: give best, last or an existing file; {_existing()}")
    if run_dir is not None:
        path = checkpoint_path(run_dir, asked)
    else:
        known = _by_age(RUNS.glob("**/checkpoints/*.ckpt"))
        path = next((path for path in reversed(known) if path.stem == asked), Path())
        if path == Path():
            raise RunError(f"no run here has a checkpoint {asked!r}: {_existing()}")
        if path.parent != known[-1].parent:
            log.warning("the newest run, %s, has no %s.ckpt: an earlier run's is used", known[-1].parent.parent, asked)
    problem = damage(path) if path.is_file() else "no such file"
    if problem is None:
        return path
    whole = [name for name in _NAMES if _is_whole(path.with_name(f"{name}.ckpt"))]
    if asked == "last" and "previous" in whole:
        log.warning("%s is damaged or missing (%s): using previous.ckpt instead", path, problem)
        return path.with_name("previous.ckpt")
    if not path.is_file():
        raise RunError(f"no checkpoint {path}: {_existing()}")
    remedy = f"give --ckpt_path {' or '.join(whole)}" if whole else "no other one of this run is whole; train again"
    raise RunError(f"{path} is damaged: {problem}; {remedy}")


def run_dir_of(checkpoint: Path) -> Path | None:
    """The run that a checkpoint lies in; ``None`` for a file that was moved elsewhere."""
    run_dir = checkpoint.absolute().parent.parent
    if checkpoint.absolute().parent.name == "checkpoints" and (run_dir / "config.yaml").is_file():
        return Path(os.path.relpath(run_dir)) if run_dir.is_relative_to(Path.cwd()) else run_dir
    return None


def _is_whole(path: Path) -> bool:
    return path.is_file() and damage(path) is None


def _by_age(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.stat().st_mtime)


def _existing() -> str:
    found = _by_age(RUNS.glob("**/checkpoints/*.ckpt"))
    if not found:
        return f"there is none in {RUNS}/ either; train first with `fit`"
    return "there are " + ", ".join(str(path) for path in found[-4:])
