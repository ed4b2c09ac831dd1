"""What a model said of each word, kept compactly until all sentences of a stretch have come, from every process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Trainer
from torch import Tensor


class TaggedWords(NamedTuple):
    """The words of one sentence."""

    sentence: int
    label_ids: list[int]
    scores: list[float]
    gold: list[int]


class CollectedPredictions:
    """Label, score and gold label of each word, 8 bytes a word.

    Batches come sorted by length and, with several processes, from everywhere; :meth:`take` gives sentences in order.
    """

    def __init__(self) -> None:
        self._batches: list[dict[str, npt.NDArray[Any]]] = []

    def add(self, outputs: dict[str, Tensor]) -> None:
        """Keep what a step returned: ``sentence_index`` and ``num_words`` ``[N]``, the others ``[N, W]``."""
        num_words = outputs["num_words"]
        real = torch.arange(outputs["label_ids"].shape[1], device=num_words.device) < num_words[:, None]
        batch = {name: outputs[name].cpu().numpy() for name in ("sentence_index", "num_words")}
        for name, dtype in (("label_ids", np.int16), ("scores", np.float32), ("gold", np.int16)):
            batch[name] = outputs[name][real].cpu().numpy().astype(dtype)
        self._batches.append(batch)

    def gather(self, trainer: Trainer) -> None:
        """Bring what all processes hold to the first one; every process must call this equally often."""
        if trainer.world_size == 1:
            return
        parts: list[Any] | None = [None] * trainer.world_size if trainer.is_global_zero else None
        torch.distributed.gather_object(self._batches, parts)
        self._batches = [batch for part in parts or [] for batch in part]

    def take(self) -> Iterator[TaggedWords]:
        """All sentences by index, and forget them."""
        batches, self._batches = self._batches, []
        if not batches:
            return
        joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        ends = np.cumsum(joined["num_words"])
        for place in np.argsort(joined["sentence_index"], kind="stable"):
            words = slice(int(ends[place]) - int(joined["num_words"][place]), int(ends[place]))
            yield TaggedWords(
                int(joined["sentence_index"][place]),
                joined["label_ids"][words].tolist(),
                joined["scores"][words].tolist(),
                joined["gold"][words].tolist(),
            )
