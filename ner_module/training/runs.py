"""Run directories and checkpoints: where a command writes, and which checkpoint it means. No torch.

``runs/<name>/<time>`` holds one training; ``--ckpt_path best|last`` means the one in ``--run_dir``, else in the newest
run.
"""

from __future__ import annotations

import contextlib
import logging
import os
from datetime import datetime
from pathlib import Path

from ner_module.errors import RunError
from ner_module.training import cluster
from ner_module.training.checkpoint_files import damage, saved_step

log = logging.getLogger(__name__)

RUNS = Path("runs")

_RUN_DIR_VARIABLE = "NER_MODULE_RUN_DIR"


class Stopped(KeyboardInterrupt):
    """Training was saved and ended on request; Lightning shuts down on it as on Ctrl-C.

    Args:
        exit_code: what the program ends with.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


def checkpoint_path(run_dir: Path, name: str) -> Path:
    """Where ``best``, ``last`` or ``previous`` lies in a run."""
    return run_dir / "checkpoints" / f"{name}.ckpt"


def new_run_dir(name: str) -> Path:
    """The directory of a run that starts now.

    It is made at once, so that of several runs started in the same second each has its own. A job or rendezvous id
    takes the place of the time, so that all processes of a job, and the job after a requeue, mean the same directory.
    Processes that Lightning itself starts inherit the first one's choice.
    """
    inherited = os.environ.get(_RUN_DIR_VARIABLE)
    if inherited and "LOCAL_RANK" in os.environ:
        return Path(inherited)
    job = cluster.job_name()
    run_dir = RUNS / name / (job or datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    first, number = run_dir, 1
    while job is None:
        try:
            run_dir.mkdir(parents=True)
            break
        except FileExistsError:
            number += 1
            run_dir = first.with_name(f"{first.name}-{number}")
    if job is None and cluster.under_torchrun() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        run_dir = _agreed(run_dir)
    os.environ[_RUN_DIR_VARIABLE] = str(run_dir)
    return run_dir


def _agreed(mine: Path) -> Path:
    """The run directory of the first process: torchrun without ``--rdzv-id`` gives the processes no name in common."""
    theirs = Path(cluster.agreed(str(mine)))
    if theirs != mine:
        remove_if_unused(mine)
    return theirs


def remove_if_unused(run_dir: Path) -> None:
    """Remove a directory of :func:`new_run_dir` into which nothing was written, and its empty parents."""
    if run_dir.is_relative_to(RUNS):
        for folder in (run_dir, run_dir.parent, RUNS):
            with contextlib.suppress(OSError):  # not empty, or not there
                folder.rmdir()


def check_free(run_dir: Path) -> None:
    """Refuse a directory in which something was trained; what a failed start left does not count.

    Raises:
        RunError: it holds results, metrics or checkpoints.
    """
    last = checkpoint_path(run_dir, "last")
    if last.is_file():
        raise RunError(
            f"{run_dir} holds a run already: go on with `fit --run_dir {run_dir} --ckpt_path last`, "
            "or choose another --run_dir"
        )
    if any((run_dir / name).exists() for name in ("results.json", "metrics.csv", "checkpoints")):
        raise RunError(f"{run_dir} holds a run already: choose another --run_dir, or delete it")


def find_checkpoint(asked: str, run_dir: Path | None) -> Path:
    """The file that ``--ckpt_path best|last|previous|FILE`` means. A damaged ``last`` gives way to ``previous``.

    Raises:
        RunError: it does not exist, or is damaged; the message names what there is.
    """
    if asked not in ("best", "last", "previous"):
        path = Path(asked)
        if path.is_file():
            return path
        raise RunError(f"no checkpoint {asked}: give best, last or an existing file; {_what_exists()}")
    if run_dir is not None:
        path = checkpoint_path(run_dir, asked)
    else:
        found = sorted(RUNS.glob(f"*/*/checkpoints/{asked}.ckpt"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise RunError(f"no run here has a checkpoint {asked!r}: {_what_exists()}")
        path = found[-1]
    problem = damage(path) if path.is_file() else None
    if problem is None and path.is_file():
        return path
    previous = path.with_name("previous.ckpt")
    if asked == "last" and previous.is_file() and damage(previous) is None:
        fault = "is not there" if problem is None else f"is damaged ({problem})"
        log.warning("%s %s: using %s instead%s", path, fault, previous.name, _loss(path, previous))
        return previous
    if not path.is_file():
        raise RunError(f"no checkpoint {path}: {_what_exists()}")
    others = {name: path.with_name(f"{name}.ckpt") for name in ("best", "last", "previous") if name != asked}
    whole = [name for name, other in others.items() if other.is_file() and damage(other) is None]
    remedy = f"give --ckpt_path {' or '.join(whole)}" if whole else "no other one of this run is whole; train again"
    raise RunError(f"{path} is damaged: {problem}; {remedy}")


def has_progress(run_dir: Path) -> bool:
    """Whether a run has a checkpoint to go on from."""
    return any(checkpoint_path(run_dir, name).is_file() for name in ("last", "previous"))


def _loss(path: Path, previous: Path) -> str:
    """What it costs to go back from one checkpoint to another, as far as their checksum files tell."""
    steps = saved_step(path), saved_step(previous)
    if steps[0] is None or steps[1] is None or steps[0] <= steps[1]:
        return ""
    return f", saved after step {steps[1]:,}; the {steps[0] - steps[1]:,} steps since are lost"


def run_dir_of(checkpoint: Path) -> Path | None:
    """The run a checkpoint lies in; ``None`` for a file that was moved elsewhere."""
    run_dir = checkpoint.absolute().parent.parent
    if checkpoint.absolute().parent.name == "checkpoints" and (run_dir / "config.yaml").is_file():
        return Path(os.path.relpath(run_dir)) if run_dir.is_relative_to(Path.cwd()) else run_dir
    return None


def _what_exists() -> str:
    found = sorted(RUNS.glob("*/*/checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        return f"there is none in {RUNS}/ either; train first with `fit`"
    return "there are " + ", ".join(str(path) for path in found[-4:])
