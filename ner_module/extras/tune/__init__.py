"""Search the options of ``fit`` for the best validation F1 in a given time."""

from __future__ import annotations

import argparse
import importlib.util
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from ner_module.errors import RunError
from ner_module.help import CommandParser
from ner_module.offers import Offer

OFFER = Offer(commands={"tune": "ner_module.extras.tune:main"}, needs=("analysis",))

_DESCRIPTION = """\
Search the options of `fit` for the best F1 on validation data. The first trial is the unchanged recipe; each trial is a
run of its own, and those that fall behind are pruned. The best is written as a recipe for `fit`, then retrained beside
the first with new seeds: is it better? Test data are never scored. The same command with the --run_dir of a search
resumes it, or joins it: several at once, as in a SLURM array, share its trials."""

_EPILOG = """\
All other options are those of `fit`, for example:
  python -m ner_module tune --config my.yaml --budget 30m
  python -m ner_module tune --config my.yaml --trials 20 --run_dir runs/search
  python -m ner_module tune --run_dir runs/search --trials 40"""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """A time such as ``90s``, ``30m``, ``1.5h`` or ``1d`` in seconds.

    Raises:
        ArgumentTypeError: it is none.

    >>> seconds("1.5h")
    5400.0
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if found is None or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30m or 2h")
    return float(found[1]) * _UNITS[found[2]]


def main(arguments: Sequence[str]) -> int:
    """``python -m ner_module tune``: search, then compare; returns the exit code.

    Raises:
        RunError: optuna is missing, the first trial failed, or the directory holds something else.
    """
    parser = CommandParser("tune", _DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add("--budget", type=seconds, metavar="TIME", help="time limit of this command: 90s, 30m, 2h, 1d")
    add("--trials", type=int, metavar="N", help="trials of the search in total")
    add("--space", type=Path, metavar="FILE", help="a YAML file of the search space: options with ranges or choices")
    add("--seeds", type=int, default=3, metavar="N", help="seeds with which both recipes are retrained (3)")
    add("--run_dir", type=Path, metavar="DIR", help="the search to write or resume; a new one in runs/ by default")
    own, others = parser.parse_known_args(list(arguments))
    if own.budget is None and own.trials is None:
        parser.error("give --budget TIME, --trials N or both")
    if min(own.seeds, own.trials or 0) < 0:
        parser.error("--seeds and --trials must not be negative")
    if importlib.util.find_spec("optuna") is None:
        raise RunError("`tune` needs the package 'optuna': pip install -e '.[tune]'")
    from ner_module.tables import say
    from ner_module.training import cluster
    from ner_module.training.runs import launch_command

    shape = cluster.topology()
    if shape is not None and shape != (1, 1):
        raise RunError("start `tune` as one process: each worker is a job of its own, a trial has --trainer.devices")
    from ner_module.extras.tune.search import Search, compare_recipes

    deadline = None if own.budget is None else time.monotonic() + own.budget
    search = Search(own.run_dir, others, own.space)
    for signum in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(signum, _stop)
    try:
        try:
            search.run(own.trials, deadline, own.seeds)
        finally:
            better = search.summarise()
        if better is not None and own.seeds:
            compare_recipes(search, better, own.seeds, deadline)
    except KeyboardInterrupt:
        say(f"\nStopped. Resume with:  {launch_command()} tune --run_dir {search.folder}, and --budget or --trials")
        raise
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    """End as on Ctrl-C, with the exit code by which a scheduler knows why."""
    from ner_module.training.preemption import Stopped

    raise Stopped(75 if number == signal.SIGUSR1 else 128 + number)
