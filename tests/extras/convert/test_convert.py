"""`convert`: round trips over real corpora and over anything at all; what is lost is said."""

import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ner_module.data.formats import ReadingOptions, read_sentences
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.sentence import Sentence
from ner_module.data.words import split_words
from ner_module.errors import UsageError, UserError
from ner_module.extras.convert.command import main
from ner_module.extras.convert.writers import TARGETS, text_with_spans
from ner_module.tagging import tags_to_spans

SHARED = Path(os.environ.get("NER_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
CORPORA = {
    "wnut17": ("wnut17/dev.conll", 1009, 15733, 836),
    "wikigold": ("wikigold/wikigold.conll", 1696, 39007, 3558),
    "ncbi_disease": ("ncbi_disease/dev.tsv", 923, 23969, 787),
    "wnut17-train": ("wnut17/train.conll", 3394, 62730, 1975),
    "wnut17-test": ("wnut17/test.conll", 1287, 23394, 1079),
    "ncbi_disease-train": ("ncbi_disease/train.tsv", 5424, 135701, 5134),
    "ncbi_disease-test": ("ncbi_disease/test.tsv", 940, 24497, 960),
}
QUICK = ("wnut17", "wikigold", "ncbi_disease")
TOKEN_FORMATS = {"conll": "x.conll", "jsonl": "x.jsonl.gz"}
SPAN_FORMATS = {"doccano": "d.jsonl", "label-studio": "ls.json"}


def columns(path):
    """(words, tags) and document of each sentence of a two-column file, with a few lines of this test's own."""
    sentences, document, documents = [], 0, []
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        rows = [line.replace("\t", " ").split(" ") for line in block.strip("\n").split("\n") if line]
        if rows and rows[0][0] == "-DOCSTART-":
            document += 1
            rows = rows[1:]
        if rows:
            sentences.append(([row[0] for row in rows], [row[-1] for row in rows]))
            documents.append(document)
    return sentences, documents


@pytest.fixture(params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CORPORA])
def corpus(request):
    name, sentences, words, entities = CORPORA[request.param]
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"no {name} under {SHARED}")
    gold, documents = columns(path)
    # Figures of the corpora's own descriptions: what the test compares with was read whole.
    assert len(gold) == sentences
    assert sum(len(tokens) for tokens, _ in gold) == words
    assert sum(len(tags_to_spans(tags)) for _, tags in gold) == entities
    return path, gold, documents


@pytest.mark.parametrize("target", TOKEN_FORMATS)
def test_token_formats_keep_every_word_tag_and_document(corpus, target, tmp_path, capsys):
    path, gold, documents = corpus
    out = tmp_path / TOKEN_FORMATS[target]
    assert main([str(path), str(out), "--to", target, "--strict"]) == 0
    assert capsys.readouterr().err.replace("\r", "").count("warning") == 0
    if out.suffix == ".gz":
        assert out.read_bytes()[4:8] == bytes(4), "no time: the same bytes whenever they are written"
    found = list(read_sentences(out))
    assert [(s.tokens, s.tags) for s in found] == gold
    if documents[-1] > 0:
        renumbered = {name: number for number, name in enumerate(dict.fromkeys(s.document for s in found))}
        assert [renumbered[s.document] for s in found] == documents


@pytest.mark.parametrize("target", SPAN_FORMATS)
def test_span_formats_keep_every_span_on_its_text(corpus, target, tmp_path, capsys):
    path, gold, _ = corpus
    out = tmp_path / SPAN_FORMATS[target]
    assert main([str(path), str(out), "--to", target]) == 0
    expected = Counter()
    for number, (tokens, tags) in enumerate(gold):
        for start, end, entity_type in tags_to_spans(tags):
            begin = len(" ".join([*tokens[:start], ""]))
            expected[number, begin, " ".join(tokens[start:end]), entity_type] += 1
    assert spans_in(out, target, [" ".join(tokens) for tokens, _ in gold]) == expected
    # Read back: nothing dropped, and where words are cut as in the corpus, the same tags.
    counts = SpanCounts()
    found = list(read_sentences(out, span_counts=counts))
    assert counts.kept == counts.spans == expected.total() or counts.overlapping == counts.spans - counts.kept
    by_text = {}  # some sentences occur twice, with different annotation
    for tokens, tags in gold:
        if cut_alike(tokens):
            by_text.setdefault(" ".join(tokens), []).append(tags_to_spans(tags))
    checked = 0
    for sentence in found:
        if sentence.text in by_text:
            checked += 1
            assert tags_to_spans(sentence.tags) in by_text[sentence.text]
    assert checked > len(gold) / 3


def cut_alike(tokens):
    text = " ".join(tokens)
    return [text[a:b] for a, b in split_words(text)] == tokens


def spans_in(path, target, texts):
    """(sentence, start, text, type) of every span of a file, read as its tool would."""
    found = Counter()
    raw = path.read_text(encoding="utf-8")
    records = json.loads(raw) if target == "label-studio" else [json.loads(line) for line in raw.split("\n")[:-1]]
    for number, record in enumerate(records):
        if target == "label-studio":
            text = record["data"]["text"]
            values = [item["value"] for item in record["annotations"][0]["result"]]
            spans = [(value["start"], value["end"], value["labels"][0]) for value in values]
        else:
            text, spans = record["text"], record["label"]
        assert text == texts[number]
        for start, end, entity_type in spans:
            found[number, start, text[start:end], entity_type] += 1
    return found


WORD = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
TAG = st.sampled_from(["O", "B-PER", "I-PER", "B-a b"])
ANY = st.lists(st.lists(st.tuples(WORD, TAG), max_size=4), min_size=1, max_size=4)
SETTINGS = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def sentences_of(drawn, document=None):
    return [Sentence([word for word, _ in rows], [tag for _, tag in rows], document=document) for rows in drawn]


def annotated(sentences):
    return ((sentence, tags_to_spans(sentence.tags)) for sentence in sentences)


def pairs(sentences):
    return [(s.tokens, s.tags) for s in sentences]


@SETTINGS
@given(drawn=ANY)
def test_json_lines_hold_anything(drawn, tmp_path):
    sentences, losses = sentences_of(drawn, "d"), Counter()
    TARGETS["jsonl"](tmp_path / "x.jsonl", annotated(sentences), losses)
    assert pairs(read_sentences(tmp_path / "x.jsonl")) == pairs(sentences)
    assert not +losses


@SETTINGS
@given(drawn=ANY)
@example(drawn=[[("\ufeffa", "B-PER")]])
@example(drawn=[[("1,", "B-PER")], [("0", "O")]])
@example(drawn=[[("0\r0", "B-a b")]])
@example(drawn=[[("0 0", "B-a b")]])
def test_columns_hold_all_but_what_they_count(drawn, tmp_path):
    sentences, losses = sentences_of(drawn), Counter()
    filled = [s for s in sentences if s.tokens]
    TARGETS["conll"](tmp_path / "x.conll", annotated(sentences), losses)
    options = ReadingOptions(text_column_name="0", label_column_name="1")
    found = pairs(read_sentences(tmp_path / "x.conll", options)) if filled else []
    counted = sum(count for loss, count in losses.items() if "no word" not in loss)
    assert losses["have no word and are left out"] == len(sentences) - len(filled)
    assert sum(one != other for one, other in zip(found, pairs(filled), strict=True)) <= counted
    assert [tags for _, tags in found] == [s.tags for s in filled]


@SETTINGS
@given(drawn=ANY)
def test_span_formats_hold_every_visible_entity(drawn, tmp_path):
    sentences = [s for s in sentences_of(drawn) if any(word.strip() for word in s.tokens)]
    losses, expected = Counter(), []
    for sentence in sentences:
        text, spans = text_with_spans((sentence, tags_to_spans(sentence.tags)), losses)
        expected += [(text[a:b], entity_type) for a, b, entity_type in spans]
    for target, name in SPAN_FORMATS.items():
        TARGETS[target](tmp_path / name, annotated(sentences), Counter())
        counts = SpanCounts()
        if not sentences:
            continue
        # Words with spaces at their ends, a few spans in all, look as if offsets were counted otherwise.
        options = ReadingOptions(span_offsets="exclusive")
        found = list(read_sentences(tmp_path / name, options, counts))
        assert counts.spans == len(expected)
        assert counts.without_word == counts.duplicate == counts.discontinuous == 0
        if counts.is_clean:
            marked = [
                (s.text[s.offsets[a][0] : s.offsets[b - 1][1]], entity_type)
                for s in found
                for a, b, entity_type in tags_to_spans(s.tags)
            ]
            assert marked == expected


def test_every_target_has_a_test():
    assert set(TARGETS) == {*TOKEN_FORMATS, *SPAN_FORMATS}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            code = main(arguments)
        except UserError as error:  # as the dispatcher does
            code = 1
            print(f"error: {error}", file=sys.stderr)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_losses_are_counted(run):
    Path("in.jsonl").write_text(
        '{"tokens": ["a\\tb", "-DOCSTART-"], "tags": ["O", "B-X"], "document": "one"}\n'
        '{"tokens": [], "tags": []}\n{"tokens": ["a"], "tags": ["O"], "text": " a"}\n',
        encoding="utf-8",
    )
    code, out, error = run("in.jsonl", "out.conll")
    assert code == 0
    assert out == "out.conll: 3 sentences, 3 words, 1 entities (conll)\n"
    for part in (
        "1 sentence have a word with a tab",
        "1 sentence have the word -DOCSTART-",
        "1 sentence have no word",
        "1 sentence lose their raw text",
        "1 sentence lose the document",
    ):
        assert part in error
    assert Path("out.conll").read_text() == "# newdoc id = one\na b\tO\n-DOCSTART\tB-X\n\na\tO\n\n"
    assert run("in.jsonl", "out.conll", "--overwrite", "--strict")[0] == 1
    assert run("in.jsonl", "out2.jsonl", "--strict")[0] == 0


def test_span_policy_and_suspicions_are_reported(run):
    Path("in.jsonl").write_text('{"text": "New York-based", "label": [[0, 8, "LOC"], [4, 8, "LOC"]]}\n')
    code, _, error = run("in.jsonl", "out.conll")
    assert code == 0
    assert "warning: 2 spans read, 1 kept; expanded: 1, nested: 1" in error
    assert Path("out.conll").read_text() == "New\tB-LOC\nYork-based\tI-LOC\n\n"
    Path("odd.conll").write_text("a B-PER\n" * 40 + "b B-PRE\n")
    code, _, error = run("odd.conll", "odd.jsonl")
    assert "warning: odd.conll:41: the tag 'B-PRE' occurs once" in error


def test_schemes(run):
    Path("in.conll").write_text("a I-X\nb I-X\nc B-X\nd O\n\ne B-Y\nf I-Z\n")
    assert run("in.conll", "out.conll", "--source_scheme", "iob1", "--scheme", "bioes")[0] == 0
    assert [s.tags for s in read_sentences(Path("out.conll"))] == [["B-X", "E-X", "S-X", "O"], ["S-Y", "S-Z"]]
    Path("mixed.conll").write_text("a NOUN\nb VERB\nc B-1\n")
    assert run("mixed.conll", "mixed.jsonl", "--source_scheme", "flat", "--strict")[0] == 0
    Path("pos.conll").write_text("a NOUN\nb VERB\nc NOUN\n\n")
    assert run("pos.conll", "pos.jsonl", "--to", "doccano")[0] == 0
    assert [label for _, _, label in json.loads(Path("pos.jsonl").read_text())["label"]] == ["NOUN", "VERB", "NOUN"]


def test_several_inputs_columns_and_names(run):
    Path("a.conll").write_text("0 x a\n1 x b\n")
    Path("b.conll").write_text("1 x c\n0 x d\n")
    options = ["--text_column_name", "2", "--label_column_name", "0", "--label_names", "O", "B-X"]
    assert run("?.conll", "out.jsonl", *options)[0] == 0
    assert pairs(read_sentences(Path("out.jsonl"))) == [(["a", "b"], ["O", "B-X"]), (["c", "d"], ["B-X", "O"])]


def test_wrong_use_is_one_line_and_writes_nothing(run):
    Path("in.conll").write_text("a O\nb\n")
    Path("good.conll").write_text("a O\n")
    Path("mixed.conll").write_text("a NOUN\nb VERB\nc B-X\n")
    Path("numbers.conll").write_text("a 3\n")
    Path("thesis.jsonl").write_text("Chapter 1\n")
    Path("link.jsonl").symlink_to("in.conll")
    for arguments, part in (
        (["in.conll", "out.jsonl"], "in.conll:2: the line has 1 column"),
        (["no.conll", "out.jsonl"], "no such file"),
        (["good.conll", "out.xyz"], "--to"),
        (["good.conll", "in.conll"], "exists already"),
        (["good.conll", "good.conll", "--overwrite"], "an input of this command"),
        (["good.conll", "thesis.jsonl", "--overwrite"], "was not written by this command"),
        (["good.conll", "link.jsonl", "--overwrite"], "is a link to"),
        (["mixed.conll", "out.jsonl"], "mixed.conll:3: the tag 'B-X'"),
        (["good.conll", "out.jsonl", "--label_column_name", "7"], "count columns from 0"),
        (["numbers.conll", "out.jsonl", "--label_names", "O"], "correct the tag or complete --label_names"),
    ):
        code, out, error = run(*arguments)
        assert (code, out) == (1, "")
        assert error.startswith("error: ")
        assert part in error
        assert error.count("\n") == 1
    assert sorted(path.stem for path in Path().iterdir()) == ["good", "in", "link", "mixed", "numbers", "thesis"]
    for arguments in (["good.conll"], ["good.conll", "x", "--to", "xml"]):
        with pytest.raises(UsageError, match=r"OUT|invalid choice"):
            main(arguments)
