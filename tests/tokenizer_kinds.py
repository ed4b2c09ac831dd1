"""Tokenizers as published models have them: same normaliser, pre-tokeniser and special tokens, trained on given text.

More kinds than `tiny_models.py` has models of. Those of classes that transformers builds from code are trained through
that class; the others (ModernBERT, EuroBERT, mmBERT) are written down from the models' published ``tokenizer.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tiny_models import _nmt_nfkc, _precompiled_charsmap
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertTokenizer,
    DebertaV2Tokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    T5Tokenizer,
    XLMRobertaTokenizer,
)

# Of Llama 3 and EuroBERT; Qwen's has one digit instead of three.
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
MODEL_TYPES = {
    "bert": "bert",
    "roberta": "roberta",
    "xlm-roberta": "xlm-roberta",
    "deberta-v2": "deberta-v2",
    "deberta-v3": "deberta-v2",
    "modernbert": "modernbert",
    "gemma-2": "modernbert",  # mmBERT
    "llama-3": "eurobert",
    "qwen": "eurobert",
    "starcoder": "modernbert",
    "t5": "t5",
}
KINDS = tuple(MODEL_TYPES)
_SIZE = 3_000


def save_tokenizer(kind: str, text: list[str], folder: Path) -> Path:
    """Train a tokenizer and write it beside a ``config.json`` that names the model type, and nothing more."""
    tokenizer = _classes(kind, text) or _plain(kind, text)
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": MODEL_TYPES[kind]}), encoding="utf-8")
    return folder


def _classes(kind: str, text: list[str]) -> Any:
    if kind == "bert":
        backend = BertTokenizer(do_lower_case=False).backend_tokenizer
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        backend.train_from_iterator(
            text, trainers.WordPieceTrainer(vocab_size=_SIZE, special_tokens=special, show_progress=False)
        )
        return BertTokenizer(vocab=_model(backend)["vocab"], do_lower_case=False)
    if kind == "roberta":
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        model = _model(_bpe(text, pre_tokenizers.ByteLevel(add_prefix_space=False), special))
        return RobertaTokenizer(vocab=model["vocab"], merges=[tuple(merge) for merge in model["merges"]])
    if kind == "xlm-roberta":
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        charsmap = _precompiled_charsmap(_nmt_nfkc())
        backend = XLMRobertaTokenizer(_spm_precompiled_charsmap=charsmap).backend_tokenizer
        vocab = _unigram(backend, text, special, "<unk>")
        return XLMRobertaTokenizer(vocab=vocab, _spm_precompiled_charsmap=charsmap)
    if kind in ("deberta-v2", "deberta-v3"):
        punctuation = kind == "deberta-v2"
        backend = DebertaV2Tokenizer(split_by_punct=punctuation).backend_tokenizer
        vocab = _unigram(backend, text, ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"], "[UNK]")
        return DebertaV2Tokenizer(vocab=vocab, split_by_punct=punctuation)
    if kind == "t5":
        vocab = _unigram(T5Tokenizer().backend_tokenizer, text, ["<pad>", "</s>", "<unk>"], "<unk>")
        return T5Tokenizer(vocab=vocab, extra_ids=10)
    return None


def _plain(kind: str, text: list[str]) -> Any:
    special = ["<bos>", "<eos>", "<unk>", "<pad>", "<mask>"]
    normalizer: Any = None
    if kind == "gemma-2":
        backend = _bpe(text, pre_tokenizers.Metaspace(), special, byte_fallback=True)
        normalizer, steps = normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous")
    else:
        bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        bytes_split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        regex = LLAMA_3 if kind == "llama-3" else LLAMA_3.replace("{1,3}", "")
        if kind == "modernbert":
            normalizer, steps = normalizers.NFC(), bytes_split
        elif kind == "starcoder":
            steps = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), bytes_split])
        else:
            normalizer = normalizers.NFC() if kind == "qwen" else None
            steps = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"), bytes_alone])
        backend = _bpe(text, steps, special)
    backend.normalizer, backend.pre_tokenizer = normalizer, steps
    start = [(token, backend.token_to_id(token)) for token in ("<bos>", "<eos>")]
    template = processors.TemplateProcessing(single="<bos> $A <eos>", special_tokens=start)
    trimmed = processors.ByteLevel(trim_offsets=True)
    backend.post_processor = template if kind == "gemma-2" else processors.Sequence([trimmed, template])
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, mask_token="<mask>", model_input_names=["input_ids", "attention_mask"], **names
    )


def _bpe(text: Iterable[str], steps: Any, special: list[str], byte_fallback: bool = False) -> Tokenizer:
    backend = Tokenizer(models.BPE(unk_token="<unk>" if byte_fallback else None, byte_fallback=byte_fallback))
    backend.pre_tokenizer = steps
    if byte_fallback:
        special = [*special, *(f"<0x{byte:02X}>" for byte in range(256))]
        alphabet = []
    else:
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=_SIZE, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(text, trainer)
    if byte_fallback:  # the bytes are no special tokens
        description = json.loads(backend.to_str())
        description["added_tokens"] = [token for token in description["added_tokens"] if "<0x" not in token["content"]]
        backend = Tokenizer.from_str(json.dumps(description))
    return backend


def _unigram(backend: Tokenizer, text: Iterable[str], special: list[str], unknown: str) -> list[tuple[str, float]]:
    trainer = trainers.UnigramTrainer(vocab_size=_SIZE, special_tokens=special, unk_token=unknown, show_progress=False)
    backend.train_from_iterator(text, trainer)
    return [(piece, score) for piece, score in _model(backend)["vocab"]]


def _model(backend: Tokenizer) -> dict[str, Any]:
    model: dict[str, Any] = json.loads(backend.to_str())["model"]
    return model
