"""From a split's source to its arrays on disk, each step cached by the content it came from.

``<cache>/stored-<key>/`` holds sentences (`store.py`), keyed by the bytes of the files and how they were read;
``<cache>/encoded-<key>/`` holds arrays (`encoded.py`), keyed by the former, the tokenizer and the alignment options.
Changing a file, a model or an option makes a new folder; nothing is ever updated in place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ner_module.data.alignment import Subwords
from ner_module.data.encoded import EncodedSplit, EncodingOptions, encode_split
from ner_module.data.hub import HubColumns, hub_sentences
from ner_module.data.readers import read_sentences
from ner_module.data.sentence import DataError, Sentence
from ner_module.data.store import StoredSplit, store_sentences
from ner_module.data.tag_census import TagCensus
from ner_module.pretrained import sha256_of
from ner_module.tagging import OUTSIDE

# Part of every key: raise it when what is stored changes its meaning.
_VERSION = 1

# Below this many sentences encoding takes a moment, and a bar would only flicker.
_SHOW_PROGRESS_FROM = 20_000


@dataclass(frozen=True)
class ReadingOptions:
    """How the files of a split are read; the fields are the options of the same name."""

    format: str = "auto"
    encoding: str | None = None
    text_column_name: str | None = None
    label_column_name: str | None = None
    label_names: tuple[str, ...] | None = None
    tagged: bool = True


@dataclass(frozen=True)
class PreparedSplit:
    """Where a split lies on disk, and what was learnt while it was read."""

    stored: Path
    encoded: Path

    def open(self) -> tuple[StoredSplit, EncodedSplit]:
        """Memory-map both."""
        return StoredSplit(self.stored), EncodedSplit(self.encoded)


def store_files(cache: Path, files: list[Path], reading: ReadingOptions) -> Path:
    """Read files into the cache; returns the folder, at once when the same bytes were read the same way before."""
    digests = [sha256_of(path) if path.is_file() else _folder_digest(path) for path in files]
    folder = cache / f"stored-{_key(digests, [str(path) for path in files], asdict(reading))}"
    if not (folder / "meta.json").is_file():
        census, meta = TagCensus(), {"sha256": digests}

        def stream() -> Iterator[tuple[int, Sentence]]:
            for index, path in enumerate(files):
                options = {**asdict(reading), "label_names": list(reading.label_names) if reading.label_names else None}
                for sentence in read_sentences(path, **options):
                    yield index, sentence
                    if sentence.tags is not None:
                        census.add(sentence.tags, str(path), sentence.line)
            _conclude(meta, census, reading)

        store_sentences(folder, [str(path) for path in files], stream(), meta)
    return folder


def store_hub_split(cache: Path, dataset: Any, where: str, columns: HubColumns) -> Path:
    """The same for one split of a loaded hub dataset."""
    folder = cache / f"stored-{_key(where, dataset._fingerprint, columns)}"
    if not (folder / "meta.json").is_file():
        census, meta = TagCensus(), {"declared_names": columns.names, "sha256": [dataset._fingerprint]}

        def stream() -> Iterator[tuple[int, Sentence]]:
            for sentence in hub_sentences(dataset, where, columns):
                yield 0, sentence
                if sentence.tags is not None:
                    census.add(sentence.tags, where, sentence.line)
            _conclude(meta, census, ReadingOptions())

        store_sentences(folder, [where], stream(), meta)
    return folder


def _conclude(meta: dict[str, Any], census: TagCensus, reading: ReadingOptions) -> None:
    if reading.tagged:
        meta["tag_counts"] = census.counts()
        meta["first_seen"] = census.first_seen()
        meta["schemes"] = census.scheme_report()


def encode_stored(cache: Path, stored: Path, tokenizer: Any, options: EncodingOptions, name: str) -> Path:
    """Encode a stored split into the cache; returns the folder, at once when it is there."""
    backend = tokenizer.backend_tokenizer.to_str()
    folder = cache / f"encoded-{_key(stored.name, hashlib.sha256(backend.encode()).hexdigest(), asdict(options))}"
    if not (folder / "meta.json").is_file():
        split = StoredSplit(stored)
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        hidden = len(split) < _SHOW_PROGRESS_FROM or not console.is_terminal
        with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
            task = progress.add_task(f"Tokenising {name}", total=len(split))
            encode_split(
                folder, split.chunks(), Subwords(tokenizer), options, lambda count: progress.advance(task, count)
            )
    return folder


def choose_scheme(stored: StoredSplit, asked: str | None) -> str:
    """The scheme a split's files hold: the one that was asked for, or the detected one.

    Raises:
        DataError: tags with and without prefixes are mixed, or an asked-for prefixed scheme meets bare labels.
    """
    report = stored.meta["schemes"]
    if asked == "flat":
        return asked
    if report["flat_words"] and (asked is not None or report["prefixed_words"]):
        tag, path, line = report["rarest_flat"]
        known = f"{report['prefixed_words']} other words have a tag with one" if report["prefixed_words"] else asked
        raise DataError(
            path,
            line,
            f"the tag {tag!r} has no prefix such as B- or I- ({known})",
            "correct the tag, or set --data.source_scheme flat if the labels are meant to have none",
        )
    return asked or str(report["detected"])


def outside_label_of(stored: list[StoredSplit], scheme: str, asked: str | None) -> str | None:
    """The label of words outside any entity; ``None`` for flat labels that have none."""
    if scheme != "flat":
        return OUTSIDE
    if asked is not None:
        return asked
    return OUTSIDE if any(OUTSIDE in split.meta["tag_counts"] for split in stored) else None


def _folder_digest(folder: Path) -> str:
    """A digest of a folder source (brat, a saved `datasets` folder): of its files' names and contents."""
    return _key([(str(path.relative_to(folder)), sha256_of(path)) for path in sorted(folder.rglob("*")) if path.is_file()])


def _key(*parts: Any) -> str:
    text = json.dumps([_VERSION, *parts], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def with_scheme(options: EncodingOptions, source_scheme: str) -> EncodingOptions:
    """The same options for a split whose files hold another scheme."""
    return replace(options, source_scheme=source_scheme)
