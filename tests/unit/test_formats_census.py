"""Misspelt tags against the rest of a corpus; and no false alarm on inventories that are in use."""

import os
from pathlib import Path

import pytest

from ner_module.data.formats import DataError, Sentence, read_sentences
from ner_module.data.tag_census import SeenTag, Suspicion, TagCensus, one_edit_apart, suspicious_tags
from ner_module.tagging import spans_to_tags, tags_to_spans

SHARED = Path(os.environ.get("NER_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


def suspicious(census: TagCensus) -> list[Suspicion]:
    return suspicious_tags(census.seen())


def census_of(counts):
    return suspicious_tags({tag: SeenTag(counts[tag], "train.conll", 10 + i) for i, tag in enumerate(counts)})


def tags_of(found, certain=None):
    return {s.tag for s in found if certain is None or s.certain == certain}


USUAL = {
    "O": 10_000,
    "B-PER": 900,
    "I-PER": 300,
    "B-LOC": 400,
    "I-LOC": 90,
    "B-creative-work": 200,
    "I-creative-work": 250,
}


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            "B-PRE",
            "B-PR",
            "B-PERR",
            "B-PXR",
            "B-per",
            "B-Per",
            "I-LCO",
            "I-creative_work",
            "B-creativework",
            "I-creative-wor",
            "I-crea",
        ),
        *("B_PER", "BPER", "b-PER", "-PER", "PER", "o", "0", "Q", "OO", "B", "I", "E", "X-PER", "B--PER", "dog"),
        *("L-PER", "U-PER", "E-LOC", "S-LOC"),
    ],
)
def test_one_misspelt_tag_is_certain(wrong):
    found = census_of({**USUAL, wrong: 1})
    assert tags_of(found, certain=True) == {wrong}
    [suspicion] = [s for s in found if s.certain]
    assert (suspicion.path, suspicion.line, suspicion.count) == ("train.conll", 10 + len(USUAL), 1)
    error = suspicion.error()
    assert isinstance(error, DataError)
    assert str(error).startswith(f"train.conll:{10 + len(USUAL)}: ")
    assert wrong in str(error)


@pytest.mark.parametrize("wrong", ["B-ORG", "B-P"])
def test_what_may_be_meant_is_a_warning(wrong):
    assert tags_of(census_of({**USUAL, wrong: 1})) == {wrong}
    assert tags_of(census_of({**USUAL, wrong: 1}), certain=True) == set()


def test_types_of_three_letters_may_differ_by_one():
    """As in GENIA's test split: 431 of DNA, 16 of RNA."""
    counts = {"O": 9000, "B-DNA": 431, "I-DNA": 700, "B-RNA": 16, "I-RNA": 20, "B-protein": 900}
    assert tags_of(census_of(counts), certain=True) == set()


@pytest.mark.parametrize("more", [{}, {"I-PER": 3}])
def test_what_goes_on_without_a_type_is_certain(more):
    """``B-PER I I``: read as it stands, each I would be an entity of its own."""
    assert tags_of(census_of({"O": 500, "B-PER": 60, "B-LOC": 50, "I": 90, **more}), certain=True) == {"I"}
    assert tags_of(census_of({"O": 500, "B-PER": 60, "B-LOC": 50, "I": 400, **more}), certain=True) == {"I"}


def test_a_type_cut_short_is_certain():
    assert tags_of(census_of({**USUAL, "B-creative": 5}), certain=True) == set()  # may be a kind above creative-work
    assert tags_of(census_of({"O": 9, "B-location": 900, "B-locat": 3}), certain=True) == {"B-locat"}


@pytest.mark.parametrize(
    "counts",
    [
        USUAL,
        {"O": 100},
        {"O": 100, "B": 50, "I": 40},
        {"I-PER": 900, "O": 9000, "I-LOC": 700, "B-LOC": 4},
        {"I-PER": 900, "O": 9000, "I-LOC": 700, "E-LOC": 400, "E-PER": 500},
        {"O": 9000, "B-DNA": 951, "I-DNA": 1400, "B-RNA": 95, "I-RNA": 187, "B-cell_line": 500, "B-cell_type": 600},
        {"O": 9000, "S-PER": 900, "B-PER": 300, "I-PER": 90, "E-PER": 300, "S-LOC": 99},
        {"O": 9000, "U-PER": 900, "B-PER": 300, "I-PER": 90, "L-PER": 300, "U-LOC": 99},
        {"O": 9000, "B-A1": 500, "B-A2": 400, "B-A3": 9, "B-B1": 10},
        {"O": 9000, "B-NR": 900, "B-NS": 90, "B-NT": 80, "I-NR": 900, "I-NS": 90, "I-NT": 80},
        {"O": 9000, "B-LOC": 900, "B-LOCderiv": 60, "B-LOCpart": 20, "B-ORG": 800, "B-ORGpart": 50},
        {"O": 9000, "B-person-actor": 900, "B-person-author": 60, "B-art-film": 40, "B-art-music": 33},
        {"NN": 900, "NNS": 300, "NNP": 500, "VB": 100, "VBD": 80, "VBG": 60, "IN": 99, ",": 80, ".": 70, "-LRB-": 60},
        {"PROPN": 500, "CCONJ": 90, "SCONJ": 60, "ADJ": 90, "ADP": 80, "ADV": 70, "AUX": 50, "X": 40, "SYM": 30},
        {"PRP": 900, "PRP$": 40, "WP": 80, "WP$": 4, "POS+": 300, "POS-": 15, "NN": 3000},
        {"O": 900, "KEY": 100},
        {"0": 900, "1": 100},
    ],
)
def test_inventories_in_use_raise_no_alarm(counts):
    assert census_of(counts) == []


@pytest.mark.parametrize(
    "counts",
    [
        {"O": 90_000, "B-location": 30_000, "B-locations": 500},
        {"O": 90_000, "B-PER": 9_000, "B-per": 8_000},
        {"O": 9_000, "B-PER": 900, "B": 300},
        {"NOUN": 9_000, "Noun": 400},
        {"O": 9_000, "PER": 900, "_": 500},
    ],
)
def test_what_looks_wrong_but_is_frequent_stops_no_run(counts):
    assert tags_of(census_of(counts), certain=True) == set()
    assert tags_of(census_of(counts), certain=False) == {list(counts)[-1]}


@pytest.mark.parametrize("outside", ["X", "O-O", "none"])
def test_the_label_of_most_words_is_the_odd_one_beside_prefixes(outside):
    found = census_of({outside: 900, "B-PER": 60, "I-PER": 5})
    assert tags_of(found, certain=True) == {outside}
    assert f"--data.outside_label {outside}" in found[0].advice


def test_flat_labels():
    pos = {"NOUN": 900, "VERB": 400, "DET": 300, "O": 50}
    assert tags_of(census_of({**pos, "noun": 2}), certain=True) == {"noun"}
    assert tags_of(census_of({**pos, "NUON": 1}), certain=False) == {"NUON"}
    assert tags_of(census_of({**pos, "B-PER": 1})) == {"B-PER"}
    assert tags_of(census_of({**pos, "dog": 1})) == set()


def test_census_of_sentences():
    census = TagCensus()
    census.add(["O", "B-X", "I-X"], "a.conll", Sentence(["a", "b", "c"], line=1, word_per_line=True))
    census.add(["O", "O"], "a.conll", Sentence(["d", "e"], line=5))
    census.add(["I-X", "I-X", "B-Y"], "b.jsonl", Sentence(["f", "g", "h"], line=2))
    assert census.seen() == {
        "O": (3, "a.conll", 1, "a"),
        "B-X": (1, "a.conll", 2, "b"),
        "I-X": (3, "a.conll", 3, "c"),
        "B-Y": (1, "b.jsonl", 2, "h"),
    }
    report = census.scheme_report()
    assert (report["flat_words"], report["prefixed_words"], report["rarest_flat"], report["detected"]) == (
        0,
        5,
        None,
        "iob2",
    )
    assert report["illegal_words"]["iob2"] == 1
    census.add(["NOUN"])
    report = census.scheme_report()
    assert (report["flat_words"], report["rarest_flat"], report["detected"]) == (1, "NOUN", None)
    assert [s.tag for s in suspicious(census) if s.certain] == ["NOUN"]
    empty = TagCensus()
    assert (empty.seen(), suspicious(empty), empty.scheme_report()["detected"]) == ({}, [], "iob2")


@pytest.fixture(scope="module")
def corpora():
    """The entities of each sentence of the real corpora, by file."""
    files = sorted(SHARED.glob("*/*.conll")) + sorted(SHARED.glob("*/*.tsv"))
    if not files:
        pytest.skip(f"no corpora under {SHARED}")
    return {path: [(tags_to_spans(s.tags), len(s.tokens)) for s in read_sentences(path)] for path in files}


@pytest.mark.parametrize("scheme", ["iob1", "iob2", "ioe1", "ioe2", "bioes", "bilou"])
def test_real_corpora_in_any_scheme_raise_no_alarm(scheme, corpora):
    for path, sentences in corpora.items():
        census = TagCensus()
        for spans, length in sentences:
            census.add(spans_to_tags(spans, length, scheme), str(path))
        assert suspicious(census) == [], path
        assert sum(tag.uses for tag in census.seen().values()) > 10_000


def damerau_levenshtein_of_one(first, second):
    """By brute force: every string that one edit makes of ``first``."""
    alphabet = set(first + second)
    made = {first[:i] + first[i + 1 :] for i in range(len(first))}
    made |= {first[:i] + c + first[i:] for i in range(len(first) + 1) for c in alphabet}
    made |= {first[:i] + c + first[i + 1 :] for i in range(len(first)) for c in alphabet}
    made |= {first[:i] + first[i + 1] + first[i] + first[i + 2 :] for i in range(len(first) - 1)}
    return second in made - {first}


def test_edits_against_brute_force():
    names = ["", "a", "b", "ab", "ba", "abc", "acb", "bac", "abd", "abcd", "abdc", "bc", "aabb", "abab"]
    for first in names:
        for second in names:
            assert one_edit_apart(first, second) == damerau_levenshtein_of_one(first, second), (first, second)
    assert not one_edit_apart("A1", "A2")
    assert one_edit_apart("A1", "A")


def test_tags_of_several_entities_are_named_and_stop_nothing():
    found = census_of(USUAL | {"B-PER|I-LOC": 30})
    assert [s.problem for s in found if "several tags" in s.problem] == [
        "the tag 'B-PER|I-LOC' (30 times) holds several tags, of which one type is made"
    ]
    assert not tags_of(found, certain=True)
    assert not tags_of(census_of(USUAL | {"B-R&B": 300, "I-R&B": 300}))


def test_subtypes_that_differ_alike_are_no_slips():
    """Weibo has named and nominal mentions of each type."""
    weibo = {"O": 9000, "B-PER.NOM": 60, "B-PER.NAM": 50, "B-GPE.NAM": 45, "B-GPE.NOM": 2, "B-ORG.NAM": 30}
    assert not tags_of(census_of(weibo), certain=True)
    assert tags_of(census_of(weibo | {"B-GPE.NIM": 1}), certain=True) == {"B-GPE.NIM"}
