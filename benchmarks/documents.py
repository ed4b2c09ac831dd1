"""F1 on wikigold: sentence by sentence, whole documents in windows, and sentences with document context.

    python benchmarks/documents.py --seeds 42 43          # all three; finished runs are kept

* ``sentences``: one sentence a row, as usual.
* ``windows``: every document is one long "sentence", cut into overlapping windows of 128 subwords (stride 32). Its
  entities are those of the sentences; scores are over the whole documents.
* ``context``: sentences, each read with up to 64 subwords of its document; only its own words are labelled.

All: MiniLM-L6, learning rate 5e-5 falling linearly, no warm-up, float32, the wikigold split by document of
`corpora.py`, final weights. A training step takes 16 sentences, or, for ``windows``, 4 rows: a row of 128 subwords
holds some 4 sentences, so that a step sees about as many words, and an epoch has about as many steps; the table says
how many there were.

Not here: other tools on the same split (`accuracy.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from accuracy import PACKAGED_MODEL, run_logged
from corpora import REPOSITORY, Corpus, CorpusError, add_arguments, find_corpus
from trainer_baseline import LEARNING_RATE

KINDS = {
    "sentences": ["--data.batch_size", "16"],
    "windows": ["--data.batch_size", "4", "--data.max_seq_length", "128", "--data.stride", "32"],
    "context": ["--data.batch_size", "16", "--data.context_size", "64"],
}
DOCUMENT_END = "-DOCSTART- O"


def merge_documents(source: Path, target: Path) -> None:
    """Write a column file in which each document is one sentence; the tags are IOB2, since IOB1 joins neighbours.

    Wikigold's IOB1 starts an entity with ``B-`` only after one of its type in the same sentence. Without the empty
    lines an entity at the end of a sentence and one at the start of the next would become one.
    """
    documents: list[list[str]] = []
    for document in source.read_text(encoding="utf-8").split(DOCUMENT_END):
        lines: list[str] = []
        previous = "O"
        for line in document.split("\n"):
            if not line:
                previous = "O"
                continue
            word, tag = line.split(" ")
            begins = tag != "O" and (tag.startswith("B-") or previous[2:] != tag[2:])
            lines.append(f"{word}\tB-{tag[2:]}" if begins else f"{word}\t{tag}")
            previous = tag
        if lines:
            documents.append(lines)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n\n".join("\n".join(lines) for lines in documents) + "\n", encoding="utf-8", newline="\n")


def run(arguments: argparse.Namespace, corpus: Corpus, kind: str, seed: int) -> dict[str, Any]:
    """Train and test one kind; the figures of a finished run are read again."""
    folder = arguments.output / f"{kind}-seed{seed}"
    record = folder.with_suffix(".json")
    if record.is_file():
        found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        return found
    files = dict(corpus.files)
    if kind == "windows":
        for split, path in corpus.files.items():
            files[split] = arguments.output / "documents" / f"{split}.conll"
            merge_documents(path, files[split])
    program = [sys.executable, "-m", "ner_module"]
    fit = [*program, "fit", "--model.model_name_or_path", PACKAGED_MODEL, *KINDS[kind]]
    for split, path in files.items():
        fit += [f"--data.{split}_file", str(path)]
    fit += ["--model.learning_rate", str(LEARNING_RATE), "--model.lr_scheduler_type", "linear"]
    fit += ["--model.warmup_ratio", "0", "--model.weight_decay", "0", "--trainer.max_epochs", str(arguments.epochs)]
    fit += ["--seed_everything", str(seed), "--run_dir", str(folder)]
    seconds = run_logged(fit, folder.with_suffix(".fit.log"))
    run_logged([*program, "test", "--run_dir", str(folder), "--ckpt_path", "last"], folder.with_suffix(".test.log"))
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    figures = {
        "kind": kind,
        "seed": seed,
        "steps": results["epochs"][-1]["step"],
        "dev_f1": [row["val/f1"] for row in results["epochs"]],
        **{name: results["test"][f"test/{name}"] for name in ("precision", "recall", "f1")},
        "entities": sum(value for key, value in results["test"].items() if key.startswith("test/support/")),
        "fit_seconds": round(seconds, 1),
    }
    record.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table, one line a run.

    >>> row = dict(kind="windows", seed=42, steps=9, dev_f1=[0.5], precision=0.5, recall=0.5, f1=0.5, entities=3,
    ...            fit_seconds=2.0)
    >>> print(markdown([row]).splitlines()[-1])
    | windows | 42 | 9 | .5000 | .5000 / .5000 / **.5000** | 3 | 2 |
    """
    lines = [
        "| kind | seed | steps | dev F1 by epoch | test P / R / F1 | test entities | fit seconds |",
        "|---" * 7 + "|",
    ]
    for row in rows:
        dev = " ".join(f"{value:.4f}".lstrip("0") for value in row["dev_f1"])
        precision, recall, f1 = (f"{row[name]:.4f}".lstrip("0") for name in ("precision", "recall", "f1"))
        scores = f"{precision} / {recall} / **{f1}**"
        start = f"| {row['kind']} | {row['seed']} | {row['steps']} | {dev} | {scores} "
        lines.append(f"{start}| {row['entities']:.0f} | {row['fit_seconds']:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Sentences, documents in windows and document context on wikigold.")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "runs" / "documents", help="folder for all results")
    add_arguments(parser)
    arguments = parser.parse_args()
    for name in ("output", "data", "cache"):
        setattr(arguments, name, getattr(arguments, name).resolve())
    try:
        corpus = find_corpus("wikigold", arguments.data, arguments.cache)
    except CorpusError as error:
        raise SystemExit(str(error)) from None
    print(markdown([run(arguments, corpus, kind, seed) for seed in arguments.seeds for kind in arguments.kinds]))


if __name__ == "__main__":
    main()
