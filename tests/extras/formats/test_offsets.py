"""Offsets that are counted in another way: detected from quotes and words, refused with the option that reads them."""

import json
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ner_module.data.formats import DataError, ReadingOptions, read_sentences
from ner_module.data.formats.char_spans import CharSpan, SpanCounts
from ner_module.data.words import split_words
from ner_module.extras.formats.offsets import CountedOffsets, convert
from ner_module.tagging import tags_to_spans

WORDS = ["Zoë", "😀", "met", "Ada", "北", "Ko\u0308ln", ",", "Ünal", "in", "x"]
WAYS = {  # our place -> theirs, each written here without the code under test
    "inclusive": lambda text, start, end: (start, end - 1),
    "from_one": lambda text, start, end: (start + 1, end + 1),
    "from_one_inclusive": lambda text, start, end: (start + 1, end),
    "utf16": lambda text, *places: [len(text[:at].encode("utf-16-le")) // 2 for at in places],
    "bytes": lambda text, *places: [len(text[:at].encode()) for at in places],
    "crlf_as_one": lambda text, *places: [at - text[:at].count("\r\n") for at in places],
    "lf_as_two": lambda text, *places: [at + text[:at].count("\n") for at in places],
    "nfc": lambda text, *places: [len(normalize("NFC", text[:at])) for at in places],
    "nfd": lambda text, *places: [len(normalize("NFD", text[:at])) for at in places],
}


def text_for(way, words):
    """A text in which this way to count makes a difference, where it can."""
    text = ("\r\n" if way == "crlf_as_one" else "\n" if way == "lf_as_two" else " ").join(words)
    return normalize({"nfc": "NFD", "nfd": "NFC"}[way], text) if way in ("nfc", "nfd") else text


@pytest.mark.parametrize("way", WAYS)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8), st.data())
def test_every_way_is_read(way, words, data):
    text = text_for(way, words)
    place = data.draw(st.sampled_from(split_words(text)))
    assert convert(text, [CharSpan(*WAYS[way](text, *place), "X")], way) == [CharSpan(*place, "X")]


def test_what_is_no_place_is_none():
    assert convert("a😀b", [CharSpan(2, 4, "X"), CharSpan(3, 9, "X")], "utf16") == [
        (-1, 3, "X", None),
        (2, -1, "X", None),
    ]
    assert convert("ë", [CharSpan(1, -2, "X")], "bytes") == [CharSpan(-1, -1, "X")]


LINES = [["Zoë", "met", "Ada", "in", "Köln", "today"], ["😀", "Then", "Ada", "left", "Bonn", "and", "Köln", "alone"]]
NAMES = {"Zoë": "PER", "Ada": "PER", "Köln": "LOC", "Bonn": "LOC"}


def records(way, quoted):
    found = []
    for words in LINES * 3:
        text, spans, near = text_for(way, words), [], 0
        for word in words:
            word = normalize("NFD", word) if way == "nfc" else word
            near = text.index(word, near)
            if name := NAMES.get(normalize("NFC", word)):
                start, end = WAYS[way](text, near, near + len(word))
                spans.append({"start": start, "end": end, "label": name} | ({"text": word} if quoted else {}))
        found.append({"text": text, "entities": spans})
    return found


@pytest.fixture
def read(tmp_path):
    def run(content, **options):
        (tmp_path / "x.jsonl").write_text("".join(json.dumps(each) + "\n" for each in content), encoding="utf-8")
        counts = SpanCounts()
        sentences = list(read_sentences(tmp_path / "x.jsonl", ReadingOptions(**options), counts))
        spans = [
            [(s.entity_type, "".join(each.tokens[s.start : s.end])) for s in tags_to_spans(each.tags)]
            for each in sentences
        ]
        return spans, counts

    return run


@pytest.mark.parametrize("way", WAYS)
def test_quotes_decide_and_else_the_file_is_refused(way, read):
    expected = [
        [("PER", "Zoë"), ("PER", "Ada"), ("LOC", "Köln")],
        [("PER", "Ada"), ("LOC", "Bonn"), ("LOC", "Köln")],
    ] * 3

    def plain(spans):
        return [[(name, normalize("NFC", quote)) for name, quote in each] for each in spans]

    spans, counts = read(records(way, quoted=True))
    assert plain(spans) == expected
    assert counts.is_clean
    assert any("as the quotes say: " in note for _, note, _ in counts.notes)
    with pytest.raises(DataError, match=f":[12]: .*look like {way}: .* set --data.span_offsets {way}"):
        read(records(way, quoted=False))
    spans, counts = read(records(way, quoted=False), span_offsets=way)
    assert plain(spans) == expected
    assert counts.is_clean


def test_right_offsets_are_never_suspected(read):
    """Parts of words, white space at the ends and punctuation inside are what annotators do."""
    text = "Berlins Plan, sagt Berlin in Berlin. "
    spans = [[0, 6, "LOC"], [19, 26, "LOC"], [29, 36, "LOC"]]
    found, counts = read([{"text": text, "label": spans}, {"text": text, "label": spans[1:]}])
    assert found[0] == [("LOC", "Berlins"), ("LOC", "Berlin"), ("LOC", "Berlin.")]
    assert counts.expanded == 1
    chinese = [{"text": "叶先生在北京大学教书。", "label": [[0, 3, "PER"], [4, 8, "ORG"]]}] * 5
    assert read(chinese)[0] == [[("PER", "叶先生"), ("ORG", "北京大学")]] * 5


def test_exclusive_takes_them_as_they_stand(read):
    assert read(records("inclusive", quoted=False), span_offsets="exclusive")[1].spans == 18


def test_quotes_that_fit_no_way_are_looked_for_when_asked(read):
    record = {"text": "Ada and Ada", "entities": [{"start": 6, "end": 9, "label": "PER", "text": "Ada"}]}
    with pytest.raises(DataError, match=r"do not belong together: .* --data.span_offsets quotes"):
        read([record])
    assert read([record], span_offsets="quotes")[0] == [[("PER", "Ada")]]
    record["entities"][0]["text"] = "Bob"
    with pytest.raises(DataError, match=r":1: the quote 'Bob' is not in the text"):
        read([record], span_offsets="quotes")


def test_spans_that_are_shifted_in_no_known_way_are_refused(read):
    text = "Ada Lovelace and Byron visited Lincoln together"
    places = [(0, 12), (17, 22), (31, 38)]
    shifted = {"text": text, "entities": [{"start": a + 2, "end": b + 2, "label": "X"} for a, b in places]}
    with pytest.raises(
        DataError, match=r":1: 12 of 12 spans begin and end inside words.*--data.span_offsets exclusive"
    ):
        read([shifted] * 4)
    assert read([shifted] * 4, span_offsets="exclusive")[1].expanded == 12
    assert read([shifted] * 3)[1].expanded == 9  # few may be meant


@pytest.mark.parametrize(("at", "what"), [((0, -2), "end"), ((2, 0), "begin")])
def test_spans_of_which_nearly_all_are_cut_at_one_end_are_a_surprise(read, at, what):
    text, places = "Ada Lovelace and Byron visited Lincoln together", [(4, 12), (17, 22), (31, 38)]
    record = {"text": text, "entities": [{"start": a + at[0], "end": b + at[1], "label": "X"} for a, b in places]}
    for records, said in ([record] * 4, True), ([record] * 3, False):
        found, counts = read(records)
        assert found[0] == [("X", "Lovelace"), ("X", "Byron"), ("X", "Lincoln")]
        notes = [note for _, note, is_surprise in counts.notes if is_surprise]
        assert any(f"12 of 12 spans {what} inside words, which are taken whole: " in note for note in notes) == said


def test_white_space_marked_with_spans_is_no_shift(read):
    record = {"text": "so Ada sat", "entities": [{"start": 2, "end": 7, "label": "X"}]}
    found, counts = read([record] * 12)
    assert found[0] == [("X", "Ada")]
    assert not [note for _, note, is_surprise in counts.notes if is_surprise]


def test_unknown_ways_are_refused():
    with pytest.raises(DataError, match="'utf-16' is no way to count; choose among auto, exclusive"):
        CountedOffsets("utf-16")


def test_types_that_are_tags_become_entities(read):
    text = "Ada Lovelace met Byron in Bonn"
    marks = [(0, 3, "B-PER"), (4, 12, "I-PER"), (17, 22, "B-PER"), (26, 30, "B-LOC")]
    record = {"text": text, "entities": [{"start": a, "end": b, "entity": t} for a, b, t in marks]}
    expected = [("PER", "AdaLovelace"), ("PER", "Byron"), ("LOC", "Bonn")]
    assert read([record, {**record, "entities": record["entities"][3:]}])[0] == [expected, expected[2:]]
    with pytest.raises(DataError, match=":1: the type 'B-LOC' is a tag of a word, as a later text shows"):
        read([{**record, "entities": record["entities"][3:]}, record])
    email = {"text": text, "entities": [{"start": 0, "end": 3, "label": "E-mail"}]}
    assert read([email])[0] == [[("E-mail", "Ada")]]


TOKENS = ["Ada", "Lovelace", "met", "the", "mayor", "of", "Lincoln", "."]


@pytest.mark.parametrize(
    ("spans", "more", "options"),
    [
        ([(0, 2), (6, 7)], {}, {}),
        ([(0, 12), (30, 37)], {}, {}),
        ([(0, 12), (30, 37)], {"text": "Ada Lovelace met the mayor of Lincoln."}, {}),
        ([(0, 1), (6, 6)], {}, {"span_offsets": "words_inclusive"}),
        ([(0, 2), (6, 7)], {}, {"span_offsets": "words"}),
    ],
)
def test_spans_beside_tokens_count_words_or_characters(read, spans, more, options):
    entities = [{"start": a, "end": b, "label": t} for (a, b), t in zip(spans, ("PER", "LOC"), strict=True)]
    found = read([{"tokens": TOKENS, "entities": entities, **more}, {"tokens": TOKENS, "entities": []}], **options)[0]
    assert found == [[("PER", "AdaLovelace"), ("LOC", "Lincoln")], []]


def test_spans_beside_tokens_that_may_be_either_are_refused(read):
    record = {"tokens": TOKENS, "text": " ".join(TOKENS), "entities": [{"start": 0, "end": 3, "label": "PER"}]}
    with pytest.raises(DataError, match="may count the tokens or the characters of the text; say which"):
        read([record])
    assert read([record], span_offsets="words")[0] == [[("PER", "AdaLovelacemet")]]
    assert read([record], span_offsets="exclusive")[0] == [[("PER", "Ada")]]
    assert read([{**record, "entities": [{"start": 30, "end": 37, "label": "LOC"}]}, record])[0][1] == [("PER", "Ada")]
    inclusive = {**record, "entities": [{"start": 0, "end": 1, "label": "PER"}, {"start": 6, "end": 6, "label": "LOC"}]}
    with pytest.raises(DataError, match=r"set --data\.span_offsets words_inclusive"):
        read([inclusive])
