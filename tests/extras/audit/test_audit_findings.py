"""What the audit finds in small corpora whose flaws are known."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from audit_corpora import by_code, read_corpus

from ner_module.data.preparation import ReadingOptions, store_files
from ner_module.data.store import StoredSplit
from ner_module.extras.analysis.breakdown import SEEN, by_training
from ner_module.extras.analysis.sentences import TaggedSentence
from ner_module.extras.audit.audit import audit_sources
from ner_module.extras.audit.balance import balance_findings, count_balance
from ner_module.extras.audit.characters import character_findings
from ner_module.extras.audit.consistency import conflicting_forms, consistency_findings
from ner_module.extras.audit.corpus import SPLITS, Source
from ner_module.extras.audit.duplicates import duplicate_findings
from ner_module.extras.audit.entities import collect_entities
from ner_module.extras.audit.spans import find_illegal, find_spans, tag_table
from ner_module.extras.audit.tags import illegal_tags
from ner_module.extras.findings import Finding
from ner_module.tagging import Span, tags_to_spans

CLEAN = "Ada/B-PER Lovelace/I-PER met/O Bob/B-PER today/O"


# ---------------------------------------------------------------------- duplicates


def duplicates(folder: Path, splits: dict[str, list[str]]) -> dict[str, Finding]:
    with read_corpus(folder, splits) as corpus:
        return by_code(duplicate_findings(corpus))


def test_leakage_names_both_places(tmp_path: Path) -> None:
    found = duplicates(tmp_path, {"train": ["It/O rains/O", CLEAN], "test": ["No/O", CLEAN, "She/O left/O"]})
    leak = found.pop("leakage")
    assert not found
    assert (leak.severity, leak.count) == ("warning", 1)
    assert leak.message.startswith("1 sentence of the test data (33 %; 1 of 5 words or more) is in the training data")
    assert leak.example is not None
    assert (Path(leak.example.file).name, leak.example.line) == ("test.conll", 3)
    assert leak.example.text.endswith("train.conll:4)")


def test_a_short_sentence_in_two_splits_is_only_a_note(tmp_path: Path) -> None:
    found = duplicates(tmp_path, {"train": ["It/O rains/O", CLEAN], "test": ["It/O rains/O"]})
    assert found["leakage"].severity == "info"


def test_near_leakage_sees_through_case_spacing_and_tokenisation(tmp_path: Path) -> None:
    other = "ADA/B-PER LOVELACE/I-PER met/O Bob/B-PER to/O day/O"
    found = duplicates(tmp_path, {"train": [CLEAN], "validation": [other, "Ada/B-PER met/O Lovelace/O Bob/O today/O"]})
    assert set(found) == {"near_leakage"}
    assert found["near_leakage"].count == 1
    assert found["near_leakage"].example is not None
    assert found["near_leakage"].example.line == 1


def test_leakage_within_training_data_of_which_a_part_is_held_out(tmp_path: Path) -> None:
    with read_corpus(tmp_path, {"train": [CLEAN, "It/O rains/O", CLEAN]}, held_out=np.array([2])) as corpus:
        assert corpus.splits == ("train", "validation")
        found = by_code(duplicate_findings(corpus))
    assert set(found) == {"leakage"}
    assert found["leakage"].message.startswith("1 sentence of the validation data (100 %")


def test_repetition_and_contradiction(tmp_path: Path) -> None:
    contradicting = CLEAN.replace("Bob/B-PER", "Bob/O")
    found = duplicates(tmp_path, {"train": [CLEAN, CLEAN, "x/O", contradicting]})
    assert found["duplicate_sentences"].count == 2
    assert found["contradicting_duplicates"].count == 1
    example = found["contradicting_duplicates"].example
    assert example is not None
    assert "[Bob]" in example.text
    assert example.text.endswith("O here, B-PER in " + example.file + ":4")
    assert example.line == 17 + 1


@pytest.mark.parametrize("sentences", [["x/O"], ["x/O", "y/O"], [CLEAN]])
def test_nothing_to_find(tmp_path: Path, sentences: list[str]) -> None:
    assert duplicates(tmp_path, {"train": sentences}) == {}


# ---------------------------------------------------------------------- consistency


def conflicts(folder: Path, splits: dict[str, list[str]]) -> dict[str, Finding]:
    with read_corpus(folder, splits) as corpus:
        return by_code(consistency_findings(corpus, collect_entities(corpus)))


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
    with read_corpus(tmp_path, {"train": lines}) as corpus:
        forms = conflicting_forms(corpus, collect_entities(corpus))
    assert sorted(sorted(form.readings.items()) for form in forms) == expected


# ---------------------------------------------------------------------- characters


def characters(folder: Path, sentences: list[str]) -> dict[str, Finding]:
    with read_corpus(folder, {"train": sentences}) as corpus:
        return by_code(character_findings(corpus))


def test_composed_and_decomposed_accents(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    found = characters(tmp_path, [f"a/O {composed}/O {composed}/O na\u00efve/O", f"un/O {decomposed}/O"])
    mixed = found.pop("mixed_unicode_forms")
    assert not found
    assert mixed.count == 1
    assert "1 word with accents is not NFC" in mixed.message
    assert "3 NFC" in mixed.message
    assert mixed.details == [{"form": decomposed}]
    assert mixed.example is not None
    assert mixed.example.line == 7


@pytest.mark.parametrize("text", ["caf\u00e9", "cafe\u0301"])
def test_one_form_alone_is_not_mixed(tmp_path: Path, text: str) -> None:
    assert characters(tmp_path, [f"{text}/O plain/O"]) == {}


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("zero\u200bwidth", "zero_width_characters"),
        ("soft\u00adhyphen", "zero_width_characters"),
        ("\u200d", "zero_width_characters"),
        ("bell\u0007", "control_characters"),
        ("New\u00a0York", "space_in_words"),
        ("caf\u00c3\u00a9", "damaged_characters"),
        ("\ufffd", "damaged_characters"),
    ],
)
def test_odd_characters_with_their_line(tmp_path: Path, word: str, code: str) -> None:
    records = [{"tokens": ["fine"], "tags": ["O"]}, {"tokens": ["a", word, word], "tags": ["O", "O", "O"]}]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    stored = StoredSplit(store_files(tmp_path / "cache", [path], ReadingOptions()))
    found = by_code(audit_sources({"train": Source(stored, "iob2")}, "O").findings)
    assert set(found) - {"no_entities"} == {code}
    assert found[code].count == 2
    assert found[code].example is not None
    assert found[code].example.line == 2
    if code in ("zero_width_characters", "control_characters"):
        assert "\\" in found[code].example.text, "what cannot be seen is shown as an escape"


def test_empty_words(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"tokens": ["a", "", "\\t"], "tags": ["B-X", "O", "O"]}\n', encoding="utf-8")
    stored = StoredSplit(store_files(tmp_path / "cache", [path], ReadingOptions()))
    found = {finding.code: finding for finding in audit_sources({"train": Source(stored, "iob2")}, "O").findings}
    assert found["empty_words"].count == 2


def test_what_scripts_and_emoji_need_is_no_finding(tmp_path: Path) -> None:
    words = ["👩\u200d👩\u200d👧", "❤\ufe0f", "می\u200cخواهم", "北京", "العربية", "😂"]
    assert characters(tmp_path, [" ".join(f"{word}/O" for word in words)]) == {}


# ---------------------------------------------------------------------- tags


def test_illegal_tags_have_count_file_and_line_of_the_word(tmp_path: Path) -> None:
    splits = {"train": [CLEAN, "a/O b/I-PER c/I-LOC", "d/I-PER"], "test": [CLEAN, "e/O f/O g/I-ORG"]}
    with read_corpus(tmp_path, splits) as corpus:
        train, test = illegal_tags(corpus)
    assert (train.count, test.count) == (3, 1)
    assert train.example is not None
    assert test.example is not None
    assert (Path(train.example.file).name, train.example.line) == ("train.conll", 8)
    assert train.example.text == "a [b] c  has I-PER after O"
    assert (Path(test.example.file).name, test.example.line) == ("test.conll", 9)


def test_what_is_illegal_in_one_scheme_is_legal_in_another(tmp_path: Path) -> None:
    with read_corpus(tmp_path, {"train": ["a/O b/I-PER"]}, scheme="iob1") as corpus:
        assert illegal_tags(corpus) == []


# ---------------------------------------------------------------------- balance


def test_missing_and_rare_types(tmp_path: Path) -> None:
    train = ["a/B-PER b/B-PER"] * 10 + ["c/B-LOC"]
    with read_corpus(tmp_path, {"train": train, "validation": ["a/B-PER", "d/B-ORG"]}) as corpus:
        entities = collect_entities(corpus)
        balance = count_balance(corpus, entities)
        found = by_code(balance_findings(corpus, entities, balance, {"train": "train.conll", "validation": "v"}))
    assert balance.mentions == {
        "train": {"PER": 20, "LOC": 1, "ORG": 0},
        "validation": {"PER": 1, "LOC": 0, "ORG": 1},
    }
    assert balance.distinct["train"] == {"PER": 2, "LOC": 1, "ORG": 0}
    assert balance.seen == {"validation": {"same_type": 1, "other_type": 0, "unseen": 1}}
    assert found["rare_type"].count == 1
    assert (
        found["rare_type"].message
        == "1 type has fewer than 20 of the 21 training entities, too few to learn well: LOC 1"
    )
    assert found["type_not_in_training"].example is not None
    assert found["type_not_in_training"].example.line == 3
    assert found["few_to_score"].count == 3


def test_seen_and_unseen_are_those_of_the_scores(tmp_path: Path) -> None:
    sample = Path(__file__).parents[3] / "ner_module" / "data" / "sample"
    stored = {
        split: StoredSplit(store_files(tmp_path, [sample / f"{split}.conll"], ReadingOptions())) for split in SPLITS
    }
    audit = audit_sources({name: Source(split, "iob2") for name, split in stored.items()}, "O")
    entities: dict[str, dict[str, int]] = {}
    for sentence in stored["train"].slice(0, len(stored["train"])):
        for start, end, name in tags_to_spans(sentence.tags or []):
            form = " ".join(sentence.tokens[start:end])
            entities.setdefault(name, {}).setdefault(form, 0)
            entities[name][form] += 1
    part_of = by_training(entities)
    counts: Counter[str] = Counter()
    for sentence in stored["test"].slice(0, len(stored["test"])):
        spans = [Span(*span) for span in tags_to_spans(sentence.tags or [])]
        counts.update(part_of(TaggedSentence(sentence.tokens, spans, [], None), span) for span in spans)
    seen = audit.splits["test"]["entities_seen_in_training"]
    assert [seen["same_type"], seen["other_type"], seen["unseen"]] == [counts[part] for part in SEEN]
    assert audit.splits["train"]["distinct_entities"] == sum(len(forms) for forms in entities.values())
    assert audit.splits["train"]["entities"] == sum(sum(forms.values()) for forms in entities.values())


@pytest.mark.parametrize(("split", "severity"), [("train", "error"), ("test", "warning")])
def test_a_split_without_entities(tmp_path: Path, split: str, severity: str) -> None:
    splits = {"train": [CLEAN], "test": [CLEAN]} | {split: ["a/O b/O"]}
    with read_corpus(tmp_path, splits) as corpus:
        entities = collect_entities(corpus)
        balance = count_balance(corpus, entities)
        files = {name: f"{name}.conll" for name in splits}
        found = {finding.code: finding for finding in balance_findings(corpus, entities, balance, files)}
    assert found["no_entities"].severity == severity


def test_one_sentence_without_entities_is_audited(tmp_path: Path) -> None:
    with read_corpus(tmp_path, {"train": ["a/O"]}) as corpus:
        assert len(collect_entities(corpus).hashes) == 0
        assert consistency_findings(corpus, collect_entities(corpus)) == []
        assert (len(corpus), corpus.types, corpus.lengths().tolist()) == (1, [], [1])


def test_a_label_map_counts_what_training_will_see() -> None:
    """Renamed types are one, dropped ones are outside, and entities that touch stay two (hand-worked)."""
    tags = ["B-boss", "B-king", "I-king", "O", "B-misc", "I-misc", "I-boss"]
    index = np.arange(len(tags))
    first = np.array([True, *[False] * 6])
    table = tag_table(tags, False, "O", {"boss": "PER", "king": "PER", "misc": "O"})
    spans = find_spans(index, table, first)
    assert table.type_names == ["PER"]
    assert list(zip(spans.starts.tolist(), spans.ends.tolist(), spans.types.tolist(), strict=True)) == [
        (0, 1, 0),
        (1, 3, 0),
        (6, 7, 0),
    ]
    every = find_spans(index, table, first, dropped=True)
    assert every.types.tolist() == [0, 0, -1, 0]
    assert find_illegal(index, table, every, first, "iob2").tolist() == [False] * 6 + [True]
