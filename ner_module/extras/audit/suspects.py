"""Which annotations are most likely wrong, by a trained model's confidence in them.

The rule. Gold and predicted entities that overlap form one case; so a case is an entity the model agrees with, one with
another type or boundary, one the model does not see (annotated by mistake?), or one only the model sees (forgotten?).
Its score is the *lowest probability that the model gives to the gold tag of any of its words*: the self-confidence of
Northcutt, Jiang and Chuang, "Confident Learning" (2021, https://doi.org/10.1613/jair.1.12125), with the worst word
standing for the whole, which Wang and Mueller, "Detecting Label Errors in Token Classification Data" (2022,
https://arxiv.org/abs/2210.03920) found the best of the ways to put tokens together. The lowest scores come first.

A model that was trained on an annotation has learnt to believe it, a forgotten one above all; what it has not seen it
judges best. `benchmarks/suspects.py` measures the former.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ner_module.data.batching import evaluation_batches
from ner_module.data.datamodule import NERDataModule
from ner_module.data.encoded import BatchAssembler
from ner_module.extras.audit.wording import excerpt
from ner_module.model.module import NERModule
from ner_module.tagging import Span


@dataclass(frozen=True)
class Suspect:
    """One case: words ``start`` to ``end`` (exclusive) of a stored sentence, where they stand, and the text there.

    ``score`` is the model's lowest probability of a gold tag in it; the entities have type, text, start and end.
    """

    score: float
    file: str
    line: int
    kind: str
    gold: list[dict[str, Any]]
    predicted: list[dict[str, Any]]
    start: int
    end: int
    sentence: int
    text: str


@torch.inference_mode()
def rank_suspects(data: NERDataModule, module: NERModule, split: str) -> list[Suspect]:
    """All cases of a split that ``data`` has read, the most suspicious first."""
    source, chosen = data.sentences_of(split)
    stored, encoded, labels = data.stored[source], data.encoded[source], data.labels
    sentences = np.arange(len(stored)) if chosen is None else chosen
    module = module.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    module.check_device()
    assembler = BatchAssembler(encoded, data.label_ids(source))
    suspects = []
    for indices in evaluation_batches(encoded.sentence_lengths()[sentences], data.hparams["eval_batch_size"]):
        batch = assembler.sentences(sentences[indices])
        for name in ("input_ids", "word_positions", "gold"):
            batch[name] = batch[name].to(module.device)
        logits_TC, words = module.predict_words(batch)
        positions_NW, gold_NW = batch["word_positions"], batch["gold"]
        of_words_NWC = logits_TC[positions_NW.clamp(min=0)].float().softmax(dim=-1)
        confidence_NW = of_words_NWC.gather(-1, gold_NW.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        confidence_NW[positions_NW < 0] = 1.0  # the model cannot see such a word, and has no opinion of it
        columns = (batch["num_words"], gold_NW, words.label_ids, confidence_NW)
        for index, length, *of_words in zip(sentences[indices].tolist(), *(c.tolist() for c in columns), strict=True):
            gold, predicted, confidences = (values[:length] for values in of_words)
            gold_spans = labels.spans([labels.names[label] for label in gold])
            predicted_spans = labels.spans([labels.names[label] for label in predicted])
            for start, end, annotated, found in cases(gold_spans, predicted_spans):
                tokens, place = stored.tokens(index), stored.origin(index, start)
                score, kind, text = min(confidences[start:end]), kind_of(annotated, found), excerpt(tokens, start, end)
                annotation, prediction = (
                    [{"type": name, "text": " ".join(tokens[a:b]), "start": a, "end": b} for a, b, name in spans]
                    for spans in (annotated, found)
                )
                sides = annotation, prediction
                suspects.append(Suspect(round(score, 6), *place, kind, *sides, start, end, index, text))
    return sorted(suspects, key=lambda suspect: (suspect.score, suspect.sentence, suspect.start))


def cases(gold: list[Span], predicted: list[Span]) -> Iterator[tuple[int, int, list[Span], list[Span]]]:
    """Groups of entities that overlap: first word, last word (exclusive), gold and predicted entities."""
    start = end = 0
    group: tuple[list[Span], list[Span]] = ([], [])
    for span, side in sorted([(span, 0) for span in gold] + [(span, 1) for span in predicted]):
        if span.start >= end:
            if end:
                yield start, end, *group
            start, group = span.start, ([], [])
        end = max(end, span.end)
        group[side].append(span)
    if end:
        yield start, end, *group


def kind_of(gold: list[Span], predicted: list[Span]) -> str:
    """How the sides of a case differ: ``agreed``, ``type``, ``boundary``, ``only annotated`` or ``only predicted``."""
    if gold == predicted:
        return "agreed"
    if not predicted:
        return "only annotated"
    if not gold:
        return "only predicted"
    return "type" if [span[:2] for span in gold] == [span[:2] for span in predicted] else "boundary"
