"""Thresholds, calibrated scores and candidates, against scipy, brute force and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import betabinom, binomtest

from ner_module.data.operating_point import LONGEST, OperatingPoint, calibrated, candidate_scores
from ner_module.errors import RunError
from ner_module.tagging import LabelSet, Span, legal_transitions
from ner_module.training.operating_points import (
    Reached,
    candidate_threshold,
    choose_point,
    parse_threshold,
    reached,
    share,
)

TYPES = ("PER", "LOC")
IOB2 = LabelSet(("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))
BIOES = LabelSet(("O", *(f"{prefix}-{name}" for name in TYPES for prefix in "BIES")), "bioes")
FLAT = LabelSet(("no", "PER", "LOC"), "flat", "no")


def random_type(seed: int, count: int = 60) -> dict[str, object]:
    random = np.random.default_rng(seed)
    scores = random.integers(0, 40, count) / 40  # many are equal
    right = random.random(count) < scores
    candidates = random.random(count).tolist()
    return {"gold": count, "right": scores[right].tolist(), "wrong": scores[~right].tolist(), "candidates": candidates}


POINTS = {
    "decoding": "viterbi",
    "temperature": 2.0,
    "offset": -0.5,
    "types": {"PER": random_type(0), "LOC": {"gold": 5, "right": [0.9], "wrong": [0.8], "candidates": [0.5] * 5}},
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

        expected = max(rows, key=f_beta)
        assert expected.f_beta(beta) == pytest.approx(f_beta(expected))
    assert reached(of_type, **goal) == expected


def test_a_precision_of_few_entities_is_none() -> None:
    of_type = {"gold": 20, "right": [0.9] * 9, "wrong": [0.5] * 9}
    assert reached(of_type, precision=0.9) is None
    assert reached(of_type | {"right": [0.9] * 10}, precision=0.9) == Reached(0.9, 10, 10, 20)


def test_calibration_keeps_the_order_and_the_middle() -> None:
    scores = [0.0, 0.1, 0.5, 0.9, 0.99999, 1.0]
    changed = [calibrated(score, 3.0, 0.0) for score in scores]
    assert changed == sorted(changed)
    assert changed[2] == 0.5
    assert changed[3] == pytest.approx(1 / (1 + 9 ** (-1 / 3)))
    assert 0 < changed[0] < changed[-1] < 1


@pytest.mark.parametrize("recall", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("count", [0, 13, 40, 79, 80, 200, 3000])
def test_misses_that_are_allowed_are_those_of_the_beta_binomial(count: int, recall: float) -> None:
    """With ``k`` of n scores below the threshold, the misses among n more are beta-binomial (k + 1, n - k)."""
    scores = [(place + 1) / count for place in range(count)]
    most = {0.8: count // 5, 0.9: count // 10, 0.95: count // 20}[recall]
    below = sum(betabinom.cdf(most, count, k + 1, count - k) >= 0.95 for k in range(min(count, most + 1)))
    expected = scores[below - 1] if below else math.inf
    assert candidate_threshold(scores, recall) == expected


@pytest.mark.parametrize(("count", "recall"), [(80, 0.95), (150, 0.9), (400, 0.95)])
def test_the_guarantee_holds_in_95_of_100_draws(count: int, recall: float) -> None:
    draws, others = np.random.default_rng(0).random((2, 1000, count))
    bounds = np.array([candidate_threshold(draw, recall) for draw in draws])
    held = np.mean(others >= bounds[:, None], axis=1) >= recall
    assert np.mean(held) >= 0.935  # of 1,000 draws
    plain = np.sort(draws)[:, max(count - math.ceil((count + 1) * recall), 0)]
    assert np.mean(np.mean(others >= plain[:, None], axis=1) >= recall) < 0.75  # the rule that holds on average only


def test_entities_that_are_no_candidates_count_as_missed() -> None:
    assert candidate_threshold([0.0] * 10 + [0.5] * 90, 0.95) == math.inf
    assert candidate_threshold([0.0] + [0.5] * 199, 0.95) == 0.5
    assert candidate_threshold([], 0.95) == math.inf


@pytest.mark.parametrize("labels", [IOB2, BIOES, FLAT], ids=["iob2", "bioes", "flat"])
def test_certain_labels_have_their_entities_for_candidates(labels: LabelSet) -> None:
    """Of every legal sequence of four words, read by the scheme's own rules."""
    legal = legal_transitions(labels.names, labels.scheme) if labels.scheme != "flat" else None
    sequences = itertools.product(range(len(labels.names)), repeat=4)
    point, checked = OperatingPoint(candidates=dict.fromkeys(TYPES, 0.5)), 0
    for label_ids in itertools.islice(sequences, 0, None, 3):
        path = [labels.outside_id, *label_ids, labels.outside_id]
        if legal is not None and not all(legal[a][b] for a, b in itertools.pairwise(path)):
            continue
        found = point.find_candidates(np.eye(len(labels.names))[list(label_ids)], [1.0] * 4, labels)
        assert found == [(span, 1.0) for span in labels.spans([labels.names[index] for index in label_ids])]
        checked += 1
    assert checked > 20


def test_scores_of_candidates_by_hand() -> None:
    """``[P(O), P(B-PER), P(I-PER), P(B-LOC), P(I-LOC)]`` of three words."""
    probabilities = [[0.1, 0.7, 0.0, 0.2, 0.0], [0.5, 0.1, 0.4, 0.0, 0.0], [0.0, 0.0, 0.25, 0.75, 0.0]]
    found = candidate_scores(probabilities, [0.7, 0.5, 0.75], IOB2)
    assert found.shape == (LONGEST, 3, 2)
    per, loc = found[:, :, 0], found[:, :, 1]
    assert per[:3, 0] == pytest.approx([0.7 * 0.6, 0.4 * 0.75, 0.25])
    assert per[:3, 1] == pytest.approx([0.1 * 0.75, 0.1, 0])
    assert loc[:3].tolist() == pytest.approx(np.array([[0.2, 0, 0.75], [0, 0, 0], [0, 0, 0]]))
    unseen = candidate_scores(probabilities, [0.7, 0.0, 0.75], IOB2)
    assert unseen[:3, 0, 0] == pytest.approx([0.7, 0, 0]), "a word that the model never saw is outside for certain"
    assert candidate_scores([], [], IOB2).shape == (LONGEST, 0, 2)
    assert candidate_scores(np.full((1, 5), np.nan), [0.0], IOB2).sum() == 0


def test_what_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    def choose(**asked: object) -> OperatingPoint:
        return choose_point(POINTS, IOB2, "viterbi", **asked)

    assert choose() == OperatingPoint()
    assert choose(threshold=0.7) == OperatingPoint(thresholds={"PER": 0.7, "LOC": 0.7})
    assert choose(calibrated=True) == OperatingPoint((2.0, -0.5))
    best = reached(POINTS["types"]["PER"], precision=0.8)
    assert best is not None
    assert choose(precision=0.8) == OperatingPoint((2.0, -0.5), {"PER": best.threshold, "LOC": math.inf})
    assert "LOC: precision 0.8 is not reached on validation data by any threshold; none is kept" in caplog.text
    found = choose(precision=0.8, threshold={"LOC": 0.4})
    assert found.thresholds == {"PER": best.threshold, "LOC": 0.4}
    assert choose(recall=0.99).thresholds == {"PER": 0.0, "LOC": 0.0}
    assert "LOC: recall 0.99 is not reached" in caplog.text
    listed = choose(candidates=0.9)
    assert listed.calibration is None
    assert listed.candidates == {
        "PER": candidate_threshold(POINTS["types"]["PER"]["candidates"], 0.9),
        "LOC": math.inf,
    }
    assert "LOC: no candidates" in caplog.text
    assert "the validation data has 5 entities, too few" in caplog.text


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"precision": 0.9, "recall": 0.9}, "precision and recall cannot be wanted at once"),
        ({"precision": 90.0}, "lie between 0 and 1"),
        ({"threshold": math.nan}, "lie between 0 and 1"),
        ({"f_beta": 0.0}, "f_beta above 0"),
        ({"threshold": {"PRE": 0.5}}, "there is no type 'PRE': it is one of PER, LOC"),
    ],
)
def test_what_cannot_be_meant(asked: dict[str, object], problem: str) -> None:
    with pytest.raises(RunError, match=problem):
        choose_point(POINTS, IOB2, "viterbi", **asked)


def test_points_of_another_decoding_or_none() -> None:
    with pytest.raises(RunError, match="of viterbi decoding, not greedy"):
        choose_point(POINTS, IOB2, "greedy", calibrated=True)
    with pytest.raises(RunError, match="no operating points"):
        choose_point(None, IOB2, "viterbi", recall=0.5)
    assert choose_point(None, IOB2, "viterbi", threshold=0.5).thresholds == {"PER": 0.5, "LOC": 0.5}


def test_thresholds_on_the_command_line() -> None:
    assert parse_threshold(None) is None
    assert parse_threshold("a=b=0.5, c =1e-1") == {"a=b": 0.5, "c": 0.1}
    for wrong in ("PER", "PER=", "=x", ""):
        with pytest.raises(RunError, match=r"such as PER=0\.8"):
            parse_threshold(wrong)


def test_a_half_sure_entity_is_dropped_not_relabelled() -> None:
    from ner_module.data.entities import prediction
    from ner_module.data.sentence import Sentence

    sentence, label_ids = Sentence(["Ada", "Lovelace", "slept", "in", "Rome"], id=7), [1, 2, 0, 0, 3]
    found = prediction(
        sentence,
        label_ids,
        [0.9, 0.5, 1.0, 1.0, 0.69999],
        IOB2,
        point=OperatingPoint(thresholds={"PER": 0.7001, "LOC": 0.7}),
    )
    assert found["id"] == 7
    assert [(each["type"], each["score"]) for each in found["entities"]] == [("LOC", 0.7)], "as it is written"
    assert IOB2.spans([IOB2.names[index] for index in label_ids])[0] == Span(0, 2, "PER")
