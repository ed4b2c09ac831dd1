"""Tagging schemes: per-word tags <-> entity spans, and the label inventory a model is trained on.

Three principles define what a tag means, without torch:

* **One rule reads every scheme.** Spans are read from prefixed tags by the rules of the CoNLL-2000 script
  `conlleval` (https://www.clips.uantwerpen.be/conll2000/chunking/output.html), as in seqeval's default mode:
  a span starts at ``B-``/``S-``, after ``E-``/``S-``, after an outside word, and wherever the type changes. ``L-`` and
  ``U-`` (BILOU) are read as ``E-`` and ``S-``. The rule is total: any tag sequence has spans, even an invalid one.
* **Writing is canonical.** Each scheme has exactly one tag sequence for a set of spans (:func:`spans_to_tags`).
* **Validity follows from both.** A tag is illegal under a scheme if reading the spans and writing them again changes
  it. There are no transition tables.

``flat`` labels have no prefix: each word that is not outside is one unit (part-of-speech tags, binary tagging). ``io``
reads the same labels by runs: adjacent words of one type are one entity. Files can be in ``io``, models cannot.

Not here: which scheme a corpus is written in (`data/tag_census.py`) and the same rules on tensors
(`metrics/functional.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import product
from typing import Any, Literal, NamedTuple

from ner_module.errors import SchemeError

IGNORE_INDEX = -100
"""The label id that loss and metrics skip; PyTorch's default for ``cross_entropy``."""

OUTSIDE = "O"

UNTYPED = "_"
"""The entity type of a bare ``B`` or ``I``; seqeval's name for it."""

PREFIXES = {"iob1": "BI", "iob2": "BI", "ioe1": "IE", "ioe2": "IE", "bioes": "BIES", "bilou": "BILU", "flat": ""}
"""Scheme -> its prefixes, in the order of the labels."""

SCHEMES = tuple(PREFIXES)
"""The schemes of models."""
Scheme = Literal["iob1", "iob2", "ioe1", "ioe2", "bioes", "bilou", "flat"]
"""The type of :data:`SCHEMES`."""
SOURCE_SCHEMES = (*SCHEMES, "io")
"""The schemes of files."""
BARE = ("flat", "io")
"""The schemes of labels without prefixes."""

_ANY_PREFIX = frozenset("BIESLU")


class Span(NamedTuple):
    """An entity mention: words ``start`` to ``end`` (exclusive) of a sentence."""

    start: int
    end: int
    entity_type: str


class LabelSet(NamedTuple):
    """The labels of a model or a corpus by id, with their scheme and outside label."""

    names: tuple[str, ...]
    scheme: str = "iob2"
    outside: str | None = OUTSIDE
    """The label of words outside any entity; ``None`` for flat labels that have none."""

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> LabelSet:
        """Build from ``label_names``, ``scheme`` and ``outside_label``, as stored in files and checkpoints."""
        return cls(tuple(fields["label_names"] or ()), fields["scheme"], fields["outside_label"])

    def to_fields(self) -> dict[str, Any]:
        """The inverse of :meth:`from_fields`."""
        return {"label_names": list(self.names), "scheme": self.scheme, "outside_label": self.outside}

    @property
    def entity_types(self) -> list[str]:
        """Each entity type (flat: label) once, in the order of first appearance."""
        if self.scheme == "flat":
            return list(dict.fromkeys(name for name in self.names if name != self.outside))
        return list(dict.fromkeys(split_tag(name)[1] for name in self.names if name != OUTSIDE))

    @property
    def outside_id(self) -> int:
        """The id of the outside label; 0 where there is none."""
        return self.names.index(self.outside) if self.outside in self.names else 0

    @property
    def can_be_illegal(self) -> bool:
        """Whether some sequences of these labels are invalid in the scheme."""
        return self.scheme != "flat" and OUTSIDE in self.names

    def spans(self, tags: Sequence[str]) -> list[Span]:
        """The spans of one sentence; see :func:`tags_to_spans`."""
        return tags_to_spans(tags, self.scheme, self.outside)


@lru_cache(maxsize=1 << 12)
def split_tag(tag: str) -> tuple[str, str]:
    """Prefix and entity type of a tag; a bare prefix letter has the type ``_``.

    Raises:
        SchemeError: the tag has no known prefix.

    >>> split_tag("B-creative-work"), split_tag("I"), split_tag("O")
    (('B', 'creative-work'), ('I', '_'), ('O', ''))
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if not has_prefix(tag):
        raise SchemeError(f"the tag {tag!r} is neither 'O' nor a type with one of the prefixes B- I- E- S- L- U-")
    return tag[0], tag[2:] or UNTYPED


def join_tag(prefix: str, entity_type: str) -> str:
    """The inverse of :func:`split_tag`."""
    return prefix if entity_type == UNTYPED else f"{prefix}-{entity_type}"


def has_prefix(tag: str) -> bool:
    """Whether a tag has the form ``B-TYPE``, or is a bare prefix letter."""
    prefix, dash, entity_type = tag.partition("-")
    return prefix in _ANY_PREFIX and bool(dash) == bool(entity_type)


def check_scheme(scheme: str) -> str:
    """Return ``scheme``; raise :class:`SchemeError` if it is not one of :data:`SCHEMES`."""
    if scheme not in PREFIXES:
        raise SchemeError(f"unknown tagging scheme {scheme!r}; known: {', '.join(SCHEMES)}")
    return scheme


def tags_to_spans(tags: Sequence[str], scheme: str = "iob2", outside_label: str | None = OUTSIDE) -> list[Span]:
    """Read the spans of one sentence, in order, by the rule in the module's docstring.

    ``scheme`` and ``outside_label`` (``None``: no such label) matter for ``flat`` and ``io`` only.

    >>> tags_to_spans(["B-PER", "I-PER", "O", "I-LOC"])
    [Span(start=0, end=2, entity_type='PER'), Span(start=3, end=4, entity_type='LOC')]
    """
    if scheme == "flat":
        return [Span(i, i + 1, tag) for i, tag in enumerate(tags) if tag != outside_label]
    if scheme == "io":
        tags = [OUTSIDE if tag in (OUTSIDE, outside_label) else f"I-{tag}" for tag in tags]
    spans: list[Span] = []
    start, open_type, previous = 0, "", OUTSIDE
    for position, tag in enumerate(tags):
        prefix, entity_type = split_tag(tag)
        continues = prefix in "IEL" and previous in "BI" and entity_type == open_type
        if not continues:
            if previous != OUTSIDE:
                spans.append(Span(start, position, open_type))
            start = position
        previous, open_type = prefix, entity_type
    if previous != OUTSIDE:
        spans.append(Span(start, len(tags), open_type))
    return spans


def spans_to_tags(
    spans: Iterable[Span], length: int, scheme: str = "iob2", outside_label: str | None = OUTSIDE
) -> list[str]:
    """Write the canonical tags of a sentence of ``length`` words.

    Raises:
        SchemeError: spans overlap or leave the sentence, or the scheme cannot represent them (``flat``: spans of
            several words; without an outside label, uncovered words).

    >>> spans_to_tags([Span(0, 2, "PER"), Span(2, 3, "LOC")], 4, "bioes")
    ['B-PER', 'E-PER', 'S-LOC', 'O']
    """
    check_scheme(scheme)
    ordered, reached = sorted(spans), 0
    tags: list[str | None] = [outside_label] * length
    for span in ordered:
        if not reached <= span.start < span.end <= length:
            raise SchemeError(f"the span {span} overlaps another one, is empty or leaves the sentence")
        if scheme == "flat" and span.end - span.start > 1:
            raise SchemeError(f"'flat' labels hold single words only, not {span}")
        reached = span.end
    for position, entity_type, place in word_places(ordered):
        tags[position] = entity_type if scheme == "flat" else join_tag(canonical_prefix(scheme, place), entity_type)
    if None in tags:
        raise SchemeError("'flat' labels without an outside label need a span on every word")
    return [tag for tag in tags if tag is not None]


WordPlace = tuple[bool, bool, bool, bool]
"""Whether a word is the first and the last of its span, and whether a span of the same type is adjacent before and
after. In every scheme this determines the word's prefix."""


def word_places(spans: Sequence[Span]) -> Iterator[tuple[int, str, WordPlace]]:
    """Position, entity type and place of each word in the spans of one sentence."""
    starts = {(start, name) for start, _, name in spans}
    ends = {(end, name) for _, end, name in spans}
    for start, end, name in spans:
        for position in range(start, end):
            yield position, name, (position == start, position == end - 1, (start, name) in ends, (end, name) in starts)


def canonical_prefix(scheme: str, place: WordPlace) -> str:
    """The prefix in a scheme of a word at this place of its span."""
    first, last, touches_before, touches_after = place
    if scheme in ("iob1", "iob2"):
        return "B" if first and (touches_before or scheme == "iob2") else "I"
    if scheme in ("ioe1", "ioe2"):
        return "E" if last and (touches_after or scheme == "ioe2") else "I"
    if first:
        return PREFIXES[scheme][3] if last else "B"
    return PREFIXES[scheme][2] if last else "I"


def illegal_words(tags: Sequence[str], scheme: str) -> list[int]:
    """Positions whose tag differs from the canonical one.

    >>> illegal_words(["O", "I-PER", "B-PER"], "iob2"), illegal_words(["O", "I-PER", "B-PER"], "iob1")
    ([1], [])
    """
    if scheme in BARE or all(tag == OUTSIDE for tag in tags):
        return []
    canonical = spans_to_tags(tags_to_spans(tags, scheme), len(tags), scheme)
    pairs = enumerate(zip(tags, canonical, strict=True))
    return [i for i, (tag, expected) in pairs if split_tag(tag) != split_tag(expected)]  # "B-_" is "B"


def legal_transitions(names: Sequence[str], scheme: str) -> list[list[bool]]:
    """Whether each label (second index) may follow each label (first index): ``[C][C]``.

    A sequence, with an outside word before and after it, is legal (:func:`illegal_words`) if all pairs of adjacent
    labels are: prefixes depend on whether a span begins and ends, which adjacent words determine.

    >>> legal_transitions(["O", "B-PER", "I-PER", "I-LOC"], "iob2")[1]
    [True, True, True, False]
    """

    @cache
    def may_follow(first: str, second: str, same_type: bool) -> bool:
        of_x, of_y = ({prefix: f"{prefix}-{name}" for prefix in PREFIXES[scheme]} | {OUTSIDE: OUTSIDE} for name in "XY")
        after = of_x if same_type else of_y
        neighbours = product(of_x.values(), after.values())
        return any(not illegal_words([left, of_x[first], after[second], right], scheme) for left, right in neighbours)

    split = [split_tag(name) for name in names]
    return [[may_follow(a, b, one == other) for b, other in split] for a, one in split]


def convert_tags(
    tags: Sequence[str],
    source_scheme: str,
    scheme: str,
    outside_label: str | None = OUTSIDE,
    label_map: Mapping[str, str] | None = None,
) -> list[str]:
    """Convert the tags of a sentence from one scheme to another by way of its spans, which repairs invalid sequences.

    From ``flat``, each word becomes a separate span; to ``flat``, each word keeps its type.

    ``label_map`` renames entity types (flat: labels); ``O`` or the outside label drops a type. Spans are renamed, not
    words: adjacent ones that get the same type stay separate if the scheme can express that.

    >>> convert_tags(["I-boss", "I-king", "I-x"], "iob1", "iob1", label_map={"boss": "PER", "king": "PER", "x": "O"})
    ['I-PER', 'B-PER', 'O']
    """
    label_map = label_map or {}
    dropped = {OUTSIDE, outside_label} if label_map else set()
    if scheme == "flat":
        outside = outside_label or OUTSIDE
        types = tags if source_scheme in BARE else [split_tag(tag)[1] or outside for tag in tags]
        names = [label_map.get(name, name) for name in types]
        return [outside if name in dropped else name for name in names]
    read = tags_to_spans(tags, source_scheme, outside_label)
    spans = [Span(start, end, label_map.get(name, name)) for start, end, name in read]
    return spans_to_tags([span for span in spans if span.entity_type not in dropped], len(tags), scheme)


def map_label_names(
    names: Iterable[str], label_map: Mapping[str, str], scheme: str, outside_label: str | None = OUTSIDE
) -> list[str]:
    """Label names with renamed types, each once, in order, without labels of dropped types."""
    mapped: list[str] = []
    for name in names:
        prefix, entity_type = ("", name) if scheme == "flat" or name == OUTSIDE else split_tag(name)
        target = label_map.get(entity_type, entity_type)
        if not prefix:
            mapped.append(target)
        elif target not in (OUTSIDE, outside_label):
            mapped.append(join_tag(prefix, target))
    return list(dict.fromkeys(mapped))


def complete_label_set(tags: Iterable[str], scheme: str, outside_label: str | None = OUTSIDE) -> list[str]:
    """The label inventory: every tag of the scheme for the types that occur.

    A list or tuple keeps its order (a dataset's label ids stay valid), with missing tags appended; from an unordered
    collection the outside label comes first, then the types by name.

    >>> complete_label_set(["B-PER", "O"], "iob2")
    ['B-PER', 'O', 'I-PER']
    """
    ordered = list(dict.fromkeys(tags)) if isinstance(tags, (list, tuple)) else []
    seen = tuple(tag for tag in ordered or sorted(set(tags)) if tag != outside_label)
    types = LabelSet(seen, scheme, outside_label).entity_types
    types = types if ordered else sorted(types)
    if scheme == "flat":
        complete = types if outside_label is None else [outside_label, *types]
    else:
        complete = [OUTSIDE, *(join_tag(prefix, name) for name in types for prefix in PREFIXES[scheme])]
    return list(dict.fromkeys(ordered + complete))


def continuation_tag(tag: str) -> str:
    """The tag of a word's further subword tokens if all are labelled: B- and S- become I-."""
    return "I" + tag[1:] if tag[:1] in "BSU" and has_prefix(tag) else tag
