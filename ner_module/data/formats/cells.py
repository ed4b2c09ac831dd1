"""One tag cell of a file -> a tag, and problems that have no line yet.

Which tags are *likely misspelt* can only be said of a whole corpus: `data/tag_census.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ner_module.errors import DataError
from ner_module.tagging import OUTSIDE, has_prefix

NAME_COLUMNS = "name the columns with --data.text_column_name and --data.label_column_name"
_SEVERAL = re.compile(r"O[|^+,;&](?:O|[BIESLU]-)")
_INTEGER = re.compile(r"-?[0-9]{1,9}")
_MAX_TAGS = 5_000  # a real inventory has hundreds at most; a column of words passes this within a few pages


class MisfitError(Exception):
    """A problem and an advice; the reader makes a :class:`DataError` of it, which names file and line."""


@contextmanager
def errors_at(path: Path, line: int | None) -> Iterator[None]:
    """Turn a misfit in the block into a :class:`DataError` at this line."""
    try:
        yield
    except MisfitError as misfit:
        raise DataError(path, line, *misfit.args) from None


def is_tag(cell: object) -> bool:
    """Whether a cell is surely a tag: outside, or a type with its prefix; a letter alone may be a word."""
    return isinstance(cell, str) and (cell == OUTSIDE or ("-" in cell and has_prefix(cell)))


class TagCells:
    """Reads the tag cells of one file, each distinct cell once: integers get their names, what is no tag is refused.

    With a ``key``, the tag is its value among the pairs of a cell (``name=B-PER|SpaceAfter=No``); without it, ``O``.
    """

    def __init__(self, label_names: tuple[str, ...] | None = None, key: str | None = None) -> None:
        self.label_names = label_names
        self._value = None if key is None else re.compile(rf"(?:^|\|){re.escape(key)}=([^|]*)")
        self.known: dict[object, str] = {}
        """Cell -> tag, for readers that look up the usual case themselves."""

    def read(self, cell: object) -> str:
        """The tag of a cell: a string, or an integer with ``label_names``."""
        if type(cell) is not str and type(cell) is not int:
            raise MisfitError(f"a tag is {describe(cell)}", "tags are strings, or integers with --data.label_names")
        if cell in self.known:
            return self.known[cell]
        names = self.label_names
        tag = cell.strip(" \t\r") if isinstance(cell, str) else str(cell)
        if self._value is not None:
            tag = found[1] if (found := self._value.search(tag)) else OUTSIDE
        if isinstance(cell, int) or (names is not None and tag not in names and _INTEGER.fullmatch(tag)):
            if names is None:
                raise MisfitError(f"the tag {tag} is an integer without a name", "name them with --data.label_names")
            if not 0 <= int(tag) < len(names):
                problem = f"the tag {int(tag)} is not among the names, which are 0 to {len(names) - 1}"
                raise MisfitError(problem, "correct the tag or complete --data.label_names")
            tag = names[int(tag)]
        elif not tag:
            raise MisfitError("the tag is empty", "write O for a word outside any entity")
        elif _SEVERAL.match(tag):
            raise MisfitError(f"the tag {tag!r} is several tags", "give each word one, or each part of a word its line")
        elif tag[0] in "BIESLUO" and tag[1:] in ("-", "_"):
            raise MisfitError(f"the tag {tag!r} names no entity type", "write it out, as in B-PER")
        elif (tag[0] in "'\"([{<" or tag[-1] in ",;'\"") and is_tag(tag.strip("'\"()[]{}<>,;")):
            problem = f"the tag {tag!r} is in quotation marks or brackets, or a separator follows it"
            raise MisfitError(problem, "set --data.format csv if commas separate, or remove them")
        elif not tag.isprintable() or (" " in tag and not has_prefix(tag)):
            problem = f"the tag {tag!r} holds white space or control characters"
            raise MisfitError(problem, "name the tag column, or correct it")
        elif len(self.known) >= _MAX_TAGS:
            problem = f"the tag column holds more than {_MAX_TAGS:,} different values, as a column of words would"
            raise MisfitError(problem, NAME_COLUMNS)
        self.known[cell] = tag
        return tag

    def read_all(self, cells: Iterable[object]) -> list[str]:
        """The tags of a sentence; a misfit says at which word."""
        tags: list[str] = []
        try:
            for cell in cells:
                tags.append(self.read(cell))
        except MisfitError as misfit:
            problem, advice = misfit.args
            raise MisfitError(f"{problem} (word {len(tags) + 1} of the sentence)", advice) from None
        return tags


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
