"""The subword tokens of split words are those of running text, for tokenizers of every architecture."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, SAMPLE
from tiny_models import FAMILIES
from tokenizer_kinds import KINDS, save_tokenizer
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from ner_module.data.alignment import Subwords
from ner_module.tokenizer import load_tokenizer, tokenizer_from_files, tokenizer_to_files

WORDS = ["The", "European", "Zürich", "O'Neil", "😀", "東京", "\u200b", "[MASK]", "x" * 90, "re-opening"]
# Words of text without spaces, and ``_`` for a space: it stands before words of other scripts.
UNSPACED = {
    "Chinese": "我 在 北京 工作 ， _ GDP 增长 （ _ 2008 年 ） 。 他 说 ： 「 好 」",
    "Japanese": "私 は 東京 に 行く 。 「 日本 」 の _ Sony 株式会社 、 ソニー へ",
    "Thai": "ผม ไป กรุงเทพ กับ เพื่อน ใน _ 2008 ประเทศ ไทย",
}


def read_words(path: Path) -> list[list[str]]:
    text = path.read_text(encoding="utf-8")
    sentences = [[line.split()[0] for line in part.splitlines() if line.strip()] for part in text.split("\n\n")]
    return [words for words in sentences if words and words[0] != "-DOCSTART-"]


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Kind -> a folder with its tokenizer, trained on the bundled corpus and on text without spaces."""
    text = [" ".join(words) for file in sorted(SAMPLE.glob("*.conll")) for words in read_words(file)]
    for language in UNSPACED.values():
        text += [language.replace(" ", "").replace("_", " "), *language.split()] * 10

    @cache
    def make(kind: str) -> Path:
        return save_tokenizer(kind, text, tmp_path_factory.mktemp(kind))

    return make


def words_unlike_running_text(
    sentences: list[list[str]], backend: Tokenizer, subwords: Subwords, texts: list[str] | None = None
) -> list[str]:
    """Words whose tokens are not among those of their text, as ``backend`` encodes it behind another word."""
    subwords.cache(sentences)
    before = backend.encode("x", add_special_tokens=False).ids
    texts = texts or [" " + " ".join(words) for words in sentences]
    encodings = backend.encode_batch([f"x{text}" for text in texts], add_special_tokens=False)
    found = []
    for words, encoding in zip(sentences, encodings, strict=True):
        whole, alone = encoding.ids, before + [token for word in words for token in subwords[word]]
        if whole == alone:
            continue
        blocks = SequenceMatcher(None, alone, whole, autojunk=False).get_matching_blocks()
        same = {place for block in blocks for place in range(block.a, block.a + block.size)}
        at = len(before)
        for word in words:
            found += [word] if not same.issuperset(range(at, at + len(subwords[word]))) else []
            at += len(subwords[word])
    return found


# ---------------------------------------------------------------- the rule


@pytest.mark.parametrize("kind", KINDS)
def test_words_of_the_sample_are_those_of_running_text(kind: str, published: Callable[[str], Path]) -> None:
    sentences = read_words(SAMPLE / "test.conll")
    backend = AutoTokenizer.from_pretrained(published(kind)).backend_tokenizer
    others = words_unlike_running_text(sentences, backend, Subwords(load_tokenizer(str(published(kind)))))
    assert len(others) <= 0.001 * sum(map(len, sentences)), others[:20]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_words_of_real_corpora_are_those_of_running_text(kind: str, published: Callable[[str], Path]) -> None:
    folder = Path(os.environ.get("NER_SHARED_DATA", ROOT.parent / "shared" / "data"))
    files = {path.parent for path in folder.rglob("*") if path.suffix in (".conll", ".tsv")}
    if not files:
        pytest.skip(f"no corpora in {folder}")
    backend = AutoTokenizer.from_pretrained(published(kind)).backend_tokenizer
    subwords = Subwords(load_tokenizer(str(published(kind))))
    for corpus in sorted(files):
        sentences = [words for path in sorted(corpus.iterdir()) if path.suffix != ".md" for words in read_words(path)]
        others = words_unlike_running_text(sentences, backend, subwords)
        assert len(others) <= 0.001 * sum(map(len, sentences)), (corpus.name, others[:20])


@pytest.mark.parametrize("language", UNSPACED)
@pytest.mark.parametrize("kind", KINDS)
def test_words_without_spaces_get_none(kind: str, language: str, published: Callable[[str], Path]) -> None:
    """Pieces of running text may join words there: cut at the words' edges, the text must be the same."""
    words = UNSPACED[language].replace("_ ", "_").split()
    tokenizer = load_tokenizer(str(published(kind)))
    tokens = [
        tokenizer.backend_tokenizer.encode([word.strip("_")], is_pretokenized=True, add_special_tokens=False).tokens
        for word in words
    ]
    if kind == "bert":  # its vocabulary knows words only, with no sign of a space
        assert all(tokens)
        return
    for word, pieces in zip(words, tokens, strict=True):
        assert pieces[0].startswith(("▁", "Ġ")) == word.startswith("_") or kind == "deberta-v2", (word, pieces)
    if kind in ("xlm-roberta", "deberta-v3", "t5"):  # their pieces of such text are words, mostly
        backend = AutoTokenizer.from_pretrained(published(kind)).backend_tokenizer
        bare = [word.strip("_") for word in words]
        others = words_unlike_running_text(
            [bare], backend, Subwords(tokenizer), [UNSPACED[language].replace(" ", "").replace("_", " ")]
        )
        assert len(others) <= 1, others


@pytest.mark.parametrize(
    ("kind", "word", "pieces"),
    [
        ("llama-3", "1234567", ["Ġ", "123", "456", "7"]),
        ("qwen", "12", ["Ġ", "1", "2"]),
        ("starcoder", "12", ["Ġ", "1", "2"]),
        ("gemma-2", "The", ["▁The"]),
        ("roberta", "The", ["ĠThe"]),
        ("xlm-roberta", "，", ["，"]),  # `,` to its normaliser: that no space stands before it is known before
    ],
)
def test_words_worked_by_hand(kind: str, word: str, pieces: list[str], published: Callable[[str], Path]) -> None:
    found = load_tokenizer(str(published(kind)))(["so", word, "."], is_split_into_words=True)
    tokens = [token for token, index in zip(found.tokens(), found.word_ids(), strict=True) if index == 1]
    if kind in ("llama-3", "qwen", "starcoder"):  # numbers may be in more pieces, never with a space inside
        assert (tokens[0], "".join(tokens)) == (pieces[0], "".join(pieces))
        assert "Ġ" not in "".join(tokens[1:])
    else:
        assert [token.replace(",", "，") for token in tokens] == pieces


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_made_of_a_tokenizer_is_made_once(kind: str, published: Callable[[str], Path], tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(published(kind)))
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes((published(kind) / "config.json").read_bytes())
    again = load_tokenizer(str(tmp_path))
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    exported = AutoTokenizer.from_pretrained(tmp_path)  # by other code, which knows the model's type
    known = AutoTokenizer.from_pretrained(published(kind))
    for one in (tokenizer, exported):
        encoded = one(WORDS, is_split_into_words=True)
        assert encoded.input_ids == tokenizer(WORDS, is_split_into_words=True).input_ids
        assert encoded.keys() == known(WORDS, is_split_into_words=True).keys()
        assert one.special_tokens_map == known.special_tokens_map
        assert one.padding_side == known.padding_side
        assert one("The Union said", return_offsets_mapping=True).offset_mapping[-2][1] == len("The Union said")
        assert next(start for start, end in one("The", return_offsets_mapping=True).offset_mapping if end) == 0


def old_tokenizer(tokenizer: Any) -> dict[str, str]:
    """The files of a checkpoint before this rule: each byte-level step puts a space before what it is given."""
    files = tokenizer_to_files(tokenizer)

    def switch_on(step: Any) -> None:
        if step and step["type"] == "ByteLevel":
            step["add_prefix_space"] = True
        for inner in (step or {}).get("pretokenizers", []):
            switch_on(inner)

    description = json.loads(files["tokenizer.json"])
    switch_on(description["pre_tokenizer"])
    config = json.loads(files["tokenizer_config.json"]) | {"add_prefix_space": True}
    return files | {"tokenizer.json": json.dumps(description), "tokenizer_config.json": json.dumps(config)}


@pytest.mark.parametrize("kind", ["roberta", "modernbert", "llama-3", "qwen"])
def test_an_old_checkpoint_sees_the_words_it_was_trained_on(
    kind: str, published: Callable[[str], Path], tmp_path: Path
) -> None:
    files = old_tokenizer(AutoTokenizer.from_pretrained(published(kind)))
    words = ["so", "12", "東京"]
    expected = Tokenizer.from_str(files["tokenizer.json"]).encode(words, is_pretokenized=True).ids
    assert tokenizer_from_files(files)(words, is_split_into_words=True).input_ids == expected
    assert load_tokenizer(str(published(kind)))(words, is_split_into_words=True).input_ids != expected
    # The same in a folder that `export` wrote.
    for name, text in {**files, "ner_module.json": "{}"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "config.json").write_bytes((published(kind) / "config.json").read_bytes())
    assert load_tokenizer(str(tmp_path))(words, is_split_into_words=True).input_ids == expected


def test_a_tokenizer_that_sees_whole_sentences_is_named(
    published: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(published("gemma-2"))
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    # As if its vocabulary held the pieces across words that it learns without a pre-tokenizer.
    description["normalizer"] = {"type": "Replace", "pattern": {"Regex": r"\b \b"}, "content": "_"}
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(description))
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes((published("gemma-2") / "config.json").read_bytes())
    load_tokenizer(str(tmp_path))
    assert re.search(r"splits words in running text otherwise than alone \(\d+ of \d+\)", caplog.text)


# ---------------------------------------------------------------- how it travels


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tokenizer_travels_as_text(family: str, tiny_model: Callable[..., Path]) -> None:
    tokenizer = load_tokenizer(str(tiny_model(family)))
    files = json.loads(json.dumps(tokenizer_to_files(tokenizer)))
    again = tokenizer_from_files(files)
    assert type(again) is type(tokenizer)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert again(WORDS, is_split_into_words=True).input_ids == tokenizer(WORDS, is_split_into_words=True).input_ids
    assert (again.pad_token_id, again.model_max_length) == (tokenizer.pad_token_id, tokenizer.model_max_length)
    assert tokenizer_to_files(again) == files, "a checkpoint of a checkpoint is the same"
