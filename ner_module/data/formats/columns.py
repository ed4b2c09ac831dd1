"""Column files (CoNLL-2002, CoNLL-2003, CoNLL-U, W-NUT, GermEval, …): one word a line -> sentences.

A line holds columns between tabs, or between runs of spaces; a line without any ends the sentence. The layout is found
in the first lines (`column_layout.py`), and every later line must keep to it: a line that does not is an error with
its number, never skipped. What is not a word:

* ``-DOCSTART-`` lines begin a document;
* before a sentence, lines that start with ``#`` and do not have the file's number of columns are comments
  (``# newdoc`` begins a document). ``#tag<TAB>O`` has it, and is a word;
* where CoNLL-U ids stand in front, the lines of multi-word ranges (``3-4``) and empty nodes (``5.1``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.formats.column_layout import DOCSTART, SKIPPED_ID, Layout, find_layout
from ner_module.data.formats.files import read_lines
from ner_module.data.formats.options import ReadingOptions
from ner_module.data.formats.tag_cells import MisfitError, TagCells
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError

_HEAD_LINES = 2_000
_NEW_DOCUMENT = re.compile(r"# ?newdoc(?: id)?(?: ?= ?(.+))?")


def read_columns(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of a column file."""
    del counts  # columns hold no character spans
    lines = read_lines(path, options.encoding)
    head: list[str] = []
    layout = None
    while layout is None and (more := list(itertools.islice(lines, max(_HEAD_LINES, len(head))))):
        head += more
        layout = find_layout(path, head, options)
    if layout is None:
        return
    width, text, label, first_id = layout.width, layout.text, layout.label, layout.first_id
    separator = "\t" if layout.tabs else " "
    reader = TagCells(options.label_names)
    known = reader.known
    ordinal, is_empty = 1, True
    # Where some lines begin documents, what stands before the first is a document, too.
    document = f"{path}#1" if any(DOCSTART in line for line in head) else None
    tokens: list[str] = []
    tags: list[str] = []
    first_line = number = 0
    try:
        for number, line in enumerate(itertools.chain(head, lines, [""]), 1):
            # This loop is the speed of reading; what is not a plain word is left to functions.
            stripped = line.rstrip(" \t\r\n")
            cells = stripped.split(separator)
            if len(cells) != width or not stripped or (separator == " " and ("" in cells or "\t" in stripped)):
                cells = _unusual_line(line, layout, bool(tokens))
            if cells and cells[0] != DOCSTART and cells[text] != DOCSTART:
                if first_id is not None and cells[0] != str(first_id + len(tokens)):
                    if SKIPPED_ID.fullmatch(cells[0]):
                        continue
                    problem = f"the word is numbered {cells[0]!r} where {first_id + len(tokens)} follows"
                    raise MisfitError(problem, "restore the missing line or number, or name --data.text_column_name")
                if not tokens:
                    first_line = number
                tokens.append(cells[text])
                if label is not None:
                    tags.append(known.get(cells[label]) or reader.read(cells[label]))
                continue
            if tokens:
                unbroken = number - first_line == len(tokens)
                yield Sentence(tokens, tags if options.tagged else None, first_line, document, word_per_line=unbroken)
                tokens, tags = [], []
                is_empty = False
            named = _NEW_DOCUMENT.fullmatch(stripped)
            if cells or named:
                ordinal += not is_empty
                document = (named and named[1]) or f"{path}#{ordinal}"
                is_empty = True
    except MisfitError as misfit:
        raise DataError(path, number, *misfit.args) from None


def _unusual_line(line: str, layout: Layout, inside: bool) -> list[str]:
    """The cells of a line that is not cut at a glance; none at the end of a sentence and for a comment before one."""
    line = line.rstrip(" \r\n")
    if not line.strip(" \t"):
        return []
    cells = layout.split(line)
    if len(cells) == layout.width:
        return cells
    if cells[0] == DOCSTART:
        return [DOCSTART] * layout.width
    if line[0] == "#" and not inside and (line[1:2] in (" ", "\t") or layout.width > 3):
        return []
    problem = f"the line has {len(cells)} column{'s' * (len(cells) != 1)} where the file has {layout.describe()}"
    if line[0] == "#" and inside:
        raise MisfitError(problem, "complete the line, or move it before the sentence if it is a comment")
    if layout.tabs or (len(cells) < layout.width and layout.label is not None):
        raise MisfitError(problem, "complete or remove the line")
    advice = "separate the columns by tabs if words hold spaces; raw text without tags is not a column file"
    if layout.label is None:
        advice = (
            "if this is raw text, set --data.format text; if not, separate the columns by tabs where words hold spaces"
        )
    raise MisfitError(problem, advice)
