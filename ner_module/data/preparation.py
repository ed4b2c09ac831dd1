"""From a split's source to its arrays on disk; each step is cached, keyed by its inputs.

``<cache>/stored-<key>/`` holds sentences (`store.py`), keyed by the bytes of the files and the reading options;
``<cache>/encoded-<key>/`` holds arrays (`encoded.py`), keyed by that key, the tokenizer and the alignment options. A
changed file, model or option makes a new folder; folders are never updated in place.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from ner_module.data.alignment import Subwords
from ner_module.data.encoded import EncodedSplit, EncodingOptions, Indices, encode_split
from ner_module.data.formats import ReadingOptions, expand_files, read_sentences
from ner_module.data.formats.char_spans import SpanCounts
from ner_module.data.hub import HubColumns, choose_columns, hub_sentences, is_unlabelled, load_hub_dataset
from ner_module.data.sentence import Sentence
from ner_module.data.store import Documents, StoredSplit, store_sentences
from ner_module.errors import DataError
from ner_module.files import check_regular, folder_problem, sha256_of
from ner_module.pretrained import max_sequence_length

log = logging.getLogger(__name__)

# Part of every key: increase it when the stored format changes.
_VERSION = 10

T = TypeVar("T")

NEEDED = {"fit": "train", "validate": "validation", "test": "test", "predict": "predict"}
"""The split that a command requires."""

DEFAULT_MAX_SEQ_LENGTH = 512

_MIN_DOCUMENTS = 10  # with fewer, splitting by document would be too coarse

# With fewer sentences encoding is fast, and a bar would only flicker.
_SHOW_PROGRESS_FROM = 20_000

# Warnings by finding of an encoded split.
_FINDINGS = {
    "illegal_tags": "an illegal tag sequence, the first of {count:,} illegal tags; read by the conlleval rule",
    "windowed_sentences": "longer than {limit} subword tokens, the first of {count:,} such sentences; split into "
    "overlapping windows",
    "clipped_words": "a word longer than {limit} subword tokens, the first of {count:,}; it is truncated",
    "words_without_subword": "a word that vanishes in tokenization (control or zero-width characters), the first of "
    "{count:,}; it keeps its place and is predicted as outside any entity",
}


def check_options(options: Any) -> None:
    """Refuse invalid arguments of ``NERDataModule``, with a :class:`DataError`, before anything is read."""
    if options.dataset_name is not None and options.train_file is not None:
        problem = "it is given together with --data.dataset_name"
        raise DataError("--data.train_file", None, problem, "give one of them")
    for name in ("batch_size", "eval_batch_size", "max_record_mb"):
        _check(name, options[name], options[name] >= 1, "give a number of at least 1")
    _check("num_workers", options.num_workers, options.num_workers >= 0, "give 0 or more")
    fraction = options.validation_fraction
    _check("validation_fraction", fraction, 0 <= fraction < 1, "give a share below 1; 0 trains on all of the data")


def sequence_limits(options: Any, config: Any, tokenizer: Any) -> tuple[int, int]:
    """The maximum length of sequences and the overlap of windows, in subword tokens, for a config and tokenizer."""
    if hasattr(config, "max_2d_position_embeddings"):  # LayoutLM, LiLT
        name = options.model_name_or_path
        log.warning("%s reads positions on the page (boxes, bboxes), which are not used here: all are 0", name)
    limit = max_sequence_length(config, tokenizer)
    length: int = min(DEFAULT_MAX_SEQ_LENGTH, limit) if options.max_seq_length is None else options.max_seq_length
    stride: int = length // 4 if options.stride is None else options.stride
    size, widest = options.context_size, length // 2
    _check("max_seq_length", f"{length}; the model takes at most {limit}", 4 <= length <= limit, f"give 4 to {limit}")
    advice = f"give at most {widest}, half a window"
    _check("stride", f"{stride} with windows of {length}", 0 <= stride <= widest, advice)
    _check("context_size", f"{size} in sequences of {length}", 0 <= size <= length, f"give 0 to {length}")
    return length, stride


def _check(option: str, value: Any, fits: bool, advice: str) -> None:
    if not fits:
        raise DataError(f"--data.{option}", None, f"it is {value}", advice)


def store_splits(options: Any, command: str, cache: Path) -> dict[str, StoredSplit]:
    """Read the splits that a command needs into the cache; ``options`` are the arguments of ``NERDataModule``.

    Raises:
        DataError: a file or dataset cannot be read, or the split that the command requires is missing or empty.
    """
    hub: dict[str, Any] = {}
    if options.dataset_name is not None and command != "predict":
        hub = load_hub_dataset(options.dataset_name, options.dataset_config_name, options.dataset_revision)
    needed = NEEDED[command]
    # `fit` reads the test data too: the label inventory covers all splits.
    wanted = {"train", "validation", "test"} if command == "fit" else {needed}
    if "validation" in wanted and options.validation_file is None and "validation" not in hub:
        wanted.add("train")  # the validation data are part of it
    stored = {}
    for split in sorted(wanted):
        if options[f"{split}_file"] is not None:
            reading = ReadingOptions.of(options, tagged=split != "predict")
            stored[split] = store_files(cache, expand_files(options[f"{split}_file"]), reading)
        elif split in hub:
            where = f"dataset {options.dataset_name!r}, split {split!r}"
            names = options.text_column_name, options.label_column_name, options.label_names
            columns = choose_columns(hub[split], where, *names)
            if split != needed and is_unlabelled(hub[split], columns):
                log.info("%-10s left out: all labels of %s are -1, which marks hidden labels", split, where)
            else:
                stored[split] = _store_hub_split(cache, hub[split], where, columns)
    if needed not in stored and not (needed == "validation" and "train" in stored):
        have = f"the dataset has the splits {', '.join(hub)}" if hub else "none is given"
        raise DataError(f"{needed} data", None, f"`{command}` needs it, but {have}", f"give --data.{needed}_file")
    for name, found in stored.items():
        if len(found) == 0 and name != "predict":
            sources = ", ".join(found.meta["sources"])
            raise DataError(sources, None, f"the {name} data has no sentence", "give data, or leave the split out")
    return stored


def find_split(splits: Mapping[str, T], name: str) -> T:
    """Look up a split by name; raises a :class:`DataError` if ``setup`` has not prepared it."""
    if name not in splits:
        command = next(command for command, needed in NEEDED.items() if needed == name)
        advice = f"call setup({command!r}) first, with --data.{name}_file"
        raise DataError(f"{name} data", None, "not prepared", advice)
    return splits[name]


def store_files(cache: Path, files: list[Path], reading: ReadingOptions) -> StoredSplit:
    """Read files into the cache, unless they are cached with the same reading options.

    Raises:
        DataError: a file cannot be read; with its line.
    """
    digests, names = [_digest(path) for path in files], [str(path) for path in files]
    folder = _cached(cache, "stored", digests, names, asdict(reading))
    if not folder.is_dir():
        changed_spans = SpanCounts()

        def sentences() -> Iterator[tuple[int, Sentence]]:
            for index, path in enumerate(files):
                of_file = SpanCounts()
                for sentence in read_sentences(path, reading, of_file):
                    yield index, sentence
                changed_spans.add(path, of_file)
            for path, digest in zip(files, digests, strict=True):  # otherwise the cache would not match its key
                if _digest(path) != digest:
                    raise DataError(path, None, "the file changed while it was read", "run the command again")

        meta = {"sha256": digests, "declared_names": reading.label_names}
        store_sentences(folder, names, sentences(), changed_spans, meta, reading.outside_label)
    return StoredSplit(folder)


def _store_hub_split(cache: Path, dataset: Any, where: str, columns: HubColumns) -> StoredSplit:
    folder = _cached(cache, "stored", where, dataset._fingerprint, columns)
    if not folder.is_dir():
        sentences = ((0, sentence) for sentence in hub_sentences(dataset, where, columns))
        meta = {"sha256": [dataset._fingerprint], "declared_names": columns.names}
        counts = SpanCounts()
        counts.say(where, f"a dataset; words are in {columns.text!r}, tags in {columns.label!r}")
        store_sentences(folder, [where], sentences, counts, meta)
    return StoredSplit(folder)


def encode_stored(
    cache: Path, stored: StoredSplit, tokenizer: Any, options: EncodingOptions, name: str, documents: Documents
) -> EncodedSplit:
    """Encode a stored split into the cache, unless it is cached, and open it; shows progress as ``name``."""
    backend = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
    which = documents if options.context_size else None
    folder = _cached(cache, "encoded", stored.folder.name, backend, asdict(options), which)
    if folder.is_dir():
        return EncodedSplit(folder)
    sentences, console = stored.annotated(which), Console(stderr=True)
    if len(stored) >= _SHOW_PROGRESS_FROM and console.is_terminal:
        sentences = iter(track(sentences, f"Tokenising {name}", len(stored), console=console, transient=True))
    return encode_split(folder, sentences, Subwords(tokenizer), options)


def choose_held_out(stored: StoredSplit, fraction: float, seed: int) -> Indices:
    """Ascending indices of the training sentences to hold out: whole documents if there are at least ten.

    At least ``fraction`` of the sentences is held out; 0 holds out none.

    Raises:
        DataError: no sentences would be left to train on.
    """
    if fraction == 0:
        return np.empty(0, dtype=np.int64)
    units = stored.documents()
    if units is None or units.max() + 1 < _MIN_DOCUMENTS:
        units = np.arange(len(stored))
    order = np.random.default_rng(seed).permutation(int(units.max()) + 1)
    sizes = np.bincount(units)[order]
    enough = int(np.searchsorted(np.cumsum(sizes), fraction * len(stored))) + 1
    chosen = np.flatnonzero(np.isin(units, order[:enough]))
    if len(chosen) == len(stored):
        problem = f"it holds {len(stored)} sentence{'s' * (len(stored) != 1)}, too few to hold some out for validation"
        advice = "give --data.validation_file, or more data"
        raise DataError(", ".join(stored.meta["sources"]), None, problem, advice)
    return chosen


def report_splits(
    stored: Mapping[str, StoredSplit],
    encoded: Mapping[str, EncodedSplit],
    held_out: Indices | None,
    limit: int,
    context_size: int,
) -> None:
    """Log the size of each split, changes and warnings, and the number of held-out sentences."""
    for name in sorted(stored, key=list(NEEDED.values()).index):
        if name != "predict":
            _report_split(name, stored[name], encoded[name], limit)
        with_context, _ = encoded[name].findings.get("sentences_with_context", (0, 0))
        if with_context:
            message = "%-10s %9s sentences are encoded with up to %d subword tokens of their document"
            log.info(message, name, f"{with_context:,}", context_size)
        elif context_size and len(encoded[name]) > 1:
            log.warning(
                "%s: no sentence has context: the data marks no documents of several sentences that leave room in a "
                "sequence; --data.documents file makes one of each file",
                name,
            )
    if held_out is not None:
        message = "%-10s %9s sentences of the training data are held out; %s are left"
        log.info(message, "validation", f"{len(held_out):,}", f"{len(stored['train']) - len(held_out):,}")


def _report_split(name: str, stored: StoredSplit, encoded: EncodedSplit, limit: int) -> None:
    sources = stored.meta["sources"]
    shown = ", ".join(sources[:3]) + (", …" if len(sources) > 3 else "")
    words = f"{len(encoded.word_labels):,}"
    log.info("%-10s %9s sentences %11s words   %s", name, f"{len(encoded):,}", words, shown)
    for path, note, is_surprise in stored.meta["notes"]:
        if is_surprise:
            log.warning("%s: %s", path, note)
    if stored.meta["changed_spans"]:
        log.warning("%s: %s", shown, stored.meta["changed_spans"])
    for finding, text in _FINDINGS.items():
        if finding in encoded.findings:
            count, first = encoded.findings[finding]
            log.warning("%s:%s: %s", *stored.origin(first), text.format(count=count, limit=limit))


def _cached(cache: Path, kind: str, *parts: Any) -> Path:
    """The cache folder for a key; removed if damaged."""
    folder = cache / f"{kind}-{_key(*parts)}"
    if folder.is_dir() and (problem := folder_problem(folder)) is not None:
        log.warning("%s is damaged: %s; it is rebuilt", folder, problem)
        shutil.rmtree(folder, ignore_errors=True)
    return folder


def _digest(source: Path) -> str:
    """The SHA-256 of a file; of a folder (brat, a saved `datasets` folder), that of its files' names and contents."""
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.is_file())
        return _key([(str(path.relative_to(source)), sha256_of(path)) for path in files])
    check_regular(source)
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while block := file.read(1 << 20):
            if len(block) == 1 << 20 and not block.strip(b"\0"):  # a sparse file may have any size
                advice = "the file is damaged, or was never filled: restore it"
                raise DataError(source, None, "it contains a mebibyte of zero bytes", advice)
            digest.update(block)
    return digest.hexdigest()


def _key(*parts: Any) -> str:
    text = json.dumps([_VERSION, *parts], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
