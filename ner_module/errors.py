"""Errors that a user can fix: each is one line with place, problem and remedy.

``python -m ner_module`` prints a :class:`UserError` as that line and exits with 1; any other exception is a bug of this
program and shows its traceback.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any, Literal, get_args, get_origin, get_type_hints

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_COMMAND = re.compile("ner_module |ner-module ")

QUOTE_ADVICE = "put names such as NO and ON in quotes, which YAML reads as false and true"


def printable(text: str) -> str:
    r"""Escape characters that control a terminal or change the writing direction.

    >>> printable("a\tb"), printable("\x1b[2J")
    ('a\tb', '\\x1b[2J')
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def for_terminal(text: str, stream: IO[str]) -> str:
    """:func:`printable`, wrapped between words if the stream is a terminal; lines with a command stay unbroken."""
    lines = printable(text).split("\n")
    if not stream.isatty():
        return "\n".join(lines)
    width = shutil.get_terminal_size().columns
    wrapper = textwrap.TextWrapper(width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(line if len(line) <= width or _COMMAND.search(line) else wrapper.fill(line) for line in lines)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message on an unknown name: similar known names, if any.

    >>> did_you_mean("mdel", ["model", "data"]), did_you_mean("lr", ["learning_rate", "data"])
    ('; did you mean model?', '; did you mean learning_rate?')
    >>> did_you_mean("train", ["train_a", "train_b", "train_c"])  # two at most
    '; did you mean train_a or train_b?'
    """
    known = sorted(known)
    initials = {other: re.sub(r"([a-z])[a-z]*_?", r"\1", other.rpartition(".")[2]) for other in known if "_" in other}
    abbreviated = [other for other in initials if initials[other] == name.rpartition(".")[2].lstrip("-")]
    begun = [other for other in known if other.startswith(name)]
    found = list(dict.fromkeys([*abbreviated, *begun, *get_close_matches(name, known, 2, 0.75)]))[:2]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def make_plain(function: Callable[..., None], arguments: MutableMapping[str, Any], section: str) -> None:
    """Convert arguments given in Python, in place, to the plain values that a checkpoint can hold.

    Args:
        function: the function that takes the arguments.
        arguments: paths become strings, tuples lists, and NumPy's numbers Python's.
        section: prefix of names in errors.

    Raises:
        RunError: a string that the ``Literal`` of its parameter does not allow.
    """
    arguments.update(_plain(dict(arguments)))
    for name, hint in get_type_hints(function).items():
        allowed = [text for part in (hint, *get_args(hint)) if get_origin(part) is Literal for text in get_args(part)]
        if allowed and isinstance(value := arguments.get(name), str) and value not in allowed:
            raise RunError(f"{section}{name}: it is {value!r}; give one of {', '.join(allowed)}")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value.item() if hasattr(value, "item") else value


class UserError(ValueError):
    """A problem that a user can fix; the message is one line."""


class UsageError(UserError):
    """A command line that cannot be understood; the program exits with 2.

    Args:
        problem: what is wrong.
        tip: the command that shows the valid options.
    """

    def __init__(self, problem: str, tip: str) -> None:
        super().__init__(problem)
        self.tip = tip


class DataError(UserError):
    """Data that cannot be read, with file, line, problem and remedy.

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
    """A base model or tokenizer that cannot be obtained or used."""


class RunError(UserError):
    """A run that cannot start: its directory or checkpoint is missing or in use, or its options are incompatible."""


class SchemeError(UserError):
    """Tags or spans that a tagging scheme cannot represent."""
