"""Document context: which words of its document stand before and after each sentence.

A sentence is read with its neighbours as far as they are of the same document; only its own words are labelled,
predicted and scored. Which sentences are of one document is for the data to say (``-DOCSTART-``, ``# newdoc``, a
``document`` key or column, brat files); consecutive sentences with the same document belong together.

Streams: a sentence waits only until enough words behind it are known. What is cut is cut here by words; how many of
them fit a row, in subwords, is for `alignment.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import islice
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
    """Per sentence, the identity of its document; ``None`` for a sentence that stands alone."""


def sentence_contexts(
    sentences: Iterable[tuple[Sequence[str], Hashable]], size: int
) -> Iterator[tuple[Sequence[str], Context]]:
    """Each sentence with at most ``size`` words of its document on either side.

    >>> list(sentence_contexts([(["a", "b"], 1), (["c"], 1), (["d"], 2)], 2))
    [(['a', 'b'], Context(before=[], after=['c'])), (['c'], Context(before=['a', 'b'], after=[])), \
(['d'], Context(before=[], after=[]))]
    """
    stream = iter(sentences)
    waiting: deque[tuple[Sequence[str], Hashable]] = deque()
    words_waiting = 0  # all but those of the first
    before: deque[str] = deque(maxlen=size)
    previous: Hashable = None
    while True:
        while not waiting or (waiting[0][1] is not None and waiting[-1][1] == waiting[0][1] and words_waiting < size):
            following = next(stream, None)
            if following is None:
                break
            words_waiting += len(following[0]) if waiting else 0
            waiting.append(following)
        if not waiting:
            return
        tokens, document = waiting.popleft()
        words_waiting -= len(waiting[0][0]) if waiting else 0
        if document is None or document != previous:
            before.clear()
        after: list[str] = []
        if document is not None:
            same = (words for words, other in waiting if other == document)  # the last one at most is of another
            after = list(islice((word for words in same for word in words), size))
        yield tokens, Context(list(before), after)
        before.extend(tokens)
        previous = document
