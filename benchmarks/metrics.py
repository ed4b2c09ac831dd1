"""EntityScores beside seqeval: the same tags, the same numbers, one process, taking turns.

    python benchmarks/metrics.py [--tokens 1000000] [--rounds 5] [--threads 1]

seqeval gets its lists of strings ready-made; the time to turn a model's label ids into them is not counted. Two of its
functions are timed: ``f1_score``, one number and its fastest, and ``classification_report``, which gives the same
numbers as ``EntityScores.compute``: micro, macro, weighted and by type. EntityScores gets padded label ids in batches
of several sizes, sentences in random order. Then: cost against the number of tokens, size of the state, and the same
on a GPU where there is one.
"""

from __future__ import annotations

import argparse
import random
import time
import warnings
from collections.abc import Callable
from statistics import median

import torch
from rich import print as show
from rich.table import Table
from seqeval.metrics import classification_report, f1_score
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ner_module.metrics.entity_scores import EntityScores
from ner_module.tagging import IGNORE_INDEX

LABELS = ["O", *(f"{prefix}-{name}" for name in ("LOC", "MISC", "ORG", "PER") for prefix in "BI")]
BATCH_SIZES = (32, 256, 1024, 4096)

Corpus = tuple[list[list[int]], list[list[int]]]
Batches = list[tuple[Tensor, Tensor]]


def make_corpus(num_tokens: int, seed: int = 0) -> Corpus:
    """Predicted and gold label ids with CoNLL-2003's mean sentence length and share of entity words, 2 % wrong."""
    rng = random.Random(seed)
    gold, predicted = [], []
    while num_tokens > 0:
        length = min(num_tokens, max(1, min(60, round(rng.gammavariate(1.6, 9)))))
        num_tokens -= length
        row: list[int] = []
        while len(row) < length:
            if rng.random() < 0.13:
                begin = 1 + 2 * rng.randrange(4)
                row += [begin] + [begin + 1] * (rng.random() < 0.4)
            else:
                row.append(0)
        gold.append(row[:length])
        predicted.append([rng.randrange(len(LABELS)) if rng.random() < 0.02 else label for label in gold[-1]])
    return predicted, gold


def make_batches(corpus: Corpus, batch_size: int) -> Batches:
    def pad(rows: list[list[int]]) -> Tensor:
        tensors = [torch.tensor(row) for row in rows]
        return pad_sequence(tensors, batch_first=True, padding_value=IGNORE_INDEX)

    predicted, gold = corpus
    starts = range(0, len(gold), batch_size)
    return [(pad(predicted[i : i + batch_size]), pad(gold[i : i + batch_size])) for i in starts]


def to_strings(rows: list[list[int]]) -> list[list[str]]:
    return [[LABELS[label] for label in row] for row in rows]


def run_metric(batches: Batches, device: str = "cpu") -> dict[str, float]:
    metric = EntityScores(LABELS).to(device)
    for predicted, gold in batches:
        metric.update(predicted, gold)
    return {key: float(value) for key, value in metric.compute().items()}


def take_turns(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contestant in each round; they alternate, so that a busy machine slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def compare_with_seqeval(corpus: Corpus, rounds: int) -> None:
    predicted, gold = (to_strings(rows) for rows in corpus)
    batches = {size: make_batches(corpus, size) for size in BATCH_SIZES}
    report = classification_report(gold, predicted, output_dict=True)
    scores = run_metric(batches[BATCH_SIZES[0]])
    for key, expected in (("f1", report["micro avg"]), ("f1_macro", report["macro avg"]), ("f1/PER", report["PER"])):
        assert abs(scores[key] - expected["f1-score"]) < 1e-6, (key, scores[key], expected)

    contestants: dict[str, Callable[[], object]] = {
        "seqeval f1_score": lambda: f1_score(gold, predicted),
        "seqeval classification_report": lambda: classification_report(gold, predicted, output_dict=True),
    }
    for size, of_size in batches.items():
        contestants[f"EntityScores, {size} sentences a batch"] = lambda of_size=of_size: run_metric(of_size)  # type: ignore[misc]
    seconds = take_turns(contestants, rounds)
    table = Table("", "ms, median", "ms, fastest", "times f1_score", "times the report")
    one, all_numbers = (median(seconds[name]) for name in list(contestants)[:2])
    for name, taken in seconds.items():
        middle = median(taken)
        table.add_row(
            name, f"{1e3 * middle:.1f}", f"{1e3 * min(taken):.1f}", f"{one / middle:.1f}", f"{all_numbers / middle:.1f}"
        )
    table.title = (
        f"{sum(map(len, corpus[1])):,} tokens, {len(corpus[1]):,} sentences, {torch.get_num_threads()} thread(s)"
    )
    show(table)


def cost_by_tokens(num_tokens: int, rounds: int) -> None:
    sizes = [num_tokens // 8, num_tokens // 4, num_tokens // 2, num_tokens]
    batches = {size: make_batches(make_corpus(size), 1024) for size in sizes}
    seconds = take_turns({str(size): lambda size=size: run_metric(batches[size]) for size in sizes}, rounds)  # type: ignore[misc]
    table = Table("tokens", "ms", "ns a token", "bytes of state", title="EntityScores, 1024 sentences a batch")
    for size in sizes:
        metric = EntityScores(LABELS)
        for predicted, gold in batches[size]:
            metric.update(predicted, gold)
        state = [value for value in metric.metric_state.values() if isinstance(value, Tensor)]
        num_bytes = sum(value.numel() * value.element_size() for value in state)
        middle = median(seconds[str(size)])
        table.add_row(f"{size:,}", f"{1e3 * middle:.1f}", f"{1e9 * middle / size:.1f}", str(num_bytes))
    show(table)


def on_gpu(corpus: Corpus, rounds: int) -> None:
    table = Table("sentences a batch", "ms, median", "ms a batch", title=torch.cuda.get_device_name())
    for size in BATCH_SIZES:
        batches = [(predicted.cuda(), gold.cuda()) for predicted, gold in make_batches(corpus, size)]
        run_metric(batches[:1], "cuda")
        middle = median(take_turns({"gpu": lambda batches=batches: run_metric(batches, "cuda")}, rounds)["gpu"])  # type: ignore[misc]
        table.add_row(str(size), f"{1e3 * middle:.1f}", f"{1e3 * middle / len(batches):.2f}")
    show(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", module="seqeval")
    corpus = make_corpus(options.tokens)
    compare_with_seqeval(corpus, options.rounds)
    cost_by_tokens(options.tokens, options.rounds)
    if torch.cuda.is_available():
        on_gpu(corpus, options.rounds)


if __name__ == "__main__":
    main()
