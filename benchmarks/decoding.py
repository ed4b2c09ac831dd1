"""One trained model, its words decoded in both ways: F1, illegal tags, calibration of entities, and what it costs.

    python benchmarks/decoding.py runs/accuracy/plain/wnut17-seed42 --corpus wnut17

The checkpoint is ``last``, as in `accuracy.py`. F1 is seqeval's, in its default (conlleval) and its strict mode.
``ece`` is the expected calibration error of the entities' scores in ten bins (Naeini et al. 2015, "Obtaining Well
Calibrated Probabilities Using Bayesian Binning"). A score is the mean over the entity's words of each label's own
probability, or, in the row ``marginals``, of its probability among the legal sequences. ``cost`` is the share of
prediction's processor time that decoding takes; give it one thread (``OMP_NUM_THREADS=1``).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from corpora import CORPORA, SPLITS, add_arguments, find_corpus
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2
from torch import Tensor

from ner_module import NERTagger
from ner_module.data.formats import read_sentences
from ner_module.inference import tagger as tagger_module
from ner_module.model import module as model_module
from ner_module.model.decoding import WordPredictions, decode_words
from ner_module.tagging import LabelSet, convert_tags, illegal_words, legal_transitions


class Watched:
    """Stands in the place of ``decode_words``: measures its time, and gives marginals for scores where asked to."""

    def __init__(self) -> None:
        self.seconds, self.marginals = 0.0, False

    def __call__(
        self, logits_TC: Tensor, positions_NW: Tensor, labels: LabelSet, decoding: Any, *more: Any
    ) -> WordPredictions:
        """The same."""
        started = time.process_time()
        words = decode_words(logits_TC, positions_NW, labels, decoding, *more)
        self.seconds += time.process_time() - started
        if self.marginals:
            probs_NWC = logits_TC[positions_NW.clamp(min=0)].float().softmax(-1).clamp(min=1e-12)
            certain_C = torch.nn.functional.one_hot(torch.tensor(labels.outside_id), len(labels.names)).float()
            marginals_NWC = marginals(torch.where(positions_NW.unsqueeze(-1) < 0, certain_C, probs_NWC), labels)
            words = words._replace(scores=marginals_NWC.gather(-1, words.label_ids.unsqueeze(-1)).squeeze(-1))
        return words


def marginals(probs_NWC: Tensor, labels: LabelSet) -> Tensor:
    """The probability of each label at each word among the legal sequences, by the forward-backward algorithm."""
    legal_CC = torch.tensor(legal_transitions(labels.names, labels.scheme), dtype=torch.float32)

    def sweep(words: list[Tensor], step_CC: Tensor) -> list[Tensor]:
        found, before_NC = [], step_CC[labels.outside_id].expand_as(words[0])
        for probs_NC in words:
            found.append(before_NC)
            product_NC = before_NC * probs_NC
            before_NC = product_NC / product_NC.sum(-1, keepdim=True) @ step_CC
        return found

    words = list(probs_NWC.unbind(1))
    product_NWC = (
        probs_NWC * torch.stack(sweep(words, legal_CC), 1) * torch.stack(sweep(words[::-1], legal_CC.T)[::-1], 1)
    )
    return product_NWC / product_NWC.sum(-1, keepdim=True)


def calibration_error(scores: list[float], right: list[bool]) -> float:
    """Over ten bins, the mean of how far the mean score is from the share of right entities, weighted by their number.

    >>> calibration_error([0.9, 0.92, 0.1], [True, False, False])
    0.3066666666666667
    """
    values, hits = np.array(scores), np.array(right, dtype=float)
    bins = np.minimum((values * 10).astype(int), 9)
    return float(sum(abs((values - hits)[bins == place].sum()) for place in range(10)) / max(len(values), 1))


def main() -> None:
    parser = argparse.ArgumentParser(description="One trained model, decoded in both ways.")
    parser.add_argument("run", type=Path, help="the run directory")
    parser.add_argument("--corpus", choices=CORPORA, required=True)
    add_arguments(parser)
    arguments = parser.parse_args()
    corpus = find_corpus(arguments.corpus, arguments.data, arguments.cache)
    tagger = NERTagger.load(arguments.run / "checkpoints" / "last.ckpt")
    watched = Watched()
    vars(model_module)["decode_words"] = watched
    vars(tagger_module)["prediction"] = lambda sentence, label_ids, scores, **_: (label_ids, scores)
    titles = ("split", "decoding", "P", "R", "F1", "strict F1", "illegal tags", "ece", "cost")
    print(f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|")
    for split in SPLITS[1:]:
        sentences = list(read_sentences(corpus.files[split]))
        gold = [convert_tags(sentence.tags or [], corpus.scheme, "iob2") for sentence in sentences]
        for way in ("greedy", "viterbi", "marginals"):
            tagger.module.hparams["decoding"] = "greedy" if way == "greedy" else "viterbi"
            watched.marginals, watched.seconds, started = way == "marginals", 0.0, time.process_time()
            found: Any = tagger.predict([sentence.tokens for sentence in sentences])
            cost = watched.seconds / (time.process_time() - started)
            tags = [[tagger.labels.names[label] for label in label_ids] for label_ids, _ in found]
            scores, right = [], []
            for predicted, annotated, (_, of_words) in zip(tags, gold, found, strict=True):
                spans = set(tagger.labels.spans(annotated))
                for span in tagger.labels.spans(predicted):
                    scores.append(float(np.mean(of_words[span.start : span.end])))
                    right.append(span in spans)
            figures = [measure(gold, tags) for measure in (precision_score, recall_score, f1_score)]
            figures.append(f1_score(gold, tags, mode="strict", scheme=IOB2))
            illegal = sum(len(illegal_words(predicted, "iob2")) for predicted in tags)
            cells = [*(f"{figure:.4f}" for figure in figures), str(illegal), f"{calibration_error(scores, right):.3f}"]
            print(f"| {split} | {way} | {' | '.join(cells)} | {'' if watched.marginals else f'{cost:.2%}'} |")


if __name__ == "__main__":
    main()
