"""Tells the layout of a column file from its first lines: separator, number of columns, which are words and tags.

A minority of broken lines among the first does not change what is found, so they are reported when they are read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ner_module.errors import DataError
from ner_module.tagging import OUTSIDE, has_prefix

DOCSTART = "-DOCSTART-"

SKIPPED_ID = re.compile(r"[0-9]+[-.][0-9]+")
"""Ids of CoNLL-U lines that are no words: multi-word ranges and empty nodes."""

_WORD_ID = re.compile(r"[0-9]{1,6}")
_CELLS = re.compile(r"[^ \t]+")
_INTEGER = re.compile(r"-?[0-9]{1,6}")
_GLOBAL_COLUMNS = re.compile(r"# ?global\.columns ?= ?(.+)")
_CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_WORD_COLUMNS = ("form", "word", "words", "token", "tokens")

# A sample below this says little about how many different words and tags there are.
_MIN_SAMPLE = 30


@dataclass(frozen=True)
class Layout:
    """How the lines of a column file are cut.

    Attributes:
        tabs: whether a tab separates (else any run of spaces and tabs).
        width: the number of columns.
        text: the column of the words.
        label: the column of the tags; ``None`` when none are wanted.
        first_id: the number of a sentence's first word where the first column counts words; ``None`` where it does not.
    """

    tabs: bool
    width: int
    text: int
    label: int | None
    first_id: int | None = None

    def split(self, line: str) -> list[str]:
        """The cells of a line that has no line end."""
        return line.split("\t") if self.tabs else _CELLS.findall(line)

    def describe(self) -> str:
        """The shape of a line, for messages."""
        columns = "1 column" if self.width == 1 else f"{self.width} columns"
        return f"{columns} (separated by {'tabs' if self.tabs else 'spaces'})"


def find_layout(
    path: Path, head: Sequence[str], text_column_name: str | None, label_column_name: str | None, tagged: bool
) -> Layout | None:
    """The layout of a file that starts with the lines ``head``; ``None`` when none of them holds a word.

    Raises:
        DataError: there is no column of tags, a named column does not exist, or the columns look swapped.
    """
    numbered = [(number, line.rstrip(" \r\n")) for number, line in enumerate(head, 1)]
    numbered = [(n, line) for n, line in numbered if line.strip(" \t") and not line.startswith(DOCSTART)]
    words = [(n, line) for n, line in numbered if not line.startswith("#")] or [
        (n, line) for n, line in numbered if not line.startswith(("# ", "#\t")) or "\t" in line
    ]
    if not words:
        return None
    tabs, width = _shape([line for _, line in words])
    cut = Layout(tabs, width, 0, None)
    rows = [(n, cells) for n, line in words if len(cells := cut.split(line)) == width]
    first_line = rows[0][0]
    if not tabs and len(rows) * 2 < len(words):
        problem = "the lines differ in their number of columns: this looks like raw text"
        advice = "give one word a line with its tag" if tagged else "set --data.format text, or give one word a line"
        raise DataError(path, first_line, problem, advice)
    first_id = _first_id(head, cut) if text_column_name is None and width > 1 else None
    names = _column_names(numbered, width, first_id)
    text = 0 if first_id is None else 1
    text = next((names.index(name) for name in _WORD_COLUMNS if name in names), text)
    if text_column_name is not None:
        text = _column(path, first_line, text_column_name, width, names)
    if text == 0 and text_column_name is None and width > 2 and all(_WORD_ID.fullmatch(cells[0]) for _, cells in rows):
        advice = "name the column of the words with --data.text_column_name (they are counted from 0)"
        raise DataError(path, first_line, "the words would be numbers that do not count the words either", advice)
    if not tagged:
        return Layout(tabs, width, text, None, first_id)

    if label_column_name is not None:
        label = _column(path, first_line, label_column_name, width, names)
    elif names == _CONLLU_COLUMNS:
        advice = "name one with --data.label_column_name, such as upos, xpos or misc"
        raise DataError(path, first_line, "CoNLL-U has no column made for entity tags", advice)
    else:
        label = width - 1
    if label == text:
        advice = "add the tags, or name the columns with --data.text_column_name and --data.label_column_name"
        problem = "the line has a single column" if width == 1 else f"words and tags are both column {text}"
        raise DataError(path, first_line, f"{problem}, so there are no tags", advice)
    layout = Layout(tabs, width, text, label, first_id)
    _check_columns(path, rows, layout, text_column_name is not None and label_column_name is not None)
    return layout


def _shape(lines: list[str]) -> tuple[bool, int]:
    """Whether tabs separate, and the number of columns of most lines."""
    by_tab = Counter(line.count("\t") + 1 for line in lines)
    by_space = Counter(len(_CELLS.findall(line)) for line in lines)
    if 1 not in by_tab and len(by_tab) == 1:
        return True, next(iter(by_tab))
    if len(by_space) == 1:
        return False, next(iter(by_space))
    with_tab = len(lines) - by_tab[1]
    if with_tab * 2 > len(lines):
        del by_tab[1]
        return True, by_tab.most_common(1)[0][0]
    return False, by_space.most_common(1)[0][0]


def _first_id(head: Sequence[str], cut: Layout) -> int | None:
    """0 or 1 when the first column counts the words of most sentences from there."""
    starts: Counter[int | None] = Counter()
    lone = 0
    ids: list[str] = []
    for line in [*head, ""]:
        line = line.rstrip(" \r\n")
        cells = cut.split(line)
        if len(cells) == cut.width and line.strip(" \t"):
            ids.append(cells[0])
        elif ids and not line.startswith("#"):
            start = _counts_from(ids)
            if start is None or len(ids) > 1:
                starts[start] += 1
            lone += start == 1
            ids = []
    if not starts:  # sentences of one word: a "1" before a word and a tag is an id, before a tag a word
        return 1 if lone and cut.width > 2 else None
    start, count = starts.most_common(1)[0]
    return start if count * 2 >= starts.total() else None


def _counts_from(ids: list[str]) -> int | None:
    numbers = [int(cell) for cell in ids if _WORD_ID.fullmatch(cell)]
    consecutive = bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    others_fit = all(_WORD_ID.fullmatch(cell) or SKIPPED_ID.fullmatch(cell) for cell in ids)
    return numbers[0] if consecutive and others_fit and numbers[0] in (0, 1) else None


def _column_names(numbered: list[tuple[int, str]], width: int, first_id: int | None) -> tuple[str, ...]:
    """Lower-case names of the columns, where the file or its format gives them."""
    for _, line in numbered:
        if declared := _GLOBAL_COLUMNS.match(line):
            names = tuple(declared[1].lower().split())
            return names if len(names) == width else ()
    return _CONLLU_COLUMNS if first_id is not None and width == len(_CONLLU_COLUMNS) else ()


def _column(path: Path, line: int, name: str, width: int, names: tuple[str, ...]) -> int:
    """The number of a column that was asked for."""
    if _INTEGER.fullmatch(name):
        number = int(name)
        if -width <= number < width:
            return number % width
        raise DataError(path, line, f"column {number} was asked for, the line has {width}", "count columns from 0")
    if name.lower() in names:
        return names.index(name.lower())
    known = f"the file names {', '.join(names)}" if names else "the columns of this file have no names"
    raise DataError(path, line, f"there is no column {name!r}", f"{known}; a number counts from 0")


def _check_columns(path: Path, rows: list[tuple[int, list[str]]], layout: Layout, chosen: bool) -> None:
    """Refuse a column that cannot be the tags; a user who named both columns is believed about which is which."""
    assert layout.label is not None
    words = [cells[layout.text] for _, cells in rows]
    tags = [cells[layout.label] for _, cells in rows]
    line = rows[0][0]
    if set(tags) == {"_"}:
        sample = ", ".join(f"{i}: {cell!r}" for i, cell in enumerate(rows[0][1]))
        raise DataError(path, line, f"column {layout.label} holds no tags, only '_'", f"name another column ({sample})")
    if chosen:
        return
    tag_like = sum(tag == OUTSIDE or has_prefix(tag) for tag in tags)
    word_like = sum(word == OUTSIDE or has_prefix(word) for word in words)
    prefixed = any("-" in word and has_prefix(word) for word in words) or len(words) > 2
    variety = len(set(tags)) / len(set(words)) if len(rows) >= _MIN_SAMPLE else 0
    swapped = word_like == len(rows) and prefixed and tag_like * 2 < len(rows)
    if swapped or (variety >= 2 and tag_like * 2 < len(rows)):
        problem = f"words and tags look swapped: the words would be {words[:3]}, the tags {tags[:3]}"
        advice = f"name the columns: --data.text_column_name={layout.label}, --data.label_column_name={layout.text}"
        raise DataError(path, line, problem, advice)
