"""EntityScores beside seqeval: the same tags, the same numbers, one process, taking turns.

    python benchmarks/metrics.py [--tokens 1000000] [--rounds 5]

One CPU thread; times are CPU seconds of this process, medians of rounds, so that a busy machine does not decide.

seqeval gets its lists of strings ready-made; turning a model's label ids into them is not counted. Two of its functions
are timed: ``f1_score``, one number and its fastest, and ``classification_report``, which gives the same numbers as
``EntityScores.compute``: micro, macro, weighted and by type. EntityScores gets padded label ids in batches of several
sizes, sentences in random order or, as this project evaluates, by length. Then: cost against the number of tokens and
size of the state; intervals from 1,000 bootstrap resamples; and the metric on a GPU where there is one.
"""

from __future__ import annotations

import argparse
import random
import time
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from rich import box
from rich import print as show
from rich.table import Table
from seqeval.metrics import classification_report, f1_score
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ner_module.extras.analysis.sentences import TaggedSentence, counts_by_sentence, entity_types_of
from ner_module.extras.analysis.uncertainty import f1_intervals
from ner_module.metrics.entity_scores import EntityScores
from ner_module.tagging import IGNORE_INDEX, tags_to_spans

LABELS = ["O", *(f"{prefix}-{name}" for name in ("LOC", "MISC", "ORG", "PER") for prefix in "BI")]
BATCH_SIZES = (32, 256, 1024, 4096)
CONLL_TEST_SENTENCES = 3453

Corpus = tuple[list[list[int]], list[list[int]]]
Batches = list[tuple[Tensor, Tensor]]
Clock = Callable[[], float]


def make_corpus(num_tokens: int, seed: int = 0) -> Corpus:
    """Predicted and gold label ids; sentence lengths and entities about as in CoNLL-2003, 2 % of the labels wrong."""
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


def sorted_by_length(corpus: Corpus) -> Corpus:
    order = sorted(range(len(corpus[1])), key=lambda index: len(corpus[1][index]))
    return [corpus[0][index] for index in order], [corpus[1][index] for index in order]


def make_batches(corpus: Corpus, batch_size: int, device: str = "cpu") -> Batches:
    def pad(rows: list[list[int]]) -> Tensor:
        tensors = [torch.tensor(row) for row in rows]
        return pad_sequence(tensors, batch_first=True, padding_value=IGNORE_INDEX).to(device)

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


def state_bytes(batches: Batches) -> int:
    metric = EntityScores(LABELS)
    for predicted, gold in batches:
        metric.update(predicted, gold)
    states = [getattr(metric, name) for name in metric.metric_state]
    return sum(state.numel() * state.element_size() for state in states)


def take_turns(contestants: dict[str, Callable[[], object]], rounds: int, clock: Clock) -> dict[str, float]:
    """Median seconds of each contestant; they alternate."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: median(taken) for name, taken in seconds.items()}


def compare_with_seqeval(corpus: Corpus, rounds: int) -> None:
    predicted, gold = (to_strings(rows) for rows in corpus)
    report = classification_report(gold, predicted, output_dict=True)
    scores = run_metric(make_batches(corpus, 512))
    for key, expected in (("f1", report["micro avg"]), ("f1_macro", report["macro avg"]), ("f1/PER", report["PER"])):
        assert abs(scores[key] - expected["f1-score"]) < 1e-6, (key, scores[key], expected)

    contestants: dict[str, Callable[[], object]] = {
        "seqeval f1_score": partial(f1_score, gold, predicted),
        "seqeval report": partial(classification_report, gold, predicted, output_dict=True),
    }
    for size in BATCH_SIZES:
        contestants[f"EntityScores, batch {size}"] = partial(run_metric, make_batches(corpus, size))
        by_length = make_batches(sorted_by_length(corpus), size)
        contestants[f"EntityScores, batch {size}, by length"] = partial(run_metric, by_length)
    seconds = take_turns(contestants, rounds, time.process_time)
    table = Table("", "ms", "vs f1_score", "vs report", box=box.SIMPLE_HEAD)
    table.title = f"{sum(map(len, corpus[1])):,} tokens, {len(corpus[1]):,} sentences"
    for name, taken in seconds.items():
        faster = (f"{seconds[f'seqeval {other}'] / taken:.1f} x" for other in ("f1_score", "report"))
        table.add_row(name, f"{1e3 * taken:.1f}", *faster)
    show(table)


def cost_by_tokens(num_tokens: int, rounds: int) -> None:
    batches = {size: make_batches(make_corpus(size), 1024) for size in (num_tokens // n for n in (8, 4, 2, 1))}
    seconds = take_turns({str(size): partial(run_metric, batches[size]) for size in batches}, rounds, time.process_time)
    table = Table("tokens", "ms", "ns a token", "bytes of state", title="EntityScores, batch 1024", box=box.SIMPLE_HEAD)
    for size, of_size in batches.items():
        taken = seconds[str(size)]
        table.add_row(f"{size:,}", f"{1e3 * taken:.1f}", f"{1e9 * taken / size:.1f}", str(state_bytes(of_size)))
    show(table)


def bootstrap(rounds: int) -> None:
    predicted, gold = (to_strings(rows[:CONLL_TEST_SENTENCES]) for rows in make_corpus(15 * CONLL_TEST_SENTENCES))
    sentences = [
        TaggedSentence([], tags_to_spans(g), tags_to_spans(p), None) for g, p in zip(gold, predicted, strict=True)
    ]
    counts = counts_by_sentence(sentences, entity_types_of(sentences))
    seconds = take_turns({"": partial(f1_intervals, counts, 1000)}, rounds, time.process_time)[""]
    show(f"\n1,000 bootstrap resamples of {len(counts):,} sentences, every type: {1e3 * seconds:.0f} ms")


def on_gpu(corpus: Corpus, rounds: int) -> None:
    table = Table("batch", "ms", "ms a batch", title=torch.cuda.get_device_name(), box=box.SIMPLE_HEAD)
    for size in BATCH_SIZES:
        batches = make_batches(corpus, size, "cuda")
        run_metric(batches[:1], "cuda")
        # compute() reads the result, so the clock stops after the device has finished.
        taken = take_turns({"": partial(run_metric, batches, "cuda")}, rounds, time.perf_counter)[""]
        table.add_row(str(size), f"{1e3 * taken:.1f}", f"{1e3 * taken / len(batches):.2f}")
    show(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="seqeval")
    corpus = make_corpus(options.tokens)
    compare_with_seqeval(corpus, options.rounds)
    cost_by_tokens(options.tokens, options.rounds)
    bootstrap(options.rounds)
    if torch.cuda.is_available():
        on_gpu(corpus, options.rounds)


if __name__ == "__main__":
    main()
