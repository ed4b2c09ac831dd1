"""What corpora, libraries and clouds write, tables as pandas writes them, and marks in running text."""

import contextlib
import json

import pandas
import pytest
from conftest import words_and_tags

from ner_module.data.formats import DataError, ReadingOptions, read_sentences
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.tagging import tags_to_spans

TEXT = "Ada Lovelace met the mayor of Lincoln."
WORDS = ["Ada", "Lovelace", "met", "the", "mayor", "of", "Lincoln", "."]
TAGS = ["B-PER", "I-PER", "O", "O", "O", "O", "B-LOC", "O"]
FOUND = [("PER", "Ada Lovelace"), ("LOC", "Lincoln")]
BYRON = ["Byron", "sat", "."]
SPANS = [{"start": 0, "end": 12, "label": "PER"}, {"start": 30, "end": 37, "label": "LOC"}]
PLACES = [
    {"token_start": 0, "start": 0, "end": 12, "entityLabel": "PER"},
    {"start": 30, "end": 37, "entityLabel": "LOC"},
]
SPACY = [{"id": i, "start": TEXT.index(word), "end": TEXT.index(word) + len(word)} for i, word in enumerate(WORDS)]


def entities(sentences):
    spans = [(s, span) for s in sentences for span in tags_to_spans(s.tags)]
    return [(span.entity_type, " ".join(s.tokens[span.start : span.end])) for s, span in spans]


RECORDS = {
    "Ground Truth": {
        "source": TEXT,
        "job": {"annotations": {"entities": [
            {"startOffset": each["start"], "endOffset": each["end"], "label": each["label"]} for each in SPANS
        ], "labels": [{"label": "PER"}]}},
        "job-metadata": {"type": "groundtruth/text-span", "entities": [{"confidence": 0.1}]},
    },
    "Vertex AI": {"textSegmentAnnotations": [
        {"endOffset": 12, "displayName": "PER"}, {"startOffset": 30, "endOffset": 37, "displayName": "LOC"},
    ], "textContent": TEXT},
    "DyGIE": {"doc_key": "d", "sentences": [BYRON, WORDS], "ner": [[], [[3, 4, "PER"], [9, 9, "LOC", 0.5]]]},
    "W2NER": {"sentence": WORDS, "ner": [{"index": [0, 1], "type": "PER"}, {"index": [6], "type": "LOC"}], "word": []},
    "Snips": {"data": [
        {"text": "Ada Lovelace", "entity": "PER"}, {"text": " met the mayor of "}, {"text": "Lincoln", "entity": "LOC"},
    ]},
    "Snips, a whole file": {"Meet": [{"data": [{"text": "Ada Lovelace", "entity": "PER"}]},
                                     {"data": [{"text": "Who?"}]}, {"data": [{"text": "Lincoln", "entity": "LOC"}]}]},
    "spaCy, one group of spans": {"text": TEXT, "ents": [], "spans": {"sc": SPANS, "b": []}, "tokens": SPACY},
    "spaCy, no group of spans": {"text": TEXT, "ents": SPANS, "spans": {}, "tokens": SPACY},
    "words with their tags": [list(pair) for pair in zip(WORDS, TAGS, strict=True)],
    "an empty key of spans": {"text": TEXT, "spans": [], "entities": SPANS, "label": "news"},
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_records_of_corpora_and_clouds(read, name):
    counts = SpanCounts()
    sentences = read(json.dumps([RECORDS[name]]), "x.json", span_counts=counts)
    assert entities(sentences) == FOUND
    assert counts.is_clean
    assert counts.kept in (0, 2)
    if name in ("Snips", "Ground Truth"):  # no words or spans of their own: texts to predict, too
        assert len(read(json.dumps([RECORDS[name]]), "x.json", tagged=False)) == 1


def test_spans_of_w2ner_with_gaps_are_counted(read):
    counts = SpanCounts()
    read(
        [{"sentence": WORDS, "ner": [{"index": [0, 2], "type": "PER"}, {"index": [6], "type": "LOC"}]}],
        span_counts=counts,
    )
    assert (counts.spans, counts.kept, counts.discontinuous) == (2, 1, 1)


@pytest.mark.parametrize(
    "columns",
    [
        {"tokens": [WORDS, BYRON], "tags": [TAGS, ["B-PER", "O", "O"]]},
        {"text": [TEXT, "Byron sat."], "label": [[[0, 12, "PER"], [30, 37, "LOC"]], [[0, 5, "PER"]]]},
    ],
)
@pytest.mark.parametrize("orient", ["records", "index", "columns", "split", "table"])
def test_pandas_in_every_orientation(read, columns, orient):
    table = pandas.DataFrame(columns).to_json(orient=orient)
    assert entities(read(table, "x.json")) == [*FOUND, ("PER", "Byron")]


def test_what_ground_truth_labelled_by_machine_is_left_out(read):
    record, counts = RECORDS["Ground Truth"], SpanCounts()
    machine = {**record, "job-metadata": {"human-annotated": "no"}}
    assert entities(read([machine, record], span_counts=counts)) == FOUND
    assert counts.left_out == {"machine predictions": 1}


@pytest.mark.parametrize(
    ("record", "part"),
    [
        ({"text": TEXT, "spans": {"a": SPANS, "b": SPANS}, "tokens": SPACY}, "several span groups mark text (a, b)"),
        ({"text": TEXT, "spans": SPANS, "ents": SPANS, "tokens": SPACY}, "there are spans in 'spans' and in 'ents'"),
        ({"text": TEXT, "entities": SPANS, "labels": [[0, 3, "X"]]}, "there are spans in 'entities' and in 'labels'"),
        ({"columns": ["tokens"], "data": [1]}, "neither tokens with tags nor text"),
        ({"columns": 1, "data": {"a": 1}}, "neither tokens with tags nor text"),
        ({"0": {}}, "neither tokens with tags nor text"),
    ],
)
def test_what_is_not_chosen_or_read_is_said(refused, record, part):
    assert part in refused([record]).problem


def test_a_key_of_spans_that_others_lack_is_chosen(read, refused):
    records = [{"text": TEXT, "label": SPANS, "spans": []}, {"text": TEXT, "label": [], "spans": SPANS}]
    assert refused(records).line == 2
    assert "before in 'label'" in refused(records).problem
    assert entities(read(records, label_column_name="spans")) == FOUND


MARKS = [
    "<{0}>{1}</{0}>",
    '<ENAMEX TYPE="{0}">{1}</ENAMEX>',
    "<START:{0}> {1} <END>",
    '<e id="1" type="{0}" x="y">{1}</e>',
]


@pytest.mark.parametrize("mark", MARKS)
def test_marks_in_running_text(tmp_path, mark):
    text = f"{mark.format('PER', 'Ada Lovelace')} met\nNobody came\n\n{mark.format('LOC', 'Lincoln')} slept\n"
    (tmp_path / "x.txt").write_text(text)
    assert entities(read_sentences(tmp_path / "x.txt")) == FOUND
    raw = list(read_sentences(tmp_path / "x.txt", ReadingOptions(tagged=False)))
    assert [sentence.text for sentence in raw] == text.split("\n")[:-1]
    for broken in (text.replace("came", "<B>"), "\n".join([text, "<A>Ada <B>Byron</B></A>"])):
        (tmp_path / "x.txt").write_text(broken)
        with pytest.raises(DataError, match=r"the mark <[AB]> has no partner, or is nested"):
            list(read_sentences(tmp_path / "x.txt"))


@pytest.mark.parametrize("separator", ["\t", " "])
def test_tags_beside_marks_stay_columns(read, separator):
    text = "<b>Ada</b> B-PER\n<b>sat</b> O\n\n".replace(" ", separator)
    assert words_and_tags(read(text, "x.conll")) == [(["<b>Ada</b>", "<b>sat</b>"], ["B-PER", "O"])]


@pytest.mark.parametrize("piece", ["<a>", "<a type='x' ", "<START:a>", "<a type='", " type='x' ", "<a>b"])
@pytest.mark.timeout(20)
def test_marks_that_never_close_take_no_long(tmp_path, piece):
    (tmp_path / "x.txt").write_text("<PER>Ada</PER> sat\n<a " + piece * 30_000 + "\n")
    with contextlib.suppress(DataError):
        list(read_sentences(tmp_path / "x.txt"))


def test_elements_of_html_are_no_types(refused):
    for name in ("p", "span", "H1", "title"):
        text = f"<{name}>Ada sat</{name}>\n<{name}>Bo ran</{name}>\n"
        assert "this looks like raw text" in refused(text, "x.txt").problem


def test_sentences_as_lists_of_words_are_read(tmp_path):
    """Stanza's JSON: a list of sentences, each a list of words."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps([[{"text": w, "ner": t} for w, t in zip(WORDS, TAGS, strict=True)]] * 2, indent=1))
    assert words_and_tags(read_sentences(path)) == [(WORDS, TAGS)] * 2
