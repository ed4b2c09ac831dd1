"""Tables as plain data, rendered separately for terminal, HTML, Markdown and Weights & Biases."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box, get_console
from rich.table import Table as RichTable
from rich.text import Text

from ner_module.errors import for_terminal, printable


def score(value: float) -> str:
    """A score with four decimals."""
    return f"{value:.4f}"


def count(value: float) -> str:
    """A count with thousands separators: ``12,000``."""
    return f"{value:,.0f}"


def interval(value: tuple[float, float]) -> str:
    """An interval: ``0.4124 to 0.6000``."""
    return f"{score(value[0])} to {score(value[1])}"


@dataclass(frozen=True)
class Column:
    """A column: its title and number format."""

    title: str
    write: Callable[[Any], str] = str

    def cell(self, value: Any) -> str:
        """A value as text; empty for ``None`` and NaN."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        return value if isinstance(value, str) else self.write(value)


@dataclass(frozen=True)
class Table:
    """Rows of unformatted values under named columns; the first column holds names.

    ``emphasised`` are the indices of highlighted rows; ``note`` is shown below the table.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    emphasised: frozenset[int] = frozenset()
    note: str = ""

    def cells(self) -> list[list[str]]:
        """All rows as text."""
        return [[column.cell(value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows]

    def for_terminal(self) -> RichTable:
        """The table for ``rich``; markup in text is not interpreted."""
        table = RichTable(
            title=_text(self.title),
            title_style="bold",
            title_justify="left",
            caption=_text(self.note),
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
        )
        for index, column in enumerate(self.columns):
            # Names may wrap, numbers never.
            table.add_column(_text(column.title) or "", justify="right" if index else "left", overflow="fold")
        for index, cells in enumerate(self.cells()):
            table.add_row(*map(_text, cells), style="bold" if index in self.emphasised else None)
        return table


def say(text: str, style: str = "") -> None:
    """Print text on the terminal without interpreting markup."""
    console = get_console()
    console.print(Text(for_terminal(text, console.file), style=style), highlight=False, soft_wrap=True)


def _text(text: str) -> Text | None:
    return Text(printable(text)) if text else None
