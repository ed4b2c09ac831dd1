"""What the data options ask for: their checks, the length of sequences, and validation data held out."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from ner_module.data.store import StoredSplit
from ner_module.errors import DataError
from ner_module.pretrained import max_sequence_length

log = logging.getLogger(__name__)

DEFAULT_MAX_SEQ_LENGTH = 512

_MIN_DOCUMENTS = 10  # with fewer, a split made by document would be too coarse


def check_options(options: Any) -> None:
    """Refuse impossible arguments of ``NERDataModule`` before anything is read, with a :class:`DataError`."""
    if options.dataset_name is not None and options.train_file is not None:
        problem = "it is given together with --data.dataset_name"
        raise DataError("--data.train_file", None, problem, "give one of them")
    for name in ("batch_size", "eval_batch_size", "max_record_mb"):
        _check(name, options[name], options[name] >= 1, "give a number of at least 1")
    _check("num_workers", options.num_workers, options.num_workers >= 0, "give 0 or more")
    fraction = options.validation_fraction
    _check("validation_fraction", fraction, 0 <= fraction < 1, "give a share below 1; 0 trains on all of the data")


def sequence_limits(options: Any, config: Any, tokenizer: Any) -> tuple[int, int]:
    """How long sequences are and how far windows overlap, in subword tokens, for a model's config and tokenizer.

    Raises:
        DataError: an option does not fit the model or another option.
    """
    if hasattr(config, "max_2d_position_embeddings"):  # LayoutLM, LiLT
        name = options.model_name_or_path
        log.warning("%s reads positions on the page (boxes, bboxes), which are not used here: all are 0", name)
    limit = max_sequence_length(config, tokenizer)
    length: int = min(DEFAULT_MAX_SEQ_LENGTH, limit) if options.max_seq_length is None else options.max_seq_length
    stride: int = length // 4 if options.stride is None else options.stride
    size, widest = options.context_size, length // 2
    _check("max_seq_length", f"{length}; the model takes at most {limit}", 4 <= length <= limit, f"give 4 to {limit}")
    advice = f"give at most {widest}, half a window"
    _check("stride", f"{stride} with windows of {length}", 0 <= stride <= widest, advice)
    _check("context_size", f"{size} in sequences of {length}", 0 <= size <= length, f"give 0 to {length}")
    return length, stride


def _check(option: str, value: Any, fits: bool, advice: str) -> None:
    if not fits:
        raise DataError(f"--data.{option}", None, f"it is {value}", advice)


def choose_held_out(stored: StoredSplit, fraction: float, seed: int) -> npt.NDArray[np.int64]:
    """Ascending indices of the sentences to hold out: of whole documents where there are at least ten, else of any.

    Args:
        stored: the training data.
        fraction: the share of its sentences, reached or just passed; 0 holds out none.
        seed: the same one chooses the same sentences.

    Raises:
        DataError: nothing would be left to train on.
    """
    if fraction == 0:
        return np.empty(0, dtype=np.int64)
    units = stored.documents()
    if units is None or units.max() + 1 < _MIN_DOCUMENTS:
        units = np.arange(len(stored))
    order = np.random.default_rng(seed).permutation(int(units.max()) + 1)
    sizes = np.bincount(units)[order]
    enough = int(np.searchsorted(np.cumsum(sizes), fraction * len(stored))) + 1
    chosen = np.flatnonzero(np.isin(units, order[:enough]))
    if len(chosen) == len(stored):
        problem = f"it holds {len(stored)} sentence{'s' * (len(stored) != 1)}, too few to hold some out for validation"
        advice = "give --data.validation_file, or more data"
        raise DataError(", ".join(stored.meta["sources"]), None, problem, advice)
    return chosen
