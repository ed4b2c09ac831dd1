"""What the audit finds in small corpora whose flaws are known."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from audit_corpora import by_code, corpus_of, example_of, place_of
from hypothesis import given
from hypothesis import strategies as st

from ner_module.data.preparation import ReadingOptions, store_files
from ner_module.extras.audit.annotations import illegal_tags
from ner_module.extras.audit.audit import audit_corpus
from ner_module.extras.audit.consistency import consistency_findings, find_readings
from ner_module.extras.audit.corpus import Source, annotate, read_corpus
from ner_module.extras.audit.findings import Finding
from ner_module.extras.audit.sentences import duplicate_findings
from ner_module.extras.audit.words import character_findings
from ner_module.tagging import convert_tags, spans_to_tags, tags_to_spans

CLEAN = "Ada/B-PER Lovelace/I-PER met/O Bob/B-PER today/O"


# ---------------------------------------------------------------------- duplicates


def duplicates(folder: Path, splits: dict[str, list[str]]) -> dict[str, Finding]:
    return by_code(duplicate_findings(corpus_of(folder, splits)))


def test_leakage_names_both_places(tmp_path: Path) -> None:
    found = duplicates(tmp_path, {"train": ["It/O rains/O", CLEAN], "test": ["No/O", CLEAN, "She/O left/O"]})
    leak = found.pop("leakage")
    assert not found
    assert (leak.severity, leak.count) == ("warning", 1)
    assert leak.message.endswith(" (33 %; 1 of 5 words or more) is also in the training data")
    assert place_of(leak) == ("test.conll", 3)
    assert example_of(leak).text.endswith("train.conll:4)")
    short = duplicates(tmp_path, {"train": ["It/O rains/O", CLEAN], "test": ["It/O rains/O"]})
    assert short["leakage"].severity == "info"


def test_near_leakage_sees_through_case_spacing_and_tokenisation(tmp_path: Path) -> None:
    other = "ADA/B-PER LOVELACE/I-PER met/O Bob/B-PER to/O day/O"
    found = duplicates(tmp_path, {"train": [CLEAN], "validation": [other, "Ada/B-PER met/O Lovelace/O Bob/O today/O"]})
    assert set(found) == {"near_leakage"}
    assert found["near_leakage"].count == 1
    assert place_of(found["near_leakage"]) == ("validation.conll", 1)


def test_leakage_within_training_data_of_which_a_part_is_held_out(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, {"train": [CLEAN, "It/O rains/O", CLEAN]}, held_out=np.array([2]))
    assert corpus.splits == ["train", "validation"]
    found = by_code(duplicate_findings(corpus))
    assert set(found) == {"leakage"}
    assert found["leakage"].message.startswith("1 sentence of the validation data (100 %")


def test_repetition_and_contradiction(tmp_path: Path) -> None:
    contradicting = CLEAN.replace("Bob/B-PER", "Bob/O")
    found = duplicates(tmp_path, {"train": [CLEAN, CLEAN, "x/O", contradicting]})
    assert found["duplicate_sentences"].count == 2
    assert found["contradicting_duplicates"].count == 1
    example = example_of(found["contradicting_duplicates"])
    assert "[Bob]" in example.text
    assert example.text.endswith("O here, B-PER in " + example.file + ":4")
    assert example.line == 17 + 1


# ---------------------------------------------------------------------- consistency


def conflicts(folder: Path, splits: dict[str, list[str]]) -> dict[str, Finding]:
    return by_code(consistency_findings(corpus_of(folder, splits), ["LOC", "ORG", "PER"]))


def test_a_form_with_two_types_and_one_that_was_forgotten(tmp_path: Path) -> None:
    train = ["In/O New/B-LOC York/I-LOC"] * 8 + ["Paris/B-LOC won/O"] * 3 + ["Paris/B-ORG lost/O"]
    found = conflicts(tmp_path, {"train": train, "test": ["to/O New/O York/O ./O", "New/O ./O Ulm/B-LOC"]})
    [paris] = found["conflicting_types"].details or []
    assert paris["form"] == "Paris"
    assert [(reading["reading"], reading["count"]) for reading in paris["readings"]] == [("LOC", 3), ("ORG", 1)]
    assert paris["readings"][1]["places"][0]["text"] == "[Paris] lost"
    [york] = found["entity_or_outside"].details or []
    assert york["form"] == "New York"
    assert [(reading["reading"], reading["count"]) for reading in york["readings"]] == [("LOC", 8), ("outside", 1)]
    place = york["readings"][1]["places"][0]
    assert (Path(place["file"]).name, place["line"], place["text"]) == ("test.conll", 2, "to [New York] .")
    assert found["entity_or_outside"].severity == "warning"  # 8 of 9: clear
    assert found["conflicting_types"].severity == "info"  # 3 of 4: not


def test_words_inside_longer_entities_and_across_sentences_are_no_conflict(tmp_path: Path) -> None:
    train = ["York/B-LOC", "in/O New/B-LOC York/I-LOC", "Big/B-ORG Apple/I-ORG", "so/O Big/O", "Apple/O pie/O"]
    assert conflicts(tmp_path, {"train": train}) == {}


def test_clear_cases_come_first_and_common_words_do_not_flood(tmp_path: Path) -> None:
    train = ["May/O we/O"] * 40 + ["May/B-PER sang/O"] * 10  # honest ambiguity: no slip
    train += ["Rome/B-LOC fell/O"] * 20 + ["Rome/O fell/O"] + ["Ulm/B-LOC"] * 2 + ["Ulm/O"]
    train += ["the/O cat/O"] * 60 + ["the/B-PER"]
    found = conflicts(tmp_path, {"train": train})
    assert [form["form"] for form in found["entity_or_outside"].details or []] == ["Rome", "the", "Ulm"]


def test_counts_are_those_of_a_plain_search(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    tags = ["O", "O", "B-X", "I-X", "B-Y"]
    sentences = [
        [(str(chance.choice(["a", "b", "c"])), str(chance.choice(tags))) for _ in range(chance.integers(1, 9))]
        for _ in range(300)
    ]
    readings: dict[tuple[str, ...], Counter[str]] = {}
    for sentence in sentences:
        for start, end, name in tags_to_spans([tag for _, tag in sentence]):
            readings.setdefault(tuple(word for word, _ in sentence[start:end]), Counter())[name] += 1
    for form, counts in readings.items():
        for sentence in sentences:
            for start in range(len(sentence) - len(form) + 1):
                part = sentence[start : start + len(form)]
                if tuple(word for word, _ in part) == form and all(tag == "O" for _, tag in part):
                    counts["outside"] += 1
    expected = sorted(sorted(counts.items()) for form, counts in readings.items() if len(counts) > 1 and len(form) <= 8)
    lines = [" ".join(f"{word}/{tag}" for word, tag in sentence) for sentence in sentences]
    found = find_readings(corpus_of(tmp_path, {"train": lines})).values()
    assert sorted(sorted((name, len(places)) for name, places in readings.items()) for readings in found) == expected


# ---------------------------------------------------------------------- characters


def characters(folder: Path, sentences: list[str]) -> dict[str, Finding]:
    return by_code(character_findings(corpus_of(folder, {"train": sentences})))


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("", "empty_words"),
        ("\t", "empty_words"),
        ("zero\u200bwidth", "zero_width_characters"),
        ("\u200d", "zero_width_characters"),
        ("bell\u0007", "control_characters"),
        ("New\u00a0York", "space_in_words"),
        ("caf\u00c3\u00a9", "damaged_characters"),
        ("\ufffd", "damaged_characters"),
        ("cafe\u0301", "decomposed_characters"),
    ],
)
def test_odd_characters_with_their_line(tmp_path: Path, word: str, code: str) -> None:
    records = [{"tokens": ["fine"], "tags": ["O"]}, {"tokens": ["a", word, word], "tags": ["O", "O", "O"]}]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    stored = store_files(tmp_path / "cache", [path], ReadingOptions())
    found = by_code(audit_corpus(read_corpus({"train": Source(stored, "iob2")}, "O")).findings)
    assert set(found) - {"no_entities"} == {code}
    assert found[code].count == 2
    example = example_of(found[code])
    assert example.line == 2
    if code in ("zero_width_characters", "control_characters"):
        assert "\\" in example.text, "what cannot be seen is shown as an escape"


def test_what_scripts_and_emoji_need_is_no_finding(tmp_path: Path) -> None:
    words = ["caf\u00e9", "👩\u200d👩\u200d👧", "❤\ufe0f", "می\u200cخواهم", "北京", "العربية", "😂"]
    assert characters(tmp_path, [" ".join(f"{word}/O" for word in words)]) == {}


# ---------------------------------------------------------------------- tags


def test_illegal_tags_have_count_file_and_line_of_the_word(tmp_path: Path) -> None:
    splits = {"train": [CLEAN, "a/O b/I-PER c/I-LOC", "d/I-PER"], "test": [CLEAN, "e/O f/O g/I-ORG"]}
    train, test = illegal_tags(corpus_of(tmp_path, splits))
    assert (train.count, test.count) == (3, 1)
    assert (place_of(train), place_of(test)) == (("train.conll", 8), ("test.conll", 9))
    assert example_of(train).text == "a [b] c  has I-PER after O"
    assert not list(illegal_tags(corpus_of(tmp_path, {"train": ["a/O b/I-PER"]}, scheme="iob1")))


# ---------------------------------------------------------------------- balance


def test_missing_and_rare_types(tmp_path: Path) -> None:
    train = ["a/B-PER b/B-PER"] * 10 + ["c/B-LOC"]
    audit = audit_corpus(corpus_of(tmp_path, {"train": train, "validation": ["a/B-PER", "d/B-ORG"]}))
    found = {finding.code: finding for finding in audit.findings}
    assert audit.splits["train"]["entities_by_type"] == {"PER": 20, "LOC": 1, "ORG": 0}
    assert audit.splits["validation"]["entities_by_type"] == {"PER": 1, "LOC": 0, "ORG": 1}
    assert found["rare_type"].count == 1
    assert (
        found["rare_type"].message
        == "1 type has fewer than 20 of the 21 training entities, too few to learn well: LOC 1"
    )
    assert place_of(found["type_not_in_training"]) == ("validation.conll", 3)
    assert found["few_to_score"].count == 3


@pytest.mark.parametrize(("split", "severity"), [("train", "error"), ("test", "warning")])
def test_a_split_without_entities(tmp_path: Path, split: str, severity: str) -> None:
    splits = {"train": [CLEAN], "test": [CLEAN]} | {split: ["a/O b/O"]}
    found = {finding.code: finding for finding in audit_corpus(corpus_of(tmp_path, splits)).findings}
    assert found["no_entities"].severity == severity


TAGS = ["O", *(f"{prefix}-{name}" for prefix in "BIESLU" for name in ("boss", "king", "misc"))]
MAP = {"boss": "PER", "king": "PER", "misc": "O"}


@given(st.lists(st.sampled_from(TAGS), max_size=9))
def test_a_label_map_counts_what_training_will_see(tags: list[str]) -> None:
    spans, _ = annotate(tuple(tags), "iob2", "O", MAP)
    assert spans_to_tags(spans, len(tags)) == convert_tags(tags, "iob2", "iob2", label_map=MAP)


@pytest.mark.parametrize(("outside", "expected"), [("O", [1, 2]), (None, [0, 1, 2])])
def test_flat_labels_are_units_of_one_word(outside: str | None, expected: list[int]) -> None:
    spans, illegal = annotate(("O", "X", "X"), "flat", outside, {})
    assert ([span.start for span in spans], illegal) == (expected, [])


def test_words_that_all_begin_alike(tmp_path: Path) -> None:
    file = Path(__file__).parents[2] / "cases" / "data" / "31-wikiann-prefix.tsv"
    stored = store_files(tmp_path, [file], ReadingOptions())
    finding = by_code(audit_corpus(read_corpus({"train": Source(stored, "iob2")}, "O")).findings)["same_beginning"]
    assert finding.message == "every word of the train data begins with 'en:'"
