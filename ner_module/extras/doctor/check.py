"""The result of one check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        section: the group it is listed in.
        name: what was checked.
        status: ``ok``, ``info``, ``warning`` or ``error``.
        value: what was found.
        advice: what to do about it; empty where nothing has to be done.
    """

    section: str
    name: str
    status: str
    value: str
    advice: str = ""


def warned_if(condition: bool, section: str, name: str, value: str, advice: str) -> Check:
    """A check that is a warning with an advice, or else ``ok``."""
    return Check(section, name, "warning", value, advice) if condition else Check(section, name, "ok", value)


def probe(section: str, look: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """The checks of one section; one that raises is an error of its own, and the other sections still run."""
    try:
        yield from look()
    except Exception as error:
        yield Check(section, "check", "error", describe(error), "this part of the setup is broken")


def describe(error: Exception) -> str:
    """An exception in one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
