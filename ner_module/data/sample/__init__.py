"""The bundled corpus: a small English NER corpus written by this project."""

from pathlib import Path

SPLITS = ("train", "validation", "test")


def sample_file(split: str) -> Path:
    """The file of one split: word and IOB2 tag (PER, ORG, LOC, MISC), with ``-DOCSTART- O`` before each document.

    >>> sample_file("validation").name
    'validation.conll'
    """
    if split not in SPLITS:
        raise ValueError(f"the bundled corpus has no split {split!r}: choose one of {', '.join(SPLITS)}")
    return Path(__file__).parent / f"{split}.conll"
