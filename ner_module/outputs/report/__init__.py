"""``report.html`` and ``report.png`` of a run, and pages that compare runs: self-contained, inert, offline.

`contents.py` reads a run directory, `tables.py` and `charts.py` say what is shown, `page.py` fills the templates.
"""
