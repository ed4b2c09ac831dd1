"""Small corpora for the audit's tests, written as files and read as a user's would be."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ner_module.data.preparation import ReadingOptions, store_files
from ner_module.extras.audit.corpus import Corpus, Source, read_corpus
from ner_module.extras.audit.findings import Example, Finding


def column_file(path: Path, sentences: list[str]) -> Path:
    """Write sentences given as ``"Ada/B-PER sleeps/O"``, one word a line; a word may hold any character but a space."""
    text = "\n\n".join("\n".join("\t".join(word.rsplit("/", 1)) for word in line.split(" ")) for line in sentences)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def corpus_of(folder: Path, splits: dict[str, list[str]], scheme: str = "iob2", held_out: object = None) -> Corpus:
    """The corpus of some splits, stored under ``folder``."""
    sources = {}
    for name, sentences in splits.items():
        path = column_file(folder / f"{name}.conll", sentences)
        stored = store_files(folder / "cache", [path], ReadingOptions())
        sources[name] = Source(stored, scheme, held_out if name == "train" else None)  # type: ignore[arg-type]
    return read_corpus(sources, "O")


def by_code(findings: Iterable[Finding]) -> dict[str, Finding]:
    """Findings by their code; each must occur once."""
    findings = list(findings)
    codes = [finding.code for finding in findings]
    assert len(codes) == len(set(codes)), codes
    return {finding.code: finding for finding in findings}


def example_of(finding: Finding) -> Example:
    """Its example, which must exist."""
    assert finding.example is not None
    return finding.example


def place_of(finding: Finding) -> tuple[str, int | None]:
    """Name of the file and line of its example."""
    example = example_of(finding)
    return Path(example.file).name, example.line
