"""A split as flat arrays on disk, written once per node in one pass and memory-mapped by every process.

Sentences become sequences (`alignment.py`), sequences are slices of a few one-dimensional files, and collation
(:class:`BatchAssembler`) is slicing. The files do not depend on a model's labels: ``word_labels`` index the split's own
``tag_names``, so one encoded split serves any order of labels.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, groupby, islice
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from ner_module.data.alignment import Subwords, place_sequences
from ner_module.files import folder_written_whole
from ner_module.tagging import IGNORE_INDEX, UNTYPED, LabelSet, continuation_tag, convert_tags, illegal_words

Annotated = tuple[Sequence[str], Sequence[str] | None, Hashable]
"""A sentence to encode: its words, their tags (``None``: not annotated) and the identity of its document, if any."""

Indices = npt.NDArray[np.int64]

NO_SUBWORD = -1
"""The position of a word without subword tokens."""

UNLABELLED = -1
"""The label of a word without annotation."""

# Number of documents (or sentences without one) whose new words are tokenised together.
_BLOCK = 2_000

# Alternative spellings of "B", "I", …; a model has one label for both.
_UNTYPED_TAGS = frozenset(f"{prefix}-{UNTYPED}" for prefix in "BIESLU")


@dataclass(frozen=True)
class EncodingOptions:
    """How words become sequences, and the spelling of their tags."""

    max_seq_length: int
    stride: int
    label_all_tokens: bool
    source_scheme: str
    scheme: str
    outside_label: str | None
    context_size: int = 0
    label_map: tuple[tuple[str, str], ...] = ()


class EncodedSplit:
    """The arrays of one split; those on disk are memory-mapped.

    Attributes:
        name: the folder's name; for a cached split, a digest of content and options.
        tag_names: the tags that occur, by the indices in ``word_labels``.
        findings: finding -> count and first sentence, for ``illegal_tags``, ``windowed_sentences``, ``clipped_words``,
            ``words_without_subword`` and ``sentences_with_context``.
        sequence_offsets: ``[sequences + 1]``, the start of each sequence's subword tokens.
        sequence_words: ``[sequences + 1]``, the start of the words that each sequence owns.
        sentence_sequences: ``[sentences + 1]``, the start of each sentence's sequences.
    """

    input_ids: npt.NDArray[np.int32]  # [subwords]
    word_positions: npt.NDArray[np.int32]  # [words] index of a word's first subword in the sequence that owns it
    word_labels: npt.NDArray[np.int16]  # [words]
    word_labelled: npt.NDArray[np.int32]  # [words] number of labelled subword tokens
    sequence_lengths: npt.NDArray[np.int32]  # [sequences] number of subword tokens
    sequence_labelled: npt.NDArray[np.int32]  # [sequences] number of labelled ones
    sequence_num_words: npt.NDArray[np.int32]  # [sequences] number of owned words
    sentence_num_sequences: npt.NDArray[np.int32]  # [sentences]

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.name = folder.name
        self.tag_names: list[str] = meta["tag_names"]
        self.findings: dict[str, list[int]] = meta["findings"]
        for name, dtype in _ARRAYS.items():
            path = folder / f"{name}.bin"
            # An empty file cannot be mapped.
            array = np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype)
            setattr(self, name, array)
        self.sequence_offsets = _offsets(self.sequence_lengths)
        self.sequence_words = _offsets(self.sequence_num_words)
        self.sentence_sequences = _offsets(self.sentence_num_sequences)

    def __len__(self) -> int:
        return len(self.sentence_num_sequences)

    def words_of(self, sentence: int) -> slice:
        """The slice of ``word_positions`` and ``word_labels`` with the words of a sentence."""
        first, last = self.sentence_sequences[sentence], self.sentence_sequences[sentence + 1]
        return slice(int(self.sequence_words[first]), int(self.sequence_words[last]))

    def first_word_tagged(self, tag: str) -> tuple[int, int]:
        """The first sentence with a tag, and the position of the word in it."""
        return self.place_of(int(np.argmax(self.word_labels == self.tag_names.index(tag))))

    def place_of(self, word: int) -> tuple[int, int]:
        """The sentence of a word of the split, and its position in it."""
        starts = self.sequence_words[self.sentence_sequences]
        sentence = int(np.searchsorted(starts, word, side="right")) - 1
        return sentence, word - int(starts[sentence])

    def sequences_of(self, sentences: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """All sequences of given sentences, in their order."""
        starts, counts = self.sentence_sequences[sentences], self.sentence_num_sequences[sentences]
        before = np.cumsum(counts) - counts
        return np.repeat(starts - before, counts) + np.arange(counts.sum())

    def sentence_lengths(self) -> npt.NDArray[np.int64]:
        """Subword tokens of each sentence over all its windows: ``[sentences]``."""
        return np.diff(self.sequence_offsets[self.sentence_sequences])


def _offsets(counts: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """The start of each part, and the end of the last one."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


# The annotations give the type of each array: NDArray[T] is ndarray[shape, dtype[T]].
_ARRAYS: dict[str, Any] = {name: get_args(get_args(hint)[1])[0] for name, hint in get_type_hints(EncodedSplit).items()}


def encode_split(
    folder: Path, sentences: Iterable[Annotated], subwords: Subwords, options: EncodingOptions, lasting: bool = True
) -> EncodedSplit:
    """Encode sentences into ``folder``, atomically, and open it; ``lasting`` syncs it to disk, for a cache."""
    encoder = _Encoder(subwords, options)
    with folder_written_whole(folder, checksums=lasting, lasting=lasting) as scratch, contextlib.ExitStack() as stack:
        files = {name: stack.enter_context((scratch / f"{name}.bin").open("wb")) for name in _ARRAYS}
        groups = groupby(sentences, lambda sentence: object() if sentence[2] is None else sentence[2])
        documents = (list(group) for _, group in groups)
        while block := list(islice(documents, _BLOCK)):
            subwords.cache(tokens for document in block for tokens, _, _ in document)
            for document in block:
                encoder.add(document)
            for name, values in encoder.arrays.items():
                files[name].write(np.asarray(values, dtype=_ARRAYS[name]).tobytes())
                values.clear()
        meta = {"tag_names": list(encoder.tags), "findings": encoder.findings}
        (scratch / "meta.json").write_text(json.dumps(meta, ensure_ascii=False), encoding="utf-8")
    return EncodedSplit(folder)


class _Encoder:
    """Appends sentences to the arrays, and counts findings."""

    def __init__(self, subwords: Subwords, options: EncodingOptions) -> None:
        self._subwords, self._options = subwords, options
        self._label_map = dict(options.label_map)
        self._budget = options.max_seq_length - subwords.num_special
        self._num_sentences = 0
        self.tags: dict[str, int] = {}
        self.findings: dict[str, list[int]] = {}
        self.arrays: dict[str, list[int]] = {name: [] for name in _ARRAYS}

    def add(self, document: Sequence[Annotated]) -> None:
        """Add the consecutive sentences of a document, or one sentence without a document."""
        pieces = [self._subwords[word] for tokens, _, _ in document for word in tokens]
        lengths = [min(len(ids), self._budget) for ids in pieces]
        end = 0
        for tokens, tags, _ in document:
            sentence = range(end, end + len(tokens))
            end = sentence.stop
            clipped = sum(len(ids) > self._budget for ids in pieces[sentence.start : sentence.stop])
            self._count("clipped_words", clipped)
            self._add_sentence(pieces, lengths, sentence, tags)
            self._num_sentences += 1

    def _add_sentence(
        self, pieces: Sequence[Sequence[int]], lengths: list[int], sentence: range, tags: Sequence[str] | None
    ) -> None:
        options, arrays = self._options, self.arrays
        prefix, suffix = self._subwords.prefix, self._subwords.suffix
        most_labels = 0 if tags is None else self._budget if options.label_all_tokens else 1
        places = place_sequences(lengths, sentence, self._budget, options.stride, options.context_size)
        for window, owned in places:
            inside = chain.from_iterable(pieces[word][: self._budget] for word in window)
            before, here = lengths[window.start : owned.start], lengths[owned.start : owned.stop]
            starts = list(accumulate(here, initial=len(prefix) + sum(before)))[:-1]
            labelled = [min(length, most_labels) for length in here]
            arrays["input_ids"] += [*prefix, *inside, *suffix]
            arrays["word_positions"] += [
                start if length else NO_SUBWORD for start, length in zip(starts, here, strict=True)
            ]
            arrays["word_labelled"] += labelled
            arrays["sequence_lengths"].append(self._subwords.num_special + sum(lengths[window.start : window.stop]))
            arrays["sequence_labelled"].append(sum(labelled))
            arrays["sequence_num_words"].append(len(owned))
        arrays["word_labels"] += [UNLABELLED] * len(sentence) if tags is None else self._word_labels(tags)
        arrays["sentence_num_sequences"].append(len(places))
        own = lengths[sentence.start : sentence.stop]
        grown = len(places) == 1 and arrays["sequence_lengths"][-1] > self._subwords.num_special + sum(own)
        self._count("sentences_with_context", grown)
        self._count("windowed_sentences", len(places) > 1)
        self._count("words_without_subword", own.count(0))

    def _word_labels(self, tags: Sequence[str]) -> list[int]:
        source, scheme = self._options.source_scheme, self._options.scheme
        illegal = illegal_words(tags, source)
        self._count("illegal_tags", len(illegal))
        respelt = source != "flat" and not _UNTYPED_TAGS.isdisjoint(tags)
        if illegal or respelt or scheme != source or self._label_map:
            tags = convert_tags(tags, source, scheme, self._options.outside_label, self._label_map)
        return [self.tags.setdefault(tag, len(self.tags)) for tag in tags]

    def _count(self, finding: str, count: int) -> None:
        if count:
            self.findings.setdefault(finding, [0, self._num_sentences])[0] += count


class OpenLabels(NamedTuple):
    """Labels that words tagged as outside may have instead; see `partial.py`."""

    rows: Indices
    """``[sentences]``, the row of each sentence in the table."""
    table: npt.NDArray[np.bool_]
    """Bool ``[files, labels]``."""


class TrainingItem(NamedTuple):
    """The part of a micro-batch that one process computes."""

    sequences: npt.NDArray[np.int64]
    labelled_in_step: int
    """Labelled subword tokens of the whole optimisation step, over all processes and accumulated micro-batches."""


class BatchAssembler(Dataset[dict[str, Any]]):
    """Turns sequences of an :class:`EncodedSplit` into tensors, concatenated without padding.

    Args:
        split: the arrays.
        labels: the model's labels.
        chosen: the sentences to which indices refer; by default all of the split.
        open_labels: given if some file does not annotate all types.
    """

    def __init__(
        self,
        split: EncodedSplit,
        labels: LabelSet,
        chosen: Indices | None = None,
        open_labels: OpenLabels | None = None,
    ) -> None:
        self.split, self.chosen = split, np.arange(len(split)) if chosen is None else chosen
        self.labels = labels
        # B- becomes I- on further subword tokens of a word; flat labels have no prefix, even if they look like it.
        further = [tag if labels.scheme == "flat" else continuation_tag(tag) for tag in split.tag_names]
        # UNLABELLED indexes the last entry.
        self._first_ids, self._further_ids = (
            np.array([*map(labels.names.index, tags), IGNORE_INDEX]) for tags in (split.tag_names, further)
        )
        self._outside_id, self._open = labels.outside_id, open_labels
        if open_labels is not None:
            self._rows_of_sequences = np.repeat(open_labels.rows, split.sentence_num_sequences)

    def __getitem__(self, item: TrainingItem | npt.NDArray[np.int64]) -> dict[str, Any]:
        """A micro-batch of training, or the sentences with given indices."""
        return self.micro_batch(item) if isinstance(item, TrainingItem) else self.sentences(item)

    def micro_batch(self, item: TrainingItem) -> dict[str, Any]:
        """``input_ids`` and ``labels`` ``[subwords]``; ``lengths`` of the sequences, a list; ``labelled_in_step``.

        If there are any, ``open_labels``, bool ``[subwords, labels]``: alternatives to a token's label. Lengths stay on
        the host, where attention is planned: reading them from a GPU would wait for it.
        """
        if not len(item.sequences):  # a batch without labels: collectives need every process
            batch, _, _ = self._sequences(np.zeros(1, dtype=np.int64))
            batch["labels"].fill_(IGNORE_INDEX)
        else:
            batch, _, _ = self._sequences(item.sequences)
        return {**batch, "labelled_in_step": item.labelled_in_step}

    def sentences(self, indices: npt.NDArray[np.int64]) -> dict[str, Any]:
        """All sequences of given sentences, and the positions of their words.

        Returns:
            ``input_ids``, ``labels``, ``lengths`` and ``open_labels`` as for a micro-batch; with the latter
            ``unannotated``, bool ``[sentences, labels]``: labels of types that are not annotated; ``word_positions``
            ``[sentences, words]``: the index into ``input_ids`` of a word's first subword token, ``NO_SUBWORD`` if it
            has none or the sentence is shorter; ``gold`` ``[sentences, words]``: label ids, ``IGNORE_INDEX`` past the
            sentence's end or without annotation; ``sentence_index`` and ``num_words`` ``[sentences]``, as arrays: they
            stay on the host, like the lengths.
        """
        sentences = self.chosen[indices]
        batch, word_positions, word_labels = self._sequences(self.split.sequences_of(sentences))
        words = [self.split.words_of(index) for index in sentences.tolist()]
        num_words = np.array([part.stop - part.start for part in words], dtype=np.int64)
        present = np.arange(max(int(num_words.max(initial=0)), 1)) < num_words[:, None]
        positions, gold = np.full(present.shape, NO_SUBWORD), np.full(present.shape, IGNORE_INDEX)
        positions[present], gold[present] = word_positions, self._first_ids[word_labels]
        if self._open is not None:
            batch["unannotated"] = torch.from_numpy(self._open.table[self._open.rows[sentences]])
        return batch | {
            "word_positions": torch.from_numpy(positions),
            "gold": torch.from_numpy(gold),
            "sentence_index": indices,
            "num_words": num_words,
        }

    def _sequences(self, sequences: npt.NDArray[np.int64]) -> tuple[dict[str, Any], Any, Any]:
        """Tensors of given sequences; for each word the position of its first subword token, and its label."""
        split = self.split
        words = _slices(split.sequence_words, sequences)
        input_ids = _gather(split.input_ids, _slices(split.sequence_offsets, sequences))
        lengths = split.sequence_lengths[sequences].astype(np.int64)
        starts = np.repeat(np.cumsum(lengths) - lengths, split.sequence_num_words[sequences])
        positions, word_labels = _gather(split.word_positions, words), _gather(split.word_labels, words)
        positions = np.where(positions == NO_SUBWORD, NO_SUBWORD, positions + starts)
        counts = _gather(split.word_labelled, words)
        labelled = np.repeat(positions - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        labels = np.full(len(input_ids), IGNORE_INDEX)
        labels[labelled] = np.repeat(self._further_ids[word_labels], counts)
        labels[positions[counts > 0]] = self._first_ids[word_labels[counts > 0]]
        batch = {
            "input_ids": torch.from_numpy(input_ids.astype(np.int64)),
            "labels": torch.from_numpy(labels),
            "lengths": lengths.tolist(),
        }
        if self._open is not None:
            open_labels = self._open.table[np.repeat(self._rows_of_sequences[sequences], lengths)]
            batch["open_labels"] = torch.from_numpy(open_labels & (labels == self._outside_id)[:, None])
        return batch, positions, word_labels


def _slices(offsets: npt.NDArray[np.int64], parts: npt.NDArray[np.int64]) -> list[slice]:
    return list(map(slice, offsets[parts].tolist(), offsets[parts + 1].tolist()))


def _gather(array: npt.NDArray[Any], parts: Sequence[slice]) -> npt.NDArray[Any]:
    return np.concatenate([array[:0], *(array[part] for part in parts)])
