"""Does an exported model still find the same entities? Compared on real text, entity by entity.

The exported folder is run in two ways, and both are compared with the model it was made from:

* **plain code**, as anyone would write it without this project: the folder's tokenizer with ``is_split_into_words``,
  transformers or onnxruntime, the highest logit at each word's first subword token. It uses nothing of this project's
  alignment, windows or decoding, so it checks those as well, against the original's labels chosen likewise. It cannot
  take text beyond the model's limit, which is left to
* **NERTagger** on the folder, which takes any length.

With gold annotation for the model's types, F1 (micro, conlleval spans) of both sides is compared; without, F1 of the
exported model against the original's entities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ner_module.inference.model_folder import ONNX
from ner_module.inference.tagger import NERTagger
from ner_module.tagging import LabelSet, Span

_BATCH = 16

Words = Sequence[Sequence[str]]


class Parity(NamedTuple):
    """How one way of running an exported model (transformers, onnxruntime, NERTagger) compares with the original.

    Attributes:
        entities: what the original found; ``missing`` of these the exported model does not find, and it finds
            ``added`` besides.
        f1_drop: points of F1 (of 100) that the export costs, against gold or, without gold, the original's entities.
        summary: one line, for the terminal and the model card.
    """

    way: str
    entities: int
    missing: int
    added: int
    f1_drop: float
    summary: str


def check_parity(original: NERTagger, folder: Path, sentences: Words, gold: Sequence[set[Span]] = ()) -> list[Parity]:
    """Compare an exported folder with the model it was made from, in both ways, on words and perhaps their entities."""
    labels, options = original.data.labels, original.module.hparams
    decoding, options["decoding"] = options["decoding"], "greedy"
    greedy = _tagged(original, sentences)
    options["decoding"] = decoding
    expected = greedy if decoding == "greedy" else _tagged(original, sentences)
    if not {span.entity_type for spans in gold for span in spans}.intersection(labels.entity_types):
        gold = ()  # the text has no annotation of these types
    way = "onnxruntime" if (folder / ONNX).is_file() else "transformers"
    plain = _plain_entities(folder, sentences, original.data.max_seq_length, labels)
    return [
        _compare(way, greedy, plain, gold),
        _compare("NERTagger", expected, _tagged(NERTagger.load(folder), sentences), gold),
    ]


def _plain_entities(folder: Path, sentences: Words, max_length: int, labels: LabelSet) -> list[set[Span] | None]:
    """The entities that code without this project finds; ``None`` for more than ``max_length`` subword tokens."""
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    if tokenizer.pad_token is None:  # GPT-2, Llama; what stands under padding does not matter
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    names = AutoConfig.from_pretrained(str(folder), local_files_only=True).id2label
    logits = _plain_model(folder)
    words = [list(tokens) for tokens in sentences]
    lengths = [len(tokenizer(tokens, is_split_into_words=True, verbose=False)["input_ids"]) for tokens in words]
    found: list[set[Span] | None] = [None if length > max_length else set() for length in lengths]
    order = sorted((i for i, spans in enumerate(found) if spans is not None and words[i]), key=lengths.__getitem__)
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        # Padded, so that an export that ignores the attention mask is noticed.
        encoded = tokenizer([words[i] for i in batch], is_split_into_words=True, padding=True, return_tensors="np")
        best = logits(encoded["input_ids"], encoded["attention_mask"]).argmax(-1)
        for row, index in enumerate(batch):
            tags = [labels.outside or "O"] * len(words[index])
            for position, word in reversed(list(enumerate(encoded.word_ids(row)))):  # the first token has the last say
                if word is not None:
                    tags[word] = names[int(best[row, position])]
            found[index] = set(labels.spans(tags))
    return found


def _plain_model(folder: Path) -> Callable[[Any, Any], Any]:
    """A function from NumPy token ids and mask, int64 ``[B, L]``, to logits ``[B, L, C]``."""
    if (folder / ONNX).is_file():
        import onnxruntime

        session = onnxruntime.InferenceSession(str(folder / ONNX), providers=["CPUExecutionProvider"])
        return lambda ids, mask: session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]

    import torch
    from transformers import AutoModelForTokenClassification
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForTokenClassification.from_pretrained(str(folder), local_files_only=True).eval()

    def run(ids: Any, mask: Any) -> Any:
        with torch.inference_mode():
            output = model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))
        return output.logits.float().numpy()  # NumPy has no bfloat16

    return run


def _tagged(tagger: NERTagger, sentences: Words) -> list[set[Span]]:
    return [
        {Span(entity["start"], entity["end"], entity["type"]) for entity in found["entities"]}
        for found in tagger.predict(sentences)
    ]


def _compare(
    way: str, expected: Sequence[set[Span]], found: Sequence[set[Span] | None], gold: Sequence[set[Span]]
) -> Parity:
    """Compare the sentences that were not too long for this way."""
    sides = zip(expected, gold or expected, found, strict=True)
    compared = [(original, true, spans) for original, true, spans in sides if spans is not None]
    entities = sum(len(original) for original, _, _ in compared)
    missing = sum(len(original - spans) for original, _, spans in compared)
    added = sum(len(spans - original) for original, _, spans in compared)
    f1 = _f1([(true, spans) for _, true, spans in compared])
    original_f1 = _f1([(true, original) for original, true, _ in compared])
    left_out = f" ({len(found) - len(compared):,} too long)" if len(found) > len(compared) else ""
    same = f"{missing} missing, {added} added" if missing or added else "identical"
    scored = f"F1 {original_f1:.4f} -> {f1:.4f}" if gold else f"F1 {f1:.4f} against the checkpoint's entities"
    summary = f"{way}: {entities:,} entities in {len(compared):,} sentences{left_out}, {same}; {scored}"
    return Parity(way, entities, missing, added, 100 * (original_f1 - f1), summary)


def _f1(pairs: Sequence[tuple[set[Span], set[Span]]]) -> float:
    """Micro F1; 1 where there is nothing to find and nothing was found."""
    right = sum(len(truth & found) for truth, found in pairs)
    total = sum(len(truth) + len(found) for truth, found in pairs)
    return 2 * right / total if total else 1.0
