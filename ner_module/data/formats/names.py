"""What columns and keys are usually called, the preferred name first. Columns of tables compare in lower case."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

WORDS = ("tokens", "words", "token", "word", "form")
TAGS = (
    *("ner_tags", "tags", "labels", "ner_labels", "label", "ner"),
    *("bio_tags", "tag", "ner_tag", "ner_label", "iob", "bio"),
)
TEXTS = ("text", "sentence", "content")
WORD_SPANS = ("entities", "spans")
"""Spans counted in words, beside a list of words."""
CHAR_SPANS = ("spans", "entities", "label", "labels", "annotations", "ner")
"""Spans counted in characters, beside a text."""
SENTENCE_IDS = ("sentence_id", "sentence #", "sentence_idx", "sentence_number", "sent_id", "sentence no", "sent #")
DOCUMENTS = ("document", "document_id", "doc_id")
NUMBER = re.compile(r"-?[0-9]{1,6}")
"""A column that is named by its number, from 0 or from the end."""
MANY_WORDS = ("tokens", "words", *TEXTS)
"""Columns of a table that hold more than one word a row."""


def first_in(names: Iterable[str], holder: Container[str]) -> str | None:
    """The first of the names that a record or header has."""
    return next((name for name in names if name in holder), None)
