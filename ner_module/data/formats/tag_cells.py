"""One tag cell of a file -> a tag: integers get their names, and what cannot be a tag is refused.

Which tags are *likely misspelt* can only be said of a whole corpus: `data/tag_census.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

from ner_module.errors import DataError
from ner_module.tagging import has_prefix

# A real inventory has hundreds of tags at most; a column of words passes this within a few pages.
MAX_TAGS = 5_000

_INTEGER = re.compile(r"-?[0-9]{1,9}")


class TagCells:
    """Reads the tag cells of one file, each distinct cell once.

    Args:
        path: the file, for messages.
        label_names: names of integer tags, by index.
    """

    def __init__(self, path: Path, label_names: list[str] | None = None) -> None:
        self.path = path
        self.label_names = label_names
        self.known: dict[object, str] = {}
        """Cell -> tag, for readers that look up the usual case themselves."""

    def read(self, cell: object, line: int, word: int | None = None) -> str:
        """The tag of a cell.

        Args:
            cell: a string, or an integer with ``label_names``.
            line: where it stands.
            word: its position in a sentence that shares one line, for the message.

        Raises:
            DataError: the cell holds no tag.
        """
        if type(cell) is str or type(cell) is int:
            tag = self.known.get(cell)
            if tag is None:
                tag = self.known[cell] = self._check(cell, line, word)
            return tag
        raise self._error(
            line, word, f"a tag is {describe(cell)}", "tags are strings, or integers with --data.label_names"
        )

    def _check(self, cell: str | int, line: int, word: int | None) -> str:
        if isinstance(cell, str):
            tag = cell.strip(" \t\r")
            if self.label_names is None or tag in self.label_names or not _INTEGER.fullmatch(tag):
                return self._check_text(tag, line, word)
            cell = int(tag)
        if self.label_names is None:
            raise self._error(
                line, word, f"the tag {cell} is an integer without a name", "name them with --data.label_names"
            )
        if not 0 <= cell < len(self.label_names):
            problem = f"the tag {cell} is not among the names, which are 0 to {len(self.label_names) - 1}"
            raise self._error(line, word, problem, "correct the tag or complete --data.label_names")
        return self.label_names[cell]

    def _check_text(self, tag: str, line: int, word: int | None) -> str:
        if not tag:
            raise self._error(line, word, "the tag is empty", "write O for a word outside any entity")
        if tag[0] in "BIESLUO" and tag[1:] in ("-", "_"):
            raise self._error(line, word, f"the tag {tag!r} names no entity type", "write it out, as in B-PER")
        if not tag.isprintable() or (" " in tag and not has_prefix(tag)):
            problem = f"the tag {tag!r} holds white space or control characters"
            raise self._error(line, word, problem, "name the tag column, or correct it")
        if len(self.known) >= MAX_TAGS:
            problem = f"the tag column holds more than {MAX_TAGS:,} different values, as a column of words would"
            raise self._error(
                line, word, problem, "name the columns with --data.text_column_name and --data.label_column_name"
            )
        return tag

    def _error(self, line: int, word: int | None, problem: str, advice: str) -> DataError:
        place = "" if word is None else f" (word {word + 1} of the sentence)"
        return DataError(self.path, line, problem + place, advice)


def describe(value: object) -> str:
    """A value of parsed data in a few words, for messages.

    >>> describe([1, 2]), describe("x" * 50), describe(None)
    ('a list of 2', "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'", 'null')
    """
    if value is None:
        return "null"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object with " + (", ".join(map(repr, list(value)[:8])) or "no keys")
    text = repr(value)
    return text if len(text) <= 32 else text[:30] + "…" + text[-1]
