"""Compare runs by paired significance tests; analyse predictions beyond one F1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ner_module.help import CommandParser
from ner_module.offers import Offer

OFFER = Offer(
    commands={"compare": "ner_module.extras.analysis:main"},
    callbacks="ner_module.extras.analysis.tables:callbacks",
)

_DESCRIPTION = """\
Compare two taggers, or two recipes trained with several seeds, on the same test sentences: F1 with bootstrap intervals,
a paired bootstrap test over sentences, Welch's t-test over seeds."""


def main(arguments: Sequence[str]) -> int:
    """``python -m ner_module compare``, parsed before anything heavy is imported; returns the exit code."""
    parser = CommandParser("compare", _DESCRIPTION)
    what = "run directory or predictions file"
    parser.add_argument("runs", nargs="+", type=Path, metavar="A", help=f"{what}; several are one recipe's seeds")
    parser.add_argument("--against", nargs="+", type=Path, metavar="B", required=True, help=f"{what} to compare with")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="which predictions of a run")
    parser.add_argument("--resamples", type=int, default=10_000, help="per test; p is at least 1 / (this + 1)")
    parser.add_argument("--seed", type=int, default=0, help="random seed; the same seed gives the same p")
    options = parser.parse_args(list(arguments))
    if options.resamples < 1:
        parser.error("--resamples must be at least 1")
    from ner_module.extras.analysis.compare import compare

    return compare(options)
