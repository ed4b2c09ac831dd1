"""Which tags a corpus holds, how often, where first, and in which scheme: counted in one pass.

Memory depends on the inventory of tags alone. Which tags look like typing errors: `tag_spelling.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ner_module.errors import SchemeError
from ner_module.tagging import (
    OUTSIDE,
    SCHEMES,
    WordPlace,
    canonical_prefix,
    has_prefix,
    tags_to_spans,
    word_places,
)

# Preferred first when several schemes explain the tags equally well: a file whose entities are all one word long and
# tagged B- is IOB2; one without adjacent entities and without B- is IOB1.
_DETECTION_ORDER = ("iob2", "bioes", "bilou", "iob1", "ioe2", "ioe1")


class SchemeCensus:
    """Finds the scheme of a corpus in one pass, in constant memory.

    Whether a tag is canonical in a scheme depends only on its prefix and its place in its span, so counting those few
    combinations is enough.
    """

    def __init__(self) -> None:
        self._prefixes: Counter[tuple[str, WordPlace]] = Counter()
        self.flat_tags: Counter[str] = Counter()
        """Tags without a prefix (other than ``O``) and how often each was seen."""

    def add(self, tags: Sequence[str]) -> None:
        """Count the tags of one sentence."""
        unprefixed = [tag for tag in tags if tag != OUTSIDE and not has_prefix(tag)]
        if unprefixed:
            self.flat_tags.update(unprefixed)
            return
        for position, _, place in word_places(tags_to_spans(tags)):
            self._prefixes[tags[position][0], place] += 1

    @property
    def prefixed_words(self) -> int:
        """How many words carried a prefixed tag."""
        return self._prefixes.total()

    def illegal_words(self, scheme: str) -> int:
        """How many words seen so far are illegal under ``scheme``."""
        return sum(
            count for (prefix, place), count in self._prefixes.items() if prefix != canonical_prefix(scheme, place)
        )

    def detect(self) -> str:
        """The scheme with the fewest illegal words; ``iob2`` for a corpus without a single entity.

        Raises:
            SchemeError: some tags have a prefix and others have none, which is a typing error in one of them.
        """
        if not self.flat_tags:
            return min(_DETECTION_ORDER, key=self.illegal_words)
        if not self._prefixes:
            return "flat"
        rare = min(self.flat_tags, key=self.flat_tags.__getitem__)
        raise SchemeError(
            f"{self.prefixed_words} words have a tag with a prefix (B-, I-, …), but {self.flat_tags.total()} "
            f"have none, such as {rare!r}: correct those tags, or name the scheme with --data.source_scheme=flat"
        )


class TagCensus:
    """Counts the tags of a stream of sentences."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, tuple[str, int, str | None]] = {}
        self._schemes = SchemeCensus()

    def add(
        self,
        tags: Sequence[str],
        path: str,
        line: int,
        tokens: Sequence[str] | None = None,
        word_per_line: bool = False,
    ) -> None:
        """Count the tags of one sentence.

        Args:
            tags: one tag per word.
            path: the file.
            line: its line there.
            tokens: the words; with them, words and tags that changed places on a line are found.
            word_per_line: word ``i`` is on line ``line + i`` (`Sentence.word_per_line`).
        """
        self._counts.update(tags)
        if len(self._counts) != len(self._first):
            for position, tag in enumerate(tags):
                if tag not in self._first:
                    word = None if tokens is None else tokens[position]
                    self._first[tag] = (path, line + position if word_per_line else line, word)
        if tags.count(OUTSIDE) != len(tags):
            self._schemes.add(tags)

    def counts(self) -> dict[str, int]:
        """Tag -> number of words, in the order of first appearance."""
        return {tag: self._counts[tag] for tag in self._first}

    def first_seen(self) -> dict[str, tuple[str, int]]:
        """Tag -> file and line of its first word."""
        return {tag: (path, line) for tag, (path, line, _) in self._first.items()}

    def first_words(self) -> dict[str, str | None]:
        """Tag -> its first word, where words were given."""
        return {tag: word for tag, (_, _, word) in self._first.items()}

    def scheme_report(self) -> dict[str, Any]:
        """The evidence for each tagging scheme, as JSON can hold it.

        Returns:
            ``flat_words`` and ``prefixed_words``, words with a tag without and with a prefix; ``rarest_flat``, tag,
            file and line of the rarest of the former (or ``None``); ``detected``, the scheme (``None`` when both
            kinds occur); ``illegal_words``, by scheme.
        """
        flat = [tag for tag in self._first if tag != OUTSIDE and not has_prefix(tag)]
        flat_words = sum(self._counts[tag] for tag in flat)
        prefixed_words = self._counts.total() - flat_words - self._counts[OUTSIDE]
        rarest = min(flat, key=self._counts.__getitem__, default=None)
        return {
            "flat_words": flat_words,
            "prefixed_words": prefixed_words,
            "rarest_flat": None if rarest is None else [rarest, *self._first[rarest][:2]],
            "detected": None if flat_words and prefixed_words else self._schemes.detect(),
            "illegal_words": {scheme: self._schemes.illegal_words(scheme) for scheme in SCHEMES if scheme != "flat"},
        }
