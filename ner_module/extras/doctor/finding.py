"""What one look at the machine found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        section: the group it is listed in.
        name: what was looked at.
        status: ``ok``, ``info``, ``warning`` or ``error``.
        value: what was found.
        advice: what to do about it; empty where nothing has to be done.
    """

    section: str
    name: str
    status: str
    value: str
    advice: str = ""


def probe(section: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of one part; a part that fails is a finding itself, and the others are still looked at."""
    try:
        yield from look()
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        yield Finding(section, "check", "error", f"{type(error).__name__}: {text}", "this part of the setup is broken")
