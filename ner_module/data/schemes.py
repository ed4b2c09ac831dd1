"""Which tagging scheme a corpus is written in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ner_module.errors import SchemeError
from ner_module.tagging import OUTSIDE, canonical_prefix, has_prefix, tags_to_spans

# Preferred first when several schemes explain the tags equally well: a file whose entities are all one word long and
# tagged B- is IOB2; one without adjacent entities and without B- is IOB1.
_DETECTION_ORDER = ("iob2", "bioes", "bilou", "iob1", "ioe2", "ioe1")


class SchemeCensus:
    """Finds the scheme of a corpus in one pass, in constant memory.

    Each tag is canonical in a scheme or not depending only on its prefix and on where it stands in its span, so it is
    enough to count those few situations.
    """

    def __init__(self) -> None:
        self._situations: Counter[tuple[str, bool, bool, bool, bool]] = Counter()
        self.flat_tags: Counter[str] = Counter()
        """Tags without a prefix (other than ``O``) and how often each was seen."""

    def add(self, tags: Sequence[str]) -> None:
        """Count the tags of one sentence."""
        unprefixed = [tag for tag in tags if tag != OUTSIDE and not has_prefix(tag)]
        if unprefixed:
            self.flat_tags.update(unprefixed)
            return
        spans = tags_to_spans(tags)
        for index, (start, end, entity_type) in enumerate(spans):
            before, after = spans[index - 1 : index], spans[index + 1 : index + 2]
            touches_before = bool(before) and before[0].end == start and before[0].entity_type == entity_type
            touches_after = bool(after) and after[0].start == end and after[0].entity_type == entity_type
            for position in range(start, end):
                prefix = tags[position][0]
                self._situations[prefix, position == start, position == end - 1, touches_before, touches_after] += 1

    @property
    def prefixed_words(self) -> int:
        """How many words carried a prefixed tag."""
        return sum(self._situations.values())

    def illegal_words(self, scheme: str) -> int:
        """How many words seen so far are illegal under ``scheme``."""
        return sum(
            count
            for (prefix, *situation), count in self._situations.items()
            if prefix != canonical_prefix(scheme, *situation)
        )

    def detect(self) -> str:
        """The scheme with the fewest illegal words; ``iob2`` for a corpus without a single entity.

        Raises:
            SchemeError: some tags have a prefix and others have none, which is a typing error in one of them.
        """
        if not self.flat_tags:
            return min(_DETECTION_ORDER, key=self.illegal_words)
        if not self._situations:
            return "flat"
        rare = min(self.flat_tags, key=self.flat_tags.__getitem__)
        raise SchemeError(
            f"{self.prefixed_words} words have a tag with a prefix (B-, I-, …), but {sum(self.flat_tags.values())} "
            f"have none, such as {rare!r}: correct those tags, or name the scheme with --data.source_scheme=flat"
        )
