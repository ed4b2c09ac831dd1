"""Does an exported model still find the same entities? Compared on real text, entity by entity.

Two ways into the exported folder are held against the model it was made from:

* **plain code**, as anyone would write it without this project: the folder's tokenizer with ``is_split_into_words``,
  transformers or onnxruntime, the highest logit at each word's first subword. Nothing of this project's alignment,
  windows or decoding is used, so it checks those as well. It cannot take text past a row: such sentences are left to
* **NERTagger** on the folder, which takes any length.

With gold annotation for the model's types, F1 (micro, conlleval spans) of both sides is compared; without, F1 of the
exported model against the original's entities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ner_module.inference.model_folder import ONNX
from ner_module.inference.tagger import NERTagger
from ner_module.tagging import Span, entity_types, tags_to_spans

Logits = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], npt.NDArray[np.float32]]
"""Subword ids and mask ``[R, L]`` -> logits ``[R, L, C]``."""

_BATCH = 16


@dataclass(frozen=True)
class AnnotatedSentence:
    """Words, and their gold entities where they are annotated."""

    tokens: list[str]
    gold: list[Span] | None


@dataclass(frozen=True)
class Parity:
    """How one way into an exported model compares with the original.

    Attributes:
        way: ``transformers``, ``onnxruntime`` or ``NERTagger``.
        sentences: how many were compared.
        too_long: how many were not, being longer than a row.
        entities: how many the original found in them.
        missing: of these, how many the exported model does not find.
        added: how many it finds besides.
        f1: of the exported model, against gold or, without gold, against the original.
        original_f1: of the original, likewise.
        against_gold: which of the two.
    """

    way: str
    sentences: int
    too_long: int
    entities: int
    missing: int
    added: int
    f1: float
    original_f1: float
    against_gold: bool

    @property
    def f1_drop(self) -> float:
        """How many points of F1 (of 100) the export cost."""
        return 100 * (self.original_f1 - self.f1)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with ``f1_drop``."""
        return asdict(self) | {"f1_drop": round(self.f1_drop, 4)}

    def summary(self) -> str:
        """One line."""
        same = "identical" if not self.missing and not self.added else f"{self.missing} missing, {self.added} added"
        f1 = f"; F1 {self.original_f1:.4f} -> {self.f1:.4f}" if self.against_gold else ""
        left_out = f" ({self.too_long:,} longer than a row left out)" if self.too_long else ""
        return f"{self.way}: {self.entities:,} entities in {self.sentences:,} sentences{left_out}, {same}{f1}"


def check_parity(original: NERTagger, folder: Path, sentences: Sequence[AnnotatedSentence]) -> list[Parity]:
    """Compare an exported folder with the model it was made from, in both ways."""
    words = [sentence.tokens for sentence in sentences]
    expected = [_spans(found["entities"]) for found in original.predict(words)]
    plain = plain_entities(folder, words, original.data.max_seq_length, original.scheme, original.outside_label)
    exported = [_spans(found["entities"]) for found in NERTagger.load(folder).predict(words)]
    types = set(entity_types(original.label_names, original.scheme, original.outside_label))
    gold_types = {span.entity_type for sentence in sentences for span in sentence.gold or []}
    annotated = bool(types & gold_types) and all(sentence.gold is not None for sentence in sentences)
    gold = [set(sentence.gold or []) for sentence in sentences] if annotated else None
    way = "onnxruntime" if (folder / ONNX).is_file() else "transformers"
    return [_compare(way, expected, plain, gold), _compare("NERTagger", expected, exported, gold)]


def plain_entities(
    folder: Path,
    sentences: Sequence[Sequence[str]],
    max_length: int,
    scheme: str = "iob2",
    outside_label: str | None = "O",
) -> list[set[Span] | None]:
    """The entities that code without this project finds; ``None`` for a sentence that is longer than a row.

    Args:
        folder: an exported model.
        sentences: lists of words.
        max_length: subwords of a row.
        scheme: of the model's labels.
        outside_label: for ``flat`` labels, the one that is no entity.
    """
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    names = AutoConfig.from_pretrained(str(folder), local_files_only=True).id2label
    logits = _onnx_logits(folder) if (folder / ONNX).is_file() else _transformers_logits(folder)
    found: list[set[Span] | None] = [set() for _ in sentences]
    rows: list[tuple[int, list[int], list[int | None]]] = []
    for index, tokens in enumerate(sentences):
        if not tokens:
            continue
        encoded = tokenizer(list(tokens), is_split_into_words=True, verbose=False)
        if len(encoded["input_ids"]) > max_length:
            found[index] = None
        else:
            rows.append((index, encoded["input_ids"], encoded.word_ids()))
    rows.sort(key=lambda row: -len(row[1]))
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        padded = tokenizer.pad({"input_ids": [ids for _, ids, _ in batch]}, return_tensors="np", verbose=False)
        best = logits(padded["input_ids"].astype(np.int64), padded["attention_mask"].astype(np.int64)).argmax(-1)
        for (index, _, word_ids), row in zip(batch, best, strict=True):
            tags: list[str] = [outside_label or "O"] * len(sentences[index])
            for position, word in enumerate(word_ids):
                if word is not None and word_ids[position - 1] != word:
                    tags[word] = names[int(row[position])]
            found[index] = set(tags_to_spans(tags, scheme, outside_label))
    return found


def _transformers_logits(folder: Path) -> Logits:
    import torch
    from transformers import AutoModelForTokenClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForTokenClassification.from_pretrained(str(folder), local_files_only=True).eval()

    def run(input_ids: npt.NDArray[np.int64], attention_mask: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            output = model(input_ids=torch.from_numpy(input_ids), attention_mask=torch.from_numpy(attention_mask))
        logits: npt.NDArray[np.float32] = output.logits.float().numpy()
        return logits

    return run


def _onnx_logits(folder: Path) -> Logits:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / ONNX), providers=["CPUExecutionProvider"])

    def run(input_ids: npt.NDArray[np.int64], attention_mask: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        feed = {"input_ids": input_ids, "attention_mask": attention_mask}
        logits: npt.NDArray[np.float32] = session.run(["logits"], feed)[0]
        return logits

    return run


def _spans(entities: Sequence[dict[str, Any]]) -> set[Span]:
    return {Span(entity["start"], entity["end"], entity["type"]) for entity in entities}


def _compare(
    way: str, expected: Sequence[set[Span]], found: Sequence[set[Span] | None], gold: Sequence[set[Span]] | None
) -> Parity:
    pairs = [(index, spans) for index, spans in enumerate(found) if spans is not None]
    truth = expected if gold is None else gold
    return Parity(
        way=way,
        sentences=len(pairs),
        too_long=len(found) - len(pairs),
        entities=sum(len(expected[index]) for index, _ in pairs),
        missing=sum(len(expected[index] - spans) for index, spans in pairs),
        added=sum(len(spans - expected[index]) for index, spans in pairs),
        f1=_f1([(truth[index], spans) for index, spans in pairs]),
        original_f1=_f1([(truth[index], expected[index]) for index, _ in pairs]),
        against_gold=gold is not None,
    )


def _f1(pairs: Sequence[tuple[set[Span], set[Span]]]) -> float:
    """Micro F1; 1 where there is nothing to find and nothing was found."""
    right = sum(len(truth & found) for truth, found in pairs)
    total = sum(len(truth) + len(found) for truth, found in pairs)
    return 2 * right / total if total else 1.0
