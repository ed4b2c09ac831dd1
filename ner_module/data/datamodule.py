"""NERDataModule: annotated data in, batches out.

``prepare_data`` (once per node) reads and tokenises what the command needs into the cache; ``setup`` (every process)
maps it into memory and settles the label inventory; the loaders deal out batches. A checkpoint carries this module's
state (tokenizer, labels, alignment), so that ``test`` and ``predict`` see words as training did and need neither the
hub nor the training files.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from ner_module.data.batching import (
    BatchAssembler,
    Batching,
    EvaluationSampler,
    SentenceBatches,
    TrainingBatches,
    TrainingSampler,
    evaluation_batches,
)
from ner_module.data.encoded import EncodedSplit, EncodingOptions
from ner_module.data.hub import choose_columns, load_hub_dataset
from ner_module.data.preparation import (
    PreparedSplit,
    ReadingOptions,
    choose_scheme,
    encode_stored,
    outside_label_of,
    store_files,
    store_hub_split,
)
from ner_module.data.readers import expand_files
from ner_module.data.sentence import DataError
from ner_module.data.store import StoredSplit
from ner_module.data.words import WORDS_VERSION
from ner_module.pretrained import from_pretrained, load_tokenizer, max_row_length, tokenizer_from_files, tokenizer_to_files
from ner_module.tagging import check_scheme, close_label_names, tags_to_spans

log = logging.getLogger(__name__)

DEFAULT_MAX_SEQ_LENGTH = 512

# Which splits a command reads. `fit` reads the test data too: the label inventory is taken over all splits.
_SPLITS = {
    "fit": ("train", "validation", "test"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": ("predict",),
}

# Predictions are sorted by length within this many sentences, so that they can be written as they come.
_LOOK_AHEAD = 10_000

# With fewer documents than this, a split made by document would be too coarse.
_MIN_DOCUMENTS = 10


class NERDataModule(LightningDataModule):
    """Reads annotated sentences from files or a hub dataset, aligns labels with subwords, and makes batches.

    Args:
        model_name_or_path: the base model whose tokenizer is used; filled from ``--model.model_name_or_path``.
        revision: its revision on the hub; filled from ``--model.revision``.
        dataset_name: a dataset on the hub, ``namespace/name``, or a folder ``datasets`` can load.
        dataset_config_name: which configuration of it, where it has several.
        dataset_revision: branch, tag or commit of it; pin a commit to get the same data next year.
        train_file: annotated training data: a path, a glob such as ``data/train-*.jsonl``, or a list of either.
        validation_file: data for choosing the best epoch. Without it a part of the training data is held out.
        test_file: data for ``test``; scored once, at the end.
        predict_file: for ``predict``: raw text (one line, one sentence), or tokens as JSONL or columns.
        text_column_name: where the words are: a column's name, or its number from 0 in column files (default: ``tokens``
            or the first column).
        label_column_name: where the tags are, likewise (default: ``ner_tags``, ``tags``, or the last column).
        label_names: the names of integer tags, in order, when the data does not say.
        format: ``auto`` tells the format of a file from its name and content; name one to force it.
        encoding: of text files; UTF-8 unless named.
        source_scheme: how the files write entities: ``iob1``, ``iob2``, ``ioe1``, ``ioe2``, ``bioes``, ``bilou``, or
            ``flat`` for labels without B-/I- prefixes. Detected when not given.
        scheme: the scheme the model is trained on; ``iob2`` unless the labels are ``flat``.
        outside_label: for ``flat`` labels, the one that marks no entity; ``O`` where it occurs, else none.
        validation_fraction: the share of the training data held out when there is no validation data; whole documents
            where the data has them. Which ones depends on ``--seed_everything`` only through this module's ``seed``.
        max_seq_length: subwords of a row, special tokens included; longer sentences are split into overlapping windows
            and nothing is lost. 512, or the model's own limit where that is less.
        stride: subwords that neighbouring windows share; a quarter of ``max_seq_length`` by default.
        label_all_tokens: compute the loss on every subword of a word instead of the first only (B- becomes I- on the
            others); predictions are read from the first either way.
        batch_size: sentences of one training step on one device.
        eval_batch_size: sentences computed at once in evaluation and prediction; changes speed, never results.
        batching: which sentences share a training step: ``random``, or ``grouped`` by similar length, which computes
            less padding but learns from other batches.
        num_workers: processes that assemble batches; 0 is fastest for all but very large models.
        seed: decides the order of the training data and what is held out; filled from ``--seed_everything``.
        cache_dir: where tokenised data is kept between runs; ``~/.cache/ner_module``, or ``$NER_MODULE_CACHE``.
    """

    def __init__(
        self,
        model_name_or_path: str | None = None,
        revision: str | None = None,
        dataset_name: str | None = None,
        dataset_config_name: str | None = None,
        dataset_revision: str | None = None,
        train_file: str | list[str] | None = None,
        validation_file: str | list[str] | None = None,
        test_file: str | list[str] | None = None,
        predict_file: str | list[str] | None = None,
        text_column_name: str | None = None,
        label_column_name: str | None = None,
        label_names: list[str] | None = None,
        format: str = "auto",
        encoding: str | None = None,
        source_scheme: Literal["iob1", "iob2", "ioe1", "ioe2", "bioes", "bilou", "flat"] | None = None,
        scheme: Literal["iob1", "iob2", "ioe1", "ioe2", "bioes", "bilou", "flat"] | None = None,
        outside_label: str | None = None,
        validation_fraction: float = 0.1,
        max_seq_length: int | None = None,
        stride: int | None = None,
        label_all_tokens: bool = False,
        batch_size: int = 16,
        eval_batch_size: int = 32,
        batching: Batching = "random",
        num_workers: int = 0,
        seed: int = 42,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # the whole configuration is logged, by `cli.py`
        self.tokenizer: Any = None
        self.label_names: list[str] = []
        """The model's labels by id; settled in ``setup``."""
        self.scheme = "iob2"
        self.outside_label: str | None = None
        self.stored: dict[str, StoredSplit] = {}
        self.encoded: dict[str, EncodedSplit] = {}
        self._prepared: dict[str, PreparedSplit] = {}
        self._restored: dict[str, Any] | None = None
        self._held_out: npt.NDArray[np.int64] | None = None
        self._check_options()

    def _check_options(self) -> None:
        options = self.hparams
        if options.dataset_name is not None and options.train_file is not None:
            raise DataError(
                "--data.train_file", None, "is given together with --data.dataset_name", "give one of the two"
            )
        for name in ("batch_size", "eval_batch_size"):
            if options[name] < 1:
                raise DataError(f"--data.{name}", None, f"is {options[name]}", "give a number of at least 1")
        if not 0 < options.validation_fraction < 1:
            raise DataError(
                "--data.validation_fraction", None, f"is {options.validation_fraction}", "give a share between 0 and 1"
            )

    # ------------------------------------------------------------------ what is read

    @property
    def cache(self) -> Path:
        """The folder tokenised data is kept in."""
        chosen = self.hparams.cache_dir or os.environ.get("NER_MODULE_CACHE")
        return Path(chosen) if chosen else Path.home() / ".cache" / "ner_module"

    def _command(self) -> str:
        return self.trainer.state.fn.value if self.trainer is not None and self.trainer.state.fn else "fit"

    def _store_splits(self, command: str) -> dict[str, Path]:
        """Read what the command needs; split name -> folder of its sentences."""
        options = self.hparams
        wanted = set(_SPLITS[command])
        hub: dict[str, Any] = {}
        if options.dataset_name is not None and command != "predict":
            hub = dict(load_hub_dataset(options.dataset_name, options.dataset_config_name, options.dataset_revision))
            hub |= {"validation": hub[name] for name in ("dev", "valid") if name in hub and "validation" not in hub}
        if "validation" in wanted and options.validation_file is None and "validation" not in hub:
            wanted.add("train")  # the validation data is a part of it
        folders = {}
        for split in sorted(wanted):
            spec = options[f"{split}_file"]
            if spec is not None:
                reading = ReadingOptions(
                    format=options.format,
                    encoding=options.encoding,
                    text_column_name=options.text_column_name,
                    label_column_name=options.label_column_name,
                    label_names=tuple(options.label_names) if options.label_names else None,
                    tagged=split != "predict",
                )
                folders[split] = store_files(self.cache, expand_files(spec), reading)
            elif split in hub:
                where = f"dataset {options.dataset_name!r}, split {split!r}"
                columns = choose_columns(
                    hub[split], where, options.text_column_name, options.label_column_name, options.label_names
                )
                folders[split] = store_hub_split(self.cache, hub[split], where, columns)
        required = {"fit": "train", "validate": "validation", "test": "test", "predict": "predict"}[command]
        if required not in folders and not (required == "validation" and "train" in folders):
            have = f"the dataset has the splits {', '.join(hub)}" if hub else "none is configured"
            raise DataError(
                f"{required} data", None, f"needed by `{command}`, but {have}", f"give --data.{required}_file"
            )
        for split, folder in folders.items():
            stored = StoredSplit(folder)
            if len(stored) == 0:
                raise DataError(
                    ", ".join(stored.meta["sources"]), None, f"the {split} data has no sentence", "give a file with data"
                )
        return folders

    # ------------------------------------------------------------------ Lightning hooks

    def prepare_data(self) -> None:
        """Read and tokenise, into the cache; Lightning calls it in one process per node."""
        self._prepare()

    def setup(self, stage: str) -> None:
        """Map the data into memory and settle the labels; Lightning calls it in every process."""
        self._prepare()
        for split, prepared in self._prepared.items():
            self.stored[split], self.encoded[split] = prepared.open()
        tagged = [split for name, split in self.stored.items() if name != "predict"]
        if self._restored is None:
            self.label_names = self._new_inventory(tagged)
        elif stage == "fit" and set(self._new_inventory(tagged)) - set(self.label_names):
            self._check_known_labels()
        else:
            self._check_known_labels()
        if "validation" not in self.encoded and "train" in self.encoded and stage in ("fit", "validate"):
            self._held_out = self._choose_held_out()
        if self._command() in ("fit", "validate", "test"):
            self._report()

    def _prepare(self) -> None:
        """What both hooks need; quick when the cache is warm, so that every process can call it."""
        self._load_tokenizer()
        folders = self._store_splits(self._command())
        stored = {split: StoredSplit(folder) for split, folder in folders.items()}
        schemes = {name: choose_scheme(split, self.hparams.source_scheme) for name, split in stored.items() if name != "predict"}
        if self._restored is None:
            flat = {name for name, scheme in schemes.items() if scheme == "flat"}
            self.scheme = check_scheme(self.hparams.scheme or ("flat" if "train" in flat else "iob2"))
            tagged = [split for name, split in stored.items() if name != "predict"]
            self.outside_label = outside_label_of(tagged, self.scheme, self.hparams.outside_label)
        self._prepared = {}
        for name, folder in folders.items():
            options = EncodingOptions(
                max_seq_length=self.max_seq_length,
                stride=self.stride,
                label_all_tokens=self.label_all_tokens,
                source_scheme=schemes.get(name, self.scheme),
                scheme=self.scheme,
                outside_label=self.outside_label,
            )
            self._prepared[name] = PreparedSplit(folder, encode_stored(self.cache, folder, self.tokenizer, options, name))

    def _load_tokenizer(self) -> None:
        if self.tokenizer is not None:
            return
        options = self.hparams
        if options.model_name_or_path is None:
            raise DataError("--model.model_name_or_path", None, "is not given", "name a base model: a hub id or a folder")
        from transformers import AutoConfig

        self.tokenizer = load_tokenizer(options.model_name_or_path, options.revision)
        config = from_pretrained(AutoConfig.from_pretrained, options.model_name_or_path, options.revision)
        limit = max_row_length(config, self.tokenizer)
        asked = options.max_seq_length
        if asked is not None and asked > limit:
            raise DataError("--data.max_seq_length", None, f"is {asked}, but the model's limit is {limit}", "lower it")
        self.max_seq_length: int = asked or min(DEFAULT_MAX_SEQ_LENGTH, limit)
        self.label_all_tokens: bool = options.label_all_tokens
        self.stride: int = options.stride if options.stride is not None else self.max_seq_length // 4
        if not 0 <= self.stride <= self.max_seq_length // 2 or self.max_seq_length < 4:
            raise DataError(
                "--data.stride",
                None,
                f"is {self.stride} with windows of {self.max_seq_length}",
                "give at most half of --data.max_seq_length, which is at least 4",
            )

    # ------------------------------------------------------------------ labels

    def _new_inventory(self, splits: list[StoredSplit]) -> list[str]:
        """The labels of a new model: closed under the scheme, over all splits, a dataset's own order kept."""
        declared = self.hparams.label_names or next((s.meta["declared_names"] for s in splits if s.meta.get("declared_names")), None)
        tags = {tag for split in self.encoded.values() for tag in split.tag_names}
        if declared and tags | set(declared) == set(declared):
            tags_in_order = [name for name in declared if name in tags or self.scheme != "flat" or True]
            return close_label_names(tags_in_order, self.scheme, self.outside_label)
        return close_label_names(tags, self.scheme, self.outside_label)

    def _check_known_labels(self) -> None:
        """Refuse tags that the checkpoint's model has no label for."""
        known = set(self.label_names)
        for name, split in self.encoded.items():
            unknown = [tag for tag in split.tag_names if tag not in known]
            if unknown and name != "predict":
                first = self._first_seen(name, unknown[0])
                raise DataError(
                    *first,
                    f"the label {unknown[0]!r} is unknown to the checkpoint, which has {', '.join(self.label_names)}",
                    "correct the tag, or train a model that knows it",
                )

    def _first_seen(self, split: str, tag: str) -> tuple[str, int | None]:
        places = self.stored[split].meta["first_seen"]
        path, line = places.get(tag) or next(
            (place for seen, place in places.items() if seen.partition("-")[2] == tag.partition("-")[2]), (split, None)
        )
        return path, line

    def label_ids(self, split: str) -> list[int]:
        """The model's label id of each tag of a split."""
        ids = {name: index for index, name in enumerate(self.label_names)}
        return [ids[tag] for tag in self.encoded[split].tag_names]

    # ------------------------------------------------------------------ validation data

    def _choose_held_out(self) -> npt.NDArray[np.int64]:
        """The sentences of the training data that serve as validation data, by whole documents where there are enough."""
        stored = self.stored["train"]
        documents = stored.documents()
        units = np.unique(documents, return_inverse=True)[1] if None not in documents else np.arange(len(stored))
        if units.max() + 1 < _MIN_DOCUMENTS:
            units = np.arange(len(stored))
        order = np.random.default_rng(self.hparams.seed).permutation(int(units.max()) + 1)
        sizes = np.bincount(units)[order]
        count = int(np.searchsorted(np.cumsum(sizes), self.hparams.validation_fraction * len(stored))) + 1
        chosen = np.flatnonzero(np.isin(units, order[:count]))
        if len(chosen) == len(stored):
            raise DataError(
                ", ".join(stored.meta["sources"]),
                None,
                f"holds {len(stored)} sentences, too few to hold some out for validation",
                "give --data.validation_file, or more data",
            )
        return chosen

    def sentences_of(self, split: str) -> tuple[str, npt.NDArray[np.int64] | None]:
        """Which encoded split a split's sentences lie in, and which of them they are (``None``: all)."""
        if self._held_out is None or split not in ("train", "validation"):
            return split, None
        if split == "validation":
            return "train", self._held_out
        return "train", np.setdiff1d(np.arange(len(self.stored["train"])), self._held_out)

    def tokens_of(self, split: str, index: int) -> list[str]:
        """The words of the ``index``-th sentence of a split."""
        source, chosen = self.sentences_of(split)
        return self.stored[source].tokens(index if chosen is None else int(chosen[index]))

    def num_sentences(self, split: str) -> int:
        """How many sentences a split has."""
        source, chosen = self.sentences_of(split)
        return len(self.stored[source]) if chosen is None else len(chosen)

    def train_entities(self) -> dict[str, dict[str, int]]:
        """The entities of the training data: type -> surface form (words joined by spaces) -> count."""
        source, chosen = self.sentences_of("train")
        names = self.encoded[source].tag_names
        entities: dict[str, dict[str, int]] = {}
        encoded, stored = self.encoded[source], self.stored[source]
        for sentence in range(len(stored)) if chosen is None else chosen.tolist():
            tags = [names[label] for label in encoded.word_labels[encoded.words_of(sentence)]]
            spans = tags_to_spans(tags, self.scheme, self.outside_label)
            tokens = stored.tokens(sentence) if spans else []
            for start, end, entity_type in spans:
                form = " ".join(tokens[start:end])
                of_type = entities.setdefault(entity_type, {})
                of_type[form] = of_type.get(form, 0) + 1
        return entities

    # ------------------------------------------------------------------ loaders

    def _assembler(self, split: str) -> BatchAssembler:
        ids = self.label_ids(split) if split != "predict" else []
        return BatchAssembler(self.encoded[split], ids, self.tokenizer.pad_token_id or 0)

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _loader(self, dataset: Any, sampler: Any) -> DataLoader[Any]:
        workers = self.hparams.num_workers
        return DataLoader(
            dataset,
            sampler=sampler,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Each iteration draws a seed for its workers; from a generator of its own, so that loaders and their
            # number of workers leave the global one, and with it training, unchanged.
            generator=torch.Generator().manual_seed(self.hparams.seed),
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of rows in a new order each epoch."""
        source, chosen = self.sentences_of("train")
        split = self.encoded[source]
        rows = None
        if chosen is not None:
            rows = np.concatenate(
                [np.arange(split.sentence_rows[sentence], split.sentence_rows[sentence + 1]) for sentence in chosen]
            )
        rank, world_size = self._ranks()
        accumulate = self.trainer.accumulate_grad_batches if self.trainer is not None else 1
        options = self.hparams
        sampler = TrainingSampler(
            split, rows, options.batch_size, options.batching, options.seed, accumulate, rank, world_size
        )
        return self._loader(TrainingBatches(self._assembler(source)), sampler)

    def _evaluation_loader(self, split: str, look_ahead: int | None = None) -> DataLoader[Any]:
        source, chosen = self.sentences_of(split)
        encoded = self.encoded[source]
        lengths = encoded.sentence_lengths()
        if chosen is not None:
            lengths = lengths[chosen]
        batches = evaluation_batches(lengths, self.hparams.eval_batch_size, look_ahead)
        sampler = EvaluationSampler(batches, *self._ranks())
        return self._loader(SentenceBatches(self._assembler(source), chosen), sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        """Whole sentences, sorted by length."""
        return self._evaluation_loader("validation")

    def test_dataloader(self) -> DataLoader[Any]:
        """Whole sentences, sorted by length."""
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Whole sentences, sorted by length within a bounded look-ahead."""
        return self._evaluation_loader("predict", _LOOK_AHEAD)

    # ------------------------------------------------------------------ what a checkpoint carries

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to see text as the model saw it in training; plain strings and numbers."""
        return {
            "tokenizer": tokenizer_to_files(self.tokenizer),
            "label_names": list(self.label_names),
            "scheme": self.scheme,
            "outside_label": self.outside_label,
            "max_seq_length": self.max_seq_length,
            "stride": self.stride,
            "label_all_tokens": self.label_all_tokens,
            "words_version": WORDS_VERSION,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take tokenizer, labels and alignment from a checkpoint instead of base model and data."""
        if self._restored is not None:
            return  # the command line did it before `setup`; Lightning does it again after
        self._restored = state_dict
        self.tokenizer = tokenizer_from_files(state_dict["tokenizer"])
        self.label_names = list(state_dict["label_names"])
        self.scheme, self.outside_label = state_dict["scheme"], state_dict["outside_label"]
        self.max_seq_length, self.stride = state_dict["max_seq_length"], state_dict["stride"]
        self.label_all_tokens = state_dict["label_all_tokens"]

    # ------------------------------------------------------------------ what is said

    def _report(self) -> None:
        """Say in a few lines what was read, and everything that was not taken as it stood."""
        for name, split in self.encoded.items():
            found = split.summary
            log.info(f"{name}: {found.sentences:,} sentences, {found.words:,} words ({', '.join(self.stored[name].meta['sources'][:3])})")
