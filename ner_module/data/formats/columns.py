"""Column files (CoNLL-2002, CoNLL-2003, CoNLL-U, W-NUT, GermEval, HIPE, …): one word a line -> sentences.

A line holds columns between tabs, or between runs of spaces; a line without any ends the sentence. The layout is that
of most of the first lines, and a line that does not keep to it is an error, never skipped. Which column holds what is
detected from content (`contents.py`). What is not a word:

* ``-DOCSTART-`` lines begin a document;
* lines that start with ``#`` and have no tag in the column of tags are comments: ``# key = value`` anywhere, others
  before a sentence (``# newdoc`` begins a document). ``#tag<TAB>O`` is a word;
* a first line that names the columns;
* where CoNLL-U ids stand in front, the lines of multi-word ranges (``3-4``) and empty nodes (``5.1``).

A column that numbers sentences, or says ``EndOfSentence`` (HIPE), ends them, too.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ner_module.data.formats.cells import MisfitError, TagCells, errors_at, is_tag
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.formats.contents import (
    PLAIN_COMMENT,
    choose_columns,
    is_constant,
    is_header,
    refuse_text,
    sentences_counted,
)
from ner_module.data.formats.files import read_lines, take, too_large
from ner_module.data.formats.options import TAGS, WORDS, ReadingOptions, first_in
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError
from ner_module.tagging import OUTSIDE, has_prefix

DOCSTART = "-DOCSTART-"
_SKIPPED_ID = re.compile(r"[0-9]+[-.][0-9]+")  # of CoNLL-U's multi-word ranges and empty nodes, which are no words
_WORD_ID = re.compile(r"[0-9]{1,6}")
_CELLS = re.compile(r"[^ \t]+")
_GLOBAL_COLUMNS = re.compile(r"# ?global\.columns ?= ?(.+)")
_CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_NEW_DOCUMENT = re.compile(r"# ?(?:newdoc(?: id)?|hipe2022:document_id)(?: ?= ?(.+))?")
_COMMENT = ["#"]
_NO_TAG = re.compile(r"""[-_*]*|[^=]+=.*|[0-9]*[:*][0-9:*]*|[^()'"]*[()].*""")  # nothing, features, or phrases
_HEAD_LINES = 2_000
_MAX_HEAD = 1 << 20  # comments and empty lines before the first word
_MIN_SAMPLE = 30  # fewer say little about how many different words and tags there are


class _Layout(NamedTuple):
    """How the lines of a column file are cut."""

    tabs: bool  # whether a tab separates (else any run of spaces and tabs)
    width: int  # the number of columns
    text: int = 0  # the column of the words
    label: int | None = None  # the column of the tags; None when there is none
    key: str | None = None  # of the pair that holds the tag, where a cell holds several
    first_id: int | None = None  # the number of a sentence's first word, where the first column counts words
    sentence: int | None = None  # the column that numbers sentences
    flags: int | None = None  # the column in which EndOfSentence may stand
    tags: frozenset[str] = frozenset()  # the tags seen first
    header: int | None = None  # the line that names the columns
    odd: frozenset[str] = frozenset()  # what stands there in lines with #, and is no tag

    def split(self, line: str) -> list[str]:
        """The cells of a line that has no line end; none where it is white space."""
        if not line.strip(" \t"):
            return []
        return line.split("\t") if self.tabs else _CELLS.findall(line)

    def is_comment(self, line: str, cells: list[str], inside: bool) -> bool:
        """Whether a line that starts with # is none of the words, inside a sentence or before one."""
        plain = PLAIN_COMMENT.match(line) is not None
        if len(cells) != self.width:
            return plain or (not inside and (line[1:2] in (" ", "\t", "#") or self.width > 3))
        tag = cells[self.label] if self.label is not None else OUTSIDE
        if tag in self.tags or has_prefix(tag) or (tag == OUTSIDE and not plain):
            return False
        may_be_tag = len(self.odd) < 3 and (tag[:1].isalpha() or 0 < len(tag) < 3)  # 0 or _ for outside, say
        return plain or (not inside and (self.width > 2 or not may_be_tag))

    def begins(self, cells: list[str], before: list[str]) -> bool:
        """Whether a word begins a sentence, by the columns that say so; an entity is not cut."""
        if self.sentence is not None:
            return cells[self.sentence] not in ("", before[self.sentence])
        if self.flags is None or "EndOfSentence" not in before[self.flags]:
            return False
        return self.label is None or not cells[self.label].startswith("I-")


def read_columns(path: Path, options: ReadingOptions, counts: SpanCounts) -> Iterator[Sentence]:
    """Yield the sentences of a column file."""
    lines = read_lines(path, options.encoding, options.max_record)
    head: list[str] = []
    layout = None
    while layout is None and (more := take(lines, max(_HEAD_LINES, len(head)))):
        head += more
        layout = _find_layout(path, head, options, counts)
        if layout is None and (len(head) > _MAX_HEAD or sum(map(len, head)) > options.max_record):
            raise DataError(path, 1, f"no word in the first {len(head):,} lines", "remove them")
    if layout is None:
        return
    if layout.header is not None:
        head[layout.header - 1] = ""
    width, text, first_id, label = layout.width, layout.text, layout.first_id, layout.label if options.tagged else None
    ends, limit = layout.sentence is not None or layout.flags is not None, options.max_record
    separator = "\t" if layout.tabs else " "
    reader = TagCells(options.label_names, layout.key)
    known = reader.known
    ordinal, is_empty, comments = 1, True, 0
    # Where some lines begin documents, what stands before the first is a document, too.
    document = f"{path}#1" if any(DOCSTART in line for line in head) else None
    tokens: list[str] = []
    tags: list[str] = []
    before: list[str] = []
    first_line = last_line = number = size = 0
    named: re.Match[str] | None = None

    def whole() -> Sentence:
        unbroken = last_line - first_line + 1 == len(tokens)
        return Sentence(tokens, tags if options.tagged else None, first_line, document, word_per_line=unbroken)

    try:
        for number, line in enumerate(itertools.chain(head, lines, [""]), 1):
            # This loop is the speed of reading; what is not a plain word is left to functions.
            stripped = line.rstrip(" \t\r\n")
            cells = stripped.split(separator)
            if (
                len(cells) != width
                or not stripped
                or stripped[0] == "#"
                or (separator == " " and ("" in cells or "\t" in stripped))
            ):
                cells, named = _unusual_line(line, layout, bool(tokens)), None
                if cells is _COMMENT:
                    comments += 1
                    named = _NEW_DOCUMENT.fullmatch(stripped)
                    if named is None:
                        continue
                    cells = []
            if cells and cells[0] != DOCSTART and cells[text] != DOCSTART:
                if ends and tokens and layout.begins(cells, before):
                    yield whole()
                    tokens, tags, is_empty = [], [], False
                if first_id is not None and cells[0] != str(first_id + len(tokens)):
                    if _SKIPPED_ID.fullmatch(cells[0]):
                        continue
                    problem = f"the word is numbered {cells[0]!r} where {first_id + len(tokens)} follows"
                    raise MisfitError(problem, "restore the missing line or number, or name --data.text_column_name")
                if not tokens:
                    first_line, size = number, 0
                size += len(line)
                if size > limit:
                    raise too_large(path, first_line, "sentence, which an empty line ends,", limit)
                tokens.append(cells[text])
                if label is not None:
                    tags.append(known.get(cells[label]) or reader.read(cells[label]))
                before, last_line = cells, number
                continue
            if tokens:
                yield whole()
                tokens, tags, is_empty = [], [], False
            if cells or named:
                ordinal += not is_empty
                document = (named and named[1]) or f"{path}#{ordinal}"
                is_empty = True
    except MisfitError as misfit:
        raise DataError(path, number, *misfit.args) from None
    if comments:
        counts.say(path, f"{comments:,} comment lines are left out")


def _unusual_line(line: str, layout: _Layout, inside: bool) -> list[str]:
    """The cells of a line that is not cut at a glance: none at the end of a sentence, ``_COMMENT`` for a comment."""
    line = line.rstrip(" \r\n")
    cells = layout.split(line)
    if line.startswith(("-DOCSTART", "#DOCSTART")):  # -DOCSTART- (12345), -DOCSTART FILE 12
        return [DOCSTART] * layout.width
    if line[:1] == "#" and layout.is_comment(line, cells, inside):
        return _COMMENT
    if cells and layout.tabs and len(cells) > layout.width and not any(cells[layout.width :]):
        cells = cells[: layout.width]  # tabs at the end
    if len(cells) in (0, layout.width):
        return cells
    found, usual = (f"{count} column{'s' * (count != 1)}" for count in (len(cells), layout.width))
    problem = f"the line has {found} where the file has {usual} (separated by {'tabs' if layout.tabs else 'spaces'})"
    advice = "complete or remove the line"
    if line[0] == "#" and inside:
        advice = "complete the line, or move it before the sentence if it is a comment"
    elif not layout.tabs and len(cells) > layout.width:
        advice = "remove the line, or separate the columns by tabs where words hold spaces"
    if layout.label is None and not layout.tabs:
        advice = f"if this is raw text, set --data.format text; if not, {advice}"
    raise MisfitError(problem, advice)


def _find_layout(path: Path, head: Sequence[str], options: ReadingOptions, counts: SpanCounts) -> _Layout | None:
    """The layout of a file that starts with the lines ``head``; ``None`` when none of them holds a word."""
    lines = [line.rstrip(" \r\n") for line in head]
    filled = [(n, line) for n, line in enumerate(lines, 1) if line.strip(" \t") and not line.startswith("-DOCSTART")]
    words = [(n, line) for n, line in filled if not line.startswith("#")] or [
        (n, line) for n, line in filled if not line.startswith(("# ", "#\t")) or "\t" in line
    ]
    if not words:
        return None
    shape = _shape([line for _, line in words])
    rows = [(n, cells) for n, line in words if len(cells := shape.split(line)) == shape.width]
    with errors_at(path, rows[0][0]):
        if not shape.tabs and len(rows) * 2 < len(words):
            advice = "give one word a line with its tag" if options.tagged else "set --data.format text"
            raise MisfitError("the lines differ in their number of columns: this looks like raw text", advice)
        while shape.tabs and shape.width > 2 and not any(cells[shape.width - 1] for _, cells in rows):
            shape = shape._replace(width=shape.width - 1)  # tabs at the end of all lines
        counts.say(path, f"{shape.width} columns separated by {'tabs' if shape.tabs else 'spaces'}")
        say = partial(counts.say, path)
        layout = _choose_columns(shape, lines, [(n, cells[: shape.width]) for n, cells in rows], options, say)
    label = f", tags {layout.label}" if options.tagged else ""
    counts.say(path, f"columns, counted from 0: words {layout.text}{label}")
    return layout


def _choose_columns(
    shape: _Layout,
    lines: list[str],
    numbered: list[tuple[int, list[str]]],
    options: ReadingOptions,
    say: Callable[[str, bool], None],
) -> _Layout:
    """The columns by the lines that have the file's shape, each with its number; ``say`` gets notes on them."""
    asked, width, rows = (options.text_column_name, options.label_column_name), shape.width, [r for _, r in numbered]
    first_id = _first_id(lines, shape) if asked[0] is None and width > 1 else None
    names = _column_names(lines, width, first_id)
    if not names and is_header(rows):
        shape = shape._replace(header=numbered[0][0])
        say(f"line {shape.header} names the columns", first_in((*WORDS, *TAGS), rows[0]) is None)
        names, rows = tuple(cell.strip().lower() for cell in rows[0]), rows[1:]
    columns = list(zip(*rows, strict=True))
    counting = {n: count for n, cells in enumerate(columns) if width > 2 and (count := sentences_counted(cells))}
    said = (n for n, cells in enumerate(columns) if n not in counting and (width < 3 or not is_constant(cells)))
    lead = next(said, 0) if not first_id else 0
    after = (n for n in range(lead, width) if not all(map(_WORD_ID.fullmatch, columns[n])))
    default = (next(after, lead) if lead else int(first_id is not None), -1)
    text, label, found = choose_columns(options, names, rows, (WORDS, TAGS), default, range(lead), say)
    has_breaks = "\n\n" in "\n".join(lines).strip()
    free = [n for n in counting if n < lead or not (has_breaks or n in (text, label))]
    sentence = max(free, key=counting.__getitem__, default=None)
    if sentence is not None:
        say(f"column {sentence} numbers the sentences", True)
    if label is None:
        label = found[0].number if found else None
    elif asked[1] is None and names and names[label] not in TAGS and not found:
        problem = f"none of the columns {', '.join(names)} holds entity tags"
        raise MisfitError(problem, "name the one to take with --data.label_column_name")
    key = next((column.key for column in found if column.number == label), None)
    flags = next((n for n in range(width) if any("EndOfSentence" in cell for cell in columns[n])), None)
    layout = shape._replace(text=text, first_id=first_id, sentence=sentence, flags=flags, key=key)
    if label is None:
        return layout
    words, tags = columns[text], frozenset(columns[label])
    if len(words) > 5 and len(ends_alike := {word[-1:] for word in words}) == 1 and not words[0][-1:].isalnum():
        say(f"every word ends with {ends_alike.pop()!r}", True)
    if options.tagged and key is None and all(map(_NO_TAG.fullmatch, tags)):
        sample = ", ".join(f"{i}: {cell!r}" for i, cell in enumerate(rows[0]))
        problem = f"column {label} holds no tags, only {' and '.join(map(repr, sorted(tags)[:3]))}"
        raise MisfitError(problem, f"name another column ({sample})")
    if options.tagged and None in asked and _look_swapped(words, columns[label]):  # who names both is believed
        problem = f"words and tags look swapped: the words would be {words[:3]}, the tags {columns[label][:3]}"
        other = max((n for n in range(width) if n != text), key=lambda n: sum(not c.isdecimal() for c in {*columns[n]}))
        advice = f"name the columns: --data.text_column_name={other}, --data.label_column_name={text}"
        raise MisfitError(problem, advice)
    if not found:
        refuse_text(options, words, columns[label], bool(names) and names[label] in TAGS)
    marked = [cells[label] for line in lines if line[:1] == "#" and len(cells := layout.split(line)) == width]
    return layout._replace(label=label, tags=tags, odd=frozenset(marked) - tags)


def _shape(lines: list[str]) -> _Layout:
    """Whether tabs separate, and the number of columns of most lines."""
    by_tab = Counter(line.count("\t") + 1 for line in lines)
    by_space = Counter(len(_CELLS.findall(line)) for line in lines)
    is_even = len(by_tab) == 1 and 1 not in by_tab
    if is_even or (len(by_space) > 1 and by_tab[1] * 2 < len(lines)):
        del by_tab[1]
        return _Layout(True, by_tab.most_common(1)[0][0])
    return _Layout(False, by_space.most_common(1)[0][0])


def _first_id(lines: list[str], shape: _Layout) -> int | None:
    """0 or 1 when the first column counts the words of most sentences from there."""
    starts: Counter[int | None] = Counter()
    split = [shape.split(line)[: shape.width] for line in lines if not line.startswith("#")]
    for is_sentence, group in itertools.groupby(split, lambda cells: len(cells) == shape.width):
        ids = [cells[0] for cells in group if not _SKIPPED_ID.fullmatch(cells[0])] if is_sentence else []
        if ids:
            starts[next((n for n in (0, 1) if ids == [str(n + i) for i in range(len(ids))]), None)] += 1
    start = max(starts, key=starts.__getitem__, default=None)
    return start if starts[start] * 2 >= starts.total() else None


def _column_names(lines: list[str], width: int, first_id: int | None) -> tuple[str, ...]:
    """Lower-case names of the columns, where the file or its format gives them."""
    declared = next(filter(None, map(_GLOBAL_COLUMNS.match, lines)), None)
    if declared is not None:
        names = tuple(declared[1].lower().split())
        return names if len(names) == width else ()
    return _CONLLU_COLUMNS if first_id is not None and width == len(_CONLLU_COLUMNS) else ()


def _look_swapped(words: Sequence[str], tags: Sequence[str]) -> bool:
    """Whether many words look like tags, or tags do not and there are far more different tags than words."""
    if sum(map(is_tag, words)) * 3 > len(words):
        return len(words) > 2 or OUTSIDE not in words
    if sum(tag == OUTSIDE or has_prefix(tag) for tag in tags) * 2 >= len(tags):
        return False
    return len(words) >= _MIN_SAMPLE and len(set(tags)) >= 2 * len(set(words))
