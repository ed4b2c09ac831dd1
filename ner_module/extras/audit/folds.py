"""Ranking training data out of fold: K models, each trained by ``fit`` on the rest, judge what they have not seen."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ner_module.cli import run_command
from ner_module.data.datamodule import NERDataModule
from ner_module.data.store import StoredSplit
from ner_module.errors import DataError
from ner_module.extras.audit.suspects import Suspect, most_suspicious_first, rank_suspects
from ner_module.model.module import NERModule
from ner_module.tagging import OUTSIDE, convert_tags
from ner_module.training.runs import checkpoint_path

log = logging.getLogger(__name__)

# `fit` validates each epoch; the models here are those of the last epoch, so a glance is enough.
_VALIDATION_SENTENCES = 50


def choose_folds(stored: StoredSplit, folds: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """Deal the sentences out at random.

    Whole documents, or at least equal sentences, stay together: none is judged by a model that was trained on its twin.

    Raises:
        DataError: there are fewer such groups than folds.
    """
    documents = stored.documents()
    if documents is None or len(np.unique(documents)) < 5 * folds:
        numbers: dict[tuple[str, ...], int] = {}
        tokens = (tuple(words) for chunk in stored.chunks() for words in chunk.tokens)
        documents = np.array([numbers.setdefault(words, len(numbers)) for words in tokens])
    groups = len(np.unique(documents))
    if groups < folds:
        problem = f"it has {groups} different sentences"
        raise DataError(stored.meta["sources"][0], None, problem, f"give more data, or fewer --folds than {folds}")
    order = np.random.default_rng(seed).permutation(groups)
    return [np.flatnonzero(np.isin(documents, part)) for part in np.array_split(order, folds)]


def rank_out_of_fold(data: NERDataModule, arguments: Sequence[str], folds: int) -> list[Suspect]:
    """Train the models and rank all training sentences.

    Args:
        data: has read the data.
        arguments: what ``fit`` is called with, without run directory and checkpoint.
        folds: how many models.
    """
    suspects: list[Suspect] = []
    size = len(data.stored["train"])
    for number, held_out in enumerate(choose_folds(data.stored["train"], folds, data.hparams["seed"]), 1):
        rest = np.setdiff1d(np.arange(size), held_out)
        log.info("fold %d of %d: training on %d sentences, judging %d", number, folds, len(rest), len(held_out))
        with tempfile.TemporaryDirectory(prefix="ner-fold-") as folder:
            module = _train(data, arguments, rest, Path(folder))
            suspects += rank_suspects(data, module, "train", held_out)
    return most_suspicious_first(suspects)


def best_device() -> str:
    """The first GPU, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _train(data: NERDataModule, arguments: Sequence[str], sentences: npt.NDArray[np.int64], folder: Path) -> NERModule:
    """Train on some sentences, written to a folder, without any logger."""
    _write(data, sentences, folder / "train.jsonl")
    _write(data, sentences[:_VALIDATION_SENTENCES], folder / "validation.jsonl")
    labels = data.labels
    options = {
        "data.train_file": str(folder / "train.jsonl"),
        "data.validation_file": str(folder / "validation.jsonl"),
        "data.format": "auto",
        "data.label_names": list(labels.names),
        "data.source_scheme": labels.scheme,
        "data.scheme": labels.scheme,
        "data.strict": False,
        "data.outside_label": labels.outside if labels.scheme == "flat" else None,
        "data.cache_dir": str(folder / "cache"),
        "trainer.logger": False,
        "trainer.fast_dev_run": False,
        "run_dir": str(folder / "run"),
    }
    # The tags written here are mapped and repaired already.
    for name in ("dataset_name", "dataset_config_name", "test_file", "encoding", "text_column_name",
                 "label_column_name", "label_map"):  # fmt: skip
        options[f"data.{name}"] = None
    command = ["fit", *arguments]
    for name, value in options.items():
        command += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    with _quietly():
        run_command(command)
    checkpoint = checkpoint_path(folder / "run", "last")
    module = NERModule.load_from_checkpoint(checkpoint, map_location=best_device(), weights_only=True)
    assert module.labels == labels
    return module


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Print a training's tables to standard error, and none of its remarks on the data, which were made before."""
    logger = logging.getLogger("ner_module")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)


def _write(data: NERDataModule, sentences: npt.NDArray[np.int64], path: Path) -> None:
    """Some training sentences with the tags the model is trained on."""
    labels = data.labels
    outside = labels.outside if labels.scheme == "flat" else data.hparams["outside_label"] or OUTSIDE
    with path.open("w", encoding="utf-8") as file:
        for index in sentences.tolist():
            [sentence] = data.stored["train"].slice(index, index + 1)
            tags = convert_tags(sentence.tags or [], data.tags.source_scheme, labels.scheme, outside, data.label_map)
            record = {"tokens": sentence.tokens, "tags": tags, "document": sentence.document}
            record = {name: value for name, value in record.items() if value is not None}
            file.write(json.dumps(record) + "\n")
