"""CSV and TSV -> sentences: one word a row, or one sentence a row.

*One word a row*: a column such as ``sentence_id`` or ``Sentence #`` says where a sentence begins (by a new value, or by
any value where the cells between are empty); without one, an empty row ends a sentence. *One sentence a row*: words and
tags are lists as JSON, Python or NumPy print them, or words between spaces.

Quotation marks quote, as in CSV. A TSV file whose marks do not pair up holds them as words, and they are taken as such.
"""

from __future__ import annotations

import ast
import csv
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ner_module.data.readers.records import RecordReader
from ner_module.data.readers.table_layout import TableLayout, find_table_layout
from ner_module.data.readers.tag_cells import describe
from ner_module.data.sentence import DataError, Sentence

_HEAD_ROWS = 200
_HEAD_LINES = 5_000
# Above the 20,000 words of a long document, far below the rest of a file after a quotation mark that is never closed.
_MAX_CELL = 1 << 24

_ITEM = re.compile(r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"|-?[0-9]++""", re.DOTALL)
_BETWEEN = re.compile(r"[\s,]*")

Row = tuple[int, list[str]]


def read_table(path: Path, lines: Iterable[str], separator: str, reader: RecordReader) -> Iterator[Sentence]:
    """Yield the sentences of a table.

    Args:
        path: the file, for messages.
        lines: its lines.
        separator: a comma or a tab.
        reader: knows the columns that were asked for, and reads tags and records.

    Raises:
        DataError: at the first row that does not fit.
    """
    rows = _rows(path, lines, separator)
    head = list(itertools.islice((row for row in rows if any(row[1])), _HEAD_ROWS))
    if not head:
        return
    layout = find_table_layout(path, head, reader.text_key, reader.label_key, reader.tagged)
    del head[: bool(layout.names)]
    body = _of_width(path, itertools.chain(head, rows), layout)
    yield from _by_sentence(path, body, layout, reader) if layout.by_sentence else _by_word(body, layout, reader)
