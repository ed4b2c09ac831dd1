"""Kinds of errors, parts of the entities, calibration: cases worked by hand, sums that must hold, torchmetrics."""

import json
import random
from collections import Counter

import pytest
import torch
from test_metrics_references import random_spans
from torchmetrics.functional.classification import binary_calibration_error

from ner_module.errors import DataError
from ner_module.extras.analysis.analysis import (
    by_training,
    calibration_error,
    read_train_entities,
    reliability,
)
from ner_module.extras.analysis.errors import (
    NO_ENTITY,
    OUTCOMES,
    Pairing,
    error_records,
    pair_entities,
)
from ner_module.extras.analysis.sentences import (
    TaggedSentence,
    counts_by_sentence,
    entity_types_of,
    read_predictions,
)
from ner_module.tagging import Span


def outcomes_of(gold: list[Span], predicted: list[Span]) -> list[str]:
    return [pairing.outcome for pairing in pair_entities(gold, predicted)]


@pytest.mark.parametrize(
    ("gold", "predicted", "expected"),
    [
        ([], [], []),
        ([Span(0, 2, "X")], [Span(0, 2, "X")], ["correct"]),
        ([Span(0, 2, "X")], [Span(0, 2, "Y")], ["wrong type"]),
        ([Span(0, 2, "X")], [Span(0, 3, "X")], ["wrong boundary"]),
        ([Span(0, 2, "X")], [Span(1, 3, "Y")], ["wrong type and boundary"]),
        ([Span(0, 2, "X")], [Span(2, 3, "X")], ["missed", "spurious"]),
        # One gold entity, two pieces: the larger one is its partner.
        ([Span(0, 4, "X")], [Span(0, 1, "X"), Span(1, 4, "X")], ["spurious", "wrong boundary"]),
        # Pieces of equal size: the one with the right type, else the left one.
        ([Span(0, 2, "X")], [Span(0, 1, "Y"), Span(1, 2, "X")], ["spurious", "wrong boundary"]),
        ([Span(0, 2, "X")], [Span(0, 1, "X"), Span(1, 2, "X")], ["wrong boundary", "spurious"]),
        # Two gold entities predicted as one.
        ([Span(0, 1, "X"), Span(1, 3, "X")], [Span(0, 3, "X")], ["missed", "wrong boundary"]),
        # A chain: the partner with most words goes first and leaves the others to each other.
        (
            [Span(0, 3, "X"), Span(3, 8, "X")],
            [Span(2, 7, "X"), Span(7, 9, "X")],
            ["missed", "wrong boundary", "spurious"],
        ),
    ],
)
def test_outcomes_by_hand(gold, predicted, expected):
    assert sorted(outcomes_of(gold, predicted)) == sorted(expected)
    # What is right does not depend on which side is called gold.
    mirrored = {"missed": "spurious", "spurious": "missed"}
    assert Counter(outcomes_of(predicted, gold)) == Counter(mirrored.get(name, name) for name in expected)


def test_every_entity_counts_once():
    rng = random.Random(0)
    for _ in range(300):
        gold, predicted = (random_spans(rng, ["X", "Y"], rng.randint(0, 40)) for _ in range(2))
        pairings = pair_entities(gold, predicted)
        assert sorted(pairing.gold for pairing in pairings if pairing.gold) == gold
        assert sorted(pairing.predicted for pairing in pairings if pairing.predicted) == predicted
        outcomes = Counter(pairing.outcome for pairing in pairings)
        assert outcomes["correct"] == len(set(gold) & set(predicted))
        # Nothing is called missed while something that overlaps it is called spurious.
        alone = [pairing for pairing in pairings if None in pairing]
        for a in (pairing.gold for pairing in alone if pairing.gold):
            for b in (pairing.predicted for pairing in alone if pairing.predicted):
                assert a.end <= b.start or b.end <= a.start
        confusion = Counter(pairing.types for pairing in pairings)
        for name in "XY":
            assert sum(confusion[name, other] for other in ("X", "Y", NO_ENTITY)) == sum(
                span.entity_type == name for span in gold
            )
            assert sum(confusion[other, name] for other in ("X", "Y", NO_ENTITY)) == sum(
                span.entity_type == name for span in predicted
            )


def test_outcome_names_are_all_listed():
    everything = [
        Pairing(Span(0, 1, "X"), Span(0, 1, "X")),
        Pairing(Span(0, 2, "X"), Span(0, 1, "X")),
        Pairing(Span(0, 1, "X"), Span(0, 1, "Y")),
        Pairing(Span(0, 2, "X"), Span(0, 1, "Y")),
        Pairing(Span(0, 1, "X"), None),
        Pairing(None, Span(0, 1, "X")),
    ]
    assert tuple(pairing.outcome for pairing in everything) == OUTCOMES


SENTENCES = [
    TaggedSentence(
        ["Rosa", "Luxemburg", "lived", "in", "Berlin"],
        [Span(0, 2, "PER"), Span(4, 5, "LOC")],
        [Span(0, 2, "PER"), Span(3, 5, "LOC")],
        [0.9, 0.7, 1.0, 0.5, 0.6],
    ),
    TaggedSentence(["Berlin", "Alexanderplatz"], [Span(0, 2, "LOC")], [Span(0, 1, "LOC")], [0.8, 0.4]),
]


def test_error_records():
    pairings = [pair_entities(sentence.gold, sentence.predicted) for sentence in SENTENCES]
    records = error_records(SENTENCES, pairings)
    assert records == [
        {
            "sentence": 1,
            "file": None,
            "line": None,
            "error": "wrong boundary",
            "gold": {"type": "LOC", "text": "Berlin", "start": 4, "end": 5},
            "predicted": {"type": "LOC", "text": "in Berlin", "start": 3, "end": 5, "score": 0.55},
            "tokens": SENTENCES[0].tokens,
        },
        {
            "sentence": 2,
            "file": None,
            "line": None,
            "error": "wrong boundary",
            "gold": {"type": "LOC", "text": "Berlin Alexanderplatz", "start": 0, "end": 2},
            "predicted": {"type": "LOC", "text": "Berlin", "start": 0, "end": 1, "score": 0.8},
            "tokens": SENTENCES[1].tokens,
        },
    ]


def test_parts_by_training_entities():
    train = {"LOC": {"Berlin": 7, "Rosa Luxemburg": 1}, "PER": {"Berlin": 1}, "ORG": {}}
    found = by_training(SENTENCES, train)
    assert found == {
        "seen with this type": (0, 1, 1),  # Berlin
        "seen with other types only": (1, 1, 1),  # Rosa Luxemburg
        "never seen": (0, 1, 1),  # in Berlin; Berlin Alexanderplatz
    }


def test_training_entities_that_cannot_be_read(tmp_path):
    path = tmp_path / "train_entities.json"
    for content, problem in (
        ("{", "the file is damaged"),
        ("[1]", "is not a JSON object"),
        ('{"PER": 1}', "not of the form"),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=rf"train_entities\.json: .*{problem}.*; "):
            read_train_entities(path)
    path.write_text('{"LOC": {"Rome": 2}}')
    assert read_train_entities(path) == {"LOC": {"Rome": 2}}


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_calibration_error_equals_torchmetrics(num_bins):
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(2000, generator=generator, dtype=torch.float64)
    correct = torch.rand(2000, generator=generator) < confidence**2
    bins = reliability(list(zip(confidence.tolist(), correct.tolist(), strict=True)), num_bins)
    expected = binary_calibration_error(confidence, correct.int(), n_bins=num_bins, norm="l1")
    assert calibration_error(bins) == pytest.approx(float(expected), abs=1e-6)
    assert sum(each.num_predicted for each in bins) == 2000


def test_reliability_at_the_borders():
    bins = reliability([(0.0, False), (0.5, True), (0.51, False), (1.0, True)], 2)
    assert [each.num_predicted for each in bins] == [2, 2]
    assert [each.precision for each in bins] == [0.5, 0.5]
    assert [each.confidence for each in bins] == pytest.approx([0.25, 0.755])
    assert calibration_error(reliability([])) == 0.0
    assert calibration_error(reliability([(1.0, True)] * 5)) == 0.0


def write(path, *rows) -> None:
    path.write_text(
        "".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    )


def test_reading_predictions(tmp_path):
    path = tmp_path / "test.jsonl"
    # U+2028 ends a line for str.splitlines, not in JSONL.
    row = {"tokens": ["a\u2028b", "c"], "gold_tags": ["B-X", "I-X"], "predicted_tags": ["O", "I-X"], "scores": [1, 0.5]}
    empty = {"tokens": [], "gold_tags": [], "predicted_tags": []}
    write(path, row, empty)
    first, second = read_predictions(path)
    assert first == TaggedSentence(["a\u2028b", "c"], [Span(0, 2, "X")], [Span(1, 2, "X")], [1, 0.5])
    assert first.confidence(Span(0, 2, "X")) == 0.75
    assert second == TaggedSentence([], [], [], None)
    assert entity_types_of([first, second]) == ["X"]
    assert counts_by_sentence([first, second], ["X"]).tolist() == [[[0, 1, 1]], [[0, 0, 0]]]
    flat = {"tokens": ["c", "d"], "gold_tags": ["NOUN", "O"], "predicted_tags": ["NOUN", "VERB"]}
    write(path, flat)
    assert read_predictions(path)[0].predicted == [Span(0, 1, "NOUN"), Span(1, 2, "VERB")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((), "holds no sentence"),
        (("{\n",), r":1: Invalid JSON"),
        (([1],), r":1: .* object"),
        (({"tokens": ["a"], "gold_tags": ["O"]},), r":1: predicted_tags: Field required"),
        (
            ({"tokens": ["a"], "gold_tags": ["O"], "predicted_tags": [3]},),
            r":1: predicted_tags: 0: .* valid string",
        ),
        (
            ({"tokens": ["a"], "gold_tags": ["O"], "predicted_tags": ["O"], "scores": ["x"]},),
            r":1: scores: 0: .* valid number",
        ),
        (
            ({"tokens": ["a"], "gold_tags": ["O", "O"], "predicted_tags": ["O"]},),
            r":1: 1 tokens, 2 gold_tags, 1 predicted_tags; there must be one of each per word",
        ),
        (
            (
                {"tokens": ["a"], "gold_tags": ["B-X"], "predicted_tags": ["O"]},
                {"tokens": ["a"], "gold_tags": ["O"], "predicted_tags": ["PER"]},
            ),
            r":2: the tag 'PER' is neither",
        ),
        (("\n", {"tokens": [], "gold_tags": [], "predicted_tags": []}), r":1: Invalid JSON"),
        (
            (
                {"tokens": ["a"], "gold_tags": ["B-X"], "predicted_tags": ["O"]},
                {"tokens": ["a"], "gold_tags": ["PER"], "predicted_tags": ["O"]},
            ),
            "'PER' has none",
        ),
    ],
)
def test_predictions_that_cannot_be_read(tmp_path, rows, message):
    path = tmp_path / "test.jsonl"
    write(path, *rows)
    with pytest.raises(DataError, match=message) as error:
        read_predictions(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no\.jsonl: the predictions cannot be read.*`python -m ner_module test`"):
        read_predictions(tmp_path / "no.jsonl")
