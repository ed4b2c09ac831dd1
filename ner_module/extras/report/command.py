"""``python -m ner_module report RUN [RUN …] [--output FILE]``: rebuild the report of a run, or compare runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ner_module.extras.report.page import write_comparison, write_report

_DESCRIPTION = """\
Of one run directory: write its report.html, and the plots as PNG beside it, again. Of several: write one page that
compares them, with paired tests of each against the first."""


def main(argv: Sequence[str]) -> int:
    """Write the page and print its path; returns the exit code.

    Raises:
        UserError: a directory holds no run, or a damaged one.
    """
    parser = argparse.ArgumentParser(prog="python -m ner_module report", description=_DESCRIPTION, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory; the first is the baseline")
    parser.add_argument(
        "--output", type=Path, help="the HTML file; default RUN/report.html for one run, comparison.html for several"
    )
    parser.add_argument(
        "--split", choices=("test", "validation"), help="whose predictions; default: test, else validation"
    )
    options = parser.parse_args(list(argv))
    if len(options.runs) == 1:
        path = write_report(options.runs[0], options.output, options.split)
    else:
        path = write_comparison(options.runs, options.output or Path("comparison.html"), options.split)
    print(f"Report: {path}")
    return 0
