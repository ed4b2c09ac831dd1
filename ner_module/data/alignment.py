"""Words -> subword tokens -> encoder inputs, with windows over long sentences, and back to one position per word.

The rules:

* A fast tokenizer encodes pre-split words one by one, so the subword tokens of a word do not depend on its neighbours:
  each distinct form is encoded once (:class:`Subwords`), and ``word_ids`` are not needed.
* A word that vanishes in tokenization (control and zero-width characters) keeps its place, with position -1.
* A sentence past ``max_seq_length`` becomes overlapping **windows**. Each word is *owned* by exactly one of them, the
  one with most context for it; only owned words are labelled in the loss, predicted and scored. A single word longer
  than a window keeps its first subword tokens.
* A sentence that fits one sequence may be encoded with context words of its document: whole words, nearest first,
  balanced between both sides if possible. The sequence does not own them. A sentence in windows has no context.

A *sequence* is one encoder input, with its special tokens.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, zip_longest
from typing import Any

Place = tuple[range, range]
"""The words of a sequence, and the words that it owns."""


class Subwords(dict[str, tuple[int, ...]]):
    """A cache of the subword token ids of words; each distinct form is encoded once by a fast tokenizer.

    ``prefix`` and ``suffix`` are the ids of special tokens before and after the words, ``num_special`` in total.
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
        """Encode the new forms of given sentences in one call, which uses all cores and computes no offsets."""
        new = [word for word in dict.fromkeys(chain.from_iterable(sentences)) if word not in self]
        split = [[word] for word in new]
        encodings = self._backend.encode_batch_fast(split, is_pretokenized=True, add_special_tokens=False)
        self.update(zip(new, (tuple(encoding.ids) for encoding in encodings), strict=True))


def place_sequences(
    lengths: Sequence[int], sentence: range, budget: int, stride: int, context_size: int = 0
) -> list[Place]:
    """Place the sequence of a sentence, with context, in its document; or its windows if it is too long.

    Args:
        lengths: subword tokens of each word of the document, each at most ``budget``.
        sentence: the words of the sentence; if empty, so is the sequence.
        budget: maximum subword tokens of a sequence, without special tokens.
        stride: maximum subword tokens shared by adjacent windows (whole words only); at most half of a window.
        context_size: maximum subword tokens of context, both sides together.
    """
    room = budget - sum(lengths[sentence.start : sentence.stop])
    if room >= 0:
        # Half the room for each side; what one does not use, the other gets.
        room = min(context_size, room) if sentence else 0
        before = lengths[max(sentence.start - context_size, 0) : sentence.start][::-1]
        after = lengths[sentence.stop : sentence.stop + context_size]
        num_after = _fitting(after, room - sum(before[: _fitting(before, room // 2)]))
        num_before = _fitting(before, room - sum(after[:num_after]))
        return [(range(sentence.start - num_before, sentence.stop + num_after), sentence)]
    windows = _windows(lengths, sentence, budget, stride)
    places = []
    owned_from = sentence.start
    for window, following in zip_longest(windows, windows[1:]):
        owned = range(owned_from, _boundary(lengths, following.start, window.stop) if following else window.stop)
        # Between long words a window may own none, since adjacent ones have more context for them: it is omitted.
        if any(lengths[owned.start : owned.stop]):
            assert window.start <= owned.start
            places.append((window, owned))
            owned_from = owned.stop
    return places


def _fitting(lengths: Sequence[int], room: int) -> int:
    """The number of leading words that fit into ``room``."""
    return bisect_right(list(accumulate(lengths)), room)


def _windows(lengths: Sequence[int], sentence: range, budget: int, stride: int) -> list[range]:
    """Ranges of words that fill the budget, each overlapping the previous one by about ``stride`` subword tokens."""
    windows = []
    start = sentence.start
    while True:
        end, used = start, 0
        while end < sentence.stop and used + lengths[end] <= budget:
            used += lengths[end]
            end += 1
        windows.append(range(start, end))
        if end == sentence.stop:
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
    """The boundary of ownership within the words shared by two windows: each word goes to the one with more context."""
    before, after = 0, sum(lengths[start:end])
    for word in range(start, end):
        after -= lengths[word]
        if before >= after:
            return word
        before += lengths[word]
    return end
