"""Each promise of SECURITY.md names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def promises() -> list[tuple[str, str]]:
    """The rows of its tables: what is promised, and the names of tests."""
    lines = (ROOT / ".github" / "SECURITY.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [(row[-2], row[-1]) for row in rows if row[-1] not in ("test", "---")]


@pytest.mark.parametrize(("promise", "tests"), promises())
def test_every_promise_has_a_test(promise: str, tests: str) -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    names = re.findall(r"`(test_\w+)`", tests)
    assert names, f"no test holds: {promise}"
    for name in names:
        assert re.search(rf"^def {name}\(", source, re.MULTILINE), f"{name} does not exist"


def test_there_are_promises() -> None:
    assert len(promises()) > 12
