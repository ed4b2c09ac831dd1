"""Checks of the data options: each by itself, and those that depend on the model's limits."""

from __future__ import annotations

from typing import Any

from ner_module.errors import DataError

DEFAULT_MAX_SEQ_LENGTH = 512


def check_options(options: Any) -> None:
    """Refuse what cannot be, before anything is read.

    Args:
        options: the arguments of ``NERDataModule``.

    Raises:
        DataError: naming the option.
    """
    if options.dataset_name is not None and options.train_file is not None:
        problem = "it is given together with --data.dataset_name"
        raise DataError("--data.train_file", None, problem, "give one of them")
    for name in ("batch_size", "eval_batch_size"):
        if options[name] < 1:
            raise DataError(f"--data.{name}", None, f"it is {options[name]}", "give a number of at least 1")
    if options.num_workers < 0:
        raise DataError("--data.num_workers", None, f"it is {options.num_workers}", "give 0 or more")
    if not 0 < options.validation_fraction < 1:
        problem = f"it is {options.validation_fraction}"
        raise DataError("--data.validation_fraction", None, problem, "give a share between 0 and 1")


def row_size(options: Any, limit: int) -> tuple[int, int]:
    """How long rows are and how far windows overlap, in subwords.

    Args:
        options: the arguments of ``NERDataModule``.
        limit: subwords the model takes, special tokens included.

    Raises:
        DataError: what is asked for does not fit.
    """
    length: int = min(DEFAULT_MAX_SEQ_LENGTH, limit) if options.max_seq_length is None else options.max_seq_length
    if not 4 <= length <= limit:
        problem = f"it is {length}; the model takes at most {limit}"
        raise DataError("--data.max_seq_length", None, problem, f"give 4 to {limit}")
    stride: int = options.stride if options.stride is not None else length // 4
    if not 0 <= stride <= length // 2:
        problem = f"it is {stride} with windows of {length}"
        raise DataError("--data.stride", None, problem, f"give at most {length // 2}, half a window")
    if not 0 <= options.context_size <= length:
        problem = f"it is {options.context_size} in rows of {length}"
        raise DataError("--data.context_size", None, problem, f"give 0 to {length}")
    return length, stride
