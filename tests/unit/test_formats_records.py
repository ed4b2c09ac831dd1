"""JSONL and JSON of tokens and tags; text with character spans; the span policy."""

import json

import pytest
from conftest import words_and_tags
from hypothesis import given
from hypothesis import strategies as st

from ner_module.data.formats.char_spans import CharSpan, SpanCounts, locate_words, tag_words
from ner_module.data.words import split_words
from ner_module.tagging import tags_to_spans


def test_tokens_and_tags(read):
    records = [
        {"id": 1, "tokens": ["Ann", "sat"], "ner_tags": ["B-PER", "O"], "pos_tags": ["N", "V"], "doc_id": 7},
        {"id": 2, "tokens": [], "ner_tags": [], "pos_tags": []},
        {"tokens": ["x\u2028y"], "ner_tags": ["O"], "pos_tags": ["N"], "text": "x\u2028y"},
    ]
    sentences = read(records)
    assert words_and_tags(sentences) == [(["Ann", "sat"], ["B-PER", "O"]), ([], []), (["x\u2028y"], ["O"])]
    assert [s.line for s in sentences] == [1, 2, 3]
    assert [s.document for s in sentences] == ["7", None, None]
    assert read(records, label_column_name="pos_tags")[0].tags == ["N", "V"]
    assert read([{"toks": ["a"], "t": ["O"]}], text_column_name="toks", label_column_name="t")[0].tokens == ["a"]
    assert read('\ufeff{"words": ["a"], "labels": ["O"]}\r\n\r\n')[0].tokens == ["a"]


def test_where_the_key_and_the_tags_disagree_both_are_named(read, refused):
    record = {"tokens": ["Ann", "sat"], "tags": ["NNP", "VBD"], "entity": ["B-PER", "O"]}
    assert "'tags' is named like tags, but the tags are in 'entity'" in refused([record]).problem
    assert read([record], label_column_name="tags")[0].tags == ["NNP", "VBD"]
    assert read([record], label_column_name="entity")[0].tags == ["B-PER", "O"]
    assert read([{**record, "tags": ["PER", "O"]}])[0].tags == ["PER", "O"]


def test_text_beside_tokens_gives_offsets(read):
    [kept, lost] = read(
        [
            {"tokens": ["Hi", ",", "Ann"], "tags": ["O"] * 3, "text": " Hi, Ann "},
            {"tokens": ["Hi", "Ann"], "tags": ["O"] * 2, "text": "Hi, Ann"},
        ]
    )
    assert (kept.text, kept.offsets) == (" Hi, Ann ", [(1, 3), (3, 4), (5, 8)])
    assert (lost.text, lost.offsets) == (None, None)


def test_integer_tags_need_names(read, refused):
    records = [{"tokens": ["a", "b"], "tags": [0, 1]}]
    assert read(records, label_names=["O", "B-X"])[0].tags == ["O", "B-X"]
    assert "label_names" in refused(records).advice
    assert "not among" in refused([{"tokens": ["a"], "tags": [2]}], label_names=["O", "B-X"]).problem
    assert "not among" in refused([{"tokens": ["a"], "tags": [-100]}], label_names=["O", "B-X"]).problem


def test_json_lists_and_pretty_printed_objects(read, refused):
    records = [{"tokens": [f"w{i}" * 50], "tags": ["O"]} for i in range(3000)]
    one_line, indented = json.dumps(records), json.dumps(records, indent=1)
    expected = [record["tokens"] for record in records]
    for text in (one_line, indented, "\n\n" + indented, "\n".join(json.dumps(r, indent=2) for r in records)):
        sentences = read(text, "x.json")
        assert [s.tokens for s in sentences] == expected
    assert [s.line for s in read(indented, "x.json")][:3] == [2, 10, 18]
    assert refused(indented.replace('"w7', '"w\n7', 1), "x.json").line == 2 + 8 * 7 + 2
    assert refused(indented[:-1], "x.json").line == 3000 * 8 + 2
    assert refused('[\n{"tokens": ["a"], "tags": ["O"]},\n{"tokens":\n}\n]', "x.json").line == 4
    assert "comma" in refused("[{} {}]", "x.json").problem or "neither" in refused("[{} {}]", "x.json").problem
    assert "follows" in refused(json.dumps(records[:1]) + "{}", "x.json").problem


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ('{"tokens": ["a"], "tags": ["O"]', "no valid JSON"),
        ('["a"]', "not a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"tokens": ' + "9" * 5000 + "}", "no JSON that can be read"),
        ('{"tokens": ["a", "b"], "tags": ["O"]}', "2 tokens in 'tokens', but 1 tags"),
        ('{"tokens": ["a"]}', "the key 'tags' is missing"),
        ('{"tags": ["O"]}', "the key 'tokens' is missing"),
        ('{"tokens": "a", "tags": ["O"]}', "not a list of tokens"),
        ('{"tokens": ["a"], "tags": "O"}', "not a list of tags"),
        ('{"tokens": ["a", 5], "tags": ["O", "O"]}', "token 2 is 5, not a string"),
        ('{"tokens": ["a"], "tags": [null]}', "a tag is null"),
        ('{"tokens": ["a"], "tags": [true]}', "a tag is True"),
        ('{"tokens": ["a"], "tags": [["O"]]}', "a tag is a list"),
        ('{"tokens": ["a", "b"], "tags": ["O", ""]}', "the tag is empty (word 2"),
        ('{"tokens": ["\\ud83d"], "tags": ["O"]}', "half of a character"),
    ],
)
def test_broken_records(refused, line, part):
    error = refused('{"tokens": ["x"], "tags": ["O"]}\n' + line + "\n")
    assert part in error.problem
    assert error.line == 2


def test_keys_that_are_not_found_are_listed(refused):
    error = refused([{"wörter": ["a"], "marken": ["O"]}])
    assert "'wörter', 'marken'" in str(error)
    assert error.line == 1


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"tokens": ["Ada", "slept"], "ner_tags": None}, "'ner_tags' is null, not a list of tags"),
        ({"tokens": "Ada slept", "tags": "B-PER O"}, "'tokens' is 'Ada slept', not a list of tokens"),
        ({"tokens": None, "tags": ["O"]}, "'tokens' is null, not a list of tokens"),
        ({"text": "Ada", "tokens": ["Ada"], "ner_tags": None}, "'ner_tags' is null, not a list of tags"),
    ],
)
def test_what_is_wrong_with_the_first_record_is_said(refused, record, problem):
    error = refused([record, {"tokens": ["Ada"], "ner_tags": ["O"]}])
    assert (error.line, error.problem) == (1, problem)


def test_offsets_may_be_strings_or_floats(read):
    for start, end in (("0", "3"), (0.0, 3.0)):
        assert read([{"text": "Ada slept", "label": [[start, end, "PER"]]}])[0].tags == ["B-PER", "O"]


def test_prediction_yields_a_sentence_for_each_line(read, refused):
    text = '{"tokens": ["a", "b"]}\n\n{"text": "It\'s 5."}\n{"tokens": [], "tags": []}\n{"text": ""}\n   \n{}'
    sentences = read(text, tagged=False)
    assert [s.tokens for s in sentences] == [["a", "b"], [], ["It", "'s", "5", "."], [], [], [], []]
    assert [s.line for s in sentences] == [1, 2, 3, 4, 5, 6, 7]
    assert sentences[2].text == "It's 5."
    assert all(s.tags is None for s in sentences)
    assert refused('{"text": "a"}\n{"txt": "b"}', tagged=False).line == 2
    assert [s.tokens for s in read('{"body": "b c"}', tagged=False, text_column_name="body")] == [["b", "c"]]


@pytest.mark.parametrize(
    ("record", "part"),
    [
        ({"text": "abc", "label": [[0, 4, "X"]]}, "leaves the text of 3 characters"),
        ({"text": "abc", "label": [[2, 1, "X"]]}, "leaves the text"),
        ({"text": "abc", "label": [[-1, 1, "X"]]}, "leaves the text"),
        ({"text": "abc", "label": [[0, "one", "X"]]}, "a span is a list of 3"),
        ({"text": "abc", "label": [[0, 1.5, "X"]]}, "a span is a list of 3"),
        ({"text": "abc", "label": [[0, 1]]}, "a span is a list of 2"),
        ({"text": "abc", "label": [[0, True, "X"]]}, "a span is"),
        ({"text": "abc", "label": [[0, 1, " "]]}, "the entity type ' '"),
        ({"text": "abc", "label": [{"start": 0, "end": 1}]}, "a span is an object with 'start', 'end'"),
        ({"text": "abc", "label": "X"}, "not a list"),
        ({"text": "abc"}, "there are no spans"),
        ({"text": "abc", "entities": [{"start": 0, "end": 1, "label": "X", "text": "b"}]}, "the file quotes 'b'"),
        ({"text": 5, "label": []}, "there is no text"),
    ],
)
def test_broken_span_records(refused, record, part):
    error = refused([{"text": "ok", "entities" if "entities" in record else "label": []}, record])
    assert part in error.problem
    assert error.line == 2


@pytest.mark.parametrize(
    ("spans", "tags", "changed"),
    [
        ([(0, 3, "A")], ["B-A", "O", "O", "O"], {}),
        ([(0, 7, "A")], ["B-A", "I-A", "O", "O"], {}),
        ([(0, 4, "A")], ["B-A", "O", "O", "O"], {}),  # the space at its end does not count
        ([(1, 3, "A")], ["B-A", "O", "O", "O"], {"expanded": 1}),
        ([(0, 2, "A"), (2, 3, "A")], ["B-A", "O", "O", "O"], {"expanded": 1, "overlapping": 1}),
        ([(0, 7, "A"), (4, 7, "B")], ["B-A", "I-A", "O", "O"], {"nested": 1}),
        ([(4, 7, "B"), (0, 7, "A"), (0, 3, "C")], ["B-A", "I-A", "O", "O"], {"nested": 2}),
        ([(0, 7, "A"), (4, 12, "B")], ["O", "B-B", "I-B", "I-B"], {"overlapping": 1}),
        ([(0, 3, "A"), (0, 3, "B")], ["B-A", "O", "O", "O"], {"nested": 1}),
        ([(0, 3, "A"), (0, 3, "A")], ["B-A", "O", "O", "O"], {"duplicate": 1}),
        ([(0, 3, "A"), (4, 7, "A")], ["B-A", "B-A", "O", "O"], {}),
        ([(3, 4, "A"), (5, 5, "A")], ["O", "O", "O", "O"], {"without_word": 2}),
        ([], ["O", "O", "O", "O"], {}),
    ],
)
def test_the_policy_for_spans_and_words(spans, tags, changed):
    text, counts = "one two six.", SpanCounts()
    assert tag_words(text, split_words(text), [CharSpan(*span) for span in spans], counts) == tags
    expected = SpanCounts(spans=len(spans), kept=sum(tag[0] == "B" for tag in tags), **changed)
    assert counts == expected
    assert counts.is_clean == (not changed)
    assert all(f"{name.replace('_', ' ')}: {count}" in counts.summary() for name, count in changed.items())


@given(st.text(max_size=40), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6))
def test_every_span_is_kept_or_counted(text, pairs):
    spans = [CharSpan(*sorted((min(a, len(text)), min(b, len(text)))), "XY"[a % 2]) for a, b in pairs]
    counts, offsets = SpanCounts(), split_words(text)
    tags = tag_words(text, offsets, spans, counts)
    found = tags_to_spans(tags)
    assert counts.kept == len(found)
    dropped = counts.nested + counts.overlapping + counts.duplicate + counts.without_word
    assert counts.spans == len(spans) == counts.kept + dropped
    for start, end, entity_type in found:
        covered = (offsets[start][0], offsets[end - 1][1])
        assert any(s.entity_type == entity_type and s.start < covered[1] and covered[0] < s.end for s in spans)


def test_word_places():
    assert locate_words([], " ") == []
    assert locate_words(["a"], "b a") is None
    assert locate_words(["", "a"], "a") is None


@given(st.lists(st.text(min_size=1).filter(lambda word: word.strip() == word != ""), max_size=6))
def test_located_words_are_the_words(tokens):
    text = " ".join(tokens)
    offsets = locate_words(tokens, text)
    assert offsets is not None
    assert [text[start:end] for start, end in offsets] == tokens


@pytest.mark.parametrize("key", ["entities", "ner_tags_str", "iob_tags", "targets"])
@pytest.mark.parametrize("more", [{}, {"text": "Ada sat", "offsets": [[0, 3], [4, 7]]}])
def test_tags_are_found_under_any_key(read, key, more):
    records = [{"tokens": ["Ada", "sat"], key: tags, **more} for tags in (["O", "O"], ["B-PER", "O"])]
    assert [s.tags for s in read(records)] == [["O", "O"], ["B-PER", "O"]]
    [sentence] = read([{"tokens": ["A", "d", "a", "."], key: ["B-X", "M-X", "E-X", "O"]}])
    assert sentence.tags == ["B-X", "M-X", "E-X", "O"]  # as BMES, which is said later


@pytest.mark.parametrize(
    "places", [{"span": [19, 26]}, {"pos": [19, 26]}, {"indices": [19, 26]}, {"start_idx": 19, "end_idx": 25}]
)
@pytest.mark.parametrize("more", [{"name": "Lincoln"}, {"mention": "Lincoln"}, {"entity": "Lincoln"}])
def test_places_decide_where_a_name_occurs_twice(read, places, more):
    """As Stockmark's Wikipedia, InstructUIE and CMeEE (ends inclusive) write them."""
    [sentence] = read([{"text": "Lincoln met Ada in Lincoln.", "entities": [{**places, **more, "type": "LOC"}]}])
    assert sentence.tags == ["O", "O", "O", "O", "B-LOC", "O"]


def test_a_name_of_another_length_is_no_quote(read, refused):
    span = {"start_pos": 12, "end_pos": 15, "name": "Ada_Lovelace", "type": "PER"}
    assert read([{"text": "Lincoln met Ada", "entities": [span]}])[0].tags == ["O", "O", "B-PER"]
    for pieces in ([[0, 3]], [[0, 3], [4, 7]], [0]):
        span = {"offsets": pieces, "type": "PER"}
        assert "a span is an object" in refused([{"text": "Ada and Bo", "entities": [span]}]).problem


@pytest.mark.parametrize("key", ["entity_index", "position", "offsets"])
def test_places_may_be_an_object(read, key):
    spans = [{key: {"begin": 0, "end": 3}, "entity_type": "PER", "entity": "Ada"}]
    assert read([{"text": "Ada sat", "spans": spans}])[0].tags == ["B-PER", "O"]
