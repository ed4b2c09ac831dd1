"""Write ``report.html`` of a run, or a page that compares several.

`page.py` fills the templates, `figure.py` draws, `comparison.py` is for several runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ner_module.help import CommandParser
from ner_module.offers import Offer

OFFER = Offer(
    commands={"report": "ner_module.extras.report:main"},
    callbacks="ner_module.extras.report.page:callbacks",
    needs=("analysis",),
    after=("audit", "card", "health", "operating_points", "provenance", "throughput"),
)

_DESCRIPTION = """\
For one run directory, rewrite its report.html. For several, write one page that
compares them, with paired tests of each against the first."""


def main(arguments: Sequence[str]) -> int:
    """``python -m ner_module report``, parsed before anything heavy is imported; returns the exit code."""
    parser = CommandParser("report", _DESCRIPTION)
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="run directory; the first is the baseline")
    add("--output", type=Path, help="the HTML file; default RUN/report.html for one run, comparison.html for several")
    add("--split", choices=("test", "validation"), help="whose predictions; default: test, else validation")
    options = parser.parse_args(list(arguments))
    from ner_module.extras.report.page import write

    return write(options)
