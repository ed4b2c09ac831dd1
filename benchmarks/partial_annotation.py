"""Training data of which half lacks some types: WNUT-17 with two of its six types removed from one half.

    python benchmarks/partial_annotation.py --seeds 42 43

A seeded half of the training sentences loses its persons and locations, the two most frequent types: their words become
``O``. Three trainings are compared, on the same sentences in the same order, and scored on the whole, untouched
development and test data with the final weights:

* ``whole``: nothing is removed, what one would have with all the work done;
* ``partial``: ``--data.annotated_types`` says what the second half annotates;
* ``first_half``: the half that annotates all types alone; and ``distilled``: both halves as in ``partial``, from that
  model's weights with ``--model.distillation true``, in more steps than the others (``--kinds first_half distilled``);
* ``as_outside``: the same files without that option, so that what is missing counts as outside.

The recipe, fixed beforehand, is the better one of `docs/results.md`: a head rate of 1e-3, warm-up 0.2, Viterbi
decoding, three epochs. Stopped and started again with the same ``--output``, it goes on.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accuracy import TEST_KEYS, Recipe, Trainings
from corpora import REPOSITORY, add_arguments, find_corpus

from ner_module.tagging import spans_to_tags, tags_to_spans

WNUT17_TYPES = ("corporation", "creative-work", "group", "location", "person", "product")
REMOVED = ("person", "location")
RECIPE = ("--model.head_learning_rate", "1e-3", "--model.warmup_ratio", "0.2", "--model.decoding", "viterbi")


def halves_of(train: Path, seed: int = 42) -> tuple[list[str], list[str]]:
    """The sentences of a column file, in two seeded halves that keep their order."""
    sentences = [part.strip("\n") for part in train.read_text(encoding="utf-8").split("\n\n") if part.strip()]
    second = set(random.Random(seed).sample(range(len(sentences)), len(sentences) // 2))
    first, other = ([part for at, part in enumerate(sentences) if (at in second) == half] for half in (False, True))
    return first, other


def write(path: Path, sentences: Iterable[str], removed: Iterable[str] = ()) -> Path:
    """Write sentences with IOB2 tags; words of the ``removed`` types become ``O``."""
    gone = {f"{prefix}-{name}" for name in removed for prefix in "BI"}

    def stripped(line: str) -> str:
        word, tag = line.rstrip().split("\t")
        return f"{word}\tO" if tag in gone else line

    path.parent.mkdir(parents=True, exist_ok=True)
    parts = ("\n".join(map(stripped, part.split("\n"))) for part in sentences)
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def write_iob2(path: Path, published: Path) -> Path:
    """Write a column file of IOB1 or IOB2 with the canonical tags of its entities, words and sentences unchanged."""
    sentences = []
    for part in published.read_text(encoding="utf-8").split("\n\n"):
        rows = [line.split() for line in part.strip("\n").split("\n")]
        if rows and all(rows) and rows[0][0] != "-DOCSTART-":
            tags = spans_to_tags(tags_to_spans([row[1] for row in rows]), len(rows))
            sentences.append("\n".join(f"{row[0]}\t{tag}" for row, tag in zip(rows, tags, strict=True)))
    return write(path, sentences)


def arguments_of(description: str, name: str, **more: Any) -> argparse.Namespace:
    """The command line of a comparison, with one more option perhaps."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--model", help="folder or hub id of the base model; MiniLM by default")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "runs" / name)
    add_arguments(parser)
    for option, how in more.items():
        parser.add_argument(f"--{option}", **how)
    arguments = parser.parse_args()
    for path in ("output", "data", "cache"):
        setattr(arguments, path, getattr(arguments, path).resolve())
    return arguments


def main() -> None:
    kinds: dict[str, Any] = {"nargs": "+", "default": ["whole", "partial", "as_outside"]}
    description = "WNUT-17 with two types removed from half of the training sentences."
    arguments = arguments_of(description, "partial_annotation", kinds=kinds)
    folder, (one, other) = arguments.output / "data", halves_of(find_corpus("wnut17", arguments.data).train)
    first, second = write(folder / "first.conll", one), write(folder / "second.conll", other)
    lacking = write(folder / "second_partial.conll", other, REMOVED)
    types = json.dumps({lacking.name: [name for name in WNUT17_TYPES if name not in REMOVED]})
    partial = ("--data.annotated_types", types)
    options = {
        "whole": ([first, second], ()),
        "partial": ([first, lacking], partial),
        "first_half": ([first], ()),
        "distilled": ([first, lacking], (*partial, "--model.distillation", "true", "--model.model_name_or_path")),
        "as_outside": ([first, lacking], ()),
    }
    rows = []
    for seed in arguments.seeds:
        base = str(arguments.output / "first_half" / f"wnut17-seed{seed}")
        recipes = []
        for name in arguments.kinds:
            files, more = options[name]
            train = json.dumps([str(file) for file in files])
            more = (*more, base) if name == "distilled" else more
            recipes.append(Recipe(name, ("--data.train_file", train, *RECIPE, *more)))
        trainings = Trainings(arguments, recipes)
        for recipe in recipes:
            rows.append(trainings.dev(recipe, "wnut17", seed))
            trainings.add_test(rows[-1], recipe)
            print(rows[-1], flush=True)
    (arguments.output / "rows.json").write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    print("| annotation | seed | dev F1 | test P | test R | test F1 | test accuracy |\n|---|---|---|---|---|---|---|")
    for row in rows:
        figures = [row.dev_f1, *(row.test[key] for key in TEST_KEYS)]
        print(f"| {row.recipe} | {row.seed} | {' | '.join(f'{figure:.4f}' for figure in figures)} |")


if __name__ == "__main__":
    main()
