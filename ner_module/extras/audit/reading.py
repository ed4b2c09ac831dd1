"""Reading what can be read: an error at which ``fit`` would stop becomes a finding, and the rest is still audited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ner_module.data.datamodule import NERDataModule
from ner_module.data.formats import expand_files
from ner_module.data.inventory import Tags, choose_source_scheme
from ner_module.data.options import choose_held_out
from ner_module.data.preparation import NEEDED, store_splits
from ner_module.data.store import StoredSplit
from ner_module.errors import DataError
from ner_module.extras.audit.annotations import misspelt_tags
from ner_module.extras.audit.corpus import SPLITS, Corpus, Source, read_corpus
from ner_module.extras.findings import Example, Finding
from ner_module.tagging import OUTSIDE

_COMMANDS = {split: command for command, split in NEEDED.items()}


def read_data(data: NERDataModule) -> tuple[Corpus, list[Finding], DataError | None]:
    """Read all splits that a configuration names, or take those that the data module has read.

    Returns:
        The sentences; what stood in the way, and what is wrong with the inventory of tags; why ``fit`` would stop where
        some file cannot be read.

    Raises:
        DataError: no file can be read.
    """
    options: Any = data.hparams
    stored = dict(data.stored)
    findings: list[Finding] = []
    failure: DataError | None = None

    def attempt(code: str, otherwise: Any, check: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return check(*arguments)
        except DataError as error:
            example = Example(str(error.path), error.line, error.problem)
            findings.append(Finding(code, "error", 1, error.problem, example, error.advice))
            return otherwise

    def store(split: str, files: list[str]) -> StoredSplit:
        others = {f"{name}_file": None for name in SPLITS}
        chosen = type(options)({**options, **others, "dataset_name": None, f"{split}_file": files})
        return store_splits(chosen, _COMMANDS[split], data.cache)[split]

    try:
        stored = stored or store_splits(options, "fit", data.cache)
    except DataError as error:
        for split in SPLITS:
            asked = options[f"{split}_file"]
            files = [] if asked is None else [str(path) for path in attempt("unreadable", [], expand_files, asked)]
            if readable := [file for file in files if attempt("unreadable", None, store, split, [file])]:
                stored[split] = store(split, readable)
        if not stored:
            raise
        if options["train_file"] is not None or options["dataset_name"] is not None:
            failure = error
    sources: dict[str, Source] = {}
    for name, split_data in stored.items():
        census = split_data.meta["schemes"]
        if census["flat_words"] and census["prefixed_words"] and options["source_scheme"] != "flat":
            # The tags in question are found below, one by one.
            scheme = min(census["illegal_words"], key=census["illegal_words"].__getitem__)
        else:
            asked = options["source_scheme"]
            scheme = attempt("labels_without_prefix", "flat", choose_source_scheme, split_data, asked)
        sources[name] = Source(split_data, scheme)
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
