"""Which tags a corpus holds, how often, where first, and in which scheme: counted in one pass.

Memory depends on the inventory of tags alone. Which tags look like typing errors: `tag_spelling.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ner_module.data.sentence import Sentence
from ner_module.errors import SchemeError
from ner_module.tagging import OUTSIDE, WordPlace, canonical_prefix, has_prefix, tags_to_spans, word_places

# Preferred first when several schemes explain the tags equally well: a file whose entities are all one word long and
# tagged B- is IOB2; one without adjacent entities and without B- is IOB1.
_DETECTION_ORDER = ("iob2", "bioes", "bilou", "iob1", "ioe2", "ioe1")


class SeenTag(NamedTuple):
    """How many words carry a tag, and the file, the line and the text of the first one."""

    uses: int
    path: str
    line: int | None = None
    word: str | None = None


class TagCensus:
    """Counts the tags of a stream of sentences, and the evidence for each scheme.

    Whether a tag is canonical in a scheme depends only on its prefix and its place in its span, so it is enough to
    count those few combinations.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, tuple[str, int | None, str | None]] = {}
        self._prefixes: Counter[tuple[str, WordPlace]] = Counter()

    def add(self, tags: Sequence[str], path: str = "", sentence: Sentence | None = None) -> None:
        """Count the tags of one sentence, which is in the file ``path``."""
        self._counts.update(tags)
        if len(self._counts) != len(self._first):
            for position, tag in enumerate(tags):
                first = (sentence.line_of(position), sentence.tokens[position]) if sentence else (None, None)
                self._first.setdefault(tag, (path, *first))
        if tags.count(OUTSIDE) != len(tags) and all(tag == OUTSIDE or has_prefix(tag) for tag in tags):
            for position, _, place in word_places(tags_to_spans(tags)):
                self._prefixes[tags[position][0], place] += 1

    def seen(self) -> dict[str, SeenTag]:
        """The tags in the order of first appearance."""
        return {tag: SeenTag(self._counts[tag], *first) for tag, first in self._first.items()}

    def scheme_report(self) -> dict[str, Any]:
        """The evidence for each tagging scheme, as JSON can hold it.

        Returns:
            ``flat_words`` and ``prefixed_words``, words with a tag without and with a prefix; ``rarest_flat``, the
            rarest of the former (or ``None``); ``illegal_words``, by scheme; ``detected``, the scheme with the fewest
            of them: ``iob2`` without a single entity, ``None`` when some tags have a prefix and others have none.
        """
        flat = [tag for tag in self._first if tag != OUTSIDE and not has_prefix(tag)]
        flat_words = sum(self._counts[tag] for tag in flat)
        prefixed_words = self._counts.total() - flat_words - self._counts[OUTSIDE]
        illegal_words = {
            scheme: sum(
                count for (prefix, place), count in self._prefixes.items() if prefix != canonical_prefix(scheme, place)
            )
            for scheme in _DETECTION_ORDER
        }
        detected = min(illegal_words, key=illegal_words.__getitem__)
        return {
            "flat_words": flat_words,
            "prefixed_words": prefixed_words,
            "rarest_flat": min(flat, key=self._counts.__getitem__, default=None),
            "illegal_words": illegal_words,
            "detected": detected if not flat_words else None if prefixed_words else "flat",
        }


def detect_scheme(sentences: Iterable[Sequence[str]]) -> str:
    """The scheme of the tags of some sentences.

    Raises:
        SchemeError: some tags have a prefix and others have none, which is a typing error in one of them.
    """
    census = TagCensus()
    for tags in sentences:
        census.add(tags)
    report = census.scheme_report()
    if report["detected"] is None:
        raise SchemeError(
            f"{report['prefixed_words']} words have a tag with a prefix (B-, I-, …), but {report['flat_words']} have "
            f"none, such as {report['rarest_flat']!r}: correct those tags, or name the scheme with "
            "--data.source_scheme=flat"
        )
    return str(report["detected"])
