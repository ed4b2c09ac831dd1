"""DeBERTa packed beside padded, where the other families' attention is too little: is it worth its own code?

    PYTHONPATH=. python benchmarks/deberta.py

A model of DeBERTa-v3's architecture, scaled down, with random weights; batches of 16 sentences as long as CoNLL-2003's.
Rounds alternate; the seconds that this process computes are counted, with one thread, for a machine that is shared.
"""

from __future__ import annotations

import time
from statistics import median

import torch
import torch.nn.functional as F
from gpu_cases.made_up import DEBERTA, LABELS, batches
from transformers import DebertaV2Config, DebertaV2ForTokenClassification

from ner_module.model.packed import packed_logits, padded_logits, prepare
from ner_module.offers import call_all

ROUNDS = 3


def seconds(model: torch.nn.Module, lengths: list[list[int]], packed: bool, bf16: bool, train: bool) -> float:
    """Of computing, for a batch."""
    logits_of = packed_logits if packed else padded_logits
    begun = time.process_time()
    for batch in lengths:
        ids = torch.arange(sum(batch)) % 7000 + 5
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16), torch.set_grad_enabled(train):
            logits = logits_of(model, ids, batch)
        if train:
            F.cross_entropy(logits.float(), ids % len(LABELS)).backward()  # type: ignore[no-untyped-call]
            model.zero_grad()
    return (time.process_time() - begun) / len(lengths)


def main() -> None:
    torch.set_num_threads(1)
    sizes = {"hidden_size": 384, "num_hidden_layers": 4, "num_attention_heads": 6, "intermediate_size": 1536}
    config = DebertaV2Config(**sizes | DEBERTA, vocab_size=8000, num_labels=len(LABELS))
    model = DebertaV2ForTokenClassification(config)
    prepare(model)
    call_all("model", model)
    drawn = batches("conll2003", 16, None, 6)
    computed = sum(len(batch) * max(batch) for batch in drawn) / sum(map(sum, drawn))
    print(f"{computed:.2f} computed subword tokens per real one when padded; seconds of computing for a batch\n")
    print("| | padded | packed | times |\n|---|---|---|---|")
    for bf16 in (False, True):
        for train in (True, False):
            model.train(train)
            rounds = [[seconds(model, drawn, packed, bf16, train) for packed in (False, True)] for _ in range(ROUNDS)]
            padded, packed = (median(column) for column in zip(*rounds, strict=True))
            name = f"{'training' if train else 'evaluation'} in {'bf16' if bf16 else 'fp32'}"
            print(f"| {name} | {padded:.3f} | {packed:.3f} | {padded / packed:.2f} |")


if __name__ == "__main__":
    main()
