"""How long sentences are: a table for benchmarks on made-up text, so that they need neither a corpus nor a network.

    python benchmarks/lengths.py sample=ner_module/data/sample/train.conll conll2003=train.txt > benchmarks/lengths.json

Subword tokens of MiniLM's tokenizer (BERT's uncased vocabulary), the two special ones included. Of CoNLL-2003 (14,041
training sentences of 203,621 words) nothing but these numbers is kept here.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

TABLE = Path(__file__).with_name("lengths.json")
"""Corpus -> length -> how many training sentences have it."""


def lengths_of(corpus: str) -> npt.NDArray[np.int64]:
    """Subword tokens of each training sentence of a corpus, rising."""
    counts = json.loads(TABLE.read_text(encoding="utf-8"))[corpus]
    return np.repeat([int(length) for length in counts], list(counts.values()))


def main() -> None:
    from trainer_baseline import packaged_model_folder, read_columns
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(packaged_model_folder())
    tokenizer.backend_tokenizer.no_truncation()
    table = {}
    for argument in sys.argv[1:]:
        name, _, path = argument.partition("=")
        sentences = [sentence["tokens"] for sentence in read_columns(Path(path))]
        encoded = tokenizer(sentences, is_split_into_words=True, truncation=False)["input_ids"]
        table[name] = dict(sorted(Counter(map(len, encoded)).items()))
    print(json.dumps(table))


if __name__ == "__main__":
    main()
