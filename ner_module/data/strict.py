"""``--data.strict``: what is otherwise repaired and counted is refused, with its file and line.

Two things count: a tag that its scheme would not have written after the tags before it (`tagging.py`), and a character
span that had to be widened, or dropped because it overlaps another, holds no word or is in pieces
(`formats/char_spans.py`). Tags and types that look misspelt are refused either way (`tag_census.py`).
"""

from __future__ import annotations

from ner_module.data.store import StoredSplit
from ner_module.errors import DataError
from ner_module.tagging import illegal_words


def check_strict(stored: StoredSplit, source_scheme: str) -> None:
    """Refuse a split in which something would have to be repaired.

    Raises:
        DataError: at the first such place.
    """
    if stored.meta["first_changed_span"] is not None:
        path, line = stored.meta["first_changed_span"]
        problem = f"a character span does not fit whole words, or another span ({stored.meta['changed_spans']} in all)"
        raise DataError(path, line, problem, "correct the span, or leave out --data.strict to have them repaired")
    if not stored.meta["schemes"]["illegal_words"].get(source_scheme):
        return  # counted when the data was read
    first = 0
    for chunk in stored.chunks():
        for index, tags in enumerate(chunk.tags or (), first):
            if illegal := illegal_words(tags, source_scheme):
                word = illegal[0]
                path, line = stored.origin(index, word)
                before = f"after {tags[word - 1]!r}" if word else "at the start of a sentence"
                problem = f"the tag {tags[word]!r} {before} is illegal in {source_scheme}"
                total = stored.meta["schemes"]["illegal_words"][source_scheme]
                problem += f" (word {word + 1} of the sentence; {total:,} such tags in all)"
                advice = "correct it, name another --data.source_scheme, or leave out --data.strict to have it repaired"
                raise DataError(path, line, problem, advice)
        first += len(chunk.tokens)
