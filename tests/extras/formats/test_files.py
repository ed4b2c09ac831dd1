"""Files of further formats: brat, CoNLL-2012, CoNLL-U with names in MISC, WebAnno, PubTator, spaCy's DocBin."""

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
