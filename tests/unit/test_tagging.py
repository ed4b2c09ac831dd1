"""Tags, spans and inventories, against seqeval's default mode and by round trips."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import Tokens
from test_metrics_references import SEQEVAL_SCHEMES, TYPE_NAMES

from ner_module.data.tag_census import TagCensus, detect_scheme
from ner_module.tagging import (
    PREFIXES,
    SCHEMES,
    LabelSet,
    SchemeError,
    Span,
    check_scheme,
    complete_label_set,
    continuation_tag,
    convert_tags,
    has_prefix,
    illegal_words,
    join_tag,
    spans_to_tags,
    split_tag,
    tags_to_spans,
)

PREFIXED = tuple(scheme for scheme in SCHEMES if scheme != "flat")
FEW_TYPES = ("PER", "creative-work", "a-b-c")


@st.composite
def annotated(draw: st.DrawFn, longest_span: int = 4) -> tuple[list[Span], int]:
    """Spans of a sentence, adjacent ones of one type among them, and its length."""
    spans, position = [], 0
    for _ in range(draw(st.integers(0, 6))):
        start = position + draw(st.sampled_from((0, 0, 1, 2)))
        position = start + draw(st.integers(1, longest_span))
        spans.append(Span(start, position, draw(st.sampled_from((*FEW_TYPES, *TYPE_NAMES)))))
    return spans, position + draw(st.integers(0, 2))


def tag_sequences(prefixes: str) -> st.SearchStrategy[list[str]]:
    """Any sequence, legal or not; few types, so that neighbours often share one."""
    tag = st.builds(join_tag, st.sampled_from(prefixes), st.sampled_from((*FEW_TYPES, "_")))
    return st.lists(st.one_of(st.just("O"), tag), max_size=12)


def seqeval_spans(tags: list[str]) -> list[Span]:
    return [Span(start, end + 1, name) for name, start, end in get_entities(tags)]


# ---------------------------------------------------------------- reading


@settings(deadline=None)
@given(tag_sequences("BI"))
def test_iob_tags_are_read_as_seqeval_reads_them(tags: list[str]) -> None:
    assert tags_to_spans(tags) == seqeval_spans(tags)


@settings(deadline=None)
@given(tag_sequences("BIES"))
def test_iobes_tags_are_read_as_seqeval_reads_them(tags: list[str]) -> None:
    assert tags_to_spans(tags, "bioes") == seqeval_spans(tags)


@settings(deadline=None)
@given(tag_sequences("BILU"))
def test_bilou_tags_are_read_as_the_same_in_iobes(tags: list[str]) -> None:
    renamed = [{"L": "E", "U": "S"}.get(tag[0], tag[0]) + tag[1:] for tag in tags]
    assert tags_to_spans(tags, "bilou") == seqeval_spans(renamed)


def test_types_that_look_like_tags_are_types() -> None:
    tags = ["B-I-PER", "I-I-PER", "I-PER", "B-O", "I-O", "B--", "I--"]
    expected = [Span(0, 2, "I-PER"), Span(2, 3, "PER"), Span(3, 5, "O"), Span(5, 7, "-")]
    assert tags_to_spans(tags) == expected == seqeval_spans(tags)


@pytest.mark.parametrize("tag", ["PER", "X-PER", "BPER", "b-PER", "B-", "", "-", "O-PER", " O", "B_PER"])
def test_a_tag_without_prefix_is_refused(tag: str) -> None:
    assert not has_prefix(tag)
    with pytest.raises(SchemeError, match="neither 'O' nor a type with one of the prefixes"):
        split_tag(tag)


@settings(deadline=None)
@given(st.sampled_from("BIESLU"), st.sampled_from((*TYPE_NAMES, "_")))
def test_split_and_join_are_inverse(prefix: str, entity_type: str) -> None:
    tag = join_tag(prefix, entity_type)
    assert has_prefix(tag)
    assert split_tag(tag) == (prefix, entity_type)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_empty_and_all_outside_sentences_have_no_spans(scheme: str) -> None:
    for length in (0, 1, 5):
        tags = ["O"] * length
        assert tags_to_spans(tags, scheme) == []
        assert spans_to_tags([], length, scheme) == tags
        assert illegal_words(tags, scheme) == []
        assert convert_tags(tags, scheme, "iob2") == tags


# ---------------------------------------------------------------- writing


@settings(deadline=None)
@given(scheme=st.sampled_from(PREFIXED), sentence=annotated())
def test_spans_survive_every_prefixed_scheme(scheme: str, sentence: tuple[list[Span], int]) -> None:
    spans, length = sentence
    tags = spans_to_tags(spans, length, scheme)
    assert len(tags) == length
    assert tags_to_spans(tags, scheme) == spans
    assert illegal_words(tags, scheme) == []
    assert set(tags) - {"O"} <= {join_tag(prefix, span.entity_type) for span in spans for prefix in PREFIXES[scheme]}


@settings(deadline=None)
@given(sentence=annotated(longest_span=1))
def test_single_words_survive_flat(sentence: tuple[list[Span], int]) -> None:
    # A type called as the outside label is none.
    spans = [span for span in sentence[0] if span.entity_type != "O"]
    assert tags_to_spans(spans_to_tags(spans, sentence[1], "flat"), "flat") == spans


@settings(deadline=None)
@given(scheme=st.sampled_from(("iob1", "iob2", "ioe2", "bioes", "bilou")), sentence=annotated())
def test_written_tags_are_what_seqeval_strict_accepts(scheme: str, sentence: tuple[list[Span], int]) -> None:
    # In strict mode seqeval takes only what the scheme allows. It strips dashes from types, and its IOE1 has no
    # entity of one word before another one of the same type.
    spans, length = sentence
    spans = [span for span in spans if span.entity_type.strip("-") == span.entity_type]
    tags = spans_to_tags(spans, length, scheme)
    entities = Tokens(tags, SEQEVAL_SCHEMES[scheme]).entities
    assert [Span(entity.start, entity.end, entity.tag) for entity in entities] == spans


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("iob1", "I-A I-A B-A O I-A I-B"),
        ("iob2", "B-A I-A B-A O B-A B-B"),
        ("ioe1", "I-A E-A I-A O I-A I-B"),
        ("ioe2", "I-A E-A E-A O E-A E-B"),
        ("bioes", "B-A E-A S-A O S-A S-B"),
        ("bilou", "B-A L-A U-A O U-A U-B"),
    ],
)
def test_each_scheme_on_a_case_worked_by_hand(scheme: str, expected: str) -> None:
    spans = [Span(0, 2, "A"), Span(2, 3, "A"), Span(4, 5, "A"), Span(5, 6, "B")]
    assert spans_to_tags(spans, 6, scheme) == expected.split()


@pytest.mark.parametrize(
    "spans",
    [
        [Span(0, 2, "A"), Span(1, 3, "A")],
        [Span(0, 2, "A"), Span(0, 2, "B")],
        [Span(1, 1, "A")],
        [Span(2, 1, "A")],
        [Span(-1, 1, "A")],
        [Span(3, 5, "A")],
    ],
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_spans_that_no_tags_can_hold_are_refused(scheme: str, spans: list[Span]) -> None:
    with pytest.raises(SchemeError):
        spans_to_tags(spans, 4, scheme)


def test_what_flat_cannot_hold_is_refused() -> None:
    with pytest.raises(SchemeError, match="single words only"):
        spans_to_tags([Span(0, 2, "A")], 2, "flat")
    with pytest.raises(SchemeError, match="need a span on every word"):
        spans_to_tags([Span(0, 1, "A")], 2, "flat", None)
    with pytest.raises(SchemeError, match="unknown tagging scheme 'bio'; known: iob1"):
        check_scheme("bio")


# ---------------------------------------------------------------- legality and conversion


@pytest.mark.parametrize(
    ("tags", "scheme", "expected"),
    [
        ("O I-A I-A", "iob2", [1]),
        ("B-A I-B", "iob2", [1]),
        ("B-A O B-A", "iob1", [0, 2]),
        ("B-A I-A O", "bioes", [1]),
        ("S-A E-A", "bioes", [1]),
        ("B-A E-A", "bilou", [1]),
        ("E-A E-A", "ioe1", [1]),
        ("I-A O", "ioe2", [0]),
        ("B-A I-A", "iob2", []),
        ("NOUN X", "flat", []),
    ],
)
def test_illegal_words_worked_by_hand(tags: str, scheme: str, expected: list[int]) -> None:
    assert illegal_words(tags.split(), scheme) == expected


@settings(deadline=None)
@given(source=st.sampled_from(PREFIXED), target=st.sampled_from(PREFIXED), tags=tag_sequences("BIESLU"))
def test_conversion_keeps_the_spans_and_is_legal(source: str, target: str, tags: list[str]) -> None:
    converted = convert_tags(tags, source, target)
    assert tags_to_spans(converted, target) == tags_to_spans(tags, source)
    assert illegal_words(converted, target) == []
    assert convert_tags(converted, target, target) == converted


def test_conversion_from_and_to_flat() -> None:
    assert convert_tags(["PER", "PER", "none"], "flat", "iob2", "none") == ["B-PER", "B-PER", "O"]
    assert convert_tags(["PER", "PER", "none"], "io", "iob2", "none") == ["B-PER", "I-PER", "O"]
    assert convert_tags(["N", "V"], "flat", "bioes", None) == ["S-N", "S-V"]
    assert convert_tags(["B-PER", "E-PER", "O"], "bioes", "flat") == ["PER", "PER", "O"]
    assert convert_tags(["B-PER", "O"], "iob2", "flat", "none") == ["PER", "none"]
    assert convert_tags(["N", "V"], "flat", "flat", None) == ["N", "V"]


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        *(("B-A", "I-A"), ("S-A", "I-A"), ("U-a-b", "I-a-b"), ("I-A", "I-A"), ("E-A", "E-A"), ("L-A", "L-A")),
        *(("B", "I"), ("O", "O"), ("Berlin", "Berlin"), ("SUBJ", "SUBJ"), ("B-", "B-")),
    ],
)
def test_a_mention_does_not_begin_twice(tag: str, expected: str) -> None:
    assert continuation_tag(tag) == expected


# ---------------------------------------------------------------- detection


def illegal_by_scheme(sentences: list[list[str]]) -> dict[str, int]:
    census = TagCensus()
    for tags in sentences:
        census.add(tags)
    counts: dict[str, int] = census.scheme_report()["illegal_words"]
    return counts


@settings(deadline=None)
@given(scheme=st.sampled_from(PREFIXED), sentences=st.lists(annotated(), max_size=4))
def test_a_scheme_explains_its_own_output(scheme: str, sentences: list[tuple[list[Span], int]]) -> None:
    tags = [spans_to_tags(spans, length, scheme) for spans, length in sentences]
    illegal = illegal_by_scheme(tags)
    assert illegal[scheme] == 0
    # Another one may explain a small corpus as well, and then every tag is canonical in both.
    assert illegal[detect_scheme(tags)] == 0


# Two words, one word, and two adjacent mentions of one type: what tells all the schemes apart.
TELLING = [Span(0, 2, "A"), Span(3, 4, "B"), Span(5, 6, "A"), Span(6, 8, "A"), Span(8, 11, "B")]


@pytest.mark.parametrize("scheme", PREFIXED)
def test_a_corpus_that_tells_the_schemes_apart(scheme: str) -> None:
    telling = spans_to_tags(TELLING, 11, scheme)
    assert detect_scheme([telling]) == scheme
    # A mistake in a hundred sentences does not change it.
    assert detect_scheme([["O"], [], *[telling] * 101, ["I-A", "B-A", "I-B"]]) == scheme


@settings(deadline=None)
@given(st.lists(tag_sequences("BIESLU"), max_size=5))
def test_the_census_counts_what_illegal_words_finds(sentences: list[list[str]]) -> None:
    counts = illegal_by_scheme(sentences)
    assert counts == {scheme: sum(len(illegal_words(tags, scheme)) for tags in sentences) for scheme in PREFIXED}


def test_detection_without_entities_of_flat_labels_and_of_a_mixture() -> None:
    assert detect_scheme([]) == detect_scheme([["O", "O"]]) == "iob2"
    assert detect_scheme([["NOUN", "O", "VERB"]]) == "flat"
    with pytest.raises(SchemeError, match=r"some tags have a prefix .*, but 'NOUN' has none"):
        detect_scheme([["NOUN", "O", "VERB"], ["B-PER"]])


# ---------------------------------------------------------------- inventories


@settings(deadline=None)
@given(scheme=st.sampled_from(PREFIXED), sentences=st.lists(annotated(), min_size=1, max_size=4))
def test_a_closed_inventory_can_write_every_tag_of_its_types(
    scheme: str, sentences: list[tuple[list[Span], int]]
) -> None:
    seen = {tag for spans, length in sentences for tag in spans_to_tags(spans, length, scheme)}
    names = complete_label_set(seen, scheme)
    types = {span.entity_type for spans, _ in sentences for span in spans}
    assert names[0] == "O"
    assert len(names) == len(set(names)) == 1 + len(types) * len(PREFIXES[scheme])
    assert set(names) == {"O"} | {join_tag(prefix, name) for name in types for prefix in PREFIXES[scheme]}
    assert set(LabelSet(tuple(names), scheme).entity_types) == types
    assert complete_label_set(names, scheme) == names
    assert complete_label_set(set(names), scheme) == names


def test_the_order_of_a_declared_inventory_is_kept() -> None:
    conll2003 = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
    assert complete_label_set(conll2003, "iob2") == conll2003
    assert complete_label_set(("I-A", "O", "B-B"), "iob2") == ["I-A", "O", "B-B", "B-A", "I-B"]
    assert complete_label_set(["S-A"], "bioes") == ["S-A", "O", "B-A", "I-A", "E-A"]


def test_inventories_of_flat_labels() -> None:
    assert complete_label_set({"VERB", "NOUN"}, "flat", None) == ["NOUN", "VERB"]
    assert complete_label_set({"VERB", "O", "NOUN"}, "flat") == ["O", "NOUN", "VERB"]
    assert complete_label_set({"b", "none", "a"}, "flat", "none") == ["none", "a", "b"]
    assert LabelSet(("none", "a", "B-x"), "flat", "none").entity_types == ["a", "B-x"]


def test_the_id_of_the_outside_label() -> None:
    assert LabelSet(("B-A", "O", "I-A")).outside_id == 1
    assert LabelSet(("N", "none"), "flat", "none").outside_id == 1
    assert LabelSet(("N", "V"), "flat", None).outside_id == 0


def test_an_inventory_without_entities_is_the_outside_label() -> None:
    assert complete_label_set({"O"}, "iob2") == ["O"]
    assert complete_label_set([], "iob2") == ["O"]
    assert LabelSet(("O",), "bioes").entity_types == []
