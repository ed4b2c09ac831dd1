"""Document context: around a sentence stand its neighbours, as far as they fit; it owns its own words and no others."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ner_module import NERDataModule
from ner_module.data.alignment import Subwords, place_sequences
from ner_module.data.encoded import NO_SUBWORD, Annotated, BatchAssembler, EncodedSplit, EncodingOptions, encode_split
from ner_module.files import CHECKSUMS
from ner_module.tagging import IGNORE_INDEX, LabelSet
from ner_module.tokenizer import load_tokenizer

WORDS = ["was", "born", "in", "Zyqxw", "Monday", "\u200b", "the", "Parisian", "."]


@pytest.fixture(scope="module")
def subwords(tiny_model: Callable[..., Path]) -> Subwords:
    return Subwords(load_tokenizer(str(tiny_model())))


def corpus(seed: int, count: int = 60) -> tuple[list[list[str]], list[list[str]], list[Any]]:
    """Documents of 1 to 6 sentences, some without a document; sentences of 0 to 9 words, one of 80."""
    chance = random.Random(seed)
    tokens = [chance.choices(WORDS, k=80 if index == 11 else chance.randrange(10)) for index in range(count)]
    tags = [chance.choices(["O", "B-PER", "B-LOC"], k=len(words)) for words in tokens]
    documents: list[Any] = []
    while len(documents) < count:
        name = chance.choice([None, len(documents)])
        documents += [name] * chance.randrange(1, 7)
    return tokens, tags, documents[:count]


def annotated(tokens: list[list[str]], tags: list[list[str]] | None, documents: Sequence[Any]) -> list[Annotated]:
    return [(words, tags and tags[index], documents[index]) for index, words in enumerate(tokens)]


def encode(
    folder: Path, subwords: Subwords, sentences: list[Annotated], context_size: int, **changes: Any
) -> EncodedSplit:
    defaults = {"label_all_tokens": False, "source_scheme": "iob2", "scheme": "iob2", "outside_label": "O"}
    options = EncodingOptions(**{"max_seq_length": 64, "stride": 16, **defaults, **changes}, context_size=context_size)
    return encode_split(folder, sentences, subwords, options)


def all_labels(split: EncodedSplit) -> np.ndarray[Any, Any]:
    """Of all subword tokens."""
    labels = LabelSet(("O", "B-LOC", "I-LOC", "B-PER", "I-PER"), "iob2", "O")
    labels_T: np.ndarray[Any, Any] = BatchAssembler(split, labels).sentences(np.arange(len(split)))["labels"].numpy()
    return labels_T


def first_ids(split: EncodedSplit, sentence: int) -> list[int]:
    sequence = int(split.sentence_sequences[sentence])
    return split.input_ids[split.sequence_offsets[sequence] : split.sequence_offsets[sequence + 1]].tolist()


@given(st.lists(st.integers(1, 6), max_size=60), st.integers(0, 60), st.integers(0, 9), st.integers(1, 20))
def test_the_context_of_any_sentence(lengths: list[int], start: int, size: int, context_size: int) -> None:
    """Against the definition: the nearest words of the document, as many as fit."""
    start = min(start, len(lengths))
    sentence = range(start, min(start + size, len(lengths)))
    [(window, owned)] = place_sequences(lengths, sentence, 70, 0, context_size)
    assert owned == sentence
    assert window.start <= sentence.start <= sentence.stop <= window.stop <= len(lengths)
    own = sum(lengths[sentence.start : sentence.stop])
    room = min(context_size, 70 - own) if sentence else 0
    left = room - (sum(lengths[window.start : window.stop]) - own)
    assert left >= 0
    for neighbours in (lengths[: window.start][-1:], lengths[window.stop :][:1]):
        assert not sentence or not neighbours or neighbours[0] > left


def test_without_context_nothing_changes(subwords: Subwords, tmp_path: Path) -> None:
    """Size 0, or no documents: the arrays are byte for byte those of sentences encoded without any documents."""
    tokens, tags, documents = corpus(0)
    encode(tmp_path / "plain", subwords, annotated(tokens, tags, [None] * len(tokens)), 0)
    encode(tmp_path / "zero", subwords, annotated(tokens, tags, documents), 0)
    encode(tmp_path / "alone", subwords, annotated(tokens, tags, [None] * len(tokens)), 40)
    encode(tmp_path / "single", subwords, annotated(tokens, tags, range(len(tokens))), 40)
    for name in sorted(path.name for path in (tmp_path / "plain").iterdir() if path.name != CHECKSUMS):
        plain = (tmp_path / "plain" / name).read_bytes()
        assert all((tmp_path / other / name).read_bytes() == plain for other in ("zero", "alone", "single")), name


@pytest.mark.parametrize("context_size", [1, 7, 24, 64])
@pytest.mark.parametrize("label_all_tokens", [False, True])
def test_own_words_each_once_and_no_others(
    context_size: int, label_all_tokens: bool, subwords: Subwords, tmp_path: Path
) -> None:
    tokens, tags, documents = corpus(1)
    options = {"label_all_tokens": label_all_tokens}
    alone = encode(tmp_path / "alone", subwords, annotated(tokens, tags, [None] * len(tokens)), 0, **options)
    split = encode(tmp_path / "split", subwords, annotated(tokens, tags, documents), context_size, **options)
    # Everything but what stands around: words, labels, owners, sequences.
    assert split.tag_names == alone.tag_names
    for name in ("word_labels", "sequence_num_words", "sentence_num_sequences", "sequence_labelled"):
        assert np.array_equal(getattr(split, name), getattr(alone, name)), name
    assert split.sequence_lengths.max() <= 64
    labels_of, alone_labels = all_labels(split), all_labels(alone)
    assert (labels_of != IGNORE_INDEX).sum() == (alone_labels != IGNORE_INDEX).sum()
    grown = 0
    for index, words in enumerate(tokens):
        own = [piece for word in words for piece in subwords[word]]
        if split.sentence_sequences[index + 1] - split.sentence_sequences[index] > 1:
            assert first_ids(split, index) == first_ids(alone, index), "windows stay as they are"
            continue
        sequence = first_ids(split, index)
        added = len(sequence) - len(own) - subwords.num_special
        assert 0 <= added <= min(context_size, 64 - len(own) - subwords.num_special)
        grown += added > 0
        place = split.words_of(index)
        positions = split.word_positions[place]
        start = 0
        for word, position in zip(words, positions, strict=True):
            pieces = list(subwords[word])
            assert (position == NO_SUBWORD) == (not pieces)
            if pieces:
                assert sequence[position : position + len(pieces)] == pieces
                start = start or int(position)
        # The labels are those of the sentence alone, moved to where its words are.
        first = int(split.sequence_offsets[split.sentence_sequences[index]])
        labels = labels_of[first : first + len(sequence)].tolist()
        base = int(alone.sequence_offsets[alone.sentence_sequences[index]])
        core = alone_labels[base + 1 : base + 1 + len(own)].tolist()
        if own:
            assert labels[start : start + len(own)] == core
            assert set(labels[:start]) | set(labels[start + len(own) :]) == {IGNORE_INDEX}
    assert split.findings["sentences_with_context"][0] == grown > 10


def test_context_is_the_nearest_words_half_on_each_side(subwords: Subwords, tmp_path: Path) -> None:
    subwords.cache([["was", "in", "the", "."]])
    one = {word: subwords[word] for word in ("was", "in", "the", ".")}
    assert all(len(pieces) == 1 for pieces in one.values())
    tokens = [["was"] * 9, ["in"], ["the"] * 9, [".", "."], ["was"]]
    documents = [1, 1, 1, 2, 3]
    split = encode(tmp_path / "split", subwords, annotated(tokens, None, documents), 6)
    (was,), (inn,), (the,), (dot,) = one["was"], one["in"], one["the"], one["."]
    (cls,), (sep,) = subwords.prefix, subwords.suffix
    assert first_ids(split, 1) == [cls, *[was] * 3, inn, *[the] * 3, sep]
    assert first_ids(split, 0) == [cls, *[was] * 9, inn, *[the] * 5, sep], "nothing before: all of it after"
    assert first_ids(split, 2) == [cls, *[was] * 5, inn, *[the] * 9, sep]
    assert first_ids(split, 3) == [cls, dot, dot, sep], "another document"
    # A word that does not fit whole ends the context; the other side takes what it leaves.
    split = encode(tmp_path / "whole", subwords, annotated([["Zyqxw" * 3], ["in"], ["the"] * 9], None, [1] * 3), 6)
    assert len(subwords["Zyqxw" * 3]) > 6
    assert first_ids(split, 1) == [cls, inn, *[the] * 6, sep]


# ---------------------------------------------------------------- from files


TEXT = "-DOCSTART- O\n\nAnna B-PER\nsleeps O\n\nRome B-LOC\nwakes O\n\n-DOCSTART- O\n\nBen B-PER\n\n"


def data_module(tiny_model: Callable[..., Path], path: Path, **options: Any) -> NERDataModule:
    data = NERDataModule(
        model_name_or_path=str(tiny_model()), train_file=str(path), validation_file=str(path), **options
    )
    data.prepare_data()
    data.setup("fit")
    return data


def lengths(data: NERDataModule) -> list[int]:
    return data.encoded["train"].sequence_lengths.tolist()


def test_documents_are_those_that_the_data_marks(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    marked, plain = tmp_path / "marked.conll", tmp_path / "plain.conll"
    marked.write_text(TEXT, encoding="utf-8")
    plain.write_text(TEXT.replace("-DOCSTART- O\n\n", ""), encoding="utf-8")
    alone = lengths(data_module(tiny_model, marked))
    assert lengths(data_module(tiny_model, plain, context_size=60)) == alone, "no document, no context"
    own = [length - 2 for length in alone]
    assert lengths(data_module(tiny_model, marked, context_size=60)) == [own[0] + own[1] + 2] * 2 + [own[2] + 2]
    assert lengths(data_module(tiny_model, plain, context_size=60, documents="file")) == [sum(own) + 2] * 3
    assert lengths(data_module(tiny_model, marked, context_size=60, documents="file")) == [
        own[0] + own[1] + 2,
        own[0] + own[1] + 2,
        own[2] + 2,
    ], "marked documents stay apart"


def test_documents_of_the_same_name_in_two_files_are_two(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.conll").write_text("# newdoc id = 1\nAnna\tB-PER\n\n", encoding="utf-8")
    data = data_module(tiny_model, tmp_path / "*.conll", context_size=60)
    assert "sentences_with_context" not in data.encoded["train"].findings
    numbers = data.stored["train"].documents()
    assert numbers is not None
    assert numbers.tolist() == [0, 1]


def test_a_size_beyond_the_sequence_is_refused(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(TEXT, encoding="utf-8")
    with pytest.raises(ValueError, match=r"--data.context_size: it is 999 in sequences of 66; give 0 to 66"):
        data_module(tiny_model, tmp_path / "a.conll", context_size=999)
