"""The options of ``python -m ner_module report``, parsed before anything heavy is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

_DESCRIPTION = """\
Of one run directory: write its report.html, and the plots as PNG beside it, again. Of several: write one page that
compares them, with paired tests of each against the first."""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ner_module report", description=_DESCRIPTION, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directory; the first is the baseline")
    parser.add_argument(
        "--output", type=Path, help="the HTML file; default RUN/report.html for one run, comparison.html for several"
    )
    parser.add_argument(
        "--split", choices=("test", "validation"), help="whose predictions; default: test, else validation"
    )
    options = parser.parse_args(list(argv))
    from ner_module.extras.report.page import write

    return write(options)
