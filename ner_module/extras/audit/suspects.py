"""Which annotations are most likely wrong, by a trained model's confidence in them.

The rule. Gold and predicted entities that overlap form one case; so a case is an entity the model agrees with, one with
another type or boundary, one the model does not see (annotated by mistake?), or one only the model sees (forgotten?).
Its score is the *lowest probability that the model gives to the gold tag of any of its words*: the self-confidence of
Northcutt, Jiang and Chuang, "Confident Learning" (2021, https://doi.org/10.1613/jair.1.12125), with the worst word
standing for the whole, which Wang and Mueller, "Detecting Label Errors in Token Classification Data" (2022,
https://arxiv.org/abs/2210.03920) found the best of the ways to put tokens together. The lowest scores come first.

A model that was trained on an annotation has learnt to believe it, so :func:`rank_out_of_fold` trains K models by
``fit``, each on a part of the data, to judge the rest; `benchmarks/suspects.py` measures both.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ner_module.cli import run_command
from ner_module.data.batching import evaluation_batches
from ner_module.data.datamodule import NERDataModule
from ner_module.data.encoded import BatchAssembler
from ner_module.data.store import StoredSplit
from ner_module.errors import DataError, RunError
from ner_module.extras.audit.findings import excerpt
from ner_module.model.module import NERModule
from ner_module.tagging import OUTSIDE, Span, convert_tags
from ner_module.training.runs import checkpoint_path

log = logging.getLogger(__name__)

Indices = npt.NDArray[np.int64]
"""Sentences of a stored split."""

# `fit` validates each epoch; the models here are those of the last epoch, so a glance is enough.
_VALIDATION_SENTENCES = 50


Suspect = dict[str, Any]
"""One case, as a line of ``--output`` has it: ``score``, the model's lowest probability of a gold tag in it; ``file``,
``line``; ``kind``; ``gold`` and ``predicted`` entities with type, text, start and end; its words ``start`` to ``end``
(exclusive) of the stored ``sentence``, and the ``text`` there."""


@torch.inference_mode()
def rank_suspects(
    data: NERDataModule, module: NERModule, split: str, sentences: Indices | None = None
) -> list[Suspect]:
    """All cases of a split that ``data`` has read, or of some of its stored sentences, in any order."""
    source, chosen = data.sentences_of(split)
    stored, encoded, labels = data.stored[source], data.encoded[source], data.labels
    sentences = chosen if sentences is None else sentences
    module = module.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    module.check_device()
    assembler = BatchAssembler(encoded, labels, open_labels=data.open_labels.get(source))
    suspects: list[Suspect] = []
    for indices in evaluation_batches(encoded.sentence_lengths()[sentences], data.hparams["eval_batch_size"]):
        batch = assembler.sentences(sentences[indices])
        for name in ("input_ids", "word_positions", "gold", "unannotated"):
            if name in batch:
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
                tokens, (file, line) = stored.tokens(index), stored.origin(index, start)
                annotation, prediction = (
                    [{"type": name, "text": " ".join(tokens[a:b]), "start": a, "end": b} for a, b, name in spans]
                    for spans in (annotated, found)
                )
                suspects.append(
                    {"score": round(min(confidences[start:end]), 6), "file": file, "line": line}
                    | {"kind": kind_of(annotated, found), "gold": annotation, "predicted": prediction}
                    | {"start": start, "end": end, "sentence": index, "text": excerpt(tokens, start, end)}
                )
    return suspects


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


def rank_out_of_fold(data: NERDataModule, arguments: Sequence[str], folds: int) -> list[Suspect]:
    """All cases of the training data that ``data`` has read, each judged by a model trained with others.

    ``arguments`` are those of ``fit``, without run directory and checkpoint. They may not name types by file.
    """
    if isinstance(data.hparams["annotated_types"], dict):
        raise RunError(
            "--folds trains on copies without their files' names: it takes no --data.annotated_types by file"
        )
    suspects: list[Suspect] = []
    size = len(data.stored["train"])
    for number, held_out in enumerate(choose_folds(data.stored["train"], folds, data.hparams["seed"]), 1):
        rest = np.setdiff1d(np.arange(size), held_out)
        log.info("fold %d of %d: training on %d sentences, judging %d", number, folds, len(rest), len(held_out))
        with tempfile.TemporaryDirectory(prefix="ner-fold-") as folder:
            module = _train(data, arguments, rest, Path(folder))
            suspects += rank_suspects(data, module, "train", held_out)
    return suspects


def choose_folds(stored: StoredSplit, folds: int, seed: int) -> list[Indices]:
    """Deal the sentences out at random.

    Whole documents, or at least equal sentences, stay together: none is judged by a model that was trained on its twin.

    Raises:
        DataError: there are fewer such groups than folds.
    """
    documents = stored.documents()
    if documents is None or len(np.unique(documents)) < 5 * folds:
        numbers: dict[tuple[str, ...], int] = {}
        tokens = (tuple(words) for words, _, _ in stored.annotated())
        documents = np.array([numbers.setdefault(words, len(numbers)) for words in tokens])
    groups = len(np.unique(documents))
    if groups < folds:
        problem = f"it has {groups} different sentences"
        raise DataError(stored.meta["sources"][0], None, problem, f"give more data, or fewer --folds than {folds}")
    order = np.random.default_rng(seed).permutation(groups)
    return [np.flatnonzero(np.isin(documents, part)) for part in np.array_split(order, folds)]


def _train(data: NERDataModule, arguments: Sequence[str], sentences: Indices, folder: Path) -> NERModule:
    """Train on some sentences, written to a folder, without any logger."""
    labels, stored, scheme = data.labels, data.stored["train"], data.tags.source_scheme
    outside = labels.outside if labels.scheme == "flat" else data.hparams["outside_label"] or OUTSIDE
    for name, chosen in (("train", sentences), ("validation", sentences[:_VALIDATION_SENTENCES])):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for index in chosen.tolist():
                [sentence] = stored.sentences(index, index + 1)
                tags = convert_tags(sentence.tags or [], scheme, labels.scheme, outside, data.label_map)
                document = {} if sentence.document is None else {"document": sentence.document}
                file.write(json.dumps({"tokens": sentence.tokens, "tags": tags, **document}) + "\n")
    # The tags written here are mapped and repaired already.
    unset = ("dataset_name", "dataset_config_name", "test_file", "encoding", "text_column_name", "label_column_name")
    options: dict[str, Any] = {
        **{f"data.{name}": None for name in (*unset, "label_map")},
        "data.train_file": str(folder / "train.jsonl"),
        "data.validation_file": str(folder / "validation.jsonl"),
        "data.format": "auto",
        "data.label_names": list(labels.names),
        "data.source_scheme": labels.scheme,
        "data.scheme": labels.scheme,
        "data.strict": False,
        "data.outside_label": labels.outside if labels.scheme == "flat" else None,
        "data.cache_dir": str(folder / "cache"),
        "trainer.logger": False,
        "trainer.fast_dev_run": False,
        "run_dir": str(folder / "run"),
    }
    command = ["fit", *arguments]
    for name, value in options.items():
        command += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    logging.disable(logging.WARNING)  # remarks on the data were made before
    try:
        with contextlib.redirect_stdout(sys.stderr):
            run_command(command)
    finally:
        logging.disable(logging.NOTSET)
    checkpoint = checkpoint_path(folder / "run", "last")
    module = NERModule.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    assert module.labels == labels
    return module
