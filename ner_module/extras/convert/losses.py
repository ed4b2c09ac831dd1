"""What a target cannot hold: a description that goes with a number of sentences -> that number."""

from __future__ import annotations

import re
from collections import Counter

from ner_module.data.sentence import Sentence
from ner_module.tagging import Span

Losses = Counter[str]
Annotated = tuple[Sentence, list[Span]]
"""A sentence with tags, and the spans they hold."""

NO_TEXT = "lose their raw text (only their words are kept)"
NO_DOCUMENT = "lose the document they belong to"
EMPTY = "have no word and are left out"
BROKEN_WORD = "have a word with a tab or line break, replaced by a space"
BROKEN_TEXT = "have a line break, replaced by a space"
DOCSTART_WORD = "have the word -DOCSTART-, which is written -DOCSTART"
INVISIBLE_WORD = "have an empty word or one of white space, which is left out"
INVISIBLE_ENTITY = "have an entity without a visible character, which is left out"
OTHER_WORDS = "have words that would be cut differently when read back (their spans stay)"
RENAMED = "are in a document that is renamed, as its name is none for a file"
REPAIRED = "have tags that were illegal and are repaired"

NUMBERED = re.compile(r"#[0-9]+\Z")
"""How the name ends that the reader of columns gives a document without one."""
