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
from ner_module.tagging import tags_to_spans

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


def test_label_studio_prefers_the_ground_truth_and_refuses_marks_of_no_type(read, refused):
    done = [{"result": [label_studio(0, 1, name, "a b")], "ground_truth": name == "Y"} for name in "XYZ"]
    assert read([{"data": {"text": "a b"}, "annotations": done}])[0].tags == ["B-Y", "O"]
    done[1]["result"][0]["value"]["labels"] = []
    assert "a span is an object with" in refused([{"data": {"text": "a b"}, "annotations": done}]).problem


def test_predictions_on_tokens_can_be_read(read, refused):
    entities = [{"type": "PER", "text": "Ann Lee", "start": 0, "end": 2, "score": 0.9}]
    records = [{"tokens": ["Ann", "Lee", "sat"], "entities": entities}, {"tokens": ["x"], "entities": []}]
    assert words_and_tags(read(records)) == [(["Ann", "Lee", "sat"], ["B-PER", "I-PER", "O"]), (["x"], ["O"])]
    assert words_and_tags(read(records[::-1]))[1][1] == ["B-PER", "I-PER", "O"]
    assert read([{**records[0], "entities": [*entities, *entities]}])[0].tags == ["B-PER", "I-PER", "O"]
    for wrong in ([{**entities[0], "end": 4}], [{**entities[0], "start": -1}]):
        assert "do not fit the 3 tokens" in refused([{**records[0], "entities": wrong}]).problem


SENTENCES = [
    Sentence(["Ann", "Lee", "went", "to", "New", "York", "."], ["B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC", "O"]),
    Sentence(["Nobody", "came"], ["O", "O"]),
    Sentence(["Zoë", "😀", "Ann", "Ann"], ["B-PER", "O", "B-PER", "B-PER"]),
]


@pytest.mark.parametrize("name", [*TEXTS, *WORDS, *BLOCKS, "ner annotator", "rasa file", "pandas", "bioc", "pubtator"])
@pytest.mark.parametrize("first", [0, 1])
def test_every_export_is_the_same_data(tmp_path, name, first):
    path = write_all(tmp_path, [*SENTENCES[first:], *SENTENCES[:first]])[name]
    counts = SpanCounts()
    found = list(read_sentences(path, span_counts=counts))
    assert words_and_tags(found) == words_and_tags([*SENTENCES[first:], *SENTENCES[:first]])
    has_predictions = name in ("label studio", "hypertext", "argilla")
    assert counts.left_out == ({"machine predictions": 3} if has_predictions else {})
    assert counts.kept == counts.spans
    if name == "markup":  # without tags, marks are words
        return
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


ADA = "Ada Lovelace met the mayor of Lincoln."
ADA_FOUND = [("PER", "Ada Lovelace"), ("LOC", "Lincoln")]
PLACED = [{"start": 0, "end": 12, "label": "PER"}, {"start": 30, "end": 37, "label": "LOC"}]
ADA_WORDS = ["Ada", "Lovelace", "met", "the", "mayor", "of", "Lincoln", "."]


def entities(sentences):
    spans = [(s, span) for s in sentences for span in tags_to_spans(s.tags, "bioes" if "U-LOC" in s.tags else "iob2")]
    return [(span.entity_type, " ".join(s.tokens[span.start : span.end])) for s, span in spans]


@pytest.mark.parametrize(
    ("record", "left_out"),
    [
        (  # Argilla 2, to_list(flatten=True) and to_datasets
            {
                "status": "completed",
                "_server_id": "x",
                "text": ADA,
                "ner.responses": [[PLACED[0]], PLACED],
                "ner.responses.users": ["u", "v"],
                "ner.responses.status": ["draft", None],
                "ner.suggestion": [{"start": 0, "end": 3, "label": "PER"}],
                "ner.suggestion.score": None,
            },
            {"machine predictions": 1},
        ),
        (  # spaCy 2, `spacy convert` and `spacy train`
            {
                "id": 0,
                "paragraphs": [
                    {"raw": ADA, "sentences": [{"tokens": [
                        {"orth": word, "ner": tag}
                        for word, tag in zip(ADA_WORDS, ["B-PER", "L-PER", *"OOOO", "U-LOC", "O"], strict=True)
                    ]}, {"tokens": [{"orth": "Hi", "ner": "-"}, {"orth": "Bo"}]}]},
                ],
            },
            {"texts that nobody annotated": 1},
        ),
        *(
            ({"text": ADA, key: [{quote: "Ada Lovelace", name: "PER"}, {quote: "Lincoln", name: "LOC"}]}, {})
            for key, quote, name in [("ents", "name", "type"), ("spans", "entity", "label"), ("ner", "word", "entity")]
        ),
        ({"sentence": ADA, "entities": {"LOC": ["Lincoln"], "PER": ["Ada Lovelace"], "ORG": []}}, {}),
        ({"PubTator3": [{"id": "1", "passages": [{"offset": 5, "text": ADA, "annotations": [
            {"infons": {"type": each["label"]}, "locations": [{"offset": 5 + each["start"],
             "length": each["end"] - each["start"]}]} for each in PLACED]}]}]}, {}),
    ],
)  # fmt: skip
def test_more_shapes_of_tools(read, record, left_out):
    for content, name in (([record], "x.jsonl"), (json.dumps([record]), "x.json")):
        counts = SpanCounts()
        assert entities(read(content, name, span_counts=counts)) == ADA_FOUND
        assert counts.left_out == left_out
        assert counts.spans == counts.kept


def test_a_class_of_a_text_is_no_list_of_spans(refused):
    record = {"text": ADA, "label": "NEWS", "answer": "accept", "_task_hash": 1}
    assert "its list of spans, is none" in refused([record]).problem


def test_binary_judgements_of_a_text_are_one_wherever_they_stand(read):
    binary = {"text": ADA, "_input_hash": 1, "_view_id": "ner", "answer": "accept"}
    records = [
        {**binary, "spans": PLACED[:1]},
        {"text": "Bo sat", "_input_hash": 2, "_view_id": "ner_manual", "answer": "accept", "spans": []},
        {**binary, "spans": PLACED[1:], "_is_binary": True},
        {**binary, "spans": [{"start": 21, "end": 26, "label": "PER"}], "answer": "reject"},
    ]
    counts = SpanCounts()
    sentences = read(records, span_counts=counts)
    assert entities(sentences) == ADA_FOUND
    assert sorted(s.tokens[0] for s in sentences) == ["Ada", "Bo"]
    assert counts.left_out == {"binary judgements, which say nothing of other words": 3}
    assert [s.line for s in read(records, tagged=False)] == [1, 2, 3, 4]  # predictions follow the lines


def test_spans_of_words_that_overlap_are_treated_as_those_of_characters_are(read, refused):
    record = {"tokenized_text": ["Ada", "Lovelace", "met", "Bo"], "ner": [[1, 1, "X"], [0, 1, "PER"], [3, 3, "PER"]]}
    counts = SpanCounts()
    [sentence] = read([record], span_counts=counts)
    assert sentence.tags == ["B-PER", "I-PER", "O", "B-PER"]
    assert (counts.spans, counts.kept, counts.nested) == (3, 2, 1)
    assert "do not fit the 4 tokens" in refused([{**record, "ner": [[3, 4, "PER"]]}]).problem


def test_labels_as_an_object(read, refused):
    assert entities(read([{"text": ADA, "label": {}}, {"text": ADA, "label": {"PER": {"Ada": [[0, 2]]}}}])) == [
        ("PER", "Ada")
    ]
    assert entities(read([{"text": ADA, "label": {"PER": ["Ada"]}}])) == [("PER", "Ada")]
    assert "looks like CLUENER" in refused([{"text": ADA, "label": {"PER": "Ada"}}]).problem
    unknown = refused(json.dumps({"a": [{"marks": []}], "b": [1]}), "x.json")
    assert "the keys are 'a', 'b'" in unknown.advice
    assert 'or write {"tokens": […], "tags": […]}' in unknown.advice


@pytest.mark.parametrize(
    "wrapped",
    [
        {"data": [{"tokens": ADA_WORDS, "tags": ["B-PER", "I-PER", "O", "O", "O", "O", "B-LOC", "O"]}]},
        {"schema": {"tags": []}, "examples": [{"content": ADA, "annotations": [  # LightTag
            {"start": each["start"], "end": each["end"], "tag": each["label"], "value": "x"} for each in PLACED]}]},
        {"classes": ["PER"], "annotations": [None, [ADA, {"entities": [[0, 12, "PER"], [30, 37, "LOC"]]}]]},
        {"annotations": [[ADA, {"entities": [[0, 12, "PER"], [30, 37, "LOC"]]}]]},
        {"text": ADA, "annotations": {"entities": [[0, 12, "PER"], [30, 37, "LOC"]]}},
    ],
)  # fmt: skip
def test_the_records_of_a_file_may_be_in_an_object(read, wrapped):
    counts = SpanCounts()
    assert entities(read(json.dumps(wrapped), "x.json", span_counts=counts)) == ADA_FOUND
    assert counts.left_out == ({"texts that nobody annotated": 1} if "classes" in wrapped else {})


def test_spans_beside_a_text_of_another_name_are_no_records(refused):
    error = refused([{"review": ADA, "marks": [{"text": "Ada", "start": 0, "end": 3, "label": "PER"}]}])
    assert "the keys are 'review', 'marks'" in error.advice


@pytest.mark.parametrize(
    "record",
    [
        ["Ada", {"entities": None}],
        {"text": "Ada", "intent": "x", "entities": 5},
        {"text": "Ada", "prediction": None, "annotation": 5, "status": "Validated"},
        {"text": ["Ada"], "label": {"PER": {"Ada": [[0, 2]]}}},
        {"passages": [{"text": ["Ada"], "offsets": [[0, 3]]}]},
    ],
)
def test_what_only_looks_like_a_tool_is_an_error(refused, record):
    assert "is not what that writes" in refused([record]).problem


@pytest.mark.parametrize(
    ("record", "part"),
    [
        ({"text": "Ada", "annotations": [{"label": 1, "start_offset": 0, "end_offset": 3}]}, "export text labels"),
        ({"tokens": [["Ada"], ["Bo"]], "ner_tags": [["O"], ["O"]]}, "'tokens' holds a list of 1 in place of a word"),
        ({"tokens": [{"text": "Ada", "tag": "O"}]}, "holds an object with 'text', 'tag' in place of a word"),
    ],
)
def test_what_has_the_wrong_shape_is_said(refused, record, part):
    assert part in str(refused([record]))
