"""Checks of the data options: each by itself, and those that depend on the model's limits."""

from __future__ import annotations

from typing import Any

from ner_module.errors import DataError

DEFAULT_MAX_SEQ_LENGTH = 512


def check_options(options: Any) -> None:
    """Refuse impossible options before anything is read.

    Args:
        options: the arguments of ``NERDataModule``.

    Raises:
        DataError: naming the option.
    """
    if options.dataset_name is not None and options.train_file is not None:
        problem = "it is given together with --data.dataset_name"
        raise DataError("--data.train_file", None, problem, "give one of them")
    for name in ("batch_size", "eval_batch_size"):
        _check(name, options[name], options[name] >= 1, "give a number of at least 1")
    _check("num_workers", options.num_workers, options.num_workers >= 0, "give 0 or more")
    fraction = options.validation_fraction
    _check("validation_fraction", fraction, 0 < fraction < 1, "give a share between 0 and 1")


def sequence_limits(options: Any, limit: int) -> tuple[int, int]:
    """How long sequences are and how far windows overlap, in subword tokens.

    Args:
        options: the arguments of ``NERDataModule``.
        limit: subword tokens the model takes, special tokens included.

    Raises:
        DataError: an option does not fit the model or another option.
    """
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
