"""Files as people have them, each with the right values, which were worked out without this project.

A case is read as `fit` reads it: format, columns, spelling and scheme detected, spans counted.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ner_module.data.datamodule import NERDataModule
from ner_module.data.formats import ReadingOptions, read_sentences
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.inventory import Tags, choose_source_schemes
from ner_module.data.preparation import store_splits
from ner_module.errors import DataError
from ner_module.tagging import tags_to_spans

FOLDER = Path(__file__).parents[1] / "cases" / "data"
GENERATED = (20, 160, {"PER": 40, "LOC": 20})  # what most files hold: 20 sentences of 8 words


class Read(NamedTuple):
    sentences: int
    words: int
    types: dict[str, int]
    entities: list[tuple[str, str]]
    said: str


def read(tmp_path: Path, file: Path | str, **options: Any) -> Read:
    data = NERDataModule(train_file=str(FOLDER / file), **options)
    stored = store_splits(data.hparams, "fit", tmp_path)
    schemes = choose_source_schemes(stored, options.get("source_scheme"), options.get("outside_label"))
    tags = Tags(stored, schemes, options.get("label_names"))
    scheme, asked = schemes["train"], options.get("outside_label")
    said = "\n".join([*tags.how_counted(asked), *(note for _, note, _ in stored["train"].meta["notes"])])
    tags.check(None, asked)
    found, sentences = [], list(stored["train"].sentences())
    for sentence in sentences:
        spans = tags_to_spans(sentence.tags, scheme, tags.outside_label(scheme, asked))
        found += [(span.entity_type, " ".join(sentence.tokens[span.start : span.end])) for span in spans]
    words = sum(len(sentence.tokens) for sentence in sentences)
    return Read(len(sentences), words, dict(Counter(name for name, _ in found)), found, said)


@pytest.mark.parametrize(
    ("file", "expected", "options", "says"),
    [
        ("01-simpletransformers.csv", GENERATED, {}, "sentence numbers"),
        (
            "02a-universal-ner-annotator.iob2",
            GENERATED,
            {},
            "the tags are in column 2 (PER 40, LOC 20), not in column 4",
        ),
        ("04-io-stanford.tsv", GENERATED, {}, "no prefix"),
        ("05a-lower-case.conll", (20, 160, {"per": 40, "loc": 20}), {}, ""),
        ("05b-underscore.conll", GENERATED, {}, ""),
        (
            "06-outer-and-nested.tsv",
            GENERATED,
            {},
            "tags are in column 1 (PER 40, LOC 20) and in column 2 (LOC 5); column 1 is taken",
        ),
        ("07-germeval-trailing-tab.tsv", GENERATED, {}, "20 comment lines are left out"),
        ("08-late-quotation-marks.tsv", (1252, 5008, {"PER": 1, "LOC": 1}), {}, ""),
        ("13a-multiconer-comment.conll", GENERATED, {}, "20 comment lines are left out"),
        ("13b-sent-id-four-columns.conll", GENERATED, {}, "20 comment lines are left out"),
        ("14-bmes.conll", (20, 140, {"PER": 20, "LOC": 40}), {}, ""),
        ("17a-hipe-2022.tsv", GENERATED, {}, "words 0, tags 1"),
        ("17b-hipe-2022-without-comments.tsv", GENERATED, {}, "line 1 names the columns"),
        ("16g-pandas-tuples.csv", (1, 8, {"PER": 1, "LOC": 1}), {}, ""),
        ("22-semicolon.csv", GENERATED, {}, "3 columns separated by semicolons"),
        ("23a-sentence-column.csv", GENERATED, {}, "sentence numbers 0 (sentence)"),
        ("23b-sentence-number-no-header.tsv", GENERATED, {}, "column 0 numbers the sentences"),
        ("27-crlf-shift", (3, 8, {"PER": 1, "LOC": 1}), {}, "as the quotes say: crlf_as_one"),
        ("34-prodigy-binary.jsonl", (1, 8, {"PER": 1, "LOC": 1}), {}, "records of Prodigy"),
        ("33-conll-2012.conll", (3, 11, {"PERSON": 1, "GPE": 1}), {}, ""),
        ("28-outside-is-other.conll", GENERATED, {"outside_label": "OTHER"}, "no prefix"),
    ],
    ids=lambda value: value.split("-")[0] if isinstance(value, str) else "",
)
def test_a_case_is_read(tmp_path, file, expected, options, says):
    found = read(tmp_path, file, **options)
    assert found[:3] == expected
    assert says in found.said


def test_where_nothing_is_outside_it_is_said(tmp_path):
    said = read(tmp_path, "28-outside-is-other.conll").said
    assert "each word that is not outside is one entity" in said
    assert "no word is outside, tagged O: all words (160) are in entities" in said
    assert "set --data.outside_label OTHER" in said


def test_integer_tags_and_tags_without_any_outside(tmp_path):
    file = tmp_path / "x.conll"
    file.write_text("Ada 1\nsaw 0\n" * 9)
    assert "name integer tags with --data.label_names, or" in read(tmp_path / "a", file).said
    file.write_text("Ada B-PER\nsaw B-X\n" * 9)
    assert "with the tag O, or name theirs with --data.outside_label" in read(tmp_path / "b", file).said
    file.write_text("Ada;B-PER\nsaw;O\n" * 9)
    with pytest.raises(DataError, match=r"a single column.*set --data.format csv"):
        read(tmp_path / "c", file)
    assert read(tmp_path / "c", file, format="csv").types == {"PER": 9}
    file.write_text("B-PER Ada NN\nO saw VB\nO you NN\n" * 9)
    with pytest.raises(DataError, match=r"swapped.*--data.text_column_name=1, --data.label_column_name=0"):
        read(tmp_path / "d", file)
    assert read(tmp_path / "d", file, text_column_name="1", label_column_name="0").types == {"PER": 9}
    file.write_text("B-PER NN Ada\nO VB saw\nO NN us\n" * 9)
    with pytest.raises(DataError, match=r"swapped.*--data.text_column_name=2, --data.label_column_name=0"):
        read(tmp_path / "e", file)
    file.write_text("Ada PER\nsaw NIL\nyou NIL\n" * 9)
    assert "set --data.outside_label NIL" in read(tmp_path / "f", file).said


@pytest.mark.parametrize("odd", ["0", "o", "\u041e", "_", "NONE", "NA", "---"])
def test_an_odd_label_of_words_outside_is_named_and_can_be_set(tmp_path, odd):
    text = (FOLDER / "05b-underscore.conll").read_text("utf-8").replace("_", "-")
    file = tmp_path / "odd.conll"
    file.write_text(text.replace(" O\n", f" {odd}\n"), "utf-8")
    with pytest.raises(DataError) as caught:
        read(tmp_path / "cache", file)
    assert f"'{odd}'" in caught.value.problem
    assert "B-PER" not in caught.value.problem
    assert caught.value.line == 3
    assert f"--data.outside_label {odd}" in caught.value.advice
    assert read(tmp_path / "cache", file, outside_label=odd)[:3] == GENERATED


LONG = {"B": "START", "I": "IN"}


@pytest.mark.parametrize(
    ("pattern", "types"),
    [
        ("{prefix}:{name}", ("PER", "LOC")),
        ("{name}-{prefix}", ("PER", "LOC")),
        ("{name}_{prefix}", ("PER", "LOC")),
        ("{prefix}{name}", ("PER", "LOC")),
        ("{prefix}.{name}", ("PER", "LOC")),
        ("{long}_{name}", ("PER", "LOC")),
        ("{name}-{long}", ("PER", "LOC")),
    ],
)
@pytest.mark.parametrize("outside", ["O", "OTHER"])
def test_other_spellings_of_prefixes(tmp_path, pattern, types, outside):
    text = (FOLDER / "05b-underscore.conll").read_text("utf-8").replace(" O\n", f" {outside}\n")
    for prefix in "BI":
        for name in types:
            text = text.replace(f"{prefix}_{name}", pattern.format(prefix=prefix, name=name, long=LONG[prefix]))
    file = tmp_path / "x.conll"
    file.write_text(text, "utf-8")
    if outside != "O":
        with pytest.raises(DataError, match=r"the tag 'OTHER' .* has no prefix"):
            read(tmp_path / "cache", file)
    assert read(tmp_path / "cache", file, outside_label=outside)[:3] == GENERATED


@pytest.mark.parametrize("pattern", ["I_{}", "i-{}", "{}-I", "{}_I"])
def test_prefixes_of_which_only_the_inner_one_occurs(tmp_path, pattern):
    """IOB1 has B- only between neighbours of one type."""
    text = (FOLDER / "05b-underscore.conll").read_text("utf-8")
    for name in ("PER", "LOC"):
        text = text.replace(f"B_{name}", f"I_{name}").replace(f"I_{name}", pattern.format(name))
    (tmp_path / "x.conll").write_text(text, "utf-8")
    assert read(tmp_path / "cache", tmp_path / "x.conll").types.keys() == {"PER", "LOC"}


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
    ("33-conll-2012.conll",): ([[("PERSON", "Ada Lovelace")], [("GPE", "Lincoln")], []], {}),
    ("34-prodigy-binary.jsonl",): (ADA, {"binary judgements, which say nothing of other words": 2}),
}

REFUSED = {  # what the error says
    ("18a-ends-inclusive.jsonl",): "look like inclusive: .* 2 more spans .* set --data.span_offsets inclusive",
    ("18b-starts-from-one.jsonl",): "look like from_one: .* set --data.span_offsets from_one",
    ("18c-utf16-offsets.jsonl",): "look like utf16: .* set --data.span_offsets utf16",
    ("18d-byte-offsets.jsonl",): "look like bytes: .* set --data.span_offsets bytes",
    ("24a-label-studio-two-label-sets.json",): r"several controls mark text \(chunk, ner\); .*--data.label_column_name",
    ("24a-label-studio-two-label-sets.json", "label_column_name", "x"): "no spans are called 'x'; .* chunk, ner",
    ("24b-label-studio-other-text-key.json",): "there is no text; .*--data.text_column_name .*the keys are 'review'",
    ("30b-first-tags-null.jsonl",): ":1: 'ner_tags' is null, not a list of tags",
    ("32-webanno.tsv",): "this is WebAnno TSV, which is not read as it is; export CoNLL 2002 instead",
    ("30c-tags-as-one-string.jsonl",): ":1: 'tokens' is 'Ada slept', not a list of tokens",
}


def options_of(case: tuple[str, ...]) -> ReadingOptions:
    return ReadingOptions(**dict([case[1:]] if len(case) > 1 else []))  # type: ignore[arg-type]


@pytest.mark.parametrize("case", RECORDS, ids=" ".join)
def test_records(case: tuple[str, ...]) -> None:
    expected, left_out = RECORDS[case]
    counts = SpanCounts()
    found = []
    for sentence in read_sentences(FOLDER / case[0], options_of(case), counts):
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
        list(read_sentences(FOLDER / case[0], options_of(case), SpanCounts()))
