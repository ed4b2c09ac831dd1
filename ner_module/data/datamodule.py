"""NERDataModule: annotated data in, batches out.

``prepare_data`` (once per node) reads and tokenises what the command needs into the cache; ``setup`` (every process)
maps it into memory and settles the label inventory; the loaders deal out batches. A checkpoint carries this module's
state (tokenizer, labels, alignment), so that ``test`` and ``predict`` see words as training did and need neither the
hub nor the training files.
"""

from __future__ import annotations

import logging
import os
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from ner_module.data.batching import (
    LOOK_AHEAD,
    BatchAssembler,
    Batching,
    EvaluationSampler,
    SentenceBatches,
    TrainingBatches,
    TrainingSampler,
    evaluation_batches,
)
from ner_module.data.encoded import EncodedSplit, EncodingOptions
from ner_module.data.held_out import choose_held_out
from ner_module.data.inventory import (
    check_known,
    check_label_map,
    check_tags,
    choose_outside_label,
    choose_source_scheme,
    count_entities,
    new_inventory,
)
from ner_module.data.messages import report_context, report_held_out, report_label_map, report_split
from ner_module.data.options import check_options, row_size
from ner_module.data.preparation import NEEDED, encode_stored, store_splits
from ner_module.data.store import Documents, StoredSplit
from ner_module.data.strict import check_strict
from ner_module.data.words import WORDS_VERSION
from ner_module.errors import DataError
from ner_module.pretrained import (
    from_pretrained,
    load_tokenizer,
    max_sequence_length,
    tokenizer_from_files,
    tokenizer_to_files,
)
from ner_module.tagging import OUTSIDE, LabelSet

log = logging.getLogger(__name__)


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
        text_column_name: where the words are: a column's name, or its number from 0 in column files (default:
            ``tokens`` or the first column).
        label_column_name: where the tags are, likewise (default: ``ner_tags``, ``tags``, or the last column).
        label_names: the names of integer tags, in order, when the data does not say.
        format: ``auto`` tells the format of a file from its name and content; name one to force it.
        encoding: of text files; UTF-8 unless named.
        source_scheme: how the files write entities: ``iob1``, ``iob2``, ``ioe1``, ``ioe2``, ``bioes``, ``bilou``, or
            ``flat`` for labels without B-/I- prefixes. Detected when not given.
        scheme: the scheme the model is trained on; ``iob2`` unless the labels are ``flat``.
        outside_label: for ``flat`` labels, the one that marks no entity; ``O`` where it occurs, else none.
        label_map: renames entity types (``{person: PER, human: PER}``) or drops them (``{misc: O}``), in all splits;
            for ``flat`` labels, the labels themselves. A checkpoint keeps its map; what is given beside it is added.
        strict: refuse illegal tag sequences and character spans that do not fit whole words, with file and line,
            instead of repairing and counting them.
        validation_fraction: the share of the training sentences held out when there is no validation data; whole
            documents where the data has them. The seed decides which.
        max_seq_length: subwords of a row, special tokens included; longer sentences are split into overlapping windows
            and nothing is lost. 512, or the model's own limit where that is less.
        stride: subwords that neighbouring windows share; a quarter of ``max_seq_length`` by default.
        context_size: how many subwords of its document a sentence is read with, before and after it together; its own
            words alone are labelled and predicted. 0 reads each sentence by itself. Longer rows cost time.
        documents: which sentences are of one document: ``marked`` as the data says (``-DOCSTART-``, ``# newdoc``, a
            ``document`` key, brat files), or ``file``: also all of a file that marks none, such as lines of raw text.
        label_all_tokens: compute the loss on every subword of a word instead of the first only (B- becomes I- on the
            others); predictions are read from the first either way.
        batch_size: sentences of one training step on one device.
        max_tokens: at most that many subwords in one training step on one device, in place of ``batch_size``: steps are
            evenly large and memory is bounded, whatever the lengths of sentences.
        eval_batch_size: sentences computed at once in evaluation and prediction; changes speed, never results.
        batching: which sentences share a training step: ``random``, or ``grouped`` by similar length, which computes
            less padding but learns from other batches.
        num_workers: processes that assemble batches; 0 does it in the training process, and the results are the same.
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
        label_map: dict[str, str] | None = None,
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
        self.tokenizer: Any = None
        self.label_names: list[str] = []
        """The model's labels by id; settled in ``setup``."""
        self.scheme = "iob2"
        self.outside_label: str | None = None
        self.label_map: dict[str, str] = dict(label_map or {})
        self.stored: dict[str, StoredSplit] = {}
        self.encoded: dict[str, EncodedSplit] = {}
        self._restored = False
        self._train_sha256: list[str] = []
        self._resume_at: tuple[int, int] | None = None
        self._held_out: npt.NDArray[np.int64] | None = None
        self.predicted_before = 0
        """Sentences of the prediction that an earlier attempt has done."""
        check_options(self.hparams)

    # ------------------------------------------------------------------ Lightning hooks

    def prepare_data(self) -> None:
        """Read and tokenise into the cache; Lightning calls it in one process per node."""
        self._prepare(self._command())

    def setup(self, stage: str) -> None:
        """Map the data into memory and settle the labels; Lightning calls it in every process."""
        command = self._command()
        prepared = self._prepare(command)
        self.stored = {name: StoredSplit(stored) for name, (stored, _) in prepared.items()}
        self.encoded = {name: EncodedSplit(encoded) for name, (_, encoded) in prepared.items()}
        tagged = {name: split for name, split in self.stored.items() if name != "predict"}
        tags = sorted({tag for name in tagged for tag in self.encoded[name].tag_names})
        if self.label_names:  # settled by a checkpoint, or by `fit` before
            for name, split in tagged.items():
                check_known(self.label_names, self.encoded[name].tag_names, split, self.label_map)
        else:
            self.label_names = new_inventory(
                tagged, tags, self._declared(tagged), self.scheme, self.outside_label, self.label_map
            )
            if command == "fit" and len(self.label_names) == 1:
                problem = f"every word has the tag {self.label_names[0]!r}: there is nothing to learn"
                raise DataError(
                    self.stored["train"].meta["sources"][0], None, problem, "check --data.label_column_name"
                )
        if command == "fit" and self._restored and self.stored["train"].meta["sha256"] != self._train_sha256:
            log.warning(
                "the training data has changed since the checkpoint was made; training goes on with the new data"
            )
        self._held_out = None
        if "train" in self.stored and "validation" not in self.stored:
            self._held_out = choose_held_out(
                self.stored["train"], self._options.validation_fraction, self._options.seed
            )
        if command != "predict":
            for name in sorted(self.stored, key=list(NEEDED.values()).index):
                report_split(name, self.stored[name], self.encoded[name].summary, self.max_seq_length)
            summaries = [self.encoded[name].summary for name in tagged]
            report_label_map(self.label_map, summaries, self.source_scheme, self.outside_label)
            if self._held_out is not None:
                report_held_out(len(self._held_out), len(self.stored["train"]))

        for name, encoded in self.encoded.items():
            report_context(name, encoded.summary, self.context_size)

    @property
    def labels(self) -> LabelSet:
        """The model's labels; settled in ``setup`` or by a checkpoint."""
        return LabelSet(tuple(self.label_names), self.scheme, self.outside_label)

    @property
    def _options(self) -> Any:
        """The constructor's arguments."""
        return self.hparams

    def _command(self) -> str:
        """What the trainer is about to do; ``fit`` without a trainer."""
        return self.trainer.state.fn.value if self.trainer is not None and self.trainer.state.fn else "fit"

    # ------------------------------------------------------------------ preparing

    @property
    def cache(self) -> Path:
        """The folder tokenised data is kept in."""
        chosen = self._options.cache_dir or os.environ.get("NER_MODULE_CACHE")
        return Path(chosen) if chosen else Path.home() / ".cache" / "ner_module"

    def _prepare(self, command: str) -> dict[str, tuple[Path, Path]]:
        """Store and encode what the command needs; quick when the cache is warm, so that every process can ask.

        Returns:
            Split -> the folders of its sentences and of its arrays.
        """
        folders = store_splits(self._options, command, self.cache)
        stored = {name: StoredSplit(folder) for name, folder in folders.items()}
        tagged = {name: split for name, split in stored.items() if name != "predict"}
        schemes = {name: choose_source_scheme(split, self._options.source_scheme) for name, split in tagged.items()}
        self.source_scheme = schemes.get("train") or next(iter(schemes.values()), "iob2")
        if self._options.strict:
            for name, split in tagged.items():
                check_strict(split, schemes[name])
        if not self.label_names:
            source = self.source_scheme
            self.scheme = self._options.scheme or ("flat" if source == "flat" else "iob2")
            check_label_map(self.label_map, list(tagged.values()), source)
            self.outside_label = choose_outside_label(
                list(tagged.values()), self.scheme, self._options.outside_label, self.label_map
            )
            check_tags(list(tagged.values()), self._declared(tagged), source)
        self.load_tokenizer()  # after the data: what is wrong with a file is told before a model is downloaded
        prepared = {}
        for name, folder in folders.items():
            options = EncodingOptions(
                max_seq_length=self.max_seq_length,
                stride=self.stride,
                label_all_tokens=self.label_all_tokens,
                source_scheme=schemes.get(name, self.scheme),
                scheme=self.scheme,
                # A model with prefixes calls it O; the flat files it is trained on may not.
                outside_label=self.outside_label if self.scheme == "flat" else self._options.outside_label or OUTSIDE,
                context_size=self.context_size,
                label_map=tuple(sorted(self.label_map.items())) if name != "predict" else (),
            )
            documents = self._options.documents
            prepared[name] = folder, encode_stored(self.cache, folder, self.tokenizer, options, name, documents)
        return prepared

    def _declared(self, splits: dict[str, StoredSplit]) -> list[str] | None:
        """The labels the user or the dataset names, if any."""
        if self._options.label_names:
            return list(self._options.label_names)
        return next((split.meta["declared_names"] for split in splits.values() if split.meta["declared_names"]), None)

    def load_tokenizer(self) -> None:
        """Load the base model's tokenizer and fix how long rows are; a checkpoint has done both."""
        if self.tokenizer is not None:
            return
        from transformers import AutoConfig

        options = self._options
        if options.model_name_or_path is None:
            raise DataError("--model.model_name_or_path", None, "it is not given", "name a hub id or a folder")
        tokenizer = load_tokenizer(options.model_name_or_path, options.revision)
        config = from_pretrained(AutoConfig.from_pretrained, options.model_name_or_path, options.revision)
        self.max_seq_length, self.stride = row_size(options, max_sequence_length(config, tokenizer))
        self.tokenizer = tokenizer
        self.label_all_tokens: bool = options.label_all_tokens
        self.context_size: int = options.context_size

    # ------------------------------------------------------------------ what the splits hold

    def label_ids(self, split: str) -> list[int]:
        """The model's label id of each tag of a split."""
        ids = {name: index for index, name in enumerate(self.label_names)}
        return [ids[tag] for tag in self.encoded[split].tag_names]

    def sentences_of(self, split: str) -> tuple[str, npt.NDArray[np.int64] | None]:
        """Which encoded split a split's sentences lie in, and which of them they are (``None``: all)."""
        if self._held_out is None or split not in ("train", "validation"):
            return split, None
        if split == "validation":
            return "train", self._held_out
        kept = np.ones(len(self.stored["train"]), dtype=bool)
        kept[self._held_out] = False
        return "train", np.flatnonzero(kept)

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
        return count_entities(self.stored[source], self.encoded[source], chosen, self.scheme, self.outside_label)

    # ------------------------------------------------------------------ loaders

    def _assembler(self, split: str) -> BatchAssembler:
        ids = self.label_ids(split) if split != "predict" else []
        return BatchAssembler(self.encoded[split], ids)

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _loader_options(self) -> dict[str, Any]:
        workers = self._options.num_workers
        return {
            "batch_size": None,
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "pin_memory": torch.cuda.is_available(),
            # Each iteration draws a seed for its workers; from a generator of its own, so that loaders and their
            # number of workers leave the global one, and with it training, unchanged.
            "generator": torch.Generator().manual_seed(self._options.seed),
        }

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of rows in a new order each epoch."""
        source, chosen = self.sentences_of("train")
        split = self.encoded[source]
        rows = None if chosen is None else split.sequences_of(chosen)
        rank, world_size = self._ranks()
        trainer, options = self.trainer, self._options
        sampler = TrainingSampler(
            split,
            rows,
            options.batch_size,
            options.batching,
            options.seed,
            trainer.accumulate_grad_batches if trainer is not None else 1,
            rank,
            world_size,
            (lambda: trainer.current_epoch) if trainer is not None else (lambda: 0),
            self._resume_at,
            options.max_tokens,
        )
        self._resume_at = None
        return DataLoader(TrainingBatches(self._assembler(source)), sampler=sampler, **self._loader_options())

    def _evaluation_loader(self, split: str) -> DataLoader[Any]:
        source, chosen = self.sentences_of(split)
        lengths = self.encoded[source].sentence_lengths()
        batches = evaluation_batches(lengths if chosen is None else lengths[chosen], self._options.eval_batch_size)
        return self._loader_of(source, chosen, batches)

    def _loader_of(
        self, source: str, chosen: npt.NDArray[np.int64] | None, batches: list[npt.NDArray[np.int64]]
    ) -> DataLoader[Any]:
        sampler = EvaluationSampler(batches, *self._ranks())
        return DataLoader(SentenceBatches(self._assembler(source), chosen), sampler=sampler, **self._loader_options())

    def val_dataloader(self) -> DataLoader[Any]:
        """Whole sentences, sorted by length."""
        return self._evaluation_loader("validation")

    def test_dataloader(self) -> DataLoader[Any]:
        """Whole sentences, sorted by length."""
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[Any]:
        """Whole sentences, sorted by length within a bounded look-ahead."""
        lengths = self.encoded["predict"].sentence_lengths()
        batches = evaluation_batches(lengths, self._options.eval_batch_size, LOOK_AHEAD)
        return self._loader_of("predict", None, [batch for batch in batches if batch[0] >= self.predicted_before])

    def skip_first(self, sentences: int) -> None:
        """Leave out the first sentences, whole stretches of ``LOOK_AHEAD``; the batches of the others stay the same."""
        self.predicted_before = sentences

    # ------------------------------------------------------------------ what a checkpoint carries

    @cached_property
    def _tokenizer_files(self) -> dict[str, str]:
        return tokenizer_to_files(self.tokenizer)

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to see text as the model saw it in training; plain strings and numbers."""
        return {
            "tokenizer": self._tokenizer_files,
            "label_names": list(self.label_names),
            "scheme": self.scheme,
            "outside_label": self.outside_label,
            "max_seq_length": self.max_seq_length,
            "stride": self.stride,
            "label_all_tokens": self.label_all_tokens,
            "context_size": self.context_size,
            "label_map": dict(self.label_map),
            "words_version": WORDS_VERSION,
            "position": self._position(),
            "train_sha256": self.stored["train"].meta["sha256"] if "train" in self.stored else self._train_sha256,
        }

    @property
    def finished_epochs(self) -> int:
        """How many whole epochs lie behind the checkpoint that was restored; 0 without one."""
        return self._resume_at[0] if self._resume_at else 0

    def _position(self) -> list[int]:
        """The epoch, and how many micro-batches of it are finished (not merely fetched)."""
        if self.trainer is None or self.trainer.state.fn != "fit":
            return list(self._resume_at or (0, 0))
        finished = getattr(self.trainer.fit_loop.epoch_loop.batch_progress.current, "processed", 0)
        epoch = self.trainer.current_epoch
        return [epoch + 1, 0] if finished >= self.trainer.num_training_batches else [epoch, finished]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take tokenizer, labels and alignment from a checkpoint instead of base model and data."""
        if self.label_names:
            # The command line restored before `setup`; Lightning does it again after.
            if self.label_names != state_dict["label_names"]:
                known = ", ".join(state_dict["label_names"])
                raise DataError("the data", None, f"its labels are not the checkpoint's, {known}", "use the same data")
            if self._command() == "fit":
                self._resume_at = tuple(state_dict["position"])
            return
        self._restored = True
        self.tokenizer = tokenizer_from_files(state_dict["tokenizer"])
        self.label_names = list(state_dict["label_names"])
        self.scheme, self.outside_label = state_dict["scheme"], state_dict["outside_label"]
        self.max_seq_length, self.stride = state_dict["max_seq_length"], state_dict["stride"]
        self.label_all_tokens = state_dict["label_all_tokens"]
        self.context_size = state_dict.get("context_size", 0)  # checkpoints of version 0.1 have neither
        self.label_map = {**state_dict.get("label_map", {}), **(self._options.label_map or {})}
        self._train_sha256 = state_dict["train_sha256"]
        self._resume_at = tuple(state_dict["position"])
        if state_dict["words_version"] != WORDS_VERSION:
            log.warning("raw text is now split into words by other rules than when this model was trained")
