"""What an operating point does to the entities of a sentence: by hand, and by the scheme's own rules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ner_module.data.entities import prediction
from ner_module.data.sentence import Sentence
from ner_module.extras.operating_points.point import LONGEST, ChosenPoint, calibrated, candidate_scores
from ner_module.tagging import LabelSet, Span, legal_transitions

TYPES = ("PER", "LOC")
IOB2 = LabelSet(("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))
BIOES = LabelSet(("O", *(f"{prefix}-{name}" for name in TYPES for prefix in "BIES")), "bioes")
FLAT = LabelSet(("no", "PER", "LOC"), "flat", "no")


def test_calibration_keeps_the_order_and_the_middle() -> None:
    scores = [0.0, 0.1, 0.5, 0.9, 0.99999, 1.0]
    changed = [calibrated(score, 3.0, 0.0) for score in scores]
    assert changed == sorted(changed)
    assert changed[2] == 0.5
    assert changed[3] == pytest.approx(1 / (1 + 9 ** (-1 / 3)))
    assert 0 < changed[0] < changed[-1] < 1
    assert [calibrated(score, 1e-300, -1.0) for score in (0.01, 0.99)] == [0.0, 1.0], "a file may say so"


@pytest.mark.parametrize("labels", [IOB2, BIOES, FLAT], ids=["iob2", "bioes", "flat"])
def test_certain_labels_have_their_entities_for_candidates(labels: LabelSet) -> None:
    """Of every legal sequence of four words, read by the scheme's own rules."""
    legal = legal_transitions(labels.names, labels.scheme) if labels.scheme != "flat" else None
    sequences = itertools.product(range(len(labels.names)), repeat=4)
    point, checked = ChosenPoint(candidates=dict.fromkeys(TYPES, 0.5)), 0
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


def test_a_half_sure_entity_is_dropped_not_relabelled() -> None:
    sentence, label_ids = Sentence(["Ada", "Lovelace", "slept", "in", "Rome"], id=7), [1, 2, 0, 0, 3]
    found = prediction(
        sentence,
        label_ids,
        [0.9, 0.5, 1.0, 1.0, 0.69999],
        IOB2,
        point=ChosenPoint(thresholds={"PER": 0.7001, "LOC": 0.7}),
    )
    assert found["id"] == 7
    assert [(each["type"], each["score"]) for each in found["entities"]] == [("LOC", 0.7)], "as it is written"
    assert IOB2.spans([IOB2.names[index] for index in label_ids])[0] == Span(0, 2, "PER")
