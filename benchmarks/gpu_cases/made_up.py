"""Models of published shapes with random weights, and text of real lengths without meaning: nothing is downloaded.

Every word of the text is one subword token of the models' tokenizer, so a sentence is as long as the table says. A
word decides its tag, so that a model learns something within some steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from corpora import Corpus
from lengths import lengths_of

TYPES = ("PER", "ORG", "LOC", "MISC")
LABELS = ("O", *(f"{prefix}-{name}" for name in TYPES for prefix in "BI"))
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = 900

_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
DEBERTA = {"relative_attention": True, "position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": True}
DEBERTA |= {"pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0}
_MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
# As their authors published them: google-bert/bert-base-cased, sentence-transformers/all-MiniLM-L6-v2,
# answerdotai/ModernBERT-base, microsoft/deberta-v3-base.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "BERT-base": ("bert", _BASE | {"vocab_size": 28996}),
    "MiniLM": ("bert", _MINILM | {"vocab_size": 30522}),
    "ModernBERT-base": ("modernbert", {"vocab_size": 50368}),
    "DeBERTa-v3-base": ("deberta-v2", _BASE | DEBERTA | {"vocab_size": 128100}),
}
_SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
_SMALL |= {"vocab_size": 1000}


def config_of(shape: str, small: bool) -> Any:
    """The configuration of a tagger; a small one of the same family for machines without a GPU."""
    from transformers import CONFIG_MAPPING

    family, sizes = SHAPES[shape]
    ids = dict(zip(("pad_token_id", "cls_token_id", "sep_token_id"), (0, 2, 3), strict=True))
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {name: index for index, name in enumerate(LABELS)}}
    return CONFIG_MAPPING[family](**sizes | (_SMALL if small else {}) | ids | labels)


def build(shape: str, small: bool, device: torch.device) -> Any:
    """A tagger with random weights, the same each time."""
    from transformers import AutoModelForTokenClassification

    torch.manual_seed(0)
    with device:
        return AutoModelForTokenClassification.from_config(config_of(shape, small), dtype=torch.float32)


def write_model(shape: str, small: bool, work: Path) -> Path:
    """Its encoder and a tokenizer as a folder; made once."""
    folder = work / f"{shape}-{'small' if small else 'full'}"
    if not (folder / "tokenizer.json").is_file():
        build(shape, small, torch.device("cpu")).base_model.save_pretrained(folder)
        tokenizer().save_pretrained(folder)
    return folder


def tokenizer() -> Any:
    """One subword token a word: ``w0``, ``w1`` and so on."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *(f"w{number}" for number in range(WORDS))))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{word.strip('[]').lower()}_token": word for word in SPECIAL}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=512, **names)


def write_corpus(table: str, sentences: int, work: Path) -> Corpus:
    """Column files of made-up words and tags, as long as the training sentences of a corpus; made once."""
    files = {split: work / f"{table}-{sentences}" / f"{split}.conll" for split in ("train", "validation", "test")}
    chance = np.random.default_rng(0)
    for split, path in files.items():
        path.parent.mkdir(exist_ok=True)
        number = sentences if split == "train" else max(sentences // 8, 20)
        text = "\n\n".join(_sentence(chance, int(length)) for length in chance.choice(lengths_of(table), number))
        path.write_text(text + "\n", encoding="utf-8")
    return Corpus(table, "iob2", **files)


def _sentence(chance: np.random.Generator, length: int) -> str:
    lines, inside = [], ""
    for word in chance.integers(WORDS, size=length - 2):
        name = TYPES[word % 4]
        tag = "O" if word % 10 > 2 else f"{'I' if inside == name else 'B'}-{name}"
        inside = tag[2:]
        lines.append(f"w{word} {tag}")
    return "\n".join(lines)


def batches(table: str, size: int, max_tokens: int | None, number: int) -> list[list[int]]:
    """The lengths of random batches: of ``size`` sentences, or of up to ``max_tokens`` subword tokens."""
    chance = np.random.default_rng(1)
    found = []
    for _ in range(number):
        drawn = chance.choice(lengths_of(table), size if max_tokens is None else max_tokens // 4)
        fits = len(drawn) if max_tokens is None else int((drawn.cumsum() <= max_tokens).sum())
        found.append(drawn[:fits].tolist())
    return found
