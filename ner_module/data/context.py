"""Document context: the words of its document before and after each sentence.

A sentence is read with its neighbours as far as they are of the same document; only its own words are labelled,
predicted and scored. The data says which sentences are of one document (``-DOCSTART-``, ``# newdoc``, a ``document``
key or column, brat files); consecutive sentences with the same document belong together.

Context is cut here by words; how much of it fits a sequence, in subword tokens, is decided in `alignment.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import NamedTuple


class Context(NamedTuple):
    """The words of the document before and after a sentence, nearest to it: at the end of ``before``."""

    before: Sequence[str]
    after: Sequence[str]


NO_CONTEXT = Context((), ())


class Chunk(NamedTuple):
    """Some consecutive sentences: their words, their tags (``None``: not annotated) and their documents."""

    tokens: Sequence[Sequence[str]]
    tags: Sequence[Sequence[str]] | None
    documents: Sequence[Hashable] | None = None
    """Per sentence, the identity of its document; ``None`` for a sentence on its own."""


class SentenceInContext(NamedTuple):
    """One sentence: its words, its tags (``None``: not annotated) and the words around it."""

    tokens: Sequence[str]
    tags: Sequence[str] | None
    context: Context


def sentence_contexts(chunks: Iterable[Chunk], size: int) -> Iterator[SentenceInContext]:
    """Each sentence with at most ``size`` words of its document on either side.

    Streams: a sentence waits only until enough words behind it are known.

    >>> found = sentence_contexts([Chunk([["a", "b"], ["c"], ["d"]], None, [1, 1, 2])], 2)
    >>> [(list(context.before), context.after) for _, _, context in found]
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
        yield SentenceInContext(tokens, tags, Context(list(before), after))
        before.extend(tokens)
        previous = document
