"""Words -> subword tokens -> encoder inputs, with windows over what is too long, and back to one place per word.

The rules, each of which some other tool gets wrong:

* A fast tokenizer encodes pre-split words one by one, so the subword tokens of a word do not depend on its neighbours:
  each distinct form is encoded once (:class:`Subwords`), and ``word_ids`` are not needed.
* A word that becomes no subword token (control and zero-width characters) keeps its place: position -1, never a shift.
* A sentence past ``max_seq_length`` becomes overlapping **windows**. Each word is *owned* by exactly one of them, the
  one that gives it most context; only owned words are labelled in the loss, predicted and scored. A word alone longer
  than a window keeps its first subword tokens.
* A sentence that fits one sequence may be read with words of its document around it: whole words, nearest first, as
  many on one side as on the other where both have them. The sequence does not own them. A sentence in windows has none.

A *sequence* is one encoder input, with its special tokens.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import accumulate, chain, groupby
from typing import Any, NamedTuple

NO_SUBWORD = -1
"""The position of a word that became no subword token."""

Annotated = tuple[Sequence[str], Sequence[str] | None, Hashable]
"""A sentence to encode: its words, their tags (``None``: not annotated) and the identity of its document, if any."""


class EncodedSequence(NamedTuple):
    """One encoder input."""

    input_ids: list[int]
    words: range
    """The words of the sentence that it owns."""
    word_positions: list[int]
    """The place of the first subword token of each owned word, or :data:`NO_SUBWORD`."""
    word_lengths: list[int]
    """How many subword tokens each owned word has here."""


class Subwords(dict[str, tuple[int, ...]]):
    """The subword token ids of words that were cached by a fast tokenizer, each distinct form encoded once.

    ``prefix`` and ``suffix`` are the ids of the special tokens before and after the words, ``num_special`` in all.
    """

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self._backend = tokenizer.backend_tokenizer
        self.cache([["a"]])
        bare = self["a"]
        whole: list[int] = list(self._backend.encode(["a"], is_pretokenized=True, add_special_tokens=True).ids)
        start = next(i for i in range(len(whole)) if tuple(whole[i : i + len(bare)]) == bare)
        self.prefix, self.suffix = whole[:start], whole[start + len(bare) :]
        self.num_special = len(whole) - len(bare)

    def cache(self, sentences: Iterable[Sequence[str]]) -> None:
        """Encode the new forms of some sentences, all at once: the tokenizer uses all cores, and counts no offsets."""
        new = [word for word in dict.fromkeys(chain.from_iterable(sentences)) if word not in self]
        split = [[word] for word in new]
        encodings = self._backend.encode_batch_fast(split, is_pretokenized=True, add_special_tokens=False)
        self.update(zip(new, (tuple(encoding.ids) for encoding in encodings), strict=True))


def sentence_contexts(
    sentences: Iterable[Annotated], size: int
) -> Iterator[tuple[Sequence[str], Sequence[str] | None, list[str], list[str]]]:
    """The words and tags of each sentence, and at most ``size`` words of its document before and after it.

    Consecutive sentences of one document are held in memory.

    >>> list(sentence_contexts([(["a", "b"], None, 1), (["c"], None, 1), (["d"], None, 2)], 2))
    [(['a', 'b'], None, [], ['c']), (['c'], None, ['a', 'b'], []), (['d'], None, [], [])]
    """
    for _, group in groupby(sentences, lambda sentence: object() if sentence[2] is None else sentence[2]):
        document = list(group)
        words = list(chain.from_iterable(tokens for tokens, _, _ in document))
        end = 0
        for tokens, tags, _ in document:
            start, end = end, end + len(tokens)
            yield tokens, tags, words[max(start - size, 0) : start], words[end : end + size]


def make_sequences(
    tokens: Sequence[str],
    subwords: Subwords,
    max_seq_length: int,
    stride: int,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
    context_size: int = 0,
) -> list[EncodedSequence]:
    """Encode one sentence as one sequence, or as windows when it is too long; each word is owned by one of them.

    Args:
        tokens: the words; without any, the sequence consists of special tokens.
        subwords: has cached every word of ``tokens``, ``before`` and ``after``.
        max_seq_length: subword tokens of a sequence at most, special tokens included.
        stride: subword tokens that neighbouring windows share, at most (whole words only); at most half of
            ``max_seq_length``.
        before: words of the document before the sentence, in order.
        after: words of the document after it.
        context_size: how many subword tokens of them are taken at most, both sides together.
    """
    budget = max_seq_length - subwords.num_special
    words = [subwords[word] for word in tokens]
    room = budget - sum(map(len, words))
    everything = range(len(words))
    if room >= 0:
        # Half the room for each side; what one leaves, the other takes.
        room = min(context_size, room) if tokens else 0
        ids_before, ids_after = [subwords[word] for word in reversed(before)], [subwords[word] for word in after]
        taken_before = _fitting(ids_before, room // 2)
        taken_after = _fitting(ids_after, room - sum(map(len, taken_before)))
        taken_before = _fitting(ids_before, room - sum(map(len, taken_after)))
        around = [*chain(*reversed(taken_before))], [*chain(*taken_after)]
        return [_sequence(words, everything, everything, subwords, *around)]
    words = [ids[:budget] for ids in words]
    lengths = [len(ids) for ids in words]
    windows = _windows(lengths, budget, stride)
    sequences = []
    owned_from = 0
    for index, window in enumerate(windows):
        last = index + 1 == len(windows)
        owned = range(owned_from, window.stop if last else _boundary(lengths, windows[index + 1].start, window.stop))
        # Between long words a window may own none, since its neighbours see more of their context: it is left out.
        if any(lengths[owned.start : owned.stop]):
            assert window.start <= owned.start
            sequences.append(_sequence(words, window, owned, subwords))
            owned_from = owned.stop
    return sequences


def _fitting(words: Sequence[Sequence[int]], room: int) -> Sequence[Sequence[int]]:
    """The first words, as many as fit."""
    return words[: bisect_right(list(accumulate(map(len, words))), room)]


def _windows(lengths: Sequence[int], budget: int, stride: int) -> list[range]:
    """Words that fill the budget, each range overlapping the one before by about ``stride`` subword tokens."""
    windows = []
    start = 0
    while True:
        end, used = start, 0
        while end < len(lengths) and used + lengths[end] <= budget:
            used += lengths[end]
            end += 1
        windows.append(range(start, end))
        if end == len(lengths):
            return windows
        shared, next_start = 0, end
        while next_start > start + 1 and shared + lengths[next_start - 1] <= stride:
            next_start -= 1
            shared += lengths[next_start]
        # Widening the overlap must leave room for the word that did not fit, or the next window would add nothing.
        while next_start < end and shared + lengths[end] > budget:
            shared -= lengths[next_start]
            next_start += 1
        start = next_start


def _boundary(lengths: Sequence[int], start: int, end: int) -> int:
    """Where two windows that share the words ``start`` to ``end`` meet: a word goes where its context is larger."""
    before, after = 0, sum(lengths[start:end])
    for word in range(start, end):
        after -= lengths[word]
        if before >= after:
            return word
        before += lengths[word]
    return end


def _sequence(
    words: Sequence[Sequence[int]],
    window: range,
    owned: range,
    subwords: Subwords,
    before: Sequence[int] = (),
    after: Sequence[int] = (),
) -> EncodedSequence:
    """The words of a window, of which some are owned, between the ids of the context."""
    inside = chain.from_iterable(words[window.start : window.stop])
    input_ids = [*subwords.prefix, *before, *inside, *after, *subwords.suffix]
    lengths = [len(words[word]) for word in owned]
    first = len(subwords.prefix) + len(before) + sum(map(len, words[window.start : owned.start]))
    starts = accumulate(lengths, initial=first)
    positions = [start if length else NO_SUBWORD for length, start in zip(lengths, starts, strict=False)]
    return EncodedSequence(input_ids, owned, positions, lengths)
