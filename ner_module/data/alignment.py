"""Words -> subwords -> rows for the encoder, with windows over what is too long, and back to one place per word.

The rules, each of which some other tool gets wrong:

* A fast tokenizer encodes pre-split words one by one, so the subwords of a word do not depend on its neighbours. Each
  distinct form is encoded once (:class:`Subwords`), which makes ``word_ids`` trivial and the work proportional to the
  vocabulary rather than to the text. `tests/unit/test_alignment.py` holds this against ``tokenizer.word_ids()``.
* A word that becomes no subword (control and zero-width characters) keeps its place: position -1, never a shift.
* A sentence past ``max_seq_length`` becomes overlapping **windows**. Each word is *owned* by exactly one of them, the
  one where it has most context; only owned words are labelled in the loss, predicted and scored. A word alone longer
  than a window keeps its first subwords.
* A sentence that fits one row may be read with words of its document around it (`context.py`): whole words, nearest
  first, as many on one side as on the other where both have them. They are not owned by the row, so they are neither
  labelled nor predicted. A sentence in windows has none: it fills its rows.

Terms: a *row* is one encoder input, with its special tokens. ``labels`` are per subword, as indices into the label
names of the split (:data:`UNLABELLED` where the loss must not look); ``word_positions`` are per owned word, the place
of its first subword in the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ner_module.data.context import NO_CONTEXT, Context

UNLABELLED = -1
"""In stored arrays: a subword without a label. Batches carry ``IGNORE_INDEX`` in its place."""

NO_SUBWORD = -1
"""The position of a word that became no subword."""

_PROBE = "a"


class Row(NamedTuple):
    """One encoder input and the words it owns: ``first_word`` to ``last_word`` (exclusive) of the sentence."""

    input_ids: list[int]
    first_word: int
    last_word: int
    word_positions: list[int]


class Subwords:
    """The subword ids of words, each distinct form encoded once.

    Args:
        tokenizer: a fast tokenizer from :func:`ner_module.pretrained.load_tokenizer`.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._known: dict[str, tuple[int, ...]] = {}
        bare = self._encode([_PROBE])[0]
        whole = list(self._backend.encode([_PROBE], is_pretokenized=True, add_special_tokens=True).ids)
        start = next(i for i in range(len(whole)) if tuple(whole[i : i + len(bare)]) == bare)
        self.prefix: list[int] = whole[:start]
        """Ids of the special tokens before the words (``[CLS]``)."""
        self.suffix: list[int] = whole[start + len(bare) :]
        """Ids of the special tokens after the words (``[SEP]``)."""

    @property
    def num_special(self) -> int:
        """How many places of a row the special tokens take."""
        return len(self.prefix) + len(self.suffix)

    def _encode(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        encodings = self._backend.encode_batch(
            [[word] for word in words], is_pretokenized=True, add_special_tokens=False
        )
        return [tuple(encoding.ids) for encoding in encodings]

    def learn(self, sentences: Sequence[Sequence[str]]) -> None:
        """Encode the forms of some sentences that were not seen before, all at once (the tokenizer uses all cores)."""
        new = list(dict.fromkeys(word for tokens in sentences for word in tokens if word not in self._known))
        self._known.update(zip(new, self._encode(new), strict=True))

    def __getitem__(self, word: str) -> tuple[int, ...]:
        return self._known[word]


def make_sequences(
    tokens: Sequence[str],
    subwords: Subwords,
    max_seq_length: int,
    stride: int,
    context: Context = NO_CONTEXT,
    context_size: int = 0,
) -> list[Row]:
    """Encode one sentence as one row, or as windows when it is too long.

    Args:
        tokens: the words; may be empty, which gives one row of special tokens.
        subwords: has learnt every word of ``tokens``.
        max_seq_length: subwords of a row at most, special tokens included.
        stride: subwords that neighbouring windows share, at most (whole words only); at most half of
            ``max_seq_length``.
        context: the words around the sentence in its document; the subwords have learnt them too.
        context_size: how many subwords of them are taken at most, both sides together.

    Returns:
        Rows in order; their owned words are the words of the sentence, each once.
    """
    budget = max_seq_length - subwords.num_special
    pieces = [subwords[word] for word in tokens]
    lengths = [len(piece) for piece in pieces]
    if sum(lengths) <= budget:
        row = _row(pieces, lengths, 0, len(tokens), 0, len(tokens), subwords)
        room = min(context_size, budget - sum(lengths))
        return [_with_context(row, context, room, subwords) if room and tokens else row]
    pieces = [piece[:budget] for piece in pieces]
    lengths = [len(piece) for piece in pieces]
    windows = _windows(lengths, budget, stride)
    rows = []
    owned_from = 0
    for index, (start, end) in enumerate(windows):
        owned_to = _boundary(lengths, windows[index + 1][0], end) if index + 1 < len(windows) else end
        # Between long words a window may own none, since its neighbours see more of their context: it is left out.
        if any(lengths[owned_from:owned_to]):
            assert start <= owned_from
            rows.append(_row(pieces, lengths, start, end, owned_from, owned_to, subwords))
            owned_from = owned_to
    return rows


def _windows(lengths: Sequence[int], budget: int, stride: int) -> list[tuple[int, int]]:
    """Word ranges that fill the budget, each overlapping the one before by about ``stride`` subwords."""
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


def _row(
    pieces: Sequence[tuple[int, ...]],
    lengths: Sequence[int],
    start: int,
    end: int,
    owned_from: int,
    owned_to: int,
    subwords: Subwords,
) -> Row:
    input_ids = list(subwords.prefix)
    positions = []
    for word in range(start, end):
        if owned_from <= word < owned_to:
            positions.append(len(input_ids) if lengths[word] else NO_SUBWORD)
        input_ids.extend(pieces[word])
    input_ids.extend(subwords.suffix)
    return Row(input_ids, owned_from, owned_to, positions)


def _with_context(row: Row, context: Context, room: int, subwords: Subwords) -> Row:
    """Put words of the document around a row's own, ``room`` subwords at most."""
    before = [subwords[word] for word in reversed(context.before)]
    after = [subwords[word] for word in context.after]
    # Half the room each; what one side leaves, the other takes.
    taken_before = _fitting(before, room // 2)
    taken_after = _fitting(after, room - sum(map(len, before[:taken_before])))
    taken_before = _fitting(before, room - sum(map(len, after[:taken_after])))
    left = [piece for word in reversed(before[:taken_before]) for piece in word]
    right = [piece for word in after[:taken_after] for piece in word]
    start, end = len(subwords.prefix), len(row.input_ids) - len(subwords.suffix)
    own, positions = row.input_ids[start:end], row.word_positions
    return row._replace(
        input_ids=[*subwords.prefix, *left, *own, *right, *subwords.suffix],
        word_positions=[place if place == NO_SUBWORD else place + len(left) for place in positions],
    )


def _fitting(pieces: Sequence[tuple[int, ...]], room: int) -> int:
    """How many of the words fit, one after the other."""
    for count, piece in enumerate(pieces):
        room -= len(piece)
        if room < 0:
            return count
    return len(pieces)


def subword_labels(
    row: Row,
    labels: Sequence[int],
    num_suffix: int,
    continuation: Sequence[int] | None = None,
    word_lengths: Sequence[int] | None = None,
) -> npt.NDArray[np.int16]:
    """The label of each subword of a row: on first subwords, or on all when ``continuation`` is given.

    Args:
        row: from :func:`make_sequences`.
        labels: label index of each word of the sentence.
        num_suffix: special tokens at the row's end.
        continuation: label index -> the index its further subwords get (``B-`` becomes ``I-``).
        word_lengths: subwords of each word of the sentence; needed with ``continuation``.

    Returns:
        ``[len(row.input_ids)]``, :data:`UNLABELLED` where the loss must not look.
    """
    aligned = np.full(len(row.input_ids), UNLABELLED, dtype=np.int16)
    last = len(row.input_ids) - num_suffix
    for word, position in zip(range(row.first_word, row.last_word), row.word_positions, strict=True):
        if position == NO_SUBWORD:
            continue
        aligned[position] = labels[word]
        if continuation is not None and word_lengths is not None:
            aligned[position + 1 : min(position + word_lengths[word], last)] = continuation[labels[word]]
    return aligned
