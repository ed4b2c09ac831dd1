"""After ``validate``: ``RUN/operating_points.json``, from which `predict`, `NERTagger` and `export` choose.

Never of test data: ``test`` writes none, and ``validate`` none of files that are the run's test data, too.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from rich import get_console

from ner_module.extras.after_run import RunContents
from ner_module.extras.analysis.analysis import calibration_error, reliability
from ner_module.extras.operating_points.choice import reached
from ner_module.extras.operating_points.point import LONGEST, NEAREST, calibrated, candidate_scores
from ner_module.files import sealed, sha256_of, write_atomically
from ner_module.tagging import LabelSet
from ner_module.training.operating_points import POINTS
from ner_module.training.predictions import Collected
from ner_module.training.results import update_results

log = logging.getLogger(__name__)

_SAFE = 1 - 1e-4
"""Of a candidate's score, which another batch or device rounds in another way."""
_FEWEST = 20
"""Predicted entities from which a calibration is learned."""


def callbacks(run: Any) -> list[Callback]:
    """What a command runs with."""
    return [MeasurePoints(run.run_dir, run.checkpoint)] if run.command == "validate" else []


class MeasurePoints(Callback):
    """Collects all words' probabilities, and measures what the file holds."""

    def __init__(self, run_dir: Path, checkpoint: Path) -> None:
        self.run_dir, self.checkpoint = run_dir, checkpoint
        self._collected = Collected("probabilities")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        """Collect the batch."""
        self._collected.add(outputs)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and write, on the first process."""
        sentences = self._collected.take(trainer)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if not trainer.is_global_zero:
            return
        files = data.stored[data.sentences_of("validation")[0]].meta["sources"]
        tested = data.hparams["test_file"] or []
        tested = [tested] if isinstance(tested, str) else tested
        if {Path(file).resolve() for file in files} & {Path(file).resolve() for file in tested}:
            log.warning("no operating points: these are test data, by which nothing may be chosen")
            return
        points = {
            "checkpoint": sha256_of(self.checkpoint),
            "decoding": pl_module.hparams["decoding"],
            **measure(sentences, data.labels),
        }
        write_atomically(self.run_dir / POINTS, json.dumps(sealed(points), ensure_ascii=False))
        update_results(self.run_dir, {}, [POINTS])
        if (table := RunContents(points=points).points_table()) is not None:
            get_console().print(table.for_terminal(), "")


def measure(sentences: Iterable[Sequence[Any]], labels: LabelSet) -> dict[str, Any]:
    """What `training/operating_points.py` describes, from the words of sentences.

    Args:
        sentences: index, and for each word predicted label, its score, gold label and all probabilities.
        labels: the model's.
    """
    predicted: list[tuple[str, float, bool]] = []
    candidates = defaultdict(list)
    for _, label_ids, scores, gold_ids, probabilities in sentences:
        found, gold = (labels.spans([labels.names[label] for label in ids]) for ids in (label_ids, gold_ids))
        predicted += [
            (span.entity_type, sum(scores[span.start : span.end]) / (span.end - span.start), span in gold)
            for span in found
        ]
        longest = min(max((span.end - span.start for span in gold), default=0), LONGEST)
        likely = candidate_scores(probabilities, scores, labels, longest)
        of_sentence = defaultdict(list)
        for start, end, name in gold:
            score = likely[end - start - 1, start, labels.entity_types.index(name)] if end - start <= longest else 0.0
            of_sentence[name].append(float(f"{float(score) * _SAFE:.6g}"))
        for name, found_scores in of_sentence.items():
            candidates[name].append(sorted(found_scores))
    calibration = fit_calibration([each[1:] for each in predicted])
    scored = [(name, round(calibrated(score, *calibration), 4), right) for name, score, right in predicted]
    error = [calibration_error(reliability([each[1:] for each in pairs])) for pairs in (predicted, scored)]
    types = {
        name: {
            "gold": sum(map(len, candidates[name])),
            "right": sorted(score for of, score, right in scored if of == name and right),
            "wrong": sorted(score for of, score, right in scored if of == name and not right),
            "candidates": sorted(candidates[name]),
        }
        for name in labels.entity_types
    }
    table = []
    for name, of_type in types.items():
        for title, wanted in (("best F1", None), ("P 0.90", 0.9)):
            best = reached(of_type, precision=wanted)
            table.append([name, title, *([f"{best.threshold:.4f}", *best.shares()] if best else ["none", "", ""])])
    temperature, offset = calibration
    return {"temperature": temperature, "offset": offset, "calibration_error": error, "table": table, "types": types}


def fit_calibration(scored: Sequence[tuple[float, bool]]) -> tuple[float, float]:
    """Temperature and offset with the highest likelihood, of Platt's smoothed outcomes; (1, 0) from too few entities.

    The temperature is positive, so that a higher score stays the higher one.
    """
    from scipy.optimize import minimize
    from scipy.special import logit

    if len(scored) < _FEWEST:
        return 1.0, 0.0
    scores, right = np.array([score for score, _ in scored]), np.array([right for _, right in scored])
    odds = logit(scores.clip(NEAREST, 1 - NEAREST))
    outcome = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))

    def loss(parameters: Any) -> float:
        moved = odds / np.exp(parameters[0]) + parameters[1]
        return float(np.mean(np.logaddexp(0, moved) - outcome * moved))

    found = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return float(np.exp(found[0])), float(found[1])
