"""What the model's tokenizer makes of the words: their subwords, unknown ones, and the windows of long sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ner_module.data.alignment import Subwords, make_sequences
from ner_module.extras.audit.characters import count_words
from ner_module.extras.audit.corpus import Chunk, Corpus
from ner_module.extras.audit.spans import Bools, Spans
from ner_module.extras.audit.wording import plural, share
from ner_module.extras.findings import Example, Finding

_FORMS_AT_ONCE = 20_000

# A share of unknown words from which the model misses too much; a rule of thumb, not a measurement.
_MANY_UNKNOWN = 0.01


@dataclass(frozen=True)
class Tokenization:
    """The tokenizer, and how sentences become rows.

    Attributes:
        tokenizer: a fast one, from :func:`ner_module.pretrained.load_tokenizer`.
        max_seq_length: subwords of a row.
        stride: subwords that neighbouring windows share.
    """

    tokenizer: Any
    max_seq_length: int
    stride: int


@dataclass
class SubwordCounts:
    """What the tokenizer makes of a corpus.

    Attributes:
        lengths: subwords of each sentence, without special tokens: ``[sentences]``.
        row_lengths: subwords of each row, special tokens included; those of training only.
        rows: rows of each split.
        windowed: sentences of each split that take several rows.
        unknown: words of each split that contain an unknown subword.
        findings: what to say of it.
    """

    lengths: npt.NDArray[np.int32]
    row_lengths: npt.NDArray[np.int32]
    rows: dict[str, int]
    windowed: dict[str, int]
    unknown: dict[str, int]
    findings: list[Finding]


def count_subwords(corpus: Corpus, tokenization: Tokenization) -> SubwordCounts:
    """Encode each distinct form once, and count over all sentences."""
    sizes, unknown = _encode_forms(corpus.forms, tokenization.tokenizer)
    subwords = Subwords(tokenization.tokenizer)
    budget = tokenization.max_seq_length - subwords.num_special
    lengths = np.zeros(len(corpus), dtype=np.int32)
    windows = _Windows(corpus, subwords, tokenization)
    unknown_words = dict.fromkeys(corpus.splits, 0)
    train_rows = []
    for chunk in corpus.chunks():
        here = slice(chunk.first_sentence, chunk.first_sentence + len(chunk.offsets) - 1)
        lengths[here] = _sums(sizes[chunk.words], chunk.offsets)
        long = np.flatnonzero(lengths[here] > budget)
        row_lengths = lengths[here] + subwords.num_special
        is_train = corpus.split_of[here] == _index(corpus, "train")
        short = np.ones(len(row_lengths), dtype=bool)
        short[long] = False
        train_rows.append(row_lengths[short & is_train])
        if len(long):
            train_rows.append(np.array(windows.add(chunk, long), dtype=np.int32))
        of_sentence = _sums(unknown[chunk.words].astype(np.int64), chunk.offsets)
        for index, split in enumerate(corpus.splits):
            unknown_words[split] += int(of_sentence[corpus.split_of[here] == index].sum())
    rows = {
        split: int(corpus.in_split(split).sum()) - windows.sentences[split] + windows.rows[split]
        for split in corpus.splits
    }
    nothing, clipped = sizes == 0, sizes > budget
    flags = (nothing * 1 + (clipped & ~unknown) * 2 + unknown * 4).astype(np.int32)
    counts, first = count_words(corpus, flags, 3)
    findings = _word_findings(counts, first, int(corpus.offsets[-1]), tokenization) + windows.findings()
    return SubwordCounts(lengths, np.concatenate([*train_rows, []]).astype(np.int32), rows, windows.sentences,
                         unknown_words, findings)  # fmt: skip


def _index(corpus: Corpus, split: str) -> int:
    return corpus.splits.index(split) if split in corpus.splits else -1


def _encode_forms(forms: list[str], tokenizer: Any) -> tuple[npt.NDArray[np.int32], Bools]:
    """Number of subwords of each form, and whether one of them is the unknown subword."""
    sizes = np.zeros(len(forms), dtype=np.int32)
    unknown = np.zeros(len(forms), dtype=bool)
    unknown_id = tokenizer.unk_token_id
    for start in range(0, len(forms), _FORMS_AT_ONCE):
        some = forms[start : start + _FORMS_AT_ONCE]
        subwords = Subwords(tokenizer)  # a new one each time, which forgets what it learnt
        subwords.cache([some])
        for index, form in enumerate(some, start):
            pieces = subwords[form]
            sizes[index] = len(pieces)
            unknown[index] = unknown_id is not None and unknown_id in pieces
    # The token itself may stand in the data.
    for index, form in enumerate(forms):
        if form == tokenizer.unk_token:
            unknown[index] = False
    return sizes, unknown


def _sums(values: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The sum of the values of each sentence."""
    sums = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    found: npt.NDArray[np.int64] = sums[offsets[1:]] - sums[offsets[:-1]]
    return found


class _Windows:
    """Counts what becomes of sentences longer than a row."""

    def __init__(self, corpus: Corpus, subwords: Subwords, tokenization: Tokenization) -> None:
        self._corpus, self._subwords, self._tokenization = corpus, subwords, tokenization
        self.sentences = dict.fromkeys(corpus.splits, 0)
        self.rows = dict.fromkeys(corpus.splits, 0)
        self._words_again = 0
        self._split_entities = 0
        self._first: Example | None = None
        self._first_split: Example | None = None

    def add(self, chunk: Chunk, long: npt.NDArray[np.int64]) -> list[int]:
        """Count some sentences of a chunk; returns the lengths of the rows of those that are trained on."""
        corpus, spans = self._corpus, chunk.spans()
        train_rows: list[int] = []
        for sentence in long.tolist():
            tokens = corpus.tokens(chunk.first_sentence + sentence)
            self._subwords.cache([tokens])
            rows = make_sequences(tokens, self._subwords, self._tokenization.max_seq_length, self._tokenization.stride)
            split = corpus.splits[corpus.split_of[chunk.first_sentence + sentence]]
            if split == "train":
                train_rows += [len(row.input_ids) for row in rows]
            if len(rows) == 1:  # a clipped word made room
                continue
            self.sentences[split] += 1
            self.rows[split] += len(rows)
            room = sum(len(row.input_ids) - self._subwords.num_special for row in rows)
            once = sum(min(len(self._subwords[word]), self._budget) for word in tokens)
            self._words_again += room - once
            self._first = self._first or corpus.example(chunk.first_sentence + sentence)
            self._cut_entities(chunk, sentence, spans, [row.first_word for row in rows[1:]])
        return train_rows

    @property
    def _budget(self) -> int:
        return self._tokenization.max_seq_length - self._subwords.num_special

    def _cut_entities(self, chunk: Chunk, sentence: int, spans: Spans, cuts: list[int]) -> None:
        """Count the entities of a sentence that have words on both sides of a cut."""
        base = int(chunk.offsets[sentence])
        first, last = np.searchsorted(spans.starts, [base, int(chunk.offsets[sentence + 1])])
        starts, ends = spans.starts[first:last] - base, spans.ends[first:last] - base
        cut = np.searchsorted(cuts, starts, side="right") != np.searchsorted(cuts, ends - 1, side="right")
        self._split_entities += int(cut.sum())
        if cut.any() and self._first_split is None:
            which = int(np.argmax(cut))
            self._first_split = self._corpus.example(
                chunk.first_sentence + sentence, int(starts[which]), int(ends[which])
            )

    def findings(self) -> list[Finding]:
        """What to say of long sentences."""
        total = sum(self.sentences.values())
        if not total:
            return []
        length = self._tokenization.max_seq_length
        found = [
            Finding(
                "windows",
                "info",
                total,
                f"{plural(total, 'sentence')} {'is' if total == 1 else 'are'} longer than {length} subwords and "
                f"{'becomes' if total == 1 else 'become'} {sum(self.rows.values()):,} overlapping windows, which share "
                f"{plural(self._words_again, 'subword')}; each word is predicted and scored once",
                self._first,
                "nothing is lost; a larger --data.max_seq_length or shorter sentences make fewer windows",
            )
        ]
        if self._split_entities:
            found.append(
                Finding(
                    "split_entities",
                    "info",
                    self._split_entities,
                    f"{plural(self._split_entities, 'entity')} {'has' if self._split_entities == 1 else 'have'} words "
                    "predicted in different windows",
                    self._first_split,
                    "split long texts between sentences where you can",
                )
            )
        return found


def _word_findings(
    counts: list[int], first: list[Example | None], words: int, tokenization: Tokenization
) -> list[Finding]:
    nothing, clipped, unknown = counts
    found = []
    if nothing:
        found.append(
            Finding(
                "words_without_subword",
                "warning",
                nothing,
                f"{plural(nothing, 'word')} {'becomes' if nothing == 1 else 'become'} no subword at all",
                first[0],
                "such words keep their place and are predicted as outside any entity; remove them, or their invisible "
                "characters",
            )
        )
    if clipped:
        found.append(
            Finding(
                "clipped_words",
                "warning",
                clipped,
                f"{plural(clipped, 'word')} alone {'is' if clipped == 1 else 'are'} longer than "
                f"{tokenization.max_seq_length} subwords; the model sees the beginning",
                first[1],
                "check that it is a word, not an address, an encoded file or a table",
            )
        )
    if unknown:
        found.append(
            Finding(
                "unknown_words",
                "warning" if unknown > _MANY_UNKNOWN * words else "info",
                unknown,
                f"{plural(unknown, 'word')} ({share(unknown, words)}) {'contains' if unknown == 1 else 'contain'} "
                f"something that the tokenizer has no subword for ({tokenization.tokenizer.unk_token})"
                f"{_longest_word(tokenization.tokenizer)}",
                first[2],
                "choose a base model of this language and script if these words matter",
            )
        )
    return found


def _longest_word(tokenizer: Any) -> str:
    """What BERT's tokenizer does to long words, where it does."""
    limit = getattr(tokenizer.backend_tokenizer.model, "max_input_chars_per_word", None)
    return f"; so does each word of more than {limit} characters" if limit else ""
