"""Datasets from the hub (or a `datasets` builder's name) -> sentences.

Only data, never code: `datasets` 5 runs no loading scripts, and this module asks for none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from ner_module.data.formats.options import DOCUMENTS, TAGS, WORDS, first_in
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError
from ner_module.hub_files import fetch_dataset_files, hub_is_reachable, retried

_STRINGS = ("string", "large_string")
_SPLIT_NAMES = {"dev": "validation", "valid": "validation"}
_BATCH = 1_000


class HubColumns(NamedTuple):
    """Which columns are read, and the names of integer tags (``None`` when the tags are strings)."""

    text: str
    label: str
    names: list[str] | None
    document: str | None = None
    """The column that names the document of a row, where there is one."""


def load_hub_dataset(name: str, config_name: str | None, revision: str | None) -> dict[str, Any]:
    """Download (or find in the cache) a dataset; split name -> rows, a ``dev`` split being called ``validation``.

    Raises:
        DataError: it does not exist, needs a config name or a loading script, or the hub cannot be reached.
    """
    where = f"dataset {name!r}"
    try:
        loaded = _load(name, config_name, revision)
    except Exception as error:
        module = type(error).__module__
        if not (
            isinstance(error, (OSError, ValueError, RuntimeError))
            or module.startswith(("httpx", "huggingface_hub", "datasets"))
        ):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "scripts are no longer supported" in reason:
            advice = "use a repository with data files, such as lhoestq/conll2003, or revision refs/convert/parquet"
        elif "/" not in name:
            advice = "ids on the hub have the form namespace/name"
        elif isinstance(error, ConnectionError) or module.startswith(("httpx", "httpcore")):
            advice = "check the network; without one, name local files with --data.train_file"
        else:
            advice = "check --data.dataset_name, --data.dataset_config_name and --data.dataset_revision"
        raise DataError(where, None, f"cannot be loaded ({reason})", advice) from error
    if not isinstance(loaded, dict):
        raise DataError(where, None, "has no splits", "name a dataset with a train split")
    return {_SPLIT_NAMES.get(str(split), str(split)): rows for split, rows in loaded.items()}


def _load(name: str, config_name: str | None, revision: str | None) -> Any:
    import datasets

    if Path(name).exists():  # `datasets` prefers a folder of that name, too
        return datasets.load_dataset(name, config_name, revision=revision)
    options: dict[str, Any] = {"name": config_name, "revision": revision}
    if revision is not None:
        # Offline, `datasets` takes the newest revision in its cache, whichever was asked for: each has a cache of its
        # own here.
        options["cache_dir"] = str(Path(datasets.config.HF_DATASETS_CACHE) / f"revision-{quote(revision, safe='')}")
    if hub_is_reachable():
        builder = retried(lambda: datasets.load_dataset_builder(name, **options))
        files = builder.config.data_files or {}
        fetch_dataset_files(url for split in files.values() for url in split if url.startswith("hf://datasets/"))
    return retried(lambda: datasets.load_dataset(name, **options))


def choose_columns(
    dataset: Any, where: str, text_column: str | None, label_column: str | None, label_names: list[str] | None
) -> HubColumns:
    """Decide which columns hold words and tags, and what integer tags are called.

    Raises:
        DataError: a column is missing or has the wrong type, or integer tags come without names.
    """
    import datasets

    features = dataset.features
    text = _pick(features, where, text_column, WORDS, "--data.text_column_name")
    label = _pick(features, where, label_column, TAGS, "--data.label_column_name")
    words, tags = (getattr(features[column], "feature", None) for column in (text, label))
    if str(getattr(words, "dtype", None)) not in _STRINGS:
        problem = f"column {text!r} is not a list of words"
        raise DataError(where, None, problem, "name one with --data.text_column_name")
    if tags is None:
        problem = f"column {label!r} is not a list of tags"
        raise DataError(where, None, problem, "name one with --data.label_column_name")
    scalars = (*_STRINGS, "int32", "int64")
    document = next((c for c in DOCUMENTS if str(getattr(features.get(c), "dtype", None)) in scalars), None)
    kind = str(tags.dtype)
    if isinstance(tags, datasets.ClassLabel):
        label_names = list(tags.names)
    elif kind in _STRINGS:
        label_names = None
    elif not kind.startswith(("int", "uint")):
        problem = f"column {label!r} holds {kind}, neither names nor integers"
        raise DataError(where, None, problem, "name another with --data.label_column_name")
    elif not label_names:
        raise DataError(where, None, f"column {label!r} holds integers without names", "give --data.label_names")
    return HubColumns(text, label, label_names, document)


def _pick(features: Any, where: str, asked: str | None, usual: Sequence[str], option: str) -> str:
    lists = [column for column in features if getattr(features[column], "feature", None) is not None]
    found = (first_in(usual, lists) or first_in(usual, features)) if asked is None else first_in((asked,), features)
    if found is not None:
        return found
    columns = f"(columns: {', '.join(features)})"
    if asked is not None:
        raise DataError(where, None, f"has no column {asked!r} {columns}", f"correct {option}")
    raise DataError(where, None, f"has none of the columns {', '.join(usual)} {columns}", option)


def is_unlabelled(dataset: Any, columns: HubColumns) -> bool:
    """Whether every tag of a split is -1: a test set whose labels are kept secret."""
    tagged = False
    for batch in dataset.select_columns([columns.label]).iter(batch_size=_BATCH):
        for tags in batch[columns.label]:
            if any(tag != -1 for tag in tags or ()):
                return False
            tagged = tagged or bool(tags)
    return tagged


def hub_sentences(dataset: Any, where: str, columns: HubColumns) -> Iterator[Sentence]:
    """The rows of one split, in order; ``line`` is the 1-based row.

    Raises:
        DataError: a row whose words and tags differ in number or that lacks some, or an integer tag without a name.
    """
    wanted = [columns.text, columns.label] + ([columns.document] if columns.document else [])
    row = 0
    for batch in dataset.select_columns(wanted).iter(batch_size=_BATCH):
        documents = batch[columns.document] if columns.document else [None] * len(batch[columns.text])
        for tokens, tags, document in zip(batch[columns.text], batch[columns.label], documents, strict=True):
            row += 1
            for column, cells in ((columns.text, tokens), (columns.label, tags)):
                if cells is None or None in cells:
                    problem = f"column {column!r} is null, or holds null"
                    raise DataError(where, row, problem, "correct or remove the row")
            if len(tags) != len(tokens):
                raise DataError(where, row, f"{len(tokens)} words but {len(tags)} tags", "correct or remove the row")
            if columns.names is not None:
                unknown = [tag for tag in tags if not isinstance(tag, int) or not 0 <= tag < len(columns.names)]
                if unknown:
                    problem = f"the tag id {unknown[0]} is outside the {len(columns.names)} names"
                    raise DataError(where, row, problem, "check --data.label_names")
                tags = [columns.names[tag] for tag in tags]
            yield Sentence(list(tokens), tags, line=row, document=None if document is None else str(document))
