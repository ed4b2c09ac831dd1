"""``report.html`` of a run, and pages that compare runs: self-contained, inert, offline.

`page.py` fills the templates, `figure.py` draws, `comparison.py` is for several runs.
"""

from __future__ import annotations

from ner_module.offers import Offer

OFFER = Offer(
    commands={"report": "ner_module.extras.report.options:main"},
    callbacks="ner_module.extras.report.page:callbacks",
    needs=("analysis",),
    after=("audit", "card", "health", "provenance", "throughput"),
)
