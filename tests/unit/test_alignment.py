"""Words and sequences, against `tokenizer(…, is_split_into_words=True).word_ids()` of every family."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny_models import FAMILIES
from transformers import AutoTokenizer

from ner_module.data.alignment import Subwords, place_sequences
from ner_module.data.encoded import NO_SUBWORD, EncodingOptions, encode_split
from ner_module.tokenizer import load_tokenizer

NO_LIMIT = 1_000_000

NASTY_WORDS = [
    *("plain", "Word", "UPPER", "O'Neil", "don't", "re-opening", "U.S.", "3,141.59", "50%", "x²", "½", "№5"),
    *("😀", "👨‍👩‍👧‍👦", "🇩🇪", "👍🏽", "❤️", ":-)", "#hash", "@user", "https://t.co/x?y=z&w=1#f", "a_b", "…", "“quoted”"),
    *("\u200b", "\u200d", "\u200e", "\u00ad", "\ufeff", "\u2060", "\u202e", "\u0301", "\ufe0f", "\ufffd", "\u180e"),
    *("\x00", "\x03", "\x07", "\x1b", "\x7f", "\x85", "\x9f", "\t", "\n", "\r\n", " ", "  ", "\u00a0", "\u2028"),
    *("a\u200bb", "\x03word", "word\x03", "soft\u00adhyphen", "\ufeffBOM", "New York", " lead", "trail ", "\u3000"),
    *("العربية", "الْعَرَبِيَّة", "עברית", "東京都", "日本語テキスト", "中文", "한국어", "한국어", "ไทย", "हिन्दी", "ქართული"),
    *("Zürich", "Zu\u0308rich", "e\u0301te\u0301", "İstanbul", "ß", "Æ", "ﬁne", "ＦＵＬＬ", "Ǆ", "ŉ", "K̶a̷", "Z̸̡̢̛̰a͇̜l̛g̷o"),
    *("[SEP]", "[CLS]", "[PAD]", "[MASK]", "[UNK]", "<s>", "</s>", "<mask>", "<unk>", "x[SEP]y", "##ing", "▁", "Ġ"),
    *("\U0010ffff", "\ue000", "𝔘𝔫𝔦", "x" * 2000, "ab" * 1000, "中" * 2000, "!" * 2000, "\u200b" * 2000, "😀" * 500),
    "",
]  # fmt: skip


@pytest.fixture(scope="session")
def tokenizers(
    tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Any, Any, Subwords]]:
    """Family -> our tokenizer, what transformers makes of its saved form, our subwords; see `test_tokenizer.py`."""
    made: dict[str, tuple[Any, Any, Subwords]] = {}

    def make(family: str) -> tuple[Any, Any, Subwords]:
        if family not in made:
            ours = load_tokenizer(str(tiny_model(family)))
            ours.save_pretrained(folder := tmp_path_factory.mktemp("tokenizer"))
            made[family] = ours, AutoTokenizer.from_pretrained(folder), Subwords(ours)
        return made[family]

    return make


class EncodedSequence(NamedTuple):
    input_ids: list[int]
    words: range
    word_positions: list[int]


def make_sequences(
    tokens: list[str], subwords: Subwords, max_seq_length: int = NO_LIMIT, stride: int = 0
) -> list[EncodedSequence]:
    """The sequences of one sentence, and the words that each owns."""
    options = EncodingOptions(max_seq_length, stride, False, "iob2", "iob2", "O")
    with tempfile.TemporaryDirectory() as folder:
        split = encode_split(Path(folder) / "split", [(tokens, None, None)], subwords, options, lasting=False)
        sequences = pairwise(zip(split.sequence_offsets.tolist(), split.sequence_words.tolist(), strict=True))
        return [
            EncodedSequence(
                split.input_ids[start:end].tolist(), range(first, last), split.word_positions[first:last].tolist()
            )
            for (start, first), (end, last) in sequences
        ]


def first_positions(word_ids: list[int | None], num_words: int) -> list[int]:
    return [word_ids.index(word) if word in word_ids else NO_SUBWORD for word in range(num_words)]


def check_against_transformers(tokens: list[str], reference: Any, subwords: Subwords) -> None:
    encoding = reference(tokens, is_split_into_words=True)
    [one] = make_sequences(tokens, subwords)
    assert one.input_ids == encoding.input_ids
    assert one.word_positions == first_positions(encoding.word_ids(), len(tokens))
    assert one.words == range(len(tokens))


# ---------------------------------------------------------------- against transformers


@pytest.mark.parametrize("family", FAMILIES)
def test_nasty_words_become_what_the_tokenizer_makes_of_them(family: str, tokenizers: Callable[..., Any]) -> None:
    _, reference, subwords = tokenizers(family)
    for word in NASTY_WORDS:
        check_against_transformers([word], reference, subwords)
        check_against_transformers(["was", word, "born"], reference, subwords)
    check_against_transformers(NASTY_WORDS, reference, subwords)
    check_against_transformers(NASTY_WORDS[::-1] * 2, reference, subwords)


@pytest.mark.parametrize("family", FAMILIES)
def test_some_words_become_nothing_where_the_tokenizer_drops_them(family: str, tokenizers: Callable[..., Any]) -> None:
    subwords = tokenizers(family)[2]
    tokens = ["", "was", "\u200b", "", "born", "\x03"]
    [one] = make_sequences(tokens, subwords)
    dropped = {index for index, position in enumerate(one.word_positions) if position == NO_SUBWORD}
    assert {0, 3} <= dropped
    assert not {1, 4} & dropped
    if family.startswith("bert"):
        assert dropped == {0, 2, 3, 5}
    if family in ("roberta", "modernbert"):
        assert dropped == {0, 3}


words = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.text("abcXYZ.-'\u200b\u0301é中 ", max_size=6),
    st.sampled_from(NASTY_WORDS).filter(lambda word: len(word) < 50),
)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tokens=st.lists(words, max_size=12))
@example(tokens=[])
@example(tokens=[""])
def test_any_words_become_what_the_tokenizer_makes_of_them(
    family: str, tokens: list[str], tokenizers: Callable[..., Any]
) -> None:
    _, reference, subwords = tokenizers(family)
    check_against_transformers(tokens, reference, subwords)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_empty_sentence_is_a_sequence_of_special_tokens(family: str, tokenizers: Callable[..., Any]) -> None:
    _, reference, subwords = tokenizers(family)
    expected = EncodedSequence(reference([], is_split_into_words=True).input_ids, range(0), [])
    assert make_sequences([], subwords, 16, 4) == [expected]
    assert subwords.num_special == 2
    assert [*subwords.prefix, *subwords.suffix] == [reference.cls_token_id, reference.sep_token_id]


@pytest.mark.parametrize("family", ["roberta", "modernbert"])
def test_byte_level_words_are_those_of_running_text(
    family: str, tiny_model: Callable[..., Path], tokenizers: Callable[..., Any]
) -> None:
    ours, _, subwords = tokenizers(family)
    tokens = ["The", "European", "Union", "said", "."]
    [one] = make_sequences(tokens, subwords)
    assert one.input_ids == AutoTokenizer.from_pretrained(tiny_model(family))(" " + " ".join(tokens)).input_ids
    # Also what the tokenizer does when others call it, after it travelled.
    assert ours(tokens, is_split_into_words=True).input_ids == one.input_ids


@pytest.mark.parametrize("family", ["bert-cased", "roberta", "modernbert"])
def test_truncation_and_padding_in_a_tokenizer_file_change_nothing(
    family: str, tiny_model: Callable[..., Path], tokenizers: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model(family), folder)
    description = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    description["truncation"] = {"direction": "Right", "max_length": 128, "strategy": "LongestFirst", "stride": 0}
    pad = {"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    description["padding"] = {"strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": None, **pad}
    (folder / "tokenizer.json").write_text(json.dumps(description), encoding="utf-8")

    from tokenizers import Tokenizer

    as_published = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert len(as_published.encode(["was"] * 300, is_pretokenized=True).ids) == 128, "the file is a trap"
    subwords = Subwords(load_tokenizer(str(folder)))
    for tokens in ([], ["was"], ["was"] * 300, ["x" * 2000]):
        check_against_transformers(tokens, tokenizers(family)[1], subwords)


# ---------------------------------------------------------------- windows


class Sentence:
    """A sentence whose words have given numbers of subwords: BERT splits off each punctuation mark."""

    MARKS = "!#$%&*+,-./:;?@"

    def __init__(self, lengths: list[int], subwords: Subwords) -> None:
        self.lengths = lengths
        self.tokens = [
            self.MARKS[index % len(self.MARKS)] * length if length else "\u200b" for index, length in enumerate(lengths)
        ]
        subwords.cache([self.tokens])
        assert [len(subwords[word]) for word in self.tokens] == lengths


def window_of(one: EncodedSequence, offsets: list[int], stream: list[int], subwords: Subwords) -> tuple[int, int]:
    """Which slice of the sentence's subwords a sequence holds, by its first owned word with a subword."""
    inner = one.input_ids[len(subwords.prefix) : len(one.input_ids) - len(subwords.suffix)]
    word, position = next(
        (word, position) for word, position in zip(one.words, one.word_positions, strict=True) if position != NO_SUBWORD
    )
    start = offsets[word] - (position - len(subwords.prefix))
    assert inner == stream[start : start + len(inner)], "a sequence is a part of the sentence"
    return start, start + len(inner)


def check_windows(lengths: list[int], max_seq_length: int, stride: int, subwords: Subwords) -> list[EncodedSequence]:
    sentence = Sentence(lengths, subwords)
    budget = max_seq_length - 2
    sequences = make_sequences(sentence.tokens, subwords, max_seq_length, stride)
    assert all(len(one.input_ids) <= max_seq_length for one in sequences)
    assert all(one.input_ids[:1] == subwords.prefix and one.input_ids[-1:] == subwords.suffix for one in sequences)

    # Every word is owned once, in order.
    assert [word for one in sequences for word in one.words] == list(range(len(lengths)))
    assert all(len(one.word_positions) == len(one.words) for one in sequences)
    positions = [position for one in sequences for position in one.word_positions]
    assert [position == NO_SUBWORD for position in positions] == [length == 0 for length in lengths]

    if sum(lengths) <= budget:
        assert len(sequences) == 1
        return sequences
    kept = [min(length, budget) for length in lengths]
    offsets = [0, *accumulate(kept)]
    stream = [piece for word in sentence.tokens for piece in subwords[word][:budget]]
    # No sequence is there for nothing.
    assert all(any(position != NO_SUBWORD for position in one.word_positions) for one in sequences)
    windows = [window_of(one, offsets, stream, subwords) for one in sequences]
    assert windows[0][0] == 0
    assert windows[-1][1] == len(stream)
    assert all(edge in offsets for window in windows for edge in window), "no word is cut by a window's edge"
    for (start, end), (next_start, next_end) in pairwise(windows):
        assert start < next_start <= end < next_end
        assert end - next_start <= stride
    for one in sequences:
        for word, position in zip(one.words, one.word_positions, strict=True):
            if position == NO_SUBWORD:
                continue
            begin, end = offsets[word], offsets[word + 1]
            assert one.input_ids[position : position + kept[word]] == list(subwords[sentence.tokens[word]][:budget])
            contexts = {
                window: min(
                    begin - window[0] if window[0] else NO_LIMIT,
                    window[1] - end if window[1] < len(stream) else NO_LIMIT,
                )
                for window in windows
                if window[0] <= begin and end <= window[1]
            }
            assert contexts[windows[sequences.index(one)]] == max(contexts.values()), "owned where it has most context"
    return sequences


@pytest.fixture(scope="session")
def marks(tokenizers: Callable[..., Any]) -> Subwords:
    subwords: Subwords = tokenizers("bert-uncased")[2]
    return subwords


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.one_of(st.integers(0, 4), st.integers(0, 20)), max_size=60),
    max_seq_length=st.sampled_from((4, 5, 8, 16, 17)),
    share=st.sampled_from((0, 0.25, 0.4, 0.5)),
)
@example(lengths=[1, 1, 1, 1, 2, 1, 2, 5], max_seq_length=8, share=0.5)  # three windows share words
@example(lengths=[6, 8, 6, 8, 6, 8], max_seq_length=16, share=0.5)
@example(lengths=[0, 0, 20, 0, 0], max_seq_length=16, share=0.25)
@example(lengths=[20], max_seq_length=16, share=0.25)
@example(lengths=[1] * 14, max_seq_length=16, share=0.25)
@example(lengths=[1] * 15, max_seq_length=16, share=0.25)
def test_windows_of_any_sentence(lengths: list[int], max_seq_length: int, share: float, marks: Subwords) -> None:
    check_windows(lengths, max_seq_length, int(max_seq_length * share), marks)


@pytest.mark.parametrize("max_seq_length", [16, 64, 512])
@pytest.mark.parametrize("share", [0, 0.25, 0.5])
def test_windows_of_a_long_document(max_seq_length: int, share: float, marks: Subwords) -> None:
    chance = np.random.default_rng(0)
    lengths = chance.choice([0, 1, 1, 1, 2, 3, 7], size=3000).tolist()
    sequences = check_windows(lengths, max_seq_length, int(max_seq_length * share), marks)
    inner = sum(len(one.input_ids) - 2 for one in sequences)
    if share == 0:
        assert inner == sum(lengths), "without overlap nothing is computed twice"
    assert len(sequences) < 2.2 * sum(lengths) / (max_seq_length - 2) / (1 - share)


def test_a_sentence_that_just_fits_is_one_sequence(marks: Subwords) -> None:
    assert len(check_windows([1] * 14, 16, 4, marks)) == 1
    assert len(check_windows([1] * 15, 16, 4, marks)) == 2
    assert len(check_windows([1] * 14 + [0], 16, 4, marks)) == 1


def test_windows_worked_by_hand(marks: Subwords) -> None:
    # 20 words of one subword, windows of 10 (8 words), overlap 4: words 0-7, 4-11, 8-15, 12-19; they meet midway.
    sequences = check_windows([1] * 20, 10, 4, marks)
    assert [one.words for one in sequences] == [range(6), range(6, 10), range(10, 14), range(14, 20)]
    assert [one.word_positions for one in sequences] == [
        [1, 2, 3, 4, 5, 6],
        [3, 4, 5, 6],
        [3, 4, 5, 6],
        [3, 4, 5, 6, 7, 8],
    ]


def test_a_word_longer_than_a_window_keeps_its_first_subwords(marks: Subwords) -> None:
    sequences = check_windows([1, 30, 1], 16, 4, marks)
    assert [len(one.input_ids) for one in sequences] == [3, 16, 3]
    assert [one.word_positions for one in sequences] == [[1], [1], [1]]
    [one] = check_windows([30], 16, 4, marks)
    assert len(one.input_ids) == 16


def test_a_word_with_equal_context_in_two_windows_goes_to_the_later() -> None:
    """Nine words of one subword token, windows of six that share three: the middle one has one on each side."""
    places = place_sequences([1] * 9, range(9), budget=6, stride=3)
    assert places == [(range(6), range(4)), (range(3, 9), range(4, 9))]
