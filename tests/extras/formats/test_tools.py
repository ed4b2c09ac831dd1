"""What annotation tools export, as they export it; what is no annotator's judgement of a whole text is left out."""

import json
import logging

import pytest
from conftest import words_and_tags
from tool_exports import BLOCKS, TEXTS, WORDS, write_all

from ner_module.data.formats import ReadingOptions, read_sentences
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.sentence import Sentence
from ner_module.data.words import split_words

TEXT = "Ann Lee went to New York-based ACME."
EXPECTED = (
    ["Ann", "Lee", "went", "to", "New", "York-based", "ACME", "."],
    ["B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC", "B-ORG", "O"],
)
SPANS = [(0, 7, "PER"), (16, 30, "LOC"), (31, 35, "ORG")]


def label_studio(start, end, label, text=TEXT, **more):
    value = {"start": start, "end": end, "text": text[start:end], "labels": [label]}
    return {"value": value, "from_name": "label", "to_name": "text", "type": "labels", **more}


DIALECTS = {
    "doccano": {"id": 1, "text": TEXT, "label": [list(span) for span in SPANS], "Comments": []},
    "doccano, older": {"id": 1, "text": TEXT, "meta": {}, "labels": [list(span) for span in SPANS]},
    "doccano, relations": {
        "text": TEXT,
        "entities": [{"id": i, "label": t, "start_offset": a, "end_offset": b} for i, (a, b, t) in enumerate(SPANS)],
        "relations": [],
    },
    "label studio": {
        "id": 1,
        "data": {"text": TEXT},
        "annotations": [
            {"was_cancelled": True, "result": []},
            {
                "was_cancelled": False,
                "result": [
                    *(label_studio(*span) for span in SPANS),
                    {"type": "relation", "from_id": "a", "to_id": "b"},
                ],
            },
        ],
    },
    "label studio, JSON-MIN": {
        "text": TEXT,
        "id": 1,
        "annotation_id": 4,
        "my_labels": [{"start": a, "end": b, "text": TEXT[a:b], "labels": [t]} for a, b, t in SPANS],
    },
    "prodigy": {
        "text": TEXT,
        "_input_hash": 1,
        "spans": [{"start": a, "end": b, "label": t, "token_start": 0, "token_end": 1} for a, b, t in SPANS],
        "tokens": [{"text": TEXT[a:b], "start": a, "end": b, "id": i} for i, (a, b) in enumerate(split_words(TEXT))],
        "answer": "accept",
    },
    "this project's predictions": {
        "text": TEXT,
        "entities": [{"type": t, "text": TEXT[a:b], "start": a, "end": b, "score": 0.9} for a, b, t in SPANS],
    },
}


@pytest.mark.parametrize("record", DIALECTS.values(), ids=DIALECTS)
def test_dialects_of_the_annotation_tools(read, record):
    empty = {key: [] if isinstance(value, list) and key != "tokens" else value for key, value in record.items()}
    if "data" in record:
        empty["annotations"] = [{"result": []}]
    for content, name in (([record, empty], "x.jsonl"), (json.dumps([record, empty]), "x.json")):
        counts = SpanCounts()
        sentences = read(content, name, span_counts=counts)
        assert words_and_tags(sentences) == [EXPECTED, (EXPECTED[0], ["O"] * 8)]
        assert sentences[0].text == TEXT
        assert counts.is_clean
        assert (counts.spans, counts.kept) == (3, 3)
        assert words_and_tags(read(content, name, format="spans")) == words_and_tags(sentences)


def test_prodigy_keeps_its_own_words_and_only_accepted_texts(read, refused, caplog):
    tokens = [{"text": "York", "start": 0, "end": 4}, {"text": "-based", "start": 4, "end": 10}]
    record = {"text": "York-based", "tokens": tokens, "spans": [{"start": 0, "end": 4, "label": "LOC"}]}
    with caplog.at_level(logging.WARNING):
        sentences = read([{**record, "answer": answer} for answer in ("accept", "reject", "ignore")])
    assert words_and_tags(sentences) == [(["York", "-based"], ["B-LOC", "O"])]
    assert "rejected texts: 2" in caplog.text
    assert read([{"text": "ab", "answer": "accept"}])[0].tags == ["O"]
    assert "leave out" in refused([{**record, "tokens": tokens[:1]}]).problem
    assert "without a place" in refused([{**record, "tokens": [tokens[0], {"text": "-based"}]}]).problem


def test_label_studio_counts_emoji_as_two(read, refused):
    text = "😀😀 Ann"
    value = {"start": 5, "end": 8, "text": "Ann", "labels": ["PER"]}
    task = {"data": {"text": text}, "annotations": [{"result": [{"type": "labels", "value": value}]}]}
    assert words_and_tags(read([task])) == [(["😀", "😀", "Ann"], ["O", "O", "B-PER"])]
    value["text"] = "Bob"
    assert "leaves the text" in refused([task]).problem
    value.update(start=3, end=6)
    assert "do not belong together" in refused([task]).advice


def test_label_studio_skips_what_nobody_annotated_and_counts_it(read):
    task = {"data": {"text": "a b"}, "annotations": [{"result": [label_studio(0, 1, "X", "a b")]}] * 2}
    counts = SpanCounts()
    sentences = read([task, {**task, "annotations": []}], span_counts=counts)
    assert len(sentences) == 1
    assert counts.left_out == {"texts that nobody annotated": 1, "further annotations": 1}
    assert not counts.is_clean


def test_predictions_on_tokens_can_be_read(read, refused):
    entities = [{"type": "PER", "text": "Ann Lee", "start": 0, "end": 2, "score": 0.9}]
    records = [{"tokens": ["Ann", "Lee", "sat"], "entities": entities}, {"tokens": ["x"], "entities": []}]
    assert words_and_tags(read(records)) == [(["Ann", "Lee", "sat"], ["B-PER", "I-PER", "O"]), (["x"], ["O"])]
    assert words_and_tags(read(records[::-1]))[1][1] == ["B-PER", "I-PER", "O"]
    for wrong in ([*entities, *entities], [{**entities[0], "end": 4}], [{**entities[0], "start": -1}]):
        assert "do not fit the 3 tokens" in refused([{**records[0], "entities": wrong}]).problem


SENTENCES = [
    Sentence(["Ann", "Lee", "went", "to", "New", "York", "."], ["B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC", "O"]),
    Sentence(["Nobody", "came"], ["O", "O"]),
    Sentence(["Zoë", "😀", "Ann", "Ann"], ["B-PER", "O", "B-PER", "B-PER"]),
]


@pytest.mark.parametrize("name", [*TEXTS, *WORDS, *BLOCKS, "ner annotator", "rasa file", "bioc", "pubtator"])
@pytest.mark.parametrize("first", [0, 1])
def test_every_export_is_the_same_data(tmp_path, name, first):
    path = write_all(tmp_path, [*SENTENCES[first:], *SENTENCES[:first]])[name]
    counts = SpanCounts()
    found = list(read_sentences(path, span_counts=counts))
    assert words_and_tags(found) == words_and_tags([*SENTENCES[first:], *SENTENCES[:first]])
    has_predictions = name in ("label studio", "hypertext", "argilla")
    assert counts.left_out == ({"machine predictions": 3} if has_predictions else {})
    assert counts.kept == counts.spans
    unannotated = read_sentences(path, ReadingOptions(tagged=False))
    assert [(s.tokens, s.tags) for s in unannotated] == [(s.tokens, None) for s in found]


@pytest.mark.parametrize(
    "more",
    [
        {"intent": "play"},
        {"prediction": [["PER", 0, 3]], "status": "Default"},
        {"answer": "accept"},
        {"annotation_id": 1, "ids": [1, 2]},
        {"label": {"sentiment": "good"}},
    ],
)
def test_words_with_tags_are_read_whatever_stands_beside_them(read, more):
    record = {"text": "Ada sat", "tokens": ["Ada", "sat"], "ner_tags": ["B-PER", "O"]}
    assert words_and_tags(read([{**record, **more}])) == [(["Ada", "sat"], ["B-PER", "O"])]


def test_words_with_tags_that_were_rejected_are_left_out(read):
    record = {"tokens": ["Ada", "sat"], "ner_tags": ["B-PER", "O"]}
    counts = SpanCounts()
    assert len(read([{**record, "answer": answer} for answer in ("accept", "reject")], span_counts=counts)) == 1
    assert counts.left_out == {"rejected texts": 1}


TEXT_2 = "Ada met Bob."


@pytest.mark.parametrize(
    ("record", "left_out"),
    [
        (
            {"prediction": [["PER", 0, 3]], "annotation": None, "status": "Default"},
            "texts whose annotation is not submitted",
        ),
        ({"prediction": [["PER", 0, 3]], "annotation": [["PER", 0, 3]], "status": "Discarded"}, "rejected texts"),
        ({"prediction": [["PER", 0, 3]]}, "texts that nobody annotated"),
        ({"spans": [{"start": 0, "end": 3, "label": "PER"}], "answer": "ignore"}, "rejected texts"),
        ({"spans": [{"start": 0, "end": 3, "label": "PER"}], "answer": "reject", "_is_binary": True}, "rejected texts"),
        ({"data": {"text": "x"}, "predictions": [{"result": []}]}, "texts that nobody annotated"),
        ({"fields": {"text": "x"}, "responses": {}, "suggestions": {"a": {}}}, "texts that nobody annotated"),
        (
            {"fields": {"text": "x"}, "responses": {"a": [{"value": [], "status": "draft"}]}},
            "texts whose annotation is not submitted",
        ),
        (
            {
                "fields": {"text": "x"},
                "responses": {"a": [{"value": [], "status": "submitted"}]},
                "status": "discarded",
            },
            "rejected texts",
        ),
    ],
)
def test_what_nobody_judged_is_never_gold(read, refused, record, left_out):
    record = record if {"data", "fields"} & record.keys() else {"text": TEXT_2, **record}
    counts = SpanCounts()
    good = {"text": TEXT_2, "annotation": [["PER", 0, 3], ["PER", 8, 11]], "status": "Validated"}
    assert [s.tags for s in read([record, good], span_counts=counts)] == [["B-PER", "O", "B-PER", "O"]]
    assert counts.left_out[left_out] == 1
    assert left_out in refused([record]).problem
    assert len(read([record], tagged=False)) == 1
