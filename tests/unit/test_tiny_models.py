"""The tiny models load as what they claim to be, and their tokenizers behave as the published families do."""

from pathlib import Path

import pytest
import torch
from tiny_models import FAMILIES, VOCAB_SIZE, _nmt_nfkc, _precompiled_charsmap, make_tiny_model
from tokenizers import normalizers, pre_tokenizers
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, AutoTokenizer

LABEL_NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]

# family -> model_type, tokenizer class, model class, (cls, sep, pad, unk, mask) ids, normaliser, model_max_length
EXPECTED = {
    "bert-uncased": ("bert", "BertTokenizer", "Bert", (2, 3, 0, 1, 4), "BertNormalizer", 66),
    "bert-cased": ("bert", "BertTokenizer", "Bert", (2, 3, 0, 1, 4), "BertNormalizer", 66),
    "distilbert": ("distilbert", "BertTokenizer", "DistilBert", (2, 3, 0, 1, 4), "BertNormalizer", 66),
    "roberta": ("roberta", "RobertaTokenizer", "Roberta", (0, 2, 1, 3, -1), None, 64),
    "deberta-v3": ("deberta-v2", "DebertaV2Tokenizer", "DebertaV2", (1, 2, 0, 3, -1), "Sequence", int(1e30)),
    "electra": ("electra", "BertTokenizer", "Electra", (2, 3, 0, 1, 4), "BertNormalizer", 66),
    "xlm-roberta": ("xlm-roberta", "XLMRobertaTokenizer", "XLMRoberta", (0, 2, 1, 3, -1), "Precompiled", 64),
    "modernbert": ("modernbert", "TokenizersBackend", "ModernBert", (-4, -3, -2, -5, -1), "NFC", 66),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tiny_models")
    return {family: make_tiny_model(family, root / family, label_names=LABEL_NAMES) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_auto_classes_load_what_the_family_is(family: str, folders: dict[str, Path]) -> None:
    model_type, tokenizer_class, model_class, special_ids, normalizer, model_max_length = EXPECTED[family]
    config = AutoConfig.from_pretrained(folders[family])
    tokenizer = AutoTokenizer.from_pretrained(folders[family])
    model = AutoModelForTokenClassification.from_pretrained(folders[family])

    assert config.model_type == model_type
    assert config.id2label == dict(enumerate(LABEL_NAMES))
    assert config.label2id == {name: index for index, name in enumerate(LABEL_NAMES)}
    assert type(tokenizer).__name__ == tokenizer_class
    assert type(model).__name__ == f"{model_class}ForTokenClassification"
    assert model.classifier.out_features == len(LABEL_NAMES)
    assert tokenizer.is_fast
    assert 300 <= len(tokenizer) == config.vocab_size == VOCAB_SIZE
    expected_ids = [index % VOCAB_SIZE for index in special_ids]
    special = [tokenizer.cls_token, tokenizer.sep_token, tokenizer.pad_token, tokenizer.unk_token, tokenizer.mask_token]
    assert tokenizer.convert_tokens_to_ids(special) == expected_ids
    assert tokenizer("").input_ids == expected_ids[:2]
    assert config.pad_token_id == tokenizer.pad_token_id
    assert type(tokenizer.backend_tokenizer.normalizer).__name__ == (normalizer or "NoneType")
    assert tokenizer.model_max_length == model_max_length
    assert tokenizer.backend_tokenizer.truncation is None
    assert sum(parameter.numel() for parameter in model.parameters()) < 60_000


@pytest.mark.parametrize("family", FAMILIES)
def test_word_ids_follow_the_words(family: str, folders: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders[family], add_prefix_space=True)
    if family == "modernbert":  # its loader takes no add_prefix_space
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    words = ["in", "Xyqzk", "O'Bonar", ",", "日"]
    encoding = tokenizer(words, is_split_into_words=True)
    word_ids = encoding.word_ids()

    assert word_ids[0] is None
    assert word_ids[-1] is None
    inner = word_ids[1:-1]
    assert inner == sorted(inner)
    assert sorted(set(inner)) == [0, 1, 2, 3, 4]
    assert inner.count(0) == 1, "a common word is one piece"
    assert inner.count(1) > 2, "an unseen word is spelt out"
    pieces = [piece for piece, word in zip(encoding.tokens(), word_ids, strict=True) if word == 1]
    spelt = "".join(pieces).translate(dict.fromkeys(map(ord, "#▁Ġ")))
    assert spelt == ("Xyqzk" if family not in ("bert-uncased", "distilbert", "electra") else "xyqzk")
    is_byte_level = family in ("roberta", "modernbert")
    assert (tokenizer.unk_token_id in encoding.input_ids) != is_byte_level


@pytest.mark.parametrize(
    ("word", "dropping"),
    [
        ("\u200b", {"bert-uncased", "bert-cased", "distilbert", "electra", "xlm-roberta"}),
        ("\x03", {"bert-uncased", "bert-cased", "distilbert", "electra", "xlm-roberta"}),
        ("\u00a0", {"bert-uncased", "bert-cased", "distilbert", "electra", "xlm-roberta", "deberta-v3"}),
        ("", set(FAMILIES)),
    ],
)
def test_families_that_map_a_word_to_nothing(word: str, dropping: set[str], folders: dict[str, Path]) -> None:
    found = set()
    for family, folder in folders.items():
        tokenizer = AutoTokenizer.from_pretrained(folder, add_prefix_space=True)
        if 1 not in tokenizer(["was", word, "born"], is_split_into_words=True).word_ids():
            found.add(family)
    assert found == dropping


def test_byte_level_families_mark_words_only_with_a_prefix_space(folders: dict[str, Path]) -> None:
    words = ["was", "born"]
    for family in ("roberta", "modernbert"):
        tokenizer = AutoTokenizer.from_pretrained(folders[family])
        assert not any("Ġ" in piece for piece in tokenizer(words, is_split_into_words=True).tokens())
        assert tokenizer("was born").tokens()[-2] == "Ġborn"
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        assert tokenizer(words, is_split_into_words=True).tokens()[1:-1] == ["Ġwas", "Ġborn"]
    loaded = AutoTokenizer.from_pretrained(folders["roberta"], add_prefix_space=True)
    assert loaded(words, is_split_into_words=True).tokens() == ["<s>", "Ġwas", "Ġborn", "</s>"]


@pytest.mark.parametrize("family", FAMILIES)
def test_predictions_depend_on_the_context_and_run_to_the_last_position(family: str, folders: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders[family])
    model = AutoModelForTokenClassification.from_pretrained(folders[family])
    usable = 64 if family in ("roberta", "xlm-roberta") else 66
    text = tokenizer("x " * (usable - 2), return_tensors="pt", truncation=True, max_length=usable)
    assert text.input_ids.shape == (1, usable)
    changed = text.input_ids.clone()
    changed[0, usable // 2] = tokenizer.mask_token_id
    with torch.no_grad():
        logits_BTL = model(**text).logits
        moved_T = (model(**{**text, "input_ids": changed}).logits - logits_BTL).abs().amax(dim=(0, 2))
    assert logits_BTL.isfinite().all()
    assert logits_BTL.std() > 0.1
    assert (moved_T > 1e-4).sum() > 5, "a changed subword reaches its neighbours"


@pytest.mark.parametrize("family", ["bert-cased", "electra", "distilbert", "roberta", "xlm-roberta"])
def test_absolute_positions_end_where_stated(family: str, folders: dict[str, Path]) -> None:
    model = AutoModelForTokenClassification.from_pretrained(folders[family])
    too_long = torch.full((1, AutoTokenizer.from_pretrained(folders[family]).model_max_length + 1), 5)
    with pytest.raises((RuntimeError, IndexError, ValueError)):
        model(input_ids=too_long, attention_mask=torch.ones_like(too_long))


def test_without_label_names_the_encoder_alone_is_saved(tmp_path: Path) -> None:
    folder = make_tiny_model("bert-cased", tmp_path / "a" / "b", max_positions=130, model_max_length=40)
    assert AutoConfig.from_pretrained(folder).architectures == ["BertModel"]
    assert AutoConfig.from_pretrained(folder).max_position_embeddings == 130
    assert AutoTokenizer.from_pretrained(folder).model_max_length == 40
    _, info = AutoModelForTokenClassification.from_pretrained(folder, output_loading_info=True)
    assert info["missing_keys"] == {"classifier.weight", "classifier.bias"}


def test_seed_decides_the_weights_and_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    models = [
        AutoModel.from_pretrained(make_tiny_model("electra", tmp_path / name, seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert torch.equal(torch.get_rng_state(), state)
    first, same, other = (model.embeddings.word_embeddings.weight for model in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_second_training_gives_the_same_tokenizer(family: str, folders: dict[str, Path], tmp_path: Path) -> None:
    again = make_tiny_model(family, tmp_path)
    assert (again / "tokenizer.json").read_bytes() == (folders[family] / "tokenizer.json").read_bytes()


def test_character_map_says_what_was_put_in() -> None:
    mapping = _nmt_nfkc()
    normalizer = normalizers.Precompiled(_precompiled_charsmap(mapping))
    assert len(mapping) > 100
    for source, target in mapping.items():
        assert normalizer.normalize_str(source) == target, f"U+{ord(source):04X}"
    kept = "".join(chr(code) for code in range(0x20, 0x7F)) + "äß日😀"
    assert normalizer.normalize_str(kept) == kept
    assert normalizer.normalize_str("ﬁn\u200bA\u0007") == "fin A"


def test_unknown_family_is_named() -> None:
    with pytest.raises(ValueError, match="unknown family 'bart'; known: bert-uncased"):
        make_tiny_model("bart", Path("unused"))
