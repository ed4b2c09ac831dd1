"""Run directories: creation, locking, and finding checkpoints. No torch.

``runs/<name>/<time>`` holds one training; ``--ckpt_path best|last`` is the one in ``--run_dir``, else in the newest run
anywhere below ``runs/``.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path

from ner_module.errors import DataError, RunError
from ner_module.files import read_json_object, try_lock
from ner_module.training import cluster
from ner_module.training.checkpoint_files import damage

log = logging.getLogger(__name__)

RUNS = Path("runs")

NAMES = ("best", "last", "previous")
_SYSTEM = ("", "bin", "boot", "dev", "etc", "lib", "proc", "run", "sbin", "sys", "usr", "var")
# Set for the processes that Lightning starts.
_RUN_DIR_VARIABLE = "NER_MODULE_RUN_DIR"
_PRIVATE_VARIABLE = "NER_MODULE_PRIVATE"
_PRIVATE_PREFIX = f"ner-module-{socket.gethostname()}-"  # machines may share the folder for temporary files


def launch_command() -> str:
    """The command that starts this program: with ``python`` if that is this interpreter, else with its path."""
    executable = Path(sys.executable).absolute()
    found = shutil.which("python")
    if found and Path(found).absolute() == executable:
        return "python -m ner_module"
    if executable.is_relative_to(Path.cwd()):
        executable = executable.relative_to(Path.cwd())
    return f"{executable} -m ner_module"


@dataclass(frozen=True)
class Run:
    """A command with its run directory and checkpoint."""

    command: str  # `fit`, `validate`, `test` or `predict`
    arguments: list[str]  # the complete command line
    run_dir: Path  # the output directory
    checkpoint: Path | None  # the checkpoint it starts from
    starts_anew: bool = False  # `--ckpt_path auto` found no checkpoint: files in `run_dir` are left over
    recipe: str = "fit"  # the name of the first configuration
    launch: str = field(default_factory=launch_command)


def checkpoint_path(run_dir: Path, name: str) -> Path:
    """The path of ``best``, ``last`` or ``previous`` in a run."""
    return run_dir / "checkpoints" / f"{name}.ckpt"


def new_run_dir(name: str) -> Path:
    """Create the directory of a new run; runs started in the same second get different ones.

    A job or rendezvous id replaces the time, so that all processes of a job, and the job after a requeue, agree on the
    directory. Processes that Lightning starts inherit the first one's choice.
    """
    inherited = os.environ.get(_RUN_DIR_VARIABLE)
    if inherited and "LOCAL_RANK" in os.environ:
        return Path(inherited)
    job = cluster.job_name()
    if job is not None:
        run_dir = RUNS / name / job
    else:
        mine = _create(RUNS / name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
        # torchrun without --rdzv-id gives its processes no common name: all use the first one's directory.
        run_dir = Path(cluster.agree_on("run_dir", str(mine)))
        if run_dir != mine:
            remove_if_unused(mine)
    os.environ[_RUN_DIR_VARIABLE] = str(run_dir)
    return run_dir


def _create(folder: Path) -> Path:
    """Create a folder, with a number appended if the name exists."""
    candidate, number = folder, 1
    while True:
        try:
            candidate.mkdir(parents=True)
            return candidate
        except FileExistsError:
            number += 1
            candidate = folder.with_name(f"{folder.name}-{number}")


def remove_if_unused(run_dir: Path) -> None:
    """Remove an empty directory of :func:`new_run_dir`, and its empty parents."""
    if run_dir.is_relative_to(RUNS):
        for folder in (run_dir, run_dir.parent, RUNS):
            with contextlib.suppress(OSError):  # not empty, or missing
                folder.rmdir()


@contextlib.contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold ``RUN/.lock``, or raise :class:`RunError` with host and id of the process that trains there."""
    if {run_dir.resolve(), run_dir.absolute()} & {Path("/", name) for name in _SYSTEM}:
        raise RunError(f"--run_dir {run_dir} is a system folder: choose another")
    if run_dir.is_file():
        raise RunError(f"--run_dir {run_dir} is a file: name a folder")
    is_new = not run_dir.exists()
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / ".lock"
    while True:
        with path.open("a+", encoding="utf-8", errors="replace") as file:
            if not try_lock(file):
                file.seek(0)
                owner = file.read(200).strip() or "another process"
                advice = "wait for it, or choose another --run_dir"
                raise RunError(f"{run_dir} is in use by {owner}, which trains there: {advice}")
            if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
                continue  # its previous owner has just removed it
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                if is_new:
                    with contextlib.suppress(OSError):  # not empty: it contains a run
                        run_dir.rmdir()
            return


def has_progress(run_dir: Path) -> bool:
    """Whether a run has a checkpoint to resume from."""
    return any(checkpoint_path(run_dir, name).is_file() for name in ("last", "previous"))


def check_free(run_dir: Path) -> None:
    """Refuse a directory with a training (:class:`RunError`); after a failed start it only has ``config.yaml``."""
    if any((run_dir / name).exists() for name in ("results.json", "metrics.csv", "checkpoints")):
        resume = f"resume it with `fit --run_dir {run_dir} --ckpt_path auto`"
        raise RunError(f"{run_dir} already holds a run: {resume}, or choose another --run_dir")
    config = run_dir / "config.yaml"
    text = config.read_text("utf-8", "replace").strip("\0\n") if config.is_file() else ""
    own_config = not text or "save_every_minutes:" in text  # a power cut leaves nothing, or zeros
    for name in ("README.md", "report.html", *([] if own_config else ["config.yaml"])):
        if (run_dir / name).exists():
            raise RunError(f"{run_dir / name} is in the way, since a run writes one: choose another --run_dir")


def clear_unsaved(run_dir: Path) -> None:
    """Remove the files of a training that ended before its first checkpoint; refuse files of other programs."""
    results = run_dir / "results.json"
    with contextlib.suppress(DataError):  # damaged
        if (found := read_json_object(results)) and "label_names" not in found:
            raise RunError(f"{results} is not this program's: choose another --run_dir")
    for name in ("results.json", "metrics.csv", "audit.json", "checkpoints/best.ckpt"):
        (run_dir / name).unlink(missing_ok=True)


def find_checkpoint(asked: str, run_dir: Path | None) -> Path:
    """The file of ``--ckpt_path best|last|previous|FILE``; ``previous`` replaces a damaged or missing ``last``.

    Raises:
        RunError: it does not exist or is damaged; the message names alternatives.
    """
    if asked not in NAMES:
        asked = str(Path(asked).expanduser())
        if Path(asked).is_file():
            return Path(asked)
        raise RunError(f"no checkpoint {asked}: give best, last or an existing file; {_existing()}")
    path = checkpoint_path(run_dir, asked) if run_dir is not None else _newest(asked)
    problem = damage(path) if path.is_file() else "no such file"
    if problem is None:
        return path
    others = {name: path.with_stem(name) for name in NAMES}
    whole = [name for name, other in others.items() if other.is_file() and damage(other) is None]
    if asked == "last" and "previous" in whole:
        log.warning("%s is damaged or missing (%s): using previous.ckpt instead", path, problem)
        return others["previous"]
    if not path.is_file():
        raise RunError(f"no checkpoint {path}: {_existing()}")
    remedy = f"give --ckpt_path {' or '.join(whole)}" if whole else "no other checkpoint is intact; train again"
    raise RunError(f"{path} is damaged: {problem}; {remedy}")


def _newest(name: str) -> Path:
    """The newest checkpoint with this name in any run."""
    known = _checkpoints()
    path = next((path for path in reversed(known) if path.stem == name), None)
    if path is None:
        raise RunError(f"no run here has a checkpoint {name!r}: {_existing()}")
    if path.parent != known[-1].parent:
        log.warning("the newest run, %s, has no %s.ckpt: an earlier run's is used", known[-1].parent.parent, name)
    return path


def _checkpoints() -> list[Path]:
    """The checkpoints of all runs, the newest last."""
    return sorted(RUNS.glob("**/checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime)


def _existing() -> str:
    found = ", ".join(map(str, _checkpoints()[-4:]))
    return f"there are {found}" if found else f"there is none in {RUNS}/ either; train first with `fit`"


def run_dir_of(checkpoint: Path) -> Path | None:
    """The run that contains a checkpoint; ``None`` for a file elsewhere."""
    run_dir = checkpoint.absolute().parent.parent
    if checkpoint.absolute().parent.name == "checkpoints" and (run_dir / "config.yaml").is_file():
        return Path(os.path.relpath(run_dir)) if run_dir.is_relative_to(Path.cwd()) else run_dir
    return None


@cache
def private_folder() -> Path:
    """A folder that only this user can read, for texts to predict, shared by all processes on this machine.

    It is removed when the program ends; after a killed process, by the next one.
    """
    inherited = os.environ.get(_PRIVATE_VARIABLE)  # set for the processes that Lightning starts
    if inherited and Path(inherited).is_dir():
        return Path(inherited)
    _remove_left_over()
    mine = Path(tempfile.mkdtemp(prefix=f"{_PRIVATE_PREFIX}{os.getpid()}-"))
    folder = Path(cluster.agree_on(f"private/{cluster.attempt()}", str(mine), on_node=True))
    if folder == mine:
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    else:
        mine.rmdir()
    os.environ[_PRIVATE_VARIABLE] = str(folder)
    return folder


def _remove_left_over() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PRIVATE_PREFIX}*-*"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(folder.name.removeprefix(_PRIVATE_PREFIX).partition("-")[0])
            if folder.stat().st_uid == os.getuid():
                try:
                    os.kill(pid, 0)  # is it alive?
                except ProcessLookupError:
                    shutil.rmtree(folder)
