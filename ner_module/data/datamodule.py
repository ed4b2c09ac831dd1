"""NERDataModule: annotated data in, batches out.

``prepare_data`` (once per node) reads and tokenises the required splits into the cache; ``setup`` (every process)
memory-maps them and determines the labels; the loaders yield batches. With this module's state from a checkpoint,
``test`` and ``predict`` process words as training did, and need neither the base model nor the training files.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from ner_module.data.agreement import check_agreement, several_processes
from ner_module.data.batching import LOOK_AHEAD, Batching, Position, TrainingSampler, evaluation_loader, training_loader
from ner_module.data.encoded import BatchAssembler, EncodedSplit, EncodingOptions, Indices, OpenLabels
from ner_module.data.entities import count_entities
from ner_module.data.inventory import Tags, check_known, check_learnable, check_strict, choose_source_schemes
from ner_module.data.partial import AnnotatedTypes, find_open_labels
from ner_module.data.preparation import (
    check_options,
    choose_held_out,
    encode_stored,
    find_split,
    report_splits,
    sequence_limits,
    store_splits,
)
from ner_module.data.store import Documents, StoredSplit
from ner_module.data.words import WORDS_VERSION
from ner_module.errors import DataError, UserError, make_plain
from ner_module.files import cache_folder
from ner_module.pretrained import load_config
from ner_module.tagging import OUTSIDE, LabelSet, Scheme
from ner_module.tokenizer import load_tokenizer, tokenizer_from_files, tokenizer_to_files

log = logging.getLogger(__name__)


class NERDataModule(LightningDataModule):
    """Reads annotated sentences from files or a hub dataset, aligns labels with subword tokens, and makes batches.

    Args:
        model_name_or_path: the base model whose tokenizer is used; filled from ``--model.model_name_or_path``.
        revision: its revision on the hub; filled from ``--model.revision``.
        dataset_name: a dataset on the hub, ``namespace/name``, or a folder ``datasets`` can load.
        dataset_config_name: its configuration, where it has several.
        dataset_revision: branch, tag or commit of it; pin a commit to get the same data next year.
        train_file: annotated training data: a path, a glob such as ``data/train-*.jsonl``, or a list of either.
        validation_file: data for choosing the best epoch; without it a part of the training data is held out.
        test_file: test data; scored once, at the end.
        predict_file: for ``predict``: raw text (one line, one sentence), or tokens as JSONL or columns.
        text_column_name: the column of the words: a name, or a number from 0 in column files (``tokens`` or the first).
        label_column_name: the column of the tags, likewise (``ner_tags``, ``tags``, or the last column).
        label_names: names of integer tags, in order, where the data lack them.
        format: ``auto`` detects the format of a file from its name and content; name one to force it.
        encoding: encoding of text files; UTF-8 by default.
        max_record_mb: the longest line, row, JSON record or sentence that is read, in MiB of characters.
        span_offsets: how span offsets are counted, where ``auto`` asks for it: ``exclusive``, ``inclusive``, …
        source_scheme: the tagging scheme of the files (detected): ``iob1``, ``iob2``, ``ioe1``, ``ioe2``, ``bioes``,
            ``bilou``; without B-/I- prefixes, ``io`` (a run of one label is an entity) or ``flat`` (each word is).
        scheme: the tagging scheme to train; ``iob2`` unless the labels are ``flat``.
        outside_label: the label of words outside any entity, where it is not ``O``; ``flat`` labels may have none.
        label_map: renames entity types (``{person: PER, human: PER}``) or drops them (``{misc: O}``), in all splits;
            for ``flat`` labels, the labels themselves. A checkpoint keeps its map; what is given beside it is added.
        annotated_types: the entity types that all files annotate, or those of some, by path or pattern
            (``{news/*.conll: [PER, LOC]}``), where that is not all: a word outside may be of the others there.
        strict: refuse invalid tag sequences and spans that do not match word boundaries, instead of repairing them.
        validation_fraction: the share of training sentences, or documents, held out without validation data; 0: none.
        max_seq_length: the most subword tokens of a sequence; longer sentences are split into overlapping windows,
            nothing is lost. 512, or the model's own limit where that is less.
        stride: subword tokens that neighbouring windows share; a quarter of ``max_seq_length`` by default.
        context_size: subword tokens of its document around a sentence that it is read with; only its own words are
            labelled and predicted. 0 reads each sentence by itself. Longer sequences cost time.
        documents: where documents begin: ``marked`` as in the data (``-DOCSTART-``, ``# newdoc``, a ``document`` key,
            brat files), or ``file``: a file that marks none is one, too.
        label_all_tokens: compute the loss on all subword tokens of a word, not only the first; B- becomes I- on others.
        batch_size: sentences per training step and device.
        max_tokens: the most subword tokens per training step and device, in place of ``batch_size``; bounds memory.
        eval_batch_size: batch size in evaluation and prediction; changes speed, never results.
        batching: which sentences share a training step: ``random``, or ``grouped`` by similar length, which computes
            less padding but learns from other batches.
        num_workers: processes that assemble batches; 0 does it in the training process, with the same results.
        seed: decides the order of the training data and what is held out; filled from ``--seed_everything``.
        cache_dir: cache of tokenised data; ``~/.cache/ner_module``, or ``$NER_MODULE_CACHE``.
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
        max_record_mb: int = 16,
        span_offsets: str = "auto",
        source_scheme: Scheme | Literal["io"] | None = None,
        scheme: Scheme | None = None,
        outside_label: str | None = None,
        label_map: dict[str, str] | None = None,
        annotated_types: AnnotatedTypes | None = None,
        strict: bool = False,
        validation_fraction: float = 0.1,
        max_seq_length: int | None = None,
        stride: int | None = None,
        context_size: int = 0,
        documents: Documents = "marked",
        label_all_tokens: bool = False,
        batch_size: int = 16,
        max_tokens: int | None = None,
        eval_batch_size: int = 32,
        batching: Batching = "random",
        num_workers: int = 0,
        seed: int = 42,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # the whole configuration is logged, by `cli.py`
        self._options: Any = self.hparams
        make_plain(NERDataModule.__init__, self._options, "--data.")
        check_options(self._options)
        self.labels = LabelSet(())  # the model's; set in `setup` or by a checkpoint
        self.label_map: dict[str, str] = dict(label_map or {})
        self.tokenizer: Any = None
        self.stored: dict[str, StoredSplit] = {}
        self.encoded: dict[str, EncodedSplit] = {}
        self.predicted_before = 0  # sentences already predicted, in whole chunks of `LOOK_AHEAD`
        self._stage = "fit"  # the command without a trainer
        self._prepared: str | None = None  # the command whose data were prepared, until `setup`
        self._schemes: Mapping[str, str] = {}  # annotated split -> scheme of its files
        self._sentences: dict[str, tuple[str, Indices]] = {}  # split -> stored split, and its sentences there
        self.open_labels: dict[str, OpenLabels] = {}  # stored splits in which some file does not annotate all types
        self._problem: UserError | None = None
        self._train_sha256: list[str] = []  # of the training data of a restored checkpoint
        self.begun: Position | None = None  # the position of the restored checkpoint
        self.sampler: TrainingSampler | None = None  # of the training loader, once it exists
        self.private_folder: Path | None = None  # for texts to predict

    @property
    def cache(self) -> Path:
        """The cache folder for tokenised data; for texts to predict, the private one."""
        if self._command() != "predict":
            return cache_folder(self._options.cache_dir)
        if self.private_folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="ner-module-")
            self.private_folder = Path(self._temporary.name)
        return self.private_folder

    def _command(self) -> str:
        """The trainer's command; without a trainer, the stage of ``setup``."""
        return self.trainer.state.fn.value if self.trainer is not None and self.trainer.state.fn else self._stage

    def prepare_data(self) -> None:
        """Read and tokenise into the cache; Lightning calls it in one process per node."""
        try:
            self._prepare()
        except UserError as error:
            if not several_processes():
                raise
            self._problem = error  # raised in `setup`, in all processes

    def _prepare(self) -> None:
        command, options = self._command(), self._options
        self.stored = store_splits(options, command, self.cache)
        annotated = {name: split for name, split in self.stored.items() if name != "predict"}
        self._schemes = choose_source_schemes(annotated, options.source_scheme, options.outside_label)
        for name, split in annotated.items() if options.strict else ():
            check_strict(split, self._schemes[name])
        self.tags = Tags(annotated, self._schemes, options.label_names, self.label_map)
        module: Any = getattr(self.trainer, "lightning_module", None)
        if getattr(module, "model", None) is not None:
            self.labels = module.labels  # an existing model keeps its labels
        elif not self.labels.names:
            self.labels = self.tags.check(options.scheme, options.outside_label)
        self.load_tokenizer()  # after the data: errors in a file are reported before a model is downloaded
        self.encoded = {
            name: encode_stored(self.cache, split, self.tokenizer, self.encoding_options(name), name, options.documents)
            for name, split in self.stored.items()
        }
        self._prepared = command

    def load_tokenizer(self) -> None:
        """Load the base model's tokenizer and set the alignment, unless a checkpoint has set both."""
        if self.tokenizer is not None:
            return
        options = self._options
        if options.model_name_or_path is None:
            raise DataError("--model.model_name_or_path", None, "it is not given", "name a hub id or a folder")
        source = options.model_name_or_path, options.revision
        tokenizer = load_tokenizer(*source)
        self.max_seq_length, self.stride = sequence_limits(options, load_config(*source), tokenizer)
        self.label_all_tokens, self.context_size = options.label_all_tokens, options.context_size
        self.tokenizer = tokenizer

    def encoding_options(self, split: str) -> EncodingOptions:
        """The encoding options of a split."""
        scheme = self.labels.scheme
        return EncodingOptions(
            max_seq_length=self.max_seq_length,
            stride=self.stride,
            label_all_tokens=self.label_all_tokens,
            source_scheme=self._schemes.get(split, scheme),
            scheme=scheme,
            # A model with prefixes uses O; flat files may use another outside label.
            outside_label=self.labels.outside if scheme == "flat" else self._options.outside_label or OUTSIDE,
            context_size=self.context_size,
            label_map=tuple(sorted(self.label_map.items())) if split != "predict" else (),
        )

    def setup(self, stage: str) -> None:
        """Determine the labels and the held-out sentences; Lightning calls it in every process."""
        self._stage = stage
        if self._problem is None:
            try:
                self._settle()
            except UserError as error:
                self._problem = error
        seen = {f"{name} data": encoded.name for name, encoded in self.encoded.items()}
        check_agreement(self._problem, {**seen, "labels": self.labels})
        if (module := getattr(self.trainer, "lightning_module", None)) is not None:
            module.configure_model()  # here, for callbacks that freeze or copy the model in their ``setup``

    def _settle(self) -> None:
        command = self._command()
        if self._prepared != command:
            self._prepare()  # another process did; here the cache is warm
        self._prepared = None
        if self.labels.names:  # from a checkpoint, or an earlier `fit`
            for name, split in self.tags.splits.items():
                check_known(self.labels, split, self.encoded[name])
        else:
            found = {tag for name in self.tags.splits for tag in self.encoded[name].tag_names}
            self.labels = self.tags.label_set(found, self.labels.scheme, self.labels.outside)
            if command == "fit":
                check_learnable(self.labels, self.stored["train"])
        given, is_fit = self._options.annotated_types, command == "fit" and self.trainer is not None
        self.open_labels = find_open_labels(given, self.tags.splits, self.encoded, self.labels, is_fit)
        if command == "fit" and self._train_sha256 and self.stored["train"].meta["sha256"] != self._train_sha256:
            log.warning("the training data has changed since the checkpoint was made; training uses the new data")
        self._sentences = {name: (name, np.arange(len(split))) for name, split in self.stored.items()}
        held_out = None
        if "train" in self.stored and "validation" not in self.stored:
            held_out = choose_held_out(self.stored["train"], self._options.validation_fraction, self._options.seed)
            everything = self._sentences["train"][1]
            self._sentences |= {"train": ("train", np.delete(everything, held_out)), "validation": ("train", held_out)}
        report_splits(self.stored, self.encoded, held_out, self.max_seq_length, self.context_size)

    def sentences_of(self, split: str) -> tuple[str, Indices]:
        """The encoded split with the sentences of a split, and their indices there."""
        return find_split(self._sentences, split)

    def sentence_of(self, split: str, index: int) -> tuple[list[str], str, int]:
        """The words of the ``index``-th sentence of a split, its file and its first line."""
        source, chosen = self.sentences_of(split)
        place = int(chosen[index])
        return self.stored[source].tokens(place), *self.stored[source].origin(place)

    def train_entities(self) -> dict[str, dict[str, int]]:
        """The entities of the training data: type -> surface form (words joined by spaces) -> count."""
        source, chosen = self.sentences_of("train")
        return count_entities(self.stored[source], self.encoded[source], chosen, self.labels)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of sequences in a new order each epoch."""
        resume_at, self.begun = self.begun, None
        loader = training_loader(self._assembled("train"), self._options, self.trainer, resume_at)
        self.sampler = cast(TrainingSampler, loader.sampler)
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        """Whole sentences, sorted by length."""
        return evaluation_loader(self._assembled("validation"), self._options, self.trainer)

    def test_dataloader(self) -> DataLoader[Any]:
        """Whole sentences, sorted by length."""
        return evaluation_loader(self._assembled("test"), self._options, self.trainer)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Whole sentences, sorted by length within a bounded look-ahead."""
        data = self._assembled("predict")
        return evaluation_loader(data, self._options, self.trainer, LOOK_AHEAD, self.predicted_before)

    def _assembled(self, split: str) -> BatchAssembler:
        source, chosen = self.sentences_of(split)
        return BatchAssembler(self.encoded[source], self.labels, chosen, self.open_labels.get(source))

    @cached_property
    def _tokenizer_files(self) -> dict[str, str]:
        return tokenizer_to_files(self.tokenizer)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to process text as in training, in plain strings and numbers."""
        position = (self.sampler and self.sampler.reached(self.trainer)) or self.begun
        return {
            "tokenizer": self._tokenizer_files,
            **self.labels.to_fields(),
            "max_seq_length": self.max_seq_length,
            "stride": self.stride,
            "label_all_tokens": self.label_all_tokens,
            "context_size": self.context_size,
            "label_map": dict(self.label_map),
            "words_version": WORDS_VERSION,
            "position": position and asdict(position),
            "train_sha256": self.stored["train"].meta["sha256"] if "train" in self.stored else self._train_sha256,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take tokenizer, labels and alignment from a checkpoint instead of base model and data."""
        labels = LabelSet.from_fields(state_dict)
        if self.labels.names:
            # The command line restores before `setup`; Lightning does it again afterwards.
            if self.labels.names != labels.names:
                problem = f"its labels are not the checkpoint's, {', '.join(labels.names)}"
                raise DataError("the data", None, problem, "use the same data")
            if self._command() == "fit":
                self.begun = Position.from_state(state_dict.get("position"))
            return
        self._prepared, self.labels = None, labels
        self.tokenizer = tokenizer_from_files(state_dict["tokenizer"])
        self.max_seq_length, self.stride = state_dict["max_seq_length"], state_dict["stride"]
        self.label_all_tokens = state_dict["label_all_tokens"]
        self.context_size = state_dict.get("context_size", 0)  # not in checkpoints of version 0.1
        self.label_map = {**state_dict.get("label_map", {}), **(self._options.label_map or {})}
        self._train_sha256 = state_dict["train_sha256"]
        self.begun = Position.from_state(state_dict.get("position"))
        if state_dict["words_version"] != WORDS_VERSION:
            log.warning("raw text is now split into words by other rules than when this model was trained")
