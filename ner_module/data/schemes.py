"""Which tagging scheme a corpus is written in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ner_module.errors import SchemeError
from ner_module.tagging import OUTSIDE, WordPlace, canonical_prefix, has_prefix, tags_to_spans, word_places

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
        return sum(self._prefixes.values())

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
            f"{self.prefixed_words} words have a tag with a prefix (B-, I-, …), but {sum(self.flat_tags.values())} "
            f"have none, such as {rare!r}: correct those tags, or name the scheme with --data.source_scheme=flat"
        )
