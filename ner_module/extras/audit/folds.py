"""Ranking training data out of fold: K models, each trained by ``fit`` on the rest, judge what they have not seen."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ner_module.cli import run_command
from ner_module.data.datamodule import NERDataModule
from ner_module.data.sentence import Sentence
from ner_module.data.store import StoredSplit
from ner_module.errors import DataError
from ner_module.extras.audit.suspects import Suspect, rank_suspects
from ner_module.extras.convert.writers import TARGETS
from ner_module.model.module import NERModule
from ner_module.training.runs import checkpoint_path

log = logging.getLogger(__name__)

# `fit` validates each epoch; the models here are those of the last epoch, so a glance is enough.
_VALIDATION_SENTENCES = 50


def choose_folds(stored: StoredSplit, folds: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """Deal the sentences out at random.

    Whole documents, or at least equal sentences, stay together: none is judged by a model that has learnt its twin.

    Raises:
        DataError: there are fewer such groups than folds.
    """
    documents = stored.documents()
    groups: dict[object, int] = {}
    group_of = np.zeros(len(stored), dtype=np.int64)
    by_document = documents is not None and len(np.unique(documents)) >= 5 * folds
    index = 0
    for chunk in stored.chunks():
        for words in chunk.tokens:
            key = int(documents[index]) if documents is not None and by_document else hash(tuple(words))
            group_of[index] = groups.setdefault(key, len(groups))
            index += 1
    if len(groups) < folds:
        problem = f"it has {len(groups)} different sentences"
        raise DataError(stored.meta["sources"][0], None, problem, f"give more data, or fewer --folds than {folds}")
    order = np.random.default_rng(seed).permutation(len(groups))
    return [np.flatnonzero(np.isin(group_of, part)) for part in np.array_split(order, folds)]


def rank_out_of_fold(data: NERDataModule, arguments: Sequence[str], folds: int) -> list[Suspect]:
    """Train the models and rank all training sentences.

    Args:
        data: has read the data.
        arguments: what ``fit`` is called with, without run directory and checkpoint.
        folds: how many models.
    """
    stored = data.stored["train"]
    suspects: list[Suspect] = []
    parts = choose_folds(stored, folds, data.hparams["seed"])
    for number, held_out in enumerate(parts, 1):
        with tempfile.TemporaryDirectory(prefix="ner-fold-") as scratch:
            rest = np.setdiff1d(np.arange(len(stored)), held_out)
            log.info("fold %d of %d: training on %s sentences, judging %s", number, folds, f"{len(rest):,}",
                     f"{len(held_out):,}")  # fmt: skip
            folder = Path(scratch)
            _write(data, rest, folder / "train.jsonl")
            _write(data, rest[:_VALIDATION_SENTENCES], folder / "validation.jsonl")
            with _aside():
                run_command(["fit", *arguments, *_overrides(data, folder)])
            checkpoint = checkpoint_path(folder / "run", "last")
            module = NERModule.load_from_checkpoint(checkpoint, map_location=best_device(), weights_only=True)
            assert module.hparams["label_names"] == data.label_names
            suspects += rank_suspects(data, module, "train", held_out)
    return sorted(suspects, key=lambda suspect: (suspect.score, suspect.sentence, suspect.start))


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """Keep a training's tables out of this command's output, and its remarks on the data, made before, to itself."""
    logger = logging.getLogger("ner_module")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)


def best_device() -> str:
    """The first GPU, else the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _write(data: NERDataModule, sentences: npt.NDArray[np.int64], path: Path) -> None:
    """Some training sentences with the tags the model is trained on."""
    stored, encoded = data.stored["train"], data.encoded["train"]

    def tagged(index: int) -> Sentence:
        tags = [encoded.tag_names[label] for label in encoded.word_labels[encoded.words_of(index)]]
        return replace(stored.slice(index, index + 1)[0], tags=tags, text=None, offsets=None)

    TARGETS["jsonl"](path, ((tagged(index), []) for index in sentences.tolist()), Counter())


def _overrides(data: NERDataModule, folder: Path) -> list[str]:
    """The options that make a run train on the files written here, and say nothing to any logger."""
    options = {
        "data.dataset_name": None,
        "data.dataset_config_name": None,
        "data.train_file": str(folder / "train.jsonl"),
        "data.validation_file": str(folder / "validation.jsonl"),
        "data.test_file": None,
        "data.format": "auto",
        "data.encoding": None,
        "data.text_column_name": None,
        "data.label_column_name": None,
        "data.label_names": list(data.label_names),
        "data.source_scheme": data.scheme,
        "data.scheme": data.scheme,
        "data.label_map": None,  # the tags written here are mapped, and repaired, already
        "data.strict": False,
        "data.outside_label": data.outside_label if data.scheme == "flat" else None,
        "data.cache_dir": str(folder / "cache"),
        "trainer.logger": False,
        "trainer.fast_dev_run": False,
        "run_dir": str(folder / "run"),
    }
    parts: list[str] = []
    for name, value in options.items():
        parts += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    return parts
