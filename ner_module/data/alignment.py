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

Terms: a *sequence* is one encoder input, with its special tokens. ``labels`` are per subword token, as indices into the
label names of the split (:data:`UNLABELLED` where the loss must not look); ``word_positions`` are per owned word, the
place of its first subword token in the sequence.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice, repeat
from typing import Any, NamedTuple

UNLABELLED = -1
"""In stored arrays: a subword token without a label. Batches carry ``IGNORE_INDEX`` in its place."""

NO_SUBWORD = -1
"""The position of a word that became no subword token."""


class Chunk(NamedTuple):
    """Some consecutive sentences: their words, their tags (``None``: not annotated) and their documents."""

    tokens: Sequence[Sequence[str]]
    tags: Sequence[Sequence[str]] | None
    documents: Sequence[Hashable] | None = None
    """Per sentence, the identity of its document; ``None`` for a sentence on its own."""


class SentenceInContext(NamedTuple):
    """One sentence, and the words of its document on either side of it, in order."""

    tokens: Sequence[str]
    tags: Sequence[str] | None
    before: Sequence[str]
    after: Sequence[str]


class EncodedSequence(NamedTuple):
    """One encoder input and the words it owns: ``first_word`` to ``last_word`` (exclusive) of the sentence."""

    input_ids: list[int]
    first_word: int
    last_word: int
    word_positions: list[int]


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


def sentence_contexts(chunks: Iterable[Chunk], size: int) -> Iterator[SentenceInContext]:
    """Each sentence with at most ``size`` words of its document on either side.

    Streams: a sentence waits only until enough words behind it are known.

    >>> found = sentence_contexts([Chunk([["a", "b"], ["c"], ["d"]], None, [1, 1, 2])], 2)
    >>> [(each.before, each.after) for each in found]
    [([], ['c']), (['a', 'b'], []), ([], [])]
    """
    stream = chain.from_iterable(
        zip(tokens, tags or repeat(None, len(tokens)), documents or repeat(None, len(tokens)), strict=True)
        for tokens, tags, documents in chunks
    )
    waiting: deque[tuple[Sequence[str], Sequence[str] | None, Hashable]] = deque()
    words_waiting = 0  # all but those of the first
    before: deque[str] = deque(maxlen=size)
    previous: Hashable = None
    while True:
        while not waiting or (waiting[0][2] is not None and waiting[-1][2] == waiting[0][2] and words_waiting < size):
            following = next(stream, None)
            if following is None:
                break
            words_waiting += len(following[0]) if waiting else 0
            waiting.append(following)
        if not waiting:
            return
        tokens, tags, document = waiting.popleft()
        words_waiting -= len(waiting[0][0]) if waiting else 0
        if document is None or document != previous:
            before.clear()
        after: list[str] = []
        if document is not None:
            same = (words for words, _, other in waiting if other == document)  # the last one at most is of another
            after = list(islice(chain.from_iterable(same), size))
        yield SentenceInContext(tokens, tags, list(before), after)
        before.extend(tokens)
        previous = document


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
    if room >= 0:
        # Half the room for each side; what one leaves, the other takes.
        room = min(context_size, room) if tokens else 0
        ids_before, ids_after = [subwords[word] for word in reversed(before)], [subwords[word] for word in after]
        taken_before = _fitting(ids_before, room // 2)
        taken_after = _fitting(ids_after, room - sum(map(len, taken_before)))
        taken_before = _fitting(ids_before, room - sum(map(len, taken_after)))
        around = list(chain(*reversed(taken_before))), list(chain(*taken_after))
        return [_sequence(words, range(len(words)), range(len(words)), subwords, *around)]
    words = [ids[:budget] for ids in words]
    lengths = [len(ids) for ids in words]
    windows = _windows(lengths, budget, stride)
    sequences = []
    owned_from = 0
    for index, (start, end) in enumerate(windows):
        owned_to = _boundary(lengths, windows[index + 1][0], end) if index + 1 < len(windows) else end
        # Between long words a window may own none, since its neighbours see more of their context: it is left out.
        if any(lengths[owned_from:owned_to]):
            assert start <= owned_from
            sequences.append(_sequence(words, range(start, end), range(owned_from, owned_to), subwords))
            owned_from = owned_to
    return sequences


def _windows(lengths: Sequence[int], budget: int, stride: int) -> list[tuple[int, int]]:
    """Word ranges that fill the budget, each overlapping the one before by about ``stride`` subword tokens."""
    windows = []
    start = 0
    while True:
        end, used = start, 0
        while end < len(lengths) and used + lengths[end] <= budget:
            used += lengths[end]
            end += 1
        windows.append((start, end))
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
    total = sum(lengths[start:end])
    before = 0
    for word in range(start, end):
        # Left of the word in the later window: `before`; right of it in the earlier one: the rest of the overlap.
        if before >= total - before - lengths[word]:
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
    inside = words[window.start : window.stop]
    starts = accumulate(map(len, inside), initial=len(subwords.prefix) + len(before))
    first = owned.start - window.start
    positions = [
        start if ids else NO_SUBWORD
        for ids, start in islice(zip(inside, starts, strict=False), first, first + len(owned))
    ]
    input_ids = [*subwords.prefix, *before, *chain.from_iterable(inside), *after, *subwords.suffix]
    return EncodedSequence(input_ids, owned.start, owned.stop, positions)


def _fitting(words: Sequence[Sequence[int]], room: int) -> Sequence[Sequence[int]]:
    """The first words, as many as fit."""
    return words[: bisect_right(list(accumulate(map(len, words))), room)]


def subword_labels(
    sequence: EncodedSequence,
    labels: Sequence[int],
    num_suffix: int,
    continuation: Sequence[int] | None = None,
    word_lengths: Sequence[int] | None = None,
) -> list[int]:
    """``[len(sequence.input_ids)]`` labels: on the first token of each word, or on all when ``continuation`` is given.

    Args:
        sequence: from :func:`make_sequences`.
        labels: label index of each word of the sentence.
        num_suffix: special tokens at the end of the sequence.
        continuation: label index -> the index that a word's further subword tokens get (``B-`` becomes ``I-``).
        word_lengths: subword tokens of each word of the sentence; needed with ``continuation``.
    """
    aligned = [UNLABELLED] * len(sequence.input_ids)
    last = len(sequence.input_ids) - num_suffix
    for word, position in zip(range(sequence.first_word, sequence.last_word), sequence.word_positions, strict=True):
        if position == NO_SUBWORD:
            continue
        aligned[position] = labels[word]
        if continuation is not None and word_lengths is not None:
            end = min(position + word_lengths[word], last)
            aligned[position + 1 : end] = [continuation[labels[word]]] * (end - position - 1)
    return aligned
