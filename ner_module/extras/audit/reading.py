"""Reading what can be read: an error at which ``fit`` would stop becomes a finding, and the rest is still audited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ner_module.data.datamodule import NERDataModule
from ner_module.data.formats import expand_files
from ner_module.data.inventory import Tags, choose_source_scheme
from ner_module.data.options import choose_held_out
from ner_module.data.preparation import store_splits
from ner_module.data.store import StoredSplit
from ner_module.errors import DataError
from ner_module.extras.audit.corpus import SPLITS, Corpus, Source, read_corpus
from ner_module.extras.audit.tags import misspelt_tags
from ner_module.extras.findings import Example, Finding
from ner_module.tagging import OUTSIDE

_COMMANDS = {"train": "fit", "validation": "validate", "test": "test"}


def read_data(data: NERDataModule) -> tuple[Corpus, list[Finding], DataError | None]:
    """Read all splits that a configuration names, or take those that the data module has read.

    Returns:
        The sentences; what stood in the way, and what is wrong with the inventory of tags; why ``fit`` would stop where
        some file cannot be read.

    Raises:
        DataError: no file can be read.
    """
    options, stored = data.hparams, dict(data.stored)
    findings: list[Finding] = []
    failure: DataError | None = None
    if not stored:
        stored, errors, failure = _store(options, data.cache)
        findings = [_finding("unreadable", error) for error in errors]

    def attempt(code: str, otherwise: Any, check: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return check(*arguments)
        except DataError as error:
            findings.append(_finding(code, error))
            return otherwise

    sources: dict[str, Source] = {}
    for name, split in stored.items():
        census = split.meta["schemes"]
        if census["flat_words"] and census["prefixed_words"] and options["source_scheme"] != "flat":
            # The tags in question are found below, one by one.
            scheme = min(census["illegal_words"], key=census["illegal_words"].__getitem__)
        else:
            asked = options["source_scheme"]
            scheme = attempt("labels_without_prefix", "flat", choose_source_scheme, split, asked)
        sources[name] = Source(split, scheme)
    if "train" in sources and "validation" not in sources and options["validation_file"] is None:
        train, share, seed = sources["train"], options["validation_fraction"], options["seed"]
        held_out = attempt("too_few_sentences", None, choose_held_out, train.stored, share, seed)
        sources["train"] = train._replace(held_out=held_out)
    schemes = {name: source.scheme for name, source in sources.items()}
    tags = Tags(stored, schemes, options["label_names"], data.label_map)
    findings += misspelt_tags(tags)
    if attempt("label_map", "refused", tags.check_label_map) == "refused":
        tags.label_map = {}
    asked, scheme = options["outside_label"], next(iter(schemes.values()))
    outside = attempt("outside_label", asked if scheme == "flat" else OUTSIDE, tags.outside_label, scheme, asked)
    return read_corpus(sources, outside, tags.label_map), findings, failure


def _store(options: Any, cache: Path) -> tuple[dict[str, StoredSplit], list[DataError], DataError | None]:
    """The splits that can be read, an error for each file that cannot, and why ``fit`` would stop."""
    try:
        return store_splits(options, "fit", cache), [], None
    except DataError as error:
        failure = error
    found, errors = _store_one_by_one(options, cache)
    if not found:
        raise failure
    without_training = options["train_file"] is None and options["dataset_name"] is None
    return found, errors, None if without_training else failure


def _store_one_by_one(options: Any, cache: Path) -> tuple[dict[str, StoredSplit], list[DataError]]:
    """Each split, and each file of a split, by itself."""
    found: dict[str, StoredSplit] = {}
    errors: list[DataError] = []

    def store(split: str, files: list[str]) -> StoredSplit:
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
            found[split] = store(split, readable)
    return found, errors


def _finding(code: str, error: DataError) -> Finding:
    example = Example(str(error.path), error.line, error.problem)
    return Finding(code, "error", 1, error.problem, example, error.advice)
