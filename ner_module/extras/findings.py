"""Problems and remarks about data, in one form for terminal, JSON and messages."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Example:
    """One place in the data: the file, the line (``None`` where it has no lines), and the text there."""

    file: str
    line: int | None
    text: str

    @property
    def place(self) -> str:
        """``file:line``, which terminals and editors turn into a link."""
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Finding:
    """One kind of problem or remark.

    Attributes:
        code: the kind, for programs; stable between versions.
        severity: ``error`` stops a training or makes it worthless, ``warning`` costs score or makes scores wrong,
            ``info`` is worth knowing.
        count: how many cases (words, sentences, entities or forms: the message says which).
        message: one sentence for people.
        example: the first case, where one can be shown.
        advice: what to do.
        details: further cases and numbers for programs; plain data.
    """

    code: str
    severity: Severity
    count: int
    message: str
    example: Example | None
    advice: str
    details: list[dict[str, Any]] | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {name: value for name, value in asdict(self).items() if name != "details" or value is not None}

    def line(self) -> str:
        """The finding in one line, with its place."""
        place = f"{self.example.place}: " if self.example else ""
        return f"{place}{self.message}; {self.advice}"
