"""The options of ``python -m ner_module compare``, parsed before anything heavy is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from jsonargparse.typing import PositiveInt

_DESCRIPTION = """\
Compare two taggers, or two recipes trained with several seeds, on the same test sentences: F1 with bootstrap intervals,
paired bootstrap and approximate randomisation tests over sentences, Welch's t-test over seeds."""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(list(argv))
    from ner_module.extras.compare.command import compare

    return compare(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ner_module compare", description=_DESCRIPTION, allow_abbrev=False)
    what = "run directory or predictions file"
    parser.add_argument("runs", nargs="+", type=Path, metavar="A", help=f"{what}; several are one recipe's seeds")
    parser.add_argument("--against", nargs="+", type=Path, metavar="B", required=True, help=f"{what} to compare with")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="which predictions of a run")
    parser.add_argument(
        "--resamples", type=PositiveInt, default=10_000, help="of each test; p is at least 1 / (this + 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers; the same seed, the same p")
    return parser
