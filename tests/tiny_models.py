"""Tiny random encoders with real fast tokenizers, one per model family, for tests without a network.

A folder made here loads like a model from the hub: same configuration, tokenizer and model classes, same normaliser,
pre-tokeniser and special tokens, same traps. The tokenizers are trained on the text below, so a common word is one
piece and a rare one several. Traps kept on purpose, as the published models have them:

* RoBERTa and ModernBERT mark the words of split text only under ``add_prefix_space=True``. RoBERTa's loader takes it;
  ModernBERT's (a plain ``TokenizersBackend``, transformers 5.23) ignores it: set the backend's pre-tokeniser there.
* BERT's and XLM-R's normalisers map control and zero-width characters to nothing.
* DeBERTa-v3 states no ``model_max_length``; RoBERTa and XLM-R leave their first two positions unused.
* DistilBERT's tokenizer is BERT's, so it returns ``token_type_ids`` that the model has no use for.

Not here: weights that know anything, and XLM-R's whole character map (only the characters of :func:`_nmt_nfkc`).
"""

from __future__ import annotations

import json
import random
import string
import struct
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoModel,
    AutoModelForTokenClassification,
    BertConfig,
    BertTokenizer,
    DebertaV2Config,
    DebertaV2Tokenizer,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
)

FAMILIES: tuple[str, ...] = (
    "bert-uncased",
    "bert-cased",
    "distilbert",
    "roberta",
    "deberta-v3",
    "electra",
    "xlm-roberta",
    "modernbert",
)

VOCAB_SIZE = 480
"""Pieces per tokenizer, special tokens included; a trainer that runs out of candidates stops earlier."""

_BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_FAIRSEQ_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def make_tiny_model(
    family: str,
    folder: Path,
    *,
    seed: int = 0,
    max_positions: int = 66,
    label_names: list[str] | None = None,
    model_max_length: int | None = None,
) -> Path:
    """Write a random two-layer model of a family and its tokenizer; return the folder.

    Args:
        family: one of :data:`FAMILIES`.
        folder: made when missing.
        seed: of the weights; torch's own generator is left as it was.
        max_positions: the configuration's ``max_position_embeddings``; RoBERTa and XLM-R use two fewer.
        label_names: with them a token-classification model is written, without them the bare encoder.
        model_max_length: stated by the tokenizer; by default what the family's published models state: all usable
            positions, and nothing for DeBERTa-v3.
    """
    tokenizer = _tokenizer(family)
    usable = max_positions - 2 if family in ("roberta", "xlm-roberta") else max_positions
    if model_max_length is None and family != "deberta-v3":
        model_max_length = usable
    if model_max_length is not None:
        # `save_pretrained` writes the arguments of construction.
        tokenizer.model_max_length = tokenizer.init_kwargs["model_max_length"] = model_max_length
    config = _config(family, tokenizer, max_positions)
    if label_names is not None:
        config.id2label = dict(enumerate(label_names))
        config.label2id = {name: index for index, name in enumerate(label_names)}
    auto_class = AutoModel if label_names is None else AutoModelForTokenClassification
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = auto_class.from_config(config)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _config(family: str, tokenizer: PreTrainedTokenizerBase, max_positions: int) -> PreTrainedConfig:
    """A configuration with two layers, two heads, 32 hidden and 64 intermediate units."""
    # An initial spread of 1/sqrt(32) instead of 0.02 makes attention and predictions differ from token to token, so
    # that a wrong mask or position shows in the logits.
    shared = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": max_positions,
        "initializer_range": 0.18,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if family == "distilbert":
        return DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64, **shared)
    shared |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if family in ("bert-uncased", "bert-cased"):
        return BertConfig(**shared)
    if family == "electra":
        return ElectraConfig(embedding_size=16, **shared)  # narrower embeddings and a projection, as in electra-small
    if family == "deberta-v3":
        return DebertaV2Config(
            relative_attention=True,
            position_buckets=16,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
            **shared,
        )
    shared |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    if family == "modernbert":
        # The first layer attends to everything, the second to 8 neighbours on either side.
        return ModernBertConfig(
            local_attention=16, cls_token_id=tokenizer.cls_token_id, sep_token_id=tokenizer.sep_token_id, **shared
        )
    return (RobertaConfig if family == "roberta" else XLMRobertaConfig)(
        type_vocab_size=1, layer_norm_eps=1e-5, **shared
    )


def _tokenizer(family: str) -> PreTrainedTokenizerBase:
    """Train the family's kind of tokenizer and wrap it in the class that transformers loads for it."""
    if family in ("bert-uncased", "distilbert", "electra"):
        return _wordpiece(do_lower_case=True)
    if family == "bert-cased":
        return _wordpiece(do_lower_case=False)
    if family == "roberta":
        return _roberta()
    if family == "modernbert":
        return _modernbert()
    if family == "deberta-v3":
        special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
        empty = DebertaV2Tokenizer().backend_tokenizer
        return DebertaV2Tokenizer(vocab=_unigram(empty, special, unk_token="[UNK]", mask_token="[MASK]"))
    if family == "xlm-roberta":
        charsmap = _precompiled_charsmap(_nmt_nfkc())
        empty = XLMRobertaTokenizer(_spm_precompiled_charsmap=charsmap).backend_tokenizer
        vocab = _unigram(empty, _FAIRSEQ_SPECIAL, unk_token="<unk>", mask_token="<mask>")
        return XLMRobertaTokenizer(vocab=vocab, _spm_precompiled_charsmap=charsmap)
    raise ValueError(f"unknown family {family!r}; known: {', '.join(FAMILIES)}")


def _wordpiece(do_lower_case: bool) -> BertTokenizer:
    backend = BertTokenizer(do_lower_case=do_lower_case).backend_tokenizer
    # The trainer numbers continuation letters in the order of a hash map, and breaks ties by number: naming them makes
    # every run train the same vocabulary.
    text = " ".join(map(backend.normalizer.normalize_str, _lines()))
    continuations = [f"##{letter}" for letter in sorted(set(text) - set(string.punctuation + " "))]
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=[*_BERT_SPECIAL, *continuations], show_progress=False
    )
    backend.train_from_iterator(_lines(), trainer)
    return BertTokenizer(vocab=_model_json(backend)["vocab"], do_lower_case=do_lower_case)


def _byte_level_bpe(special_tokens: list[str], vocab_size: int) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_lines(), trainer)
    return backend


def _roberta() -> RobertaTokenizer:
    model = _model_json(_byte_level_bpe(_FAIRSEQ_SPECIAL, VOCAB_SIZE - 1))
    vocab = model["vocab"] | {"<mask>": len(model["vocab"])}  # fairseq's order: the mask comes last
    return RobertaTokenizer(vocab=vocab, merges=[tuple(merge) for merge in model["merges"]])


def _modernbert() -> PreTrainedTokenizerFast:
    """The tokenizer of answerdotai/ModernBERT: NFC, byte-level BPE, BERT's special tokens after the vocabulary."""
    backend = _byte_level_bpe([], VOCAB_SIZE - 5)
    backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:0 [SEP]:0",
        special_tokens=[(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    )


def _unigram(backend: Tokenizer, special: list[str], unk_token: str, mask_token: str) -> list[tuple[str, float]]:
    """Train a Unigram vocabulary; the special tokens lead and the mask comes last, as in the published models."""
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCAB_SIZE - 1, special_tokens=special, unk_token=unk_token, show_progress=False
    )
    backend.train_from_iterator(_lines(), trainer)
    # Scores differ a little from run to run, those of rare letters by their turn in a hash map; coarsely rounded and
    # sorted they are the same in each.
    scores: dict[str, float] = {piece: round(score, 1) for piece, score in _model_json(backend)["vocab"]}
    learnt = sorted(scores.keys() - set(special), key=lambda piece: (-scores[piece], piece))
    return [*((piece, scores[piece]) for piece in [*special, *learnt]), (mask_token, 0.0)]


def _model_json(backend: Tokenizer) -> dict[str, Any]:
    model: dict[str, Any] = json.loads(backend.to_str())["model"]
    return model


def _nmt_nfkc() -> dict[str, str]:
    """A part of sentencepiece's ``nmt_nfkc`` rules, the normaliser of XLM-R: Latin, punctuation, ligatures, full width.

    Source: ``Builder::BuildNmtNFKCMap`` (https://github.com/google/sentencepiece/blob/master/src/builder.cc).
    """
    ranges = (range(0xA0, 0x250), range(0x2000, 0x2070), range(0xFB00, 0xFB07), range(0xFF01, 0xFF5E))
    nfkc = {chr(code): unicodedata.normalize("NFKC", chr(code)) for codes in ranges for code in codes}
    mapping = {character: mapped for character, mapped in nfkc.items() if character != mapped}
    mapping |= dict.fromkeys("\t\n\f\r\u1680\u200b\u200e\u200f\u2028\u2029\u2581\ufeff\ufffd", " ")
    controls = [*range(0x01, 0x09), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F]
    return mapping | dict.fromkeys(map(chr, controls), "")


def _precompiled_charsmap(mapping: dict[str, str]) -> bytes:
    """Encode a character map as sentencepiece does: byte size, double-array trie over UTF-8, mapped strings.

    Each unit of the trie (darts-clone, https://github.com/s-yata/darts-clone) is 32 bits: label in bits 0-7, bit 8 set
    when the key may end here, from bit 10 the xor-distance to the children's base; a value has bit 31 set instead.
    """
    strings = bytearray()
    trie: dict[int, Any] = {}
    for source, target in sorted(mapping.items()):
        node = trie
        for byte in source.encode():
            node = node.setdefault(byte, {})
        node[0] = len(strings)  # label 0 holds the value: where the mapped string begins
        strings += target.encode() + b"\0"

    units = {0: 0}
    bases: set[int] = set()

    def place(node: dict[int, Any], position: int) -> None:
        # Bases are unique, or a lookup could step from one node to another one's child.
        base = next(b for b in range(1, 1 << 20) if b not in bases and all(b ^ label not in units for label in node))
        bases.add(base)
        units[position] |= (position ^ base) << 10 | (0 in node) << 8
        for label, child in node.items():
            units[base ^ label] = 1 << 31 | child if label == 0 else label
        for label, child in node.items():
            if label:
                place(child, base ^ label)

    place(trie, 0)
    size = (max(units) // 256 + 1) * 256  # lookups xor a byte into a position: whole blocks of 256
    array = struct.pack(f"<{size}I", *(units.get(position, 0) for position in range(size)))
    return struct.pack("<I", len(array)) + array + bytes(strings)


_SENTENCES = (
    "{name} {surname} was born in {place} in {year} .",
    "{name} O'{surname} , who works for {firm} Corp. , visited {place} on Monday .",
    "The European {firm} Union said it will open {number} new offices in {place} .",
    "The president of {firm} & Sons , {name} {surname} , met the ministers of {place} and {other} .",
    'After the match {name}-{surname} said : " We played well in {place} . "',
    "@{name}{number} lol I can't believe {surname} is at {place} !!! #no{firm} https://t.co/x{number}",
    "{place} {number} , {other} {year} ( Reuters ) - shares of {firm} rose {number}.5 % .",
    "Mutations in the {surname}'s syndrome gene were found in {number} of {year} families from {place} .",
    "They don't think that Zürich and {other} University are re-opening the well-known São Paulo institute .",
    "{other} is not far from {place} , but {name} {surname} never went there .",
)
_CONSONANTS, _VOWELS, _CODAS = "bcdfghklmnprstvwz", "aeiouéö", ("", "", "", "n", "r", "l", "s")


def _lines() -> Iterator[str]:
    """The training text: 600 sentences with made-up names, numbers and social-media noise, always the same."""
    # Every letter alone and inside a word, so that an unseen word is spelt out instead of being unknown.
    letters = string.ascii_letters + string.digits + "äöüéèñçãåøß"
    yield " ".join(letters)
    yield " ".join(letter * 3 for letter in letters)
    chance = random.Random(0)
    parts = (_CONSONANTS, _VOWELS, _CODAS, _CONSONANTS, _VOWELS, _CODAS)
    names = ["".join(map(chance.choice, parts)).capitalize() for _ in range(150)]
    for number in range(600):
        name, surname, place, other, firm = chance.choices(names, k=5)
        yield _SENTENCES[number % len(_SENTENCES)].format(
            name=name,
            surname=surname,
            place=place,
            other=other,
            firm=firm,
            number=chance.randrange(100),
            year=chance.randrange(1900, 2030),
        )
