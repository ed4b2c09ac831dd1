"""The table of formats in `docs/data.md` says what each of them can hold; here it is tried out."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from conftest import ROOT

from ner_module.data.formats import read_sentences
from ner_module.extras.convert.command import main
from ner_module.extras.convert.writers import TARGETS

SENTENCES = [
    {"tokens": ["Ann", "Lee", "left"], "tags": ["S-PER", "S-PER", "O"], "document": "a", "text": "Ann  Lee left"},
    {"tokens": [], "tags": [], "document": "a", "text": ""},
    {"tokens": ["In", "Rome"], "tags": ["O", "S-LOC"], "document": "b", "text": "In  Rome"},
]


def table() -> dict[str, dict[str, str]]:
    """Format -> column -> cell."""
    pages = (ROOT / name for name in ("docs/data.md", "README.md"))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    lines = text.replace("empty sentences", "sentences without words").split("\n")
    start = next(number for number, line in enumerate(lines) if line.startswith("| format | tags |"))
    table = itertools.takewhile(lambda line: line.startswith("|"), lines[start:])
    header, _, *body = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    return {name: dict(zip(header[1:], row[1:], strict=True)) for row in body for name in row[0].split("`")[1::2]}


def test_every_format_is_in_the_table() -> None:
    assert set(table()) == set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_format_holds(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_text("".join(json.dumps(row) + "\n" for row in SENTENCES), encoding="utf-8")
    says = table()[target]
    assert main([str(source), str(out), "--to", target]) == 0
    warned = capsys.readouterr().err
    found = list(read_sentences(out))
    whole = [sentence for sentence in found if sentence.tokens]
    assert [sentence.tokens for sentence in whole] == [row["tokens"] for row in SENTENCES if row["tokens"]]
    assert (len(found) == len(SENTENCES)) == (says["sentences without words"] == "yes")
    assert ("no word and are left out" in warned) == (says["sentences without words"] == "no")
    assert ([sentence.text for sentence in whole] == ["Ann  Lee left", "In  Rome"]) == (says["raw text"] == "yes")
    assert ("raw text" in warned) == (says["raw text"] == "no")
    documents = [sentence.document for sentence in whole]
    assert (None not in documents and documents[0] != documents[1]) == (says["documents"] == "yes")
    assert ("lose the document" in warned) == (says["documents"] == "no")
    tags = [sentence.tags for sentence in whole]
    written = {"any": [["S-PER", "S-PER", "O"], ["O", "S-LOC"]], "as spans": [["B-PER", "B-PER", "O"], ["O", "B-LOC"]]}
    assert tags == written.get(says["tags"], [None, None])
