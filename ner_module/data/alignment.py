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
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, zip_longest
from typing import Any

Place = tuple[range, range]
"""The words of a sequence, and those among them that it owns."""


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


def place_sequences(
    lengths: Sequence[int], sentence: range, budget: int, stride: int, context_size: int = 0
) -> list[Place]:
    """Where the sequence of a sentence lies in its document, or its windows when it is too long.

    Args:
        lengths: subword tokens of each word of the document, none more than the budget.
        sentence: the words of the sentence; without any, the sequence has none either.
        budget: subword tokens of a sequence at most, without special tokens.
        stride: subword tokens that neighbouring windows share, at most (whole words only); at most half of a window.
        context_size: how many subword tokens of the document are added at most, both sides together.
    """
    room = budget - sum(lengths[sentence.start : sentence.stop])
    if room >= 0:
        # Half the room for each side; what one leaves, the other takes.
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
        # Between long words a window may own none, since its neighbours see more of their context: it is left out.
        if any(lengths[owned.start : owned.stop]):
            assert window.start <= owned.start
            places.append((window, owned))
            owned_from = owned.stop
    return places


def _fitting(lengths: Sequence[int], room: int) -> int:
    """How many words fit."""
    return bisect_right(list(accumulate(lengths)), room)


def _windows(lengths: Sequence[int], sentence: range, budget: int, stride: int) -> list[range]:
    """Words that fill the budget, each range overlapping the one before by about ``stride`` subword tokens."""
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
    """Where two windows that share the words ``start`` to ``end`` meet: a word goes where its context is larger."""
    before, after = 0, sum(lengths[start:end])
    for word in range(start, end):
        after -= lengths[word]
        if before >= after:
            return word
        before += lengths[word]
    return end
