"""Thresholds and bounds of candidates: against scipy, brute force and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from ner_module.errors import RunError
from ner_module.extras.operating_points.choice import Reached, candidate_threshold, choose, reached, share
from ner_module.extras.operating_points.point import ChosenPoint
from ner_module.tagging import LabelSet

IOB2 = LabelSet(("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))


def random_type(seed: int, count: int = 60) -> dict[str, object]:
    random = np.random.default_rng(seed)
    scores = random.integers(0, 40, count) / 40  # many are equal
    right = random.random(count) < scores
    candidates = random.random((count, 1)).tolist()
    return {"gold": count, "right": scores[right].tolist(), "wrong": scores[~right].tolist(), "candidates": candidates}


POINTS = {
    "decoding": "viterbi",
    "temperature": 2.0,
    "offset": -0.5,
    "types": {"PER": random_type(0), "LOC": {"gold": 5, "right": [0.9], "wrong": [0.8], "candidates": [[0.5]] * 5}},
}


@pytest.mark.parametrize(("part", "whole"), [(0, 7), (7, 7), (38, 42), (1, 3), (900, 1000)])
def test_intervals_are_scipys(part: int, whole: int) -> None:
    expected = binomtest(part, whole).proportion_ci(0.95, method="wilson")
    assert share(part, whole) == pytest.approx((part / whole, expected.low, expected.high), abs=1e-6)


def test_nothing_says_nothing() -> None:
    assert share(0, 0) == (0, 0, 1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("goal", [{"precision": 0.8}, {"recall": 0.3}, {"f_beta": 0.5}, {"f_beta": 2.0}, {}])
def test_the_best_threshold_of_all(seed: int, goal: dict[str, float]) -> None:
    of_type = random_type(seed)
    rows = []
    for threshold in np.arange(41) / 40:
        correct, wrong = (sum(score >= threshold for score in of_type[name]) for name in ("right", "wrong"))
        if threshold in (*of_type["right"], *of_type["wrong"]):
            rows.append(Reached(float(threshold), correct + wrong, correct, 60))
    if "precision" in goal:
        best = [row for row in rows if row.kept >= 10 and row.correct / row.kept >= 0.8]
        expected = min(best, default=None)
    elif "recall" in goal:
        expected = max((row for row in rows if row.correct / 60 >= 0.3), default=None)
    else:
        beta = goal.get("f_beta", 1.0)

        def f_beta(row: Reached) -> float:
            precision, recall = row.correct / row.kept, row.correct / 60
            return (1 + beta**2) * precision * recall / max(beta**2 * precision + recall, 1e-9)

        found = reached(of_type, **goal)
        assert found in rows
        assert f_beta(found) == pytest.approx(max(map(f_beta, rows)))
        return
    assert reached(of_type, **goal) == expected


def test_a_precision_of_few_entities_is_none() -> None:
    of_type = {"gold": 20, "right": [0.9] * 9, "wrong": [0.5] * 9}
    assert reached(of_type, precision=0.9) is None
    assert reached(of_type | {"right": [0.9] * 10}, precision=0.9) == Reached(0.9, 10, 10, 20)


@pytest.mark.parametrize("recall", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("count", [0, 13, 40, 79, 80, 200])
def test_misses_that_are_allowed_are_those_of_all_orders(count: int, recall: float) -> None:
    """Of the equally likely orders of n scores and n others, those with so many others below the score ``k``."""
    scores = [[(place + 1) / count] for place in range(count)]
    most = {0.8: count // 5, 0.9: count // 10, 0.95: count // 20}[recall]

    def chance(below: int) -> float:
        orders = (math.comb(m + below, m) * math.comb(2 * count - m - below - 1, count - m) for m in range(most + 1))
        return sum(orders) / math.comb(2 * count, count)

    allowed = sum(chance(below) >= 0.95 for below in range(min(count, most + 1)))
    assert candidate_threshold(scores, recall) == (scores[allowed - 1][0] if allowed else math.inf)


@pytest.mark.parametrize(("count", "recall"), [(80, 0.95), (150, 0.9), (400, 0.95)])
def test_the_guarantee_holds_in_95_of_100_draws(count: int, recall: float) -> None:
    draws, others = np.random.default_rng(0).random((2, 1000, count))
    bounds = np.array([candidate_threshold(draw[:, None].tolist(), recall) for draw in draws])
    held = np.mean(others >= bounds[:, None], axis=1) >= recall
    assert np.mean(held) >= 0.935  # of 1,000 draws
    plain = np.sort(draws)[:, max(count - math.ceil((count + 1) * recall), 0)]
    assert np.mean(np.mean(others >= plain[:, None], axis=1) >= recall) < 0.75  # the rule that holds on average only


def test_the_guarantee_holds_for_entities_that_are_missed_together() -> None:
    """Sentences of six entities whose scores are correlated: as if independent, they promise too much."""
    random, held, held_as_independent = np.random.default_rng(0), [], []
    for _ in range(300):
        of_sentences, others = random.normal(size=(2, 100, 1)) + random.normal(size=(2, 100, 6)) / 2
        for bound, result in (
            (candidate_threshold(of_sentences.tolist(), 0.9), held),
            (candidate_threshold(of_sentences.reshape(-1, 1).tolist(), 0.9), held_as_independent),
        ):
            result.append(np.mean(others >= bound) >= 0.9)
    assert np.mean(held) >= 0.92
    assert np.mean(held_as_independent) < 0.85


def test_entities_that_are_no_candidates_count_as_missed() -> None:
    assert candidate_threshold([[0.0]] * 10 + [[0.5]] * 90, 0.95) == math.inf
    assert candidate_threshold([[0.0]] + [[0.5]] * 199, 0.95) == 0.5
    assert candidate_threshold([], 0.95) == math.inf


def test_what_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    def chosen(**asked: object) -> ChosenPoint:
        return choose(lambda: POINTS, IOB2, "viterbi", asked)

    assert chosen(threshold=0.7) == ChosenPoint(thresholds={"PER": 0.7, "LOC": 0.7})
    assert chosen(calibrated=True) == ChosenPoint((2.0, -0.5))
    best = reached(POINTS["types"]["PER"], precision=0.8)
    assert best is not None
    assert chosen(precision=0.8) == ChosenPoint((2.0, -0.5), {"PER": best.threshold, "LOC": math.inf})
    assert "LOC: no threshold reaches precision 0.8 with 10 entities on validation data; none is kept" in caplog.text
    found = chosen(precision=0.8, threshold={"LOC": 0.4})
    assert found.thresholds == {"PER": best.threshold, "LOC": 0.4}
    assert chosen(recall=0.99).thresholds == {"PER": 0.0, "LOC": 0.0}
    assert "LOC: no threshold reaches recall 0.99 on validation data; all is kept" in caplog.text
    listed = chosen(candidates=0.9)
    assert listed.calibration is None
    assert listed.candidates == {
        "PER": candidate_threshold(POINTS["types"]["PER"]["candidates"], 0.9),
        "LOC": math.inf,
    }
    assert "LOC: no candidates" in caplog.text
    assert "of 5 entities in the validation data too few are found" in caplog.text


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"precision": 0.9, "recall": 0.9}, "precision and recall cannot be combined"),
        ({"precision": 90.0}, "lie between 0 and 1"),
        ({"threshold": math.nan}, "lie between 0 and 1"),
        ({"f_beta": 0.0}, "f_beta above 0"),
        ({"threshold": {"PRE": 0.5}}, "there is no type 'PRE': it is one of PER, LOC"),
    ],
)
def test_what_cannot_be_meant(asked: dict[str, object], problem: str) -> None:
    with pytest.raises(RunError, match=problem):
        choose(lambda: POINTS, IOB2, "viterbi", asked)


def test_points_of_another_decoding_or_none() -> None:
    for points, decoding in ((POINTS, "greedy"), (None, "viterbi")):
        with pytest.raises(RunError, match=f"no operating points of this .* validate --model.decoding {decoding}"):
            choose(lambda points=points: points, IOB2, decoding, {"calibrated": True})
    assert choose(lambda: None, IOB2, "viterbi", {"threshold": 0.5}).thresholds == {"PER": 0.5, "LOC": 0.5}


def test_thresholds_as_text() -> None:
    def thresholds(text: str) -> object:
        return choose(lambda: None, IOB2, "viterbi", {"threshold": text}).thresholds

    assert thresholds("0.8") == {"PER": 0.8, "LOC": 0.8}
    assert thresholds("PER=0.5, LOC =1e-1") == {"PER": 0.5, "LOC": 0.1}
    for wrong in ("PER", "PER=", "LOC=x"):
        with pytest.raises(RunError, match=r"such as PER=0\.8"):
            thresholds(wrong)
