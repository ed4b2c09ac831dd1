"""Datasets from the hub (or a folder that `datasets` loads) -> sentences. Only data, never code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from ner_module.data.formats.contents import rival_of
from ner_module.data.formats.options import DOCUMENTS, TAGS, WORDS, first_in
from ner_module.data.sentence import Sentence
from ner_module.errors import DataError
from ner_module.files import check_regular
from ner_module.hub_files import fetch_dataset_files, first_line, hub_is_reachable, retried

_HEAD = 100
_STRINGS = ("string", "large_string")
_SPLIT_NAMES = {"dev": "validation", "valid": "validation"}


class HubColumns(NamedTuple):
    """Which columns hold words, tags and documents (if any), and the names of integer tags (``None`` for strings)."""

    text: str
    label: str
    names: list[str] | None
    document: str | None = None


def load_hub_dataset(name: str, config_name: str | None, revision: str | None) -> dict[str, Any]:
    """Download (or find in the cache) a dataset; split name -> rows, a ``dev`` split being called ``validation``.

    Raises:
        DataError: it does not exist, needs a config name or a loading script, or the hub cannot be reached.
    """
    try:
        loaded = _load(name, config_name, revision)
    except Exception as error:
        is_network = isinstance(error, ConnectionError) or type(error).__module__.startswith(("httpx", "httpcore"))
        is_library = type(error).__module__.startswith(("huggingface_hub", "datasets"))
        is_usual = isinstance(error, (OSError, ValueError, RuntimeError)) and not isinstance(error, DataError)
        if not (is_network or is_library or is_usual):
            raise
        reason = first_line(error)
        if "scripts are no longer supported" in reason:
            advice = "use a repository with data files, such as lhoestq/conll2003, or revision refs/convert/parquet"
        elif "/" not in name:
            advice = "ids on the hub have the form namespace/name"
        elif is_network:
            advice = "check the network; without one, name local files with --data.train_file"
        else:
            advice = "check --data.dataset_name, --data.dataset_config_name and --data.dataset_revision"
        raise DataError(f"dataset {name!r}", None, f"cannot be loaded ({reason})", advice) from error
    return {_SPLIT_NAMES.get(str(split), str(split)): rows for split, rows in loaded.items()}


def _load(name: str, config_name: str | None, revision: str | None) -> Any:
    import datasets

    if Path(name).exists():  # `datasets` prefers a folder of that name, too
        for path in [Path(name), *Path(name).rglob("*")]:
            check_regular(path)
        return datasets.load_dataset(name, config_name, revision=revision)
    options: dict[str, Any] = {"name": config_name, "revision": revision}
    if revision is not None:
        # Offline, `datasets` takes the newest revision in its cache, whichever was asked for.
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
    kinds = {column: getattr(feature, "feature", None) for column, feature in features.items()}  # None: not a list
    types = {column: str(getattr(kind, "dtype", None)) for column, kind in kinds.items()}

    def pick(asked: str | None, usual: Sequence[str], option: str) -> str:
        lists = [column for column, kind in kinds.items() if kind is not None]
        found = first_in([asked], kinds) if asked else first_in(usual, lists) or first_in(usual, kinds)
        if found is None:
            problem = f"no column {asked!r}" if asked else f"none of the columns {', '.join(usual)}"
            advice = f"correct {option}" if asked else f"name one with {option}"
            raise DataError(where, None, f"has {problem} (columns: {', '.join(kinds)})", advice)
        return found

    text = pick(text_column, WORDS, "--data.text_column_name")
    label = pick(label_column, TAGS, "--data.label_column_name")
    if types[text] not in _STRINGS:
        problem = f"column {text!r} is not a list of words"
        raise DataError(where, None, problem, "name one with --data.text_column_name")
    head = {column: kind.names for column, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)}
    strings = [column for column in kinds if types[column] in _STRINGS and column not in (text, *WORDS)]
    for column, rows in (dataset.select_columns(strings)[:_HEAD] if strings else {}).items():
        head[column] = [tag for tags in rows for tag in tags or ()]
    if label_column is None and label in head and (rival := rival_of(head, label, ())):
        problem = f"column {label!r} is named like tags, but the tags are in {rival!r}"
        raise DataError(where, None, problem, "name one of them with --data.label_column_name")
    tags = kinds[label]
    if isinstance(tags, datasets.ClassLabel):
        label_names = list(tags.names)
    elif types[label] in _STRINGS:
        label_names = None
    elif not types[label].startswith(("int", "uint")):
        problem = f"column {label!r} is not a list of tags" + (f" but of {types[label]}" if tags is not None else "")
        raise DataError(where, None, problem, "name one with --data.label_column_name")
    elif not label_names:
        raise DataError(where, None, f"column {label!r} holds integers without names", "give --data.label_names")
    scalars = (*_STRINGS, "int32", "int64")
    document = next((name for name in DOCUMENTS if str(getattr(features.get(name), "dtype", None)) in scalars), None)
    return HubColumns(text, label, label_names, document)


def is_unlabelled(dataset: Any, columns: HubColumns) -> bool:
    """Whether every tag of a split is -1: a test set whose labels are kept secret."""
    found = (tag for (tags,) in _rows(dataset, [columns.label]) for tag in tags or ())
    return next(found, None) == -1 and all(tag == -1 for tag in found)


def hub_sentences(dataset: Any, where: str, columns: HubColumns) -> Iterator[Sentence]:
    """The rows of one split, in order; ``line`` is the 1-based row.

    Raises:
        DataError: a row whose words and tags differ in number or that lacks some, or an integer tag without a name.
    """
    wanted = [columns.text, columns.label] + ([columns.document] if columns.document else [])
    for row, (tokens, tags, *document) in enumerate(_rows(dataset, wanted), 1):
        for column, cells in ((columns.text, tokens), (columns.label, tags)):
            if cells is None or None in cells:
                raise DataError(where, row, f"column {column!r} is null, or holds null", "correct or remove the row")
        if len(tags) != len(tokens):
            raise DataError(where, row, f"{len(tokens)} words but {len(tags)} tags", "correct or remove the row")
        if columns.names is not None:
            unknown = [tag for tag in tags if not isinstance(tag, int) or not 0 <= tag < len(columns.names)]
            if unknown:
                problem = f"the tag id {unknown[0]} is outside the {len(columns.names)} names"
                raise DataError(where, row, problem, "check --data.label_names")
            tags = [columns.names[tag] for tag in tags]
        name = None if document in ([], [None]) else str(document[0])
        yield Sentence(list(tokens), tags, line=row, document=name)


def _rows(dataset: Any, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    for batch in dataset.select_columns(columns).iter(batch_size=1_000):
        yield from zip(*(batch[column] for column in columns), strict=True)
