"""Encoded splits: what is on disk is what was put in, window by window and word by word."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ner_module.data.alignment import Subwords
from ner_module.data.encoded import (
    NO_SUBWORD,
    UNLABELLED,
    Annotated,
    BatchAssembler,
    EncodedSplit,
    EncodingOptions,
    encode_split,
)
from ner_module.files import CHECKSUMS
from ner_module.tagging import LabelSet, complete_label_set
from ner_module.tokenizer import load_tokenizer

# "Zyqxw" is spelt out, "was" is one piece, "\u200b" none.
LONG, SHORT, NOTHING = "Zyqxw", "was", "\u200b"


def options(**changes: Any) -> EncodingOptions:
    defaults = {"max_seq_length": 64, "stride": 16, "label_all_tokens": False, "source_scheme": "iob2"}
    return EncodingOptions(**{**defaults, "scheme": "iob2", "outside_label": "O", **changes})


@pytest.fixture(scope="module")
def subwords(tiny_model: Callable[..., Path]) -> Subwords:
    return Subwords(load_tokenizer(str(tiny_model())))


def annotated(tokens: list[list[str]], tags: list[list[str]] | None) -> list[Annotated]:
    return [(words, tags and tags[index], None) for index, words in enumerate(tokens)]


def encode(
    folder: Path, subwords: Subwords, tokens: list[list[str]], tags: list[list[str]] | None, **changes: Any
) -> EncodedSplit:
    return encode_split(folder / "split", annotated(tokens, tags), subwords, options(**changes))


def tags_of(split: EncodedSplit, sentence: int) -> list[str]:
    return [split.tag_names[label] for label in split.word_labels[split.words_of(sentence)]]


def subword_tags(split: EncodedSplit, sentences: Sequence[int], scheme: str = "iob2") -> list[str]:
    """The tags of all subwords of some sentences; ``-`` where there is none."""
    labels = LabelSet(tuple(complete_label_set(split.tag_names, scheme, None)), scheme, None)
    batch = BatchAssembler(split, labels).sentences(np.array(sentences))
    return [labels.names[label] if label >= 0 else "-" for label in batch["labels"].tolist()]


def folders_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------- the whole


@pytest.mark.parametrize("max_seq_length", [16, 64])
@pytest.mark.parametrize("label_all_tokens", [False, True])
def test_the_corpus_comes_back(
    max_seq_length: int, label_all_tokens: bool, corpus: Path, subwords: Subwords, tmp_path: Path
) -> None:
    lines = (corpus / "train.conll").read_text(encoding="utf-8").split("\n")
    tokens: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    for line in lines:
        if line:
            word, tag = line.split()
            tokens[-1].append(word)
            tags[-1].append(tag)
        elif tokens[-1]:
            tokens.append([])
            tags.append([])
    # Not in the corpus: nothing at all, nothing but what becomes nothing, a long document, an endless word.
    tokens += [[], [NOTHING, NOTHING], [SHORT, NOTHING, LONG] * 60, [SHORT, "x" * 300, NOTHING]]
    tags += [[], ["O", "B-PER"], ["B-PER", "I-PER", "I-PER"] * 60, ["O", "B-LOC", "O"]]

    split = encode(
        tmp_path,
        subwords,
        tokens,
        tags,
        max_seq_length=max_seq_length,
        stride=max_seq_length // 4,
        label_all_tokens=label_all_tokens,
    )
    assert len(split) == len(tokens)
    assert len(split.sequence_lengths) == split.sentence_sequences[-1]
    assert split.sequence_lengths.max() <= max_seq_length
    assert split.sequence_lengths.sum() == len(split.input_ids)
    assert len(split.word_labels) == len(split.word_positions) == sum(map(len, tokens))
    assert split.sentence_lengths().sum() == len(split.input_ids)
    for sentence, expected in enumerate(tags):
        assert tags_of(split, sentence) == expected
    visible = sum(bool(subwords[word]) for words in tokens for word in words)
    subword_labels = subword_tags(split, range(len(split)))
    labelled = len(subword_labels) - subword_labels.count("-")
    assert split.sequence_labelled.sum() == labelled
    if label_all_tokens:
        budget = max_seq_length - subwords.num_special
        assert labelled == sum(min(len(subwords[word]), budget) for words in tokens for word in words)
    else:
        assert labelled == visible
    missing = sum(map(len, tokens)) - visible
    assert split.findings["words_without_subword"][0] == missing == (split.word_positions == NO_SUBWORD).sum()
    # Where a word is said to be, its first subword is, with its label.
    for sequence in range(len(split.sequence_lengths)):
        start, words = (
            split.sequence_offsets[sequence],
            slice(split.sequence_words[sequence], split.sequence_words[sequence + 1]),
        )
        for position, label in zip(split.word_positions[words], split.word_labels[words], strict=True):
            if position != NO_SUBWORD:
                assert subword_labels[start + position] == split.tag_names[label]
    # Found again in another process, from disk alone.
    again = EncodedSplit(tmp_path / "split")
    assert again.findings == split.findings
    assert again.tag_names == split.tag_names


def test_blocks_do_not_matter(subwords: Subwords, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = annotated(
        [[SHORT, LONG], [], [LONG] * 40, [NOTHING], [SHORT]], [["O", "B-A"], [], ["B-B"] * 40, ["O"], ["I-B"]]
    )
    encode_split(tmp_path / "one", sentences, subwords, options())
    monkeypatch.setattr("ner_module.data.encoded._BLOCK", 2)
    encode_split(tmp_path / "three", sentences, subwords, options())
    for path in sorted((tmp_path / "one").iterdir()):
        if path.name != CHECKSUMS:  # holds times
            assert path.read_bytes() == (tmp_path / "three" / path.name).read_bytes()


def test_no_sentences(subwords: Subwords, tmp_path: Path) -> None:
    split = encode_split(tmp_path / "split", [], subwords, options())
    assert (len(split), len(split.sequence_lengths), len(split.input_ids), split.tag_names) == (0, 0, 0, [])
    assert split.sentence_lengths().tolist() == []


def test_without_tags_nothing_is_labelled(subwords: Subwords, tmp_path: Path) -> None:
    for all_tokens in (False, True):
        folder = tmp_path / str(all_tokens)
        split = encode(folder, subwords, [[SHORT, LONG], []], None, label_all_tokens=all_tokens)
        assert split.tag_names == []
        assert set(subword_tags(split, [0, 1])) == {"-"}
        assert set(split.word_labels.tolist()) == {UNLABELLED}
        assert split.word_positions.tolist() == [1, 2]
        assert split.sequence_labelled.tolist() == [0, 0]


# ---------------------------------------------------------------- labels of subwords


def test_first_subwords_only(subwords: Subwords, tmp_path: Path) -> None:
    pieces = len(subwords_of(subwords, LONG))
    assert pieces > 2
    split = encode(tmp_path, subwords, [[SHORT, LONG, NOTHING, LONG]], [["O", "B-A", "I-A", "I-A"]])
    rest = ["-"] * (pieces - 1)
    assert subword_tags(split, [0]) == ["-", "O", "B-A", *rest, "I-A", *rest, "-"]


@pytest.mark.parametrize(
    ("scheme", "tags", "expected"),
    [
        ("iob2", "B-A I-A B-A", "B-A I-A | I-A I-A | B-A I-A"),
        ("iob1", "I-A B-A O", "I-A I-A | B-A I-A | O O"),
        ("bioes", "B-A E-A S-B", "B-A I-A | E-A E-A | S-B I-B"),
        ("bilou", "B-A L-A U-B", "B-A I-A | L-A L-A | U-B I-B"),
        ("ioe2", "I-A E-A O", "I-A I-A | E-A E-A | O O"),
    ],
)
def test_all_subwords_and_a_mention_begins_once(
    scheme: str, tags: str, expected: str, subwords: Subwords, tmp_path: Path
) -> None:
    words = [LONG] * 3
    same = {"source_scheme": scheme, "scheme": scheme}
    split = encode(tmp_path, subwords, [words], [tags.split()], label_all_tokens=True, **same)
    pieces = len(subwords_of(subwords, LONG))
    wanted = ["-"]
    for word in expected.split(" | "):
        first, further = word.split()
        wanted += [first, *[further] * (pieces - 1)]
    assert subword_tags(split, [0], scheme) == [*wanted, "-"]
    assert tags_of(split, 0) == tags.split(), "gold stays as it is"


def test_flat_labels_continue_as_themselves_also_when_they_look_like_prefixes(
    subwords: Subwords, tmp_path: Path
) -> None:
    flat = {"source_scheme": "flat", "scheme": "flat", "outside_label": None}
    tags = ["S", "B-side", "U", "V"]
    for all_tokens in (False, True):
        split = encode(tmp_path / str(all_tokens), subwords, [[LONG] * 4], [tags], label_all_tokens=all_tokens, **flat)
        assert split.tag_names == tags, "no label that the data does not have"
        labelled = [tag for tag in subword_tags(split, [0], "flat") if tag != "-"]
        assert labelled == [tag for tag in tags for _ in range(len(subwords_of(subwords, LONG)) if all_tokens else 1)]


def subwords_of(subwords: Subwords, word: str) -> tuple[int, ...]:
    subwords.cache([[word]])
    return subwords[word]


# ---------------------------------------------------------------- schemes and findings


def test_illegal_tags_are_counted_and_repaired(subwords: Subwords, tmp_path: Path) -> None:
    sentences = [["O", "O"], ["O", "I-A", "I-B"], ["I-A"]]
    split = encode(tmp_path, subwords, [[SHORT] * len(tags) for tags in sentences], sentences)
    assert split.findings == {"illegal_tags": [3, 1]}
    assert [tags_of(split, index) for index in range(3)] == [["O", "O"], ["O", "B-A", "B-B"], ["B-A"]]


def test_what_happened_to_words_is_reported_with_an_example(subwords: Subwords, tmp_path: Path) -> None:
    tokens = [[SHORT], [SHORT] * 15, [SHORT, NOTHING, NOTHING], [SHORT, "x" * 100], [SHORT] * 14]
    tags = [["O"] * len(words) for words in tokens]
    split = encode(tmp_path, subwords, tokens, tags, max_seq_length=16, stride=4)
    assert split.findings == {"windowed_sentences": [2, 1], "words_without_subword": [2, 2], "clipped_words": [1, 3]}
    assert split.sentence_sequences.tolist() == [0, 1, 3, 4, 6, 7]


def test_a_clipped_word_alone_in_its_sentence_is_reported(subwords: Subwords, tmp_path: Path) -> None:
    tokens = [[SHORT], ["!" * 15], ["!" * 14]]
    split = encode(tmp_path, subwords, tokens, [["O"]] * 3, max_seq_length=16, stride=4)
    assert split.findings == {"clipped_words": [1, 1]}
    assert split.sequence_lengths.tolist() == [3, 16, 16]


# ---------------------------------------------------------------- on disk


def test_a_crash_leaves_nothing_behind(subwords: Subwords, tmp_path: Path) -> None:
    def sentences() -> Iterator[Annotated]:
        yield [SHORT], ["O"], None
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        encode_split(tmp_path / "split", sentences(), subwords, options())
    assert folders_in(tmp_path) == []


def test_the_faster_of_two_processes_wins(subwords: Subwords, tmp_path: Path) -> None:
    def sentences() -> Iterator[Annotated]:
        # While this one is at work, another one finishes the same split.
        encode(tmp_path, subwords, [[SHORT]], [["O"]])
        yield [SHORT], ["O"], None

    split = encode_split(tmp_path / "split", sentences(), subwords, options())
    assert len(split) == 1
    assert folders_in(tmp_path) == ["split"]


def test_the_arrays_are_mapped_not_read(subwords: Subwords, tmp_path: Path) -> None:
    split = encode(tmp_path, subwords, [[SHORT]], [["O"]])
    assert isinstance(split.input_ids, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        split.input_ids[0] = 1
