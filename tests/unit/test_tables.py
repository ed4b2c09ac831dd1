"""Tables as a terminal shows them."""

from __future__ import annotations

import io

from rich.console import Console

from ner_module.tables import Column, Table, score


def test_highlighted_rows_are_bold_and_markup_is_text() -> None:
    rows = [("[red]LOC", 0.5), ("PER", float("nan"))]
    table = Table("Scores", (Column("type"), Column("F1", score)), rows, frozenset({0}), "a note")
    console = Console(file=io.StringIO(), force_terminal=True, width=60, no_color=True)
    console.print(table.for_terminal())
    lines = console.file.getvalue().splitlines()
    [loc], [per] = ([line for line in lines if name in line] for name in ("[red]LOC", "PER"))
    assert "\x1b[1m" in loc
    assert "0.5000" in loc
    assert "\x1b[1m" not in per
    assert "nan" not in per
