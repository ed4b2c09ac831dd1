"""The bundled corpus: a small English NER corpus written by this project, and the generator that wrote it.

Holds where the files are and nothing else; reading them is the work of the ordinary CoNLL reader.
"""

from __future__ import annotations

from pathlib import Path

SPLITS = ("train", "validation", "test")


def sample_file(split: str) -> Path:
    """The CoNLL file of one split of the bundled corpus.

    Two columns, word and IOB2 tag, with one space between them; types PER, ORG, LOC and MISC; a blank line after each
    sentence and a ``-DOCSTART- O`` line before each document.

    Args:
        split: ``train``, ``validation`` or ``test``.

    Raises:
        ValueError: there is no such split.

    >>> sample_file("validation").name
    'validation.conll'
    """
    if split not in SPLITS:
        raise ValueError(f"the bundled corpus has no split {split!r}: choose one of {', '.join(SPLITS)}")
    return Path(__file__).parent / f"{split}.conll"
