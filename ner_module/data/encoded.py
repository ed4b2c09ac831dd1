"""A split as flat arrays on disk: written once per node in one pass, memory-mapped by every process after.

Sentences become rows (`alignment.py`), rows become slices of a few one-dimensional files, and batch assembly becomes
slicing. Nothing here knows about labels of a model: ``labels`` index the split's own ``tag_names``, and a lookup table
turns them into label ids when a batch is made, so one encoded split serves any order of labels.

Written to a temporary folder first and renamed when whole: a crash leaves no half-written cache.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ner_module.data.alignment import NO_SUBWORD, UNLABELLED, Subwords, make_sequences, subword_labels
from ner_module.data.context import NO_CONTEXT, Chunk, Context, sentence_contexts
from ner_module.tagging import UNTYPED, continuation_tag, convert_tags, count_types, illegal_words

_ARRAYS: dict[str, Any] = {
    "input_ids": np.int32,  # [subwords]
    "labels": np.int16,  # [subwords]
    "sequence_offsets": np.int64,  # [rows + 1] into input_ids
    "sequence_labelled": np.int32,  # [rows] labelled subwords of each row
    "word_positions": np.int32,  # [words] place of a word's first subword in the row that owns it
    "word_labels": np.int16,  # [words]
    "sequence_words": np.int64,  # [rows + 1] into word_positions
    "sentence_sequences": np.int64,  # [sentences + 1]
}

ENCODED_FILES = ("meta.json", *(f"{name}.bin" for name in _ARRAYS))
"""What a whole folder holds."""

_CHUNK = 2_000

# Other ways to write "B", "I", …; a model has one label for both.
_UNTYPED_TAGS = frozenset(f"{prefix}-{UNTYPED}" for prefix in "BIESLU")


@dataclass
class EncodingSummary:
    """What happened to the words of a split; shown to the user, never silent."""

    sentences: int = 0
    words: int = 0
    subwords: int = 0
    windowed_sentences: int = 0
    words_without_subword: int = 0
    clipped_words: int = 0
    illegal_tags: int = 0
    sentences_with_context: int = 0
    mapped: dict[str, int] = field(default_factory=dict)
    """Entity type (flat: label) that the label map renames or drops -> how many entities (words) it had."""
    examples: dict[str, int] = field(default_factory=dict)
    """Finding -> index of the first sentence with it."""


@dataclass(frozen=True)
class EncodingOptions:
    """How words become rows and which tags they carry."""

    max_seq_length: int
    stride: int
    label_all_tokens: bool
    source_scheme: str
    scheme: str
    outside_label: str | None
    context_size: int = 0
    label_map: tuple[tuple[str, str], ...] = ()


class EncodedSplit:
    """The memory-mapped arrays of one split.

    Attributes:
        name: the folder's; that of a cached split tells its content and options.
        tag_names: the tags that occur, by index; the meaning of ``labels`` and ``word_labels``.
        summary: what the encoding met.
        input_ids, labels, …: see ``_ARRAYS`` in this module for shapes.
    """

    input_ids: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int16]
    sequence_offsets: npt.NDArray[np.int64]
    sequence_labelled: npt.NDArray[np.int32]
    word_positions: npt.NDArray[np.int32]
    word_labels: npt.NDArray[np.int16]
    sequence_words: npt.NDArray[np.int64]
    sentence_sequences: npt.NDArray[np.int64]

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.name = folder.name
        self.tag_names: list[str] = meta["tag_names"]
        self.summary = EncodingSummary(**meta["summary"])
        for name, dtype in _ARRAYS.items():
            path = folder / f"{name}.bin"
            # An empty file cannot be mapped.
            array = np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype)
            setattr(self, name, array)

    def __len__(self) -> int:
        return len(self.sentence_sequences) - 1

    @property
    def num_sequences(self) -> int:
        """How many encoder inputs the sentences make."""
        return len(self.sequence_offsets) - 1

    def words_of(self, sentence: int) -> slice:
        """Where the words of a sentence lie in ``word_positions`` and ``word_labels``."""
        first, last = self.sentence_sequences[sentence], self.sentence_sequences[sentence + 1]
        return slice(int(self.sequence_words[first]), int(self.sequence_words[last]))

    def sequences_of(self, sentences: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """All rows of some sentences, in their order."""
        starts = self.sentence_sequences[sentences]
        counts = self.sentence_sequences[sentences + 1] - starts
        before = np.cumsum(counts) - counts
        return np.repeat(starts - before, counts) + np.arange(counts.sum())

    def sentence_lengths(self) -> npt.NDArray[np.int64]:
        """Subwords of each sentence over all its windows: ``[sentences]``."""
        return np.diff(self.sequence_offsets[self.sentence_sequences])

    def row_lengths(self) -> npt.NDArray[np.int64]:
        """Subwords of each row: ``[rows]``."""
        return np.diff(self.sequence_offsets)


def encode_split(
    folder: Path,
    chunks: Iterable[Chunk | tuple[Sequence[Sequence[str]], Sequence[Sequence[str]] | None]],
    subwords: Subwords,
    options: EncodingOptions,
    progress: Callable[[int], None] = lambda sentences: None,
) -> EncodedSplit:
    """Encode sentences into ``folder`` and open the result; a whole one that is there already stands.

    Args:
        folder: where the arrays go.
        chunks: ``(tokens of each sentence, tags of each sentence or None)``, any number of sentences at a time; with
            the document of each sentence where there is to be context.
        subwords: the tokenizer's view of words.
        options: alignment and scheme.
        progress: told how many sentences a chunk had.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    scratch.chmod(0o755)  # a cache may be shared
    try:
        with _Writer(scratch, subwords, options) as writer:
            for tokens, tags, contexts in _with_contexts(map(_as_chunk, chunks), options.context_size):
                writer.add(tokens, tags, contexts)
                progress(len(tokens))
        publish(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return EncodedSplit(folder)


def _as_chunk(chunk: Chunk | tuple[Sequence[Sequence[str]], Sequence[Sequence[str]] | None]) -> Chunk:
    return chunk if isinstance(chunk, Chunk) else Chunk(*chunk)


def _with_contexts(
    chunks: Iterable[Chunk], context_size: int
) -> Iterator[tuple[Sequence[Sequence[str]], Sequence[Sequence[str]] | None, Sequence[Context] | None]]:
    """Words, tags and context of some sentences at a time; without context, chunks as they come."""
    if not context_size:
        for tokens, tags, _ in chunks:
            yield tokens, tags, None
        return
    tags_of: deque[Sequence[str] | None] = deque()

    def sentences() -> Iterator[tuple[Sequence[str], Hashable]]:
        for chunk in chunks:
            tags_of.extend(repeat(None, len(chunk.tokens)) if chunk.tags is None else chunk.tags)
            yield from zip(chunk.tokens, chunk.documents or repeat(None, len(chunk.tokens)), strict=True)

    stream = sentence_contexts(sentences(), context_size)
    while some := list(islice(stream, _CHUNK)):
        annotated = [row for row in (tags_of.popleft() for _ in some) if row is not None]
        yield [tokens for tokens, _ in some], annotated if len(annotated) == len(some) else None, [c for _, c in some]


def publish(scratch: Path, folder: Path) -> None:
    """Move a finished folder to its place; if another process was faster, its result stands."""
    try:
        scratch.replace(folder)
    except OSError:
        if not (folder / "meta.json").is_file():
            raise


class _Writer:
    """Appends encoded sentences to the array files of one folder."""

    def __init__(self, folder: Path, subwords: Subwords, options: EncodingOptions) -> None:
        self._folder, self._subwords, self._options = folder, subwords, options
        self._files = {name: (folder / f"{name}.bin").open("wb") for name in _ARRAYS}
        self._label_map = dict(options.label_map)
        self._tags: dict[str, int] = {}
        self._continuation: list[int] = []
        self._summary = EncodingSummary()
        self._rows = 0
        for name in ("sequence_offsets", "sequence_words", "sentence_sequences"):
            self._write(name, [0])

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
        meta = {"tag_names": list(self._tags), "summary": asdict(self._summary)}
        (self._folder / "meta.json").write_text(json.dumps(meta, ensure_ascii=False), encoding="utf-8")

    def _write(self, name: str, values: Any) -> None:
        self._files[name].write(np.asarray(values, dtype=_ARRAYS[name]).tobytes())

    def _tag_index(self, tag: str) -> int:
        """The index of a tag; a new one brings its continuation along."""
        index = self._tags.get(tag)
        if index is None:
            index = self._tags[tag] = len(self._tags)
            self._continuation.append(index)
            # Flat labels have no prefix to change, even where they look like one (``S``, ``B-1``).
            self._continuation[index] = (
                index if self._options.scheme == "flat" else self._tag_index(continuation_tag(tag))
            )
        return index

    def add(
        self,
        tokens_of: Sequence[Sequence[str]],
        tags_of: Sequence[Sequence[str]] | None,
        contexts_of: Sequence[Context] | None,
    ) -> None:
        self._subwords.learn(tokens_of)
        if contexts_of is not None:
            self._subwords.learn([context.after for context in contexts_of])  # what stands before was learnt before
        input_ids: list[int] = []
        labels: list[npt.NDArray[np.int16]] = []
        word_positions: list[int] = []
        word_labels: list[int] = []
        sequence_offsets, sequence_words, sequence_labelled, sentence_sequences = [], [], [], []
        for index, tokens in enumerate(tokens_of):
            word_ids = self._word_labels(tokens, tags_of[index] if tags_of is not None else None)
            lengths = [len(self._subwords[word]) for word in tokens] if self._options.label_all_tokens else None
            rows = make_sequences(
                tokens,
                self._subwords,
                self._options.max_seq_length,
                self._options.stride,
                NO_CONTEXT if contexts_of is None else contexts_of[index],
                self._options.context_size,
            )
            for row in rows:
                aligned = subword_labels(
                    row,
                    word_ids,
                    len(self._subwords.suffix),
                    self._continuation if lengths is not None and tags_of is not None else None,
                    lengths,
                )
                input_ids.extend(row.input_ids)
                labels.append(aligned)
                word_positions.extend(row.word_positions)
                sequence_labelled.append(int((aligned != UNLABELLED).sum()))
                sequence_offsets.append(self._summary.subwords + len(input_ids))
                sequence_words.append(self._summary.words + len(word_positions))
            word_labels.extend(word_ids)
            if contexts_of is not None and len(rows) == 1:
                own = self._subwords.num_special + sum(len(self._subwords[word]) for word in tokens)
                self._summary.sentences_with_context += len(rows[0].input_ids) > own
            self._rows += len(rows)
            sentence_sequences.append(self._rows)
            self._note(tokens, len(rows), word_positions[len(word_positions) - len(tokens) :] if tokens else [])
        self._write("input_ids", input_ids)
        self._write("labels", np.concatenate(labels) if labels else [])
        for name, values in (
            ("word_positions", word_positions),
            ("word_labels", word_labels),
            ("sequence_offsets", sequence_offsets),
            ("sequence_words", sequence_words),
            ("sequence_labelled", sequence_labelled),
            ("sentence_sequences", sentence_sequences),
        ):
            self._write(name, values)
        self._summary.subwords += len(input_ids)
        self._summary.words += len(word_positions)

    def _word_labels(self, tokens: Sequence[str], tags: Sequence[str] | None) -> list[int]:
        if tags is None:
            return [UNLABELLED] * len(tokens)
        options = self._options
        broken = illegal_words(tags, options.source_scheme)
        if broken:
            self._found("illegal_tags", len(broken))
        if self._label_map:
            for name, count in count_types(tags, options.source_scheme, self._label_map).items():
                self._summary.mapped[name] = self._summary.mapped.get(name, 0) + count
        respelt = options.source_scheme != "flat" and not _UNTYPED_TAGS.isdisjoint(tags)
        if broken or respelt or options.scheme != options.source_scheme or self._label_map:
            tags = convert_tags(
                tags, options.source_scheme, options.scheme, options.outside_label, self._label_map or None
            )
        return [self._tag_index(tag) for tag in tags]

    def _note(self, tokens: Sequence[str], num_sequences: int, positions: Sequence[int]) -> None:
        """Count what a user must hear of."""
        if num_sequences > 1:
            self._found("windowed_sentences")
        budget = self._options.max_seq_length - self._subwords.num_special
        clipped = sum(len(self._subwords[word]) > budget for word in tokens)
        if clipped:
            self._found("clipped_words", clipped)
        missing = positions.count(NO_SUBWORD) if isinstance(positions, list) else 0
        if missing:
            self._found("words_without_subword", missing)
        self._summary.sentences += 1

    def _found(self, finding: str, count: int = 1) -> None:
        setattr(self._summary, finding, getattr(self._summary, finding) + count)
        self._summary.examples.setdefault(finding, self._summary.sentences)
