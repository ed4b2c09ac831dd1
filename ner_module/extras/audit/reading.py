"""Reading what can be read: what ``fit`` would stop at becomes a finding, and the rest is audited all the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ner_module.data.datamodule import NERDataModule
from ner_module.data.formats import expand_files
from ner_module.data.held_out import choose_held_out
from ner_module.data.inventory import Tags, choose_source_scheme
from ner_module.data.preparation import store_splits
from ner_module.data.store import StoredSplit
from ner_module.errors import DataError
from ner_module.extras.audit.corpus import SPLITS, Source
from ner_module.extras.audit.tags import misspelt_tags
from ner_module.extras.findings import Example, Finding
from ner_module.tagging import OUTSIDE

_COMMANDS = {"train": "fit", "validation": "validate", "test": "test"}


@dataclass
class Reading:
    """What could be read.

    Attributes:
        sources: the splits.
        outside_label: the label of words outside any entity, if there is one.
        findings: what stood in the way, and what is wrong with the tags.
        failure: why ``fit`` would not get as far as this, where some file could not be read.
        label_map: how types are renamed or dropped.
    """

    sources: dict[str, Source]
    outside_label: str | None
    findings: list[Finding]
    failure: DataError | None
    label_map: dict[str, str]


def read_data(data: NERDataModule) -> Reading:
    """Read all splits that a configuration names.

    Raises:
        DataError: none of them can be read.
    """
    options, failure = data.hparams, None
    findings: list[Finding] = []
    if options["train_file"] is None and options["dataset_name"] is None:
        stored, findings = _one_by_one(options, data.cache)
        if not stored and not findings:
            raise DataError("the data", None, "no split is given", "give --data.train_file, or another split's")
    else:
        try:
            stored = store_splits(options, "fit", data.cache)
        except DataError as error:
            failure = error
            stored, findings = _one_by_one(options, data.cache)
    if not stored and failure is not None:
        raise failure
    sources: dict[str, Source] = {}
    for name, split in stored.items():
        try:
            scheme = choose_source_scheme(split, options["source_scheme"])
        except DataError as error:
            if not split.meta["schemes"]["prefixed_words"]:  # else the tags in question are found below, one by one
                findings.append(_unreadable(error, "labels_without_prefix"))
            illegal = split.meta["schemes"]["illegal_words"]
            scheme = min(illegal, key=illegal.__getitem__) if split.meta["schemes"]["prefixed_words"] else "flat"
        sources[name] = Source(split, scheme)
    if "train" in sources and "validation" not in sources and options["validation_file"] is None:
        train = sources["train"]
        try:
            held_out = choose_held_out(train.stored, options["validation_fraction"], options["seed"])
            sources["train"] = Source(train.stored, train.scheme, held_out)
        except DataError as error:
            findings.append(_unreadable(error, "too_few_sentences"))
    declared = options["label_names"] or next(
        (split.meta["declared_names"] for split in stored.values() if split.meta["declared_names"]), None
    )
    scheme = next(iter(sources.values())).scheme
    findings += misspelt_tags(list(stored.values()), declared, scheme)
    label_map = dict(options["label_map"] or {})
    try:
        Tags(stored, dict.fromkeys(stored, scheme), declared, label_map).check_label_map()
    except DataError as error:
        findings.append(_unreadable(error, "label_map"))
        label_map = {}
    outside_label = _outside_label(stored, scheme, options["outside_label"], findings)
    return Reading(sources, outside_label, findings, failure, label_map)


def _one_by_one(options: Any, cache: Path) -> tuple[dict[str, StoredSplit], list[Finding]]:
    """Each split, and each file of a split, by itself; files that cannot be read are left out and told."""
    stored: dict[str, StoredSplit] = {}
    findings: list[Finding] = []
    for split in SPLITS:
        files = options[f"{split}_file"]
        if files is None:
            continue
        try:
            paths = [str(path) for path in expand_files(files)]
        except DataError as error:
            findings.append(_unreadable(error))
            continue
        readable = []
        for path in paths:
            try:
                store_splits(_only(options, split, [path]), _COMMANDS[split], cache)
                readable.append(path)
            except DataError as error:
                findings.append(_unreadable(error))
        if readable:
            stored[split] = store_splits(_only(options, split, readable), _COMMANDS[split], cache)[split]
    return stored, findings


def _only(options: Any, split: str, files: list[str]) -> Any:
    """The options with the files of one split."""
    others = {f"{name}_file": None for name in SPLITS}
    return type(options)({**options, **others, "dataset_name": None, f"{split}_file": files})


def _unreadable(error: DataError, code: str = "unreadable") -> Finding:
    example = Example(str(error.path), error.line, error.problem)
    return Finding(code, "error", 1, error.problem, example, error.advice)


def _outside_label(
    stored: dict[str, StoredSplit], scheme: str, asked: str | None, findings: list[Finding]
) -> str | None:
    tags = {tag for split in stored.values() for tag in split.meta["tag_counts"]}
    if asked is not None and asked not in tags:
        findings.append(
            Finding(
                "outside_label",
                "error",
                1,
                f"no word has the outside label {asked!r}",
                Example("--data.outside_label", None, asked),
                f"tags are {', '.join(sorted(tags))}",
            )
        )
    if scheme != "flat":
        return OUTSIDE
    return asked if asked is not None else OUTSIDE if OUTSIDE in tags else None
