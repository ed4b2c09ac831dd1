"""Column files (CoNLL-2002, CoNLL-2003, CoNLL-U, W-NUT, GermEval, …): one word a line -> sentences.

A line holds columns between tabs, or between runs of spaces; a line without any ends the sentence. The layout is told
from the first lines (`column_layout.py`), and every later line must keep to it: a line that does not is an error with
its number, never skipped. What is not a word:

* ``-DOCSTART-`` lines begin a document;
* before a sentence, lines that start with ``#`` and do not have the file's number of columns are comments
  (``# newdoc`` begins a document). ``#tag<TAB>O`` has it, and is a word;
* where CoNLL-U ids stand in front, the lines of multi-word ranges (``3-4``) and empty nodes (``5.1``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ner_module.data.formats.column_layout import DOCSTART, SKIPPED_ID, Layout, find_layout
from ner_module.data.formats.tag_cells import TagCells
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError

_HEAD_LINES = 2_000
_NEW_DOCUMENT = re.compile(r"# ?newdoc(?: id)?(?: ?= ?(.+))?")


def read_columns(
    path: Path,
    lines: Iterable[str],
    *,
    text_column_name: str | None = None,
    label_column_name: str | None = None,
    label_names: list[str] | None = None,
    tagged: bool = True,
    documents: bool = False,
) -> Iterator[Sentence]:
    """Yield the sentences of a column file.

    Args:
        path: the file, for messages.
        lines: its lines, with or without their ends.
        text_column_name: the column of the words: its number from 0 (from the end if negative), or its name where the
            file has names (CoNLL-U). Default: the first that does not number the words.
        label_column_name: the column of the tags, likewise. Default: the last.
        label_names: names of integer tags.
        tagged: whether tags are wanted.
        documents: whether the file has ``-DOCSTART-`` lines, so that what stands before the first is a document too.

    Raises:
        DataError: at the first line that does not fit.
    """
    lines = iter(lines)
    head: list[str] = []
    layout = None
    while layout is None and (more := list(itertools.islice(lines, max(_HEAD_LINES, len(head))))):
        head += more
        layout = find_layout(path, head, text_column_name, label_column_name, tagged)
    if layout is None:
        return
    width, text, label, first_id = layout.width, layout.text, layout.label, layout.first_id
    separator = "\t" if layout.tabs else " "
    reader = TagCells(path, label_names)
    known = reader.known
    ordinal = 1
    document = f"{path}#{ordinal}" if documents else None
    document_is_empty = True
    tokens: list[str] = []
    tags: list[str] = []
    first_line = 0
    for number, line in enumerate(itertools.chain(head, lines), 1):
        # This loop is the speed of reading; what is not a plain word is left to functions.
        stripped = line.rstrip(" \t\r\n")
        cells = stripped.split(separator)
        if len(cells) != width or not stripped or (separator == " " and ("" in cells or "\t" in stripped)):
            unusual = _unusual_line(path, number, line, layout, bool(tokens))
            if unusual is None:
                begun = _NEW_DOCUMENT.fullmatch(stripped)
                if begun:
                    ordinal += not document_is_empty
                    document = begun[1] or f"{path}#{ordinal}"
                    document_is_empty = True
                continue
            cells = unusual
        if not cells or cells[text] == DOCSTART or cells[0] == DOCSTART:
            if tokens:
                unbroken = number - first_line == len(tokens)
                yield Sentence(tokens, tags if tagged else None, first_line, document, word_per_line=unbroken)
                tokens, tags = [], []
                document_is_empty = False
            if cells:
                ordinal += not document_is_empty
                document = f"{path}#{ordinal}"
                document_is_empty = True
            continue
        if first_id is not None and cells[0] != str(first_id + len(tokens)):
            if SKIPPED_ID.fullmatch(cells[0]):
                continue
            problem = f"the word is numbered {cells[0]!r} where {first_id + len(tokens)} follows"
            raise DataError(
                path, number, problem, "restore the missing line or number, or name --data.text_column_name"
            )
        if not tokens:
            first_line = number
        tokens.append(cells[text])
        if label is not None:
            tags.append(known.get(cells[label]) or reader.read(cells[label], number))
    if tokens:
        unbroken = number - first_line + 1 == len(tokens)
        yield Sentence(tokens, tags if tagged else None, first_line, document, word_per_line=unbroken)


def _unusual_line(path: Path, number: int, line: str, layout: Layout, inside: bool) -> list[str] | None:
    """The cells of a line that is not cut at a glance: none at the end of a sentence, ``None`` for a comment."""
    line = line.rstrip(" \r\n")
    if not line.strip(" \t"):
        return []
    cells = layout.split(line)
    if len(cells) == layout.width:
        return cells
    if cells[0] == DOCSTART:
        return [DOCSTART] * layout.width
    if line[0] == "#" and not inside and (line[1:2] in (" ", "\t") or layout.width > 3):
        return None
    problem = f"the line has {len(cells)} column{'s' * (len(cells) != 1)} where the file has {layout.describe()}"
    if line[0] == "#" and inside:
        advice = "complete the line, or move it before the sentence if it is a comment"
    elif layout.tabs or (len(cells) < layout.width and layout.label is not None):
        advice = "complete or remove the line"
    elif layout.label is None:
        advice = (
            "if this is raw text, set --data.format text; if not, separate the columns by tabs where words hold spaces"
        )
    else:
        advice = "separate the columns by tabs if words hold spaces; raw text without tags is not a column file"
    raise DataError(path, number, problem, advice)
