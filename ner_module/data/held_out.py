"""A validation split made from training data when none is given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ner_module.data.store import StoredSplit
from ner_module.errors import DataError

# With fewer documents than this, a split made by document would be too coarse.
_MIN_DOCUMENTS = 10


def choose_held_out(stored: StoredSplit, fraction: float, seed: int) -> npt.NDArray[np.int64]:
    """Choose the sentences to hold out: whole documents where there are at least ten, else single sentences.

    Args:
        stored: the training data.
        fraction: the share of its sentences, reached or just passed.
        seed: the same one chooses the same sentences.

    Returns:
        Their indices, ascending.

    Raises:
        DataError: nothing would be left to train on.
    """
    documents = stored.documents()
    units = np.arange(len(stored))
    if documents is not None and documents.max() + 1 >= _MIN_DOCUMENTS:
        units = documents
    order = np.random.default_rng(seed).permutation(int(units.max()) + 1)
    sizes = np.bincount(units)[order]
    enough = int(np.searchsorted(np.cumsum(sizes), fraction * len(stored))) + 1
    chosen = np.flatnonzero(np.isin(units, order[:enough]))
    if len(chosen) == len(stored):
        raise DataError(
            ", ".join(stored.meta["sources"]),
            None,
            f"it holds {len(stored)} sentence{'s' * (len(stored) != 1)}, too few to hold some out for validation",
            "give --data.validation_file, or more data",
        )
    return chosen
