"""Reading what can be read: an error at which ``fit`` would stop becomes a finding, and the rest is still audited."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ner_module.data.datamodule import NERDataModule
from ner_module.data.formats import expand_files
from ner_module.data.held_out import choose_held_out
from ner_module.data.inventory import check_label_map, choose_outside_label, choose_source_scheme
from ner_module.data.preparation import store_splits
from ner_module.data.store import StoredSplit
from ner_module.errors import DataError
from ner_module.extras.audit.corpus import SPLITS, Corpus, Source, read_corpus
from ner_module.extras.audit.tags import misspelt_tags
from ner_module.extras.findings import Example, Finding
from ner_module.tagging import OUTSIDE

_COMMANDS = {"train": "fit", "validation": "validate", "test": "test"}


class Reading(NamedTuple):
    """What could be read.

    Attributes:
        corpus: the splits.
        findings: what stood in the way, and what is wrong with the inventory of tags.
        failure: why ``fit`` would not get as far as this, where some file could not be read.
    """

    corpus: Corpus
    findings: list[Finding]
    failure: DataError | None


def read_data(data: NERDataModule) -> Reading:
    """Read all splits that a configuration names, or take those that the data module has read.

    Raises:
        DataError: none of them can be read.
    """
    options = data.hparams
    stored = dict(data.stored)
    errors: list[DataError] = []
    failure: DataError | None = None
    if not stored:
        folders, errors, failure = _store(options, data.cache)
        stored = {name: StoredSplit(folder) for name, folder in folders.items()}
    findings = [_finding(error) for error in errors]
    sources: dict[str, Source] = {}
    for name, split in stored.items():
        try:
            scheme = choose_source_scheme(split, options["source_scheme"])
        except DataError as error:
            if not split.meta["schemes"]["prefixed_words"]:  # else the tags in question are found below, one by one
                findings.append(_finding(error, "labels_without_prefix"))
            illegal = split.meta["schemes"]["illegal_words"]
            scheme = min(illegal, key=illegal.__getitem__) if split.meta["schemes"]["prefixed_words"] else "flat"
        sources[name] = Source(split, scheme)
    if "train" in sources and "validation" not in sources and options["validation_file"] is None:
        train = sources["train"]
        try:
            held_out = choose_held_out(train.stored, options["validation_fraction"], options["seed"])
            sources["train"] = Source(train.stored, train.scheme, held_out)
        except DataError as error:
            findings.append(_finding(error, "too_few_sentences"))
    splits, scheme = list(stored.values()), next(iter(sources.values())).scheme
    declared = next((split.meta["declared_names"] for split in splits if split.meta["declared_names"]), None)
    findings += misspelt_tags(splits, options["label_names"] or declared, scheme)
    label_map = data.label_map
    try:
        check_label_map(label_map, splits, scheme)
    except DataError as error:
        findings.append(_finding(error, "label_map"))
        label_map = {}
    asked = options["outside_label"]
    try:
        outside_label = choose_outside_label(splits, scheme, asked, label_map)
    except DataError as error:
        findings.append(_finding(error, "outside_label"))
        outside_label = asked if scheme == "flat" else OUTSIDE
    return Reading(read_corpus(sources, outside_label, label_map), findings, failure)


def _store(options: Any, cache: Path) -> tuple[dict[str, Path], list[DataError], DataError | None]:
    """The folders of the splits; without what cannot be read, which is the second, and why ``fit`` would stop."""
    failure = None
    if options["train_file"] is not None or options["dataset_name"] is not None:
        try:
            return store_splits(options, "fit", cache), [], None
        except DataError as error:
            failure = error
    folders, errors = _store_one_by_one(options, cache)
    if not folders:
        nothing = DataError("the data", None, "no split is given", "give --data.train_file, or another split's")
        raise failure or next(iter(errors), nothing)
    return folders, errors, failure


def _store_one_by_one(options: Any, cache: Path) -> tuple[dict[str, Path], list[DataError]]:
    """Each split, and each file of a split, by itself."""
    folders: dict[str, Path] = {}
    errors: list[DataError] = []

    def store(split: str, files: list[str]) -> Path:
        others = {f"{name}_file": None for name in SPLITS}
        chosen = type(options)({**options, **others, "dataset_name": None, f"{split}_file": files})
        return store_splits(chosen, _COMMANDS[split], cache)[split]

    for split in SPLITS:
        if options[f"{split}_file"] is None:
            continue
        readable = []
        try:
            for path in expand_files(options[f"{split}_file"]):
                try:
                    store(split, [str(path)])
                    readable.append(str(path))
                except DataError as error:
                    errors.append(error)
        except DataError as error:
            errors.append(error)
        if readable:
            folders[split] = store(split, readable)
    return folders, errors


def _finding(error: DataError, code: str = "unreadable") -> Finding:
    example = Example(str(error.path), error.line, error.problem)
    return Finding(code, "error", 1, error.problem, example, error.advice)
