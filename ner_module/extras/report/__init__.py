"""``report.html`` and ``report.png`` of a run, and pages that compare runs: self-contained, inert, offline.

`contents.py` reads a run directory, `tables.py` and `charts.py` say what is shown, `page.py` fills the templates.
"""

from __future__ import annotations

from ner_module.offers import Offer

OFFER = Offer(
    commands={"report": "ner_module.extras.report.command:main"},
    callbacks="ner_module.extras.report.callback:callbacks",
    needs=("analysis",),
    after=("audit", "card", "health", "provenance", "throughput"),
)
