"""Files of further formats: brat, CoNLL-2012, CoNLL-U with names in MISC, PubTator, spaCy's DocBin."""

import re
import subprocess
import sys

import pytest

from ner_module.data.formats import DataError, ReadingOptions, read_sentences
from ner_module.data.formats.char_spans import SpanCounts

BRAT = "Ann Lee met Bob.\r\nThey went to\nNew\nYork.\n\nx"


@pytest.fixture
def brat(tmp_path):
    folder = tmp_path / "brat"
    folder.mkdir()

    def make(annotations, text=BRAT):
        (folder / "doc.txt").write_bytes(text.encode())
        if annotations is not None:
            (folder / "doc.ann").write_bytes(annotations.encode())
        return folder

    return make


def test_brat(brat):
    places = {name: (BRAT.index(name), BRAT.index(name) + len(name)) for name in ("Ann Lee", "Bob", "New\nYork")}
    lines = [f"T{i}\tPER {a} {b}\t{name.replace(chr(10), ' ')}" for i, (name, (a, b)) in enumerate(places.items())]
    rest = ["R1\tMeets Arg1:T1 Arg2:T2", "#1\tAnnotatorNotes T1\tsure?", "A1\tNeg T1", "E1\tX:T1", "*\tEquiv T1 T2", ""]
    rest.append("T9\tPER 0 3;8 11\tAnn met")
    counts = SpanCounts()
    sentences = list(read_sentences(brat("\n".join([*lines, *rest])), span_counts=counts))
    assert [(s.tokens, s.tags, s.line) for s in sentences] == [
        (["Ann", "Lee", "met", "Bob", "."], ["B-PER", "I-PER", "O", "B-PER", "O"], 1),
        (["They", "went", "to"], ["O", "O", "O"], 2),
        (["New", "York", "."], ["B-PER", "I-PER", "O"], 3),
        (["x"], ["O"], 6),
    ]
    assert {s.document for s in sentences} == {"doc"}
    assert all([s.text[a:b] for a, b in s.offsets] == s.tokens for s in sentences)
    assert (counts.spans, counts.kept, counts.discontinuous) == (4, 3, 1)
    between_tabs = re.sub(r"(?m)^(T[1-3]\tPER) (\d+) (\d+)\t", r"\1\t\2\t\3\t", "\n".join([*lines, *rest]))  # NER-UK
    on_lines = between_tabs.replace("\tNew York", "\tNew\nYork")
    assert [s.tags for s in read_sentences(brat(on_lines))] == [s.tags for s in sentences]
    with pytest.raises(DataError, match=r"doc.ann:10: .*no brat annotation"):
        list(read_sentences(brat(f"{on_lines}\nU1\tx".replace("\nE1\tX:T1\n*\tEquiv T1 T2", ""))))
    assert [s.tags for s in read_sentences(brat(between_tabs))] == [s.tags for s in sentences]


@pytest.mark.parametrize(
    ("annotations", "line", "part"),
    [
        ("T1\tPER 0 3\tAnn\nT2\tPER 0 5\tAnn\n", 2, "the file quotes 'Ann'"),
        ("T1\tPER 0 3 Ann\n", 1, "no brat annotation"),
        ("U1\tPER 0 3\tAnn\n", 1, "no brat annotation"),
        ("R1\tPER 0 3\tAnn\n", 1, "no brat annotation"),
        ("T1\tPER 0 300\tAnn\n", 1, "leaves the text"),
        (None, None, "the annotations of this document are missing"),
    ],
)
def test_broken_brat(brat, annotations, line, part):
    folder = brat(annotations)
    with pytest.raises(DataError) as caught:
        list(read_sentences(folder, ReadingOptions(format="brat")))
    assert part in caught.value.problem
    assert caught.value.line == line
    assert str(caught.value.path).endswith("doc.ann")
    assert len(list(read_sentences(folder, ReadingOptions(format="brat", tagged=False)))) == 5


def test_brat_annotations_without_text(brat):
    folder = brat("")
    (folder / "doc.txt").unlink()
    with pytest.raises(DataError, match=r"no \.txt file"):
        list(read_sentences(folder))


@pytest.mark.parametrize(
    ("name", "text", "line", "part"),
    [
        ("a.xml", "<?xml version='1.0'?>\n<!DOCTYPE collection SYSTEM 'BioC.dtd'>\n<collection>", None, "BioC XML"),
        ("a.xmi", '<?xml version="1.0"?>\n<xmi:XMI xmi:version="2.0">', None, "export CoNLL 2002 instead"),
        ("nlu.yml", 'version: "3.1"\nnlu:\n- intent: x\n', None, "rasa data convert nlu"),
        ("nlu.yml", '# ours\nversion: "3.1"\nintents:\n- x\nnlu:\n- intent: x\n', None, "rasa data convert nlu"),
        ("train.py", 'import json\n\nTRAIN_DATA = [("Ada", {"entities": []})]\n', None, "json.dump("),
        ("a.conll", "#begin document x\nx 0 0 Ada N * - - - X (PER* -\nx 0 1 . . * - - - X * -\n", 3, "does not end"),
        ("a.conll", "#begin document x\nx 0 0 Ada N * - - - X *) -\n", 2, "bracket does not fit"),
        ("a.conll", "#begin document x\nx 0 0 Ada\n", 2, "at least 12 columns"),
        ("a.txt", "1|t|Ada\n1|a|\n1\t0\t3\n", 3, "no line of PubTator"),
        ("a.txt", "1|t|Ada\n1|a|\n1\t0\t3\tBob\tPER\n", 1, "the file quotes 'Bob'"),
        ("a.tsv", "#FORMAT=WebAnno TSV 3.3\n#T_SP=x.Pos|coarse\n\n1-1\t0-3\tAda\tN\t\n", None, "export CoNLL 2002"),
        ("a.tsv", " # de.tudarmstadt.ukp.x.NamedEntity | value\n#id=1\n1-1\tAda\tB-PER\t\n", None, "export CoNLL 2002"),
        ("a.ann", "T1\tPER 0 3\tAda\n", None, "name the folder"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, name, text, line, part):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        list(read_sentences(tmp_path / name))
    assert part in str(caught.value)
    assert caught.value.line == line


def test_docbin_needs_spacy(tmp_path):
    path = tmp_path / "train.spacy"
    path.write_bytes(b"\x00\x01")
    try:
        import spacy
    except ImportError:
        with pytest.raises(DataError, match=r"read by spaCy, which is not here; pip install spacy"):
            list(read_sentences(path))
        return
    doc = spacy.blank("en")("Ada met Bob.")
    doc.ents = [doc.char_span(0, 3, "PER")]
    spacy.tokens.DocBin(docs=[doc]).to_disk(path)
    partial = spacy.blank("en")("Ada met Bob.")
    partial.set_ents([partial.char_span(0, 3, "PER")], missing=[partial[1:4]])
    spacy.tokens.DocBin(docs=[doc, partial]).to_disk(path)
    counts = SpanCounts()
    assert [(s.tokens, s.tags) for s in read_sentences(path, span_counts=counts)] == [
        (["Ada", "met", "Bob", "."], ["B-PER", "O", "O", "O"])
    ]
    assert counts.left_out == {"texts that nobody annotated": 1}


@pytest.mark.parametrize("text", ["{w[0]}|{w[1]}|{w[2]}", "{w[0]}/{w[2]}", "{w[0]}|{w[2]}", "{w[0]}/{w[1]}/{w[2]}"])
@pytest.mark.parametrize("end", [" \n\n", "\r\n"])
def test_tags_in_running_text(tmp_path, text, end):
    words = [("Ada", "NNP", "I-PER"), ("sat", "VBD", "O"), ("1/2" if "|" in text else "a|b", "CD", "O")]
    (tmp_path / "x.txt").write_bytes(f"{' '.join(text.format(w=w) for w in words)}{end}".encode() * 2)
    assert [(s.tokens, s.tags) for s in read_sentences(tmp_path / "x.txt")] == [
        ([word for word, _, _ in words], ["I-PER", "O", "O"])
    ] * 2
    with (tmp_path / "x.txt").open("a") as file:
        file.write("Bo sat\n")
    with pytest.raises(DataError, match="'Bo' has fewer parts than"):
        list(read_sentences(tmp_path / "x.txt"))


ROW = "bc/x 0 {} {} NNP (S* - - - Spk#1 {} * -\n"
CONLL_2012 = "".join(ROW.format(n, *each) for n, each in enumerate([("Ada", "(PER*"), ("Finch", "*)"), ("sat", "*")]))


@pytest.mark.parametrize("before", ["\n#begin document (bc/x); part 000\n", "", "\n", "# made by hand\n"])
def test_conll_2012_is_known_by_its_columns(tmp_path, before):
    path = tmp_path / "x.conll"
    path.write_text(before + CONLL_2012)
    assert [(s.tokens, s.tags) for s in read_sentences(path)] == [(["Ada", "Finch", "sat"], ["B-PER", "I-PER", "O"])]


WORDS_AND_TAGS = "[[('Ada', 'B-PER'), ('sat', 'O')]]\n"
PAIRS = '[\n  ("Ada sat", {"entities": [(0, 3, \'PER\')]}), ]\n'


@pytest.mark.parametrize("pairs", [PAIRS, PAIRS.replace("\n", ""), WORDS_AND_TAGS])
@pytest.mark.parametrize(
    ("name", "start"), [("x.json", ""), ("x.txt", "TRAIN_DATA = "), ("x.py", "import re\n\ndata = ")]
)
def test_the_advice_on_python_literals_makes_a_file_that_is_read(tmp_path, name, start, pairs):
    (tmp_path / name).write_text(start + pairs)
    with pytest.raises(DataError, match="this is Python") as caught:
        list(read_sentences(tmp_path / name))
    command = re.search(r"`python (-c) \"(.*)\"`", caught.value.advice)
    subprocess.run([sys.executable, *command.groups()], cwd=tmp_path, check=True)
    [sentence] = read_sentences(tmp_path / f"{name}.json")
    assert (sentence.tokens, sentence.tags) == (["Ada", "sat"], ["B-PER", "O"])


def test_markdown_of_rasa_is_named(tmp_path):
    (tmp_path / "nlu.md").write_text("## intent:inform\n- from [Lincoln](city)\n")
    with pytest.raises(DataError, match="this is Rasa"):
        list(read_sentences(tmp_path / "nlu.md"))
