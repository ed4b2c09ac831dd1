"""What a user can mend: every such error is one line that says where, what is wrong and what to do.

``python -m ner_module`` prints a :class:`UserError` as that line and exits with 1; any other exception is a fault of
this program, which a traceback tells best.
"""

from __future__ import annotations

import re
from pathlib import Path

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""A text for a terminal: what would control it, or reverse the direction of writing, as escapes.

    >>> printable("a\tb"), printable("\x1b[2J")
    ('a\tb', '\\x1b[2J')
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


class UserError(ValueError):
    """Something a user can mend; the message is one line."""


class DataError(UserError):
    """Data that cannot be read: which file and line, what is wrong and what to do.

    >>> str(DataError("train.conll", 12, "the line has 1 column, the file has 2", "add the missing tag"))
    'train.conll:12: the line has 1 column, the file has 2; add the missing tag'
    >>> str(DataError("train.conll", None, "no such file", "check the path"))
    'train.conll: no such file; check the path'
    """

    def __init__(self, path: str | Path, line: int | None, problem: str, advice: str) -> None:
        super().__init__(path, line, problem, advice)
        self.path, self.line, self.problem, self.advice = path, line, problem, advice

    def __str__(self) -> str:
        where = f"{self.path}" if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.problem}; {self.advice}"


class PretrainedError(UserError):
    """A base model or tokenizer that cannot be had or used."""


class RunError(UserError):
    """A run that cannot start: its directory or checkpoint is not there or not free, or its options do not fit."""


class SchemeError(UserError):
    """Tags or spans that a tagging scheme cannot hold."""
