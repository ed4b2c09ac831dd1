"""The scores of MUC and SemEval-2013 against nervaluate, and cases worked by hand."""

import random

import pytest
from nervaluate import Evaluator
from test_metrics_references import random_corpora, random_spans

from ner_module.extras.analysis.overlap import overlap_counts
from ner_module.tagging import LabelSet, Span, tags_to_spans

STRATEGIES = {"exact": "exact", "partial": "partial", "type": "ent_type"}


def as_dicts(rows: list[list[Span]]) -> list[list[dict]]:
    return [[{"label": s.entity_type, "start": s.start, "end": s.end - 1} for s in row] for row in rows]


def check(predicted: list[list[Span]], gold: list[list[Span]], types: list[str]) -> None:
    expected = Evaluator(as_dicts(gold), as_dicts(predicted), types, loader="dict").evaluate()
    for matching, strategy in STRATEGIES.items():
        counts = overlap_counts(predicted, gold, matching)
        overall = expected["overall"][strategy]
        assert counts == (overall.correct + overall.partial / 2, overall.actual, overall.possible), matching
        assert counts.scores == pytest.approx([overall.precision, overall.recall, overall.f1], abs=1e-6)


def test_counts_equal_nervaluate():
    """Tag sequences (conlleval spans), then dense sequences of spans that overlap in all ways."""
    for labels, gold, predicted in random_corpora("iob2", 500):
        gold_spans, predicted_spans = ([tags_to_spans(tags) for tags in rows] for rows in (gold, predicted))
        check(predicted_spans, gold_spans, LabelSet(tuple(labels), "iob2").entity_types)
    rng = random.Random(2)
    types = ["A", "B", "C"]
    lengths = [rng.randint(0, 60) for _ in range(500)]
    check(*([random_spans(rng, types, length) for length in lengths] for _ in range(2)), types)


def tilings(length: int, types: str) -> list[list[Span]]:
    """Every way to place spans of the given types on a few words."""
    if length == 0:
        return [[]]
    shorter = tilings(length - 1, types)
    result = list(shorter)
    for size in range(1, length + 1):
        for before in tilings(length - size, types):
            result += [[*before, Span(length - size, length, name)] for name in types]
    return result


def test_every_pair_of_span_sets_on_four_words():
    all_sets = tilings(4, "A")
    pairs = [(p, g) for p in all_sets for g in all_sets]
    check([p for p, _ in pairs], [g for _, g in pairs], ["A"])


def test_every_pair_of_span_sets_with_two_types_on_three_words():
    all_sets = tilings(3, "AB")
    pairs = [(p, g) for p in all_sets for g in all_sets]
    check([p for p, _ in pairs], [g for _, g in pairs], ["A", "B"])


def test_an_overlap_of_less_than_a_hundredth_does_not_count():
    gold = [[Span(0, 100, "A")], [Span(0, 101, "A")], [Span(0, 250, "A"), Span(250, 600, "A"), Span(600, 700, "B")]]
    predicted = [
        [Span(99, 100, "A")],
        [Span(0, 1, "A"), Span(5, 7, "A"), Span(100, 102, "A")],
        [Span(0, 1, "A"), Span(248, 252, "A"), Span(252, 300, "A"), Span(599, 602, "B"), Span(699, 701, "B")],
    ]
    check(predicted, gold, ["A", "B"])


@pytest.mark.parametrize(
    ("predicted", "gold"), [([], []), ([[]], [[]]), ([[Span(0, 1, "A")]], [[]]), ([[]], [[Span(0, 1, "A")]])]
)
def test_nothing_on_one_side_or_both(predicted, gold):
    for matching in STRATEGIES:
        counts = overlap_counts(predicted, gold, matching)
        assert counts == (0, sum(map(len, predicted)), sum(map(len, gold)))
        assert counts.scores == (0.0, 0.0, 0.0)


def test_spans_that_never_meet():
    check([[Span(0, 1, "A")], []], [[Span(1, 2, "A")], [Span(0, 1, "A")]], ["A"])


def test_a_chain_decided_from_its_beginning():
    """Each prediction overlaps two gold spans, its own last one being the next one's first."""
    gold = [[Span(2 * i, 2 * i + 2, "A") for i in range(50)]]
    predicted = [[Span(2 * i + 1, 2 * i + 3, "A") for i in range(49)]]
    check(predicted, gold, ["A"])
    check([[Span(0, 1, "A"), *predicted[0]]], gold, ["A"])
    counts = overlap_counts([[Span(0, 1, "A"), *predicted[0]]], gold, "partial")
    assert counts == (25.0, 50, 50)
