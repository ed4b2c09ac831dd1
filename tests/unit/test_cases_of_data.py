"""Small files as people have them, in `tests/cases/data`: what each holds was worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from ner_module.data.formats import DataError, ReadingOptions, read_sentences
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.tagging import tags_to_spans

CASES = Path(__file__).parents[1] / "cases" / "data"
ADA = [[("PER", "Ada Lovelace"), ("LOC", "Lincoln")]]
CHINESE = [[("name", "叶 先 生"), ("organization", "北 京 大 学")]]
A_AND_B = [[("PER", "叶 先 生"), ("ORG", "北 京 大 学")], [("PER", "A"), ("LOC", "B")]]
EMOJI = [[("PER", "Ada"), ("LOC", "Lincoln")]]
ZOE = [[("PER", "Zoë"), ("PER", "Ada"), ("LOC", "Köln")]]

RECORDS = {  # (file, options that are not the usual ones): the entities of each sentence, and what is left out
    ("09-label-studio-hypertext.json",): (ADA, {}),
    ("11-char-spans-beside-tokens.jsonl",): ([[("PER", "I"), ("CONJ", "and")]], {}),
    ("15a-offsets-as-strings.jsonl",): ([ADA[0][:1]], {}),
    ("15b-offsets-as-floats.jsonl",): ([ADA[0][:1]], {}),
    ("16a-spacy-train-data.json",): ([*ADA, []], {}),
    ("16b-ner-annotator.json",): (ADA, {"texts that nobody annotated": 1}),
    ("16c-dataturks.jsonl",): (ADA, {}),
    ("16d-gliner.json",): (ADA, {}),
    ("16e-cluener.json",): (CHINESE, {}),
    ("16f-rasa-examples.json",): (ADA, {}),
    ("18a-ends-inclusive.jsonl", "span_offsets", "inclusive"): (A_AND_B, {}),
    ("18b-starts-from-one.jsonl", "span_offsets", "from_one"): ([*ADA, [("PER", "Ada"), ("PER", "Byron")]], {}),
    ("18c-utf16-offsets.jsonl", "span_offsets", "utf16"): (EMOJI, {}),
    ("18d-byte-offsets.jsonl", "span_offsets", "bytes"): (ZOE, {}),
    ("24a-label-studio-two-label-sets.json", "label_column_name", "ner"): (ADA, {}),
    ("24b-label-studio-other-text-key.json", "text_column_name", "review"): ([ADA[0][:1]], {}),
    ("27-crlf-shift",): ([[], ADA[0][:1], ADA[0][1:]], {}),
    ("32-webanno.tsv",): (ADA, {}),
    ("33-conll-2012.conll",): ([[("PERSON", "Ada Lovelace")], [("GPE", "Lincoln")], []], {}),
    ("34-prodigy-binary.jsonl",): (ADA, {"binary judgements, which say nothing of other words": 2}),
}

REFUSED = {  # what the error says
    ("18a-ends-inclusive.jsonl",): "look like inclusive: .* 2 more spans .* set --data.span_offsets inclusive",
    ("18b-starts-from-one.jsonl",): "look like from_one: .* set --data.span_offsets from_one",
    ("18c-utf16-offsets.jsonl",): "look like utf16: .* set --data.span_offsets utf16",
    ("18d-byte-offsets.jsonl",): "look like bytes: .* set --data.span_offsets bytes",
    ("24a-label-studio-two-label-sets.json",): r"several controls mark text \(chunk, ner\); .*--data.label_column_name",
    ("24a-label-studio-two-label-sets.json", "label_column_name", "x"): "no control is called 'x'; .* chunk, ner",
    ("24b-label-studio-other-text-key.json",): "there is no text; .*--data.text_column_name .*the keys are 'review'",
    ("30b-first-tags-null.jsonl",): ":1: 'ner_tags' is null, not a list of tags",
    ("30c-tags-as-one-string.jsonl",): ":1: 'tokens' is 'Ada slept', not a list of tokens",
}


def options_of(case: tuple[str, ...]) -> ReadingOptions:
    return ReadingOptions(**dict([case[1:]] if len(case) > 1 else []))  # type: ignore[arg-type]


@pytest.mark.parametrize("case", RECORDS, ids=" ".join)
def test_records(case: tuple[str, ...]) -> None:
    expected, left_out = RECORDS[case]
    counts = SpanCounts()
    found = []
    for sentence in read_sentences(CASES / case[0], options_of(case), counts):
        assert sentence.tags is not None
        spans = tags_to_spans(sentence.tags)
        found.append([(span.entity_type, " ".join(sentence.tokens[span.start : span.end])) for span in spans])
    assert found == expected
    assert counts.left_out == left_out
    assert counts.spans == counts.kept
    assert counts.expanded == 0


@pytest.mark.parametrize("case", REFUSED, ids=" ".join)
def test_refused(case: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=REFUSED[case]):
        list(read_sentences(CASES / case[0], options_of(case), SpanCounts()))
