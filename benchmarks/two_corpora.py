"""Two corpora with disjoint types in one model: what does each lose against a model of its own?

    python benchmarks/two_corpora.py --seeds 42 43 44

Wikigold (persons, locations, organisations, others) and NCBI-disease (diseases). Four trainings for each seed, of the
same recipe, fixed beforehand (three epochs, a head rate of 1e-3, warm-up 0.2, Viterbi decoding): each corpus alone;
``together``, both with ``--data.annotated_types`` saying what each file annotates; and ``distilled``, the same from the
weights of wikigold's own model with ``--model.distillation true``. Scored is the micro F1 of each corpus's types, with
the final weights. Stopped and started again with the same ``--output``, it goes on.
"""

from __future__ import annotations

import json

import numpy as np
from accuracy import Recipe, Trainings
from corpora import SPLITS, find_corpus
from new_type import f1_of
from partial_annotation import RECIPE, arguments_of, write_iob2

TYPES = {"wikigold": ("LOC", "MISC", "ORG", "PER"), "ncbi_disease": ("Disease",)}


def main() -> None:
    arguments = arguments_of("Wikigold and NCBI-disease in one model.", "two_corpora")
    files = {
        name: {
            split: write_iob2(arguments.output / "data" / f"{name}_{split}.conll", path)
            for split, path in find_corpus(name, arguments.data, arguments.cache).files.items()
        }
        for name in TYPES
    }

    def options(names: tuple[str, ...]) -> tuple[str, ...]:
        given = [*RECIPE]
        for split in SPLITS:
            given += [f"--data.{split}_file", json.dumps([str(files[name][split]) for name in names])]
        if len(names) > 1:
            types = {files[name][split].name: TYPES[name] for name in names for split in SPLITS}
            given += ["--data.annotated_types", json.dumps(types)]
        return tuple(given)

    rows: list[tuple[int, str, str, float, float]] = []
    for seed in arguments.seeds:
        base = str(arguments.output / "wikigold" / f"wikigold-seed{seed}")
        both = options(tuple(TYPES))
        recipes = {name: Recipe(name, options((name,))) for name in TYPES} | {
            "together": Recipe("together", both),
            "distilled": Recipe(
                "distilled", (*both, "--model.distillation", "true", "--model.model_name_or_path", base)
            ),
        }
        trainings = Trainings(arguments, list(recipes.values()))
        for kind, recipe in recipes.items():
            # A name for the run; the recipe has the files of all.
            trainings.add_test(trainings.dev(recipe, "wikigold", seed), recipe)
            folder = arguments.output / kind / f"wikigold-seed{seed}" / "predictions"
            for name in TYPES if kind not in TYPES else (kind,):
                dev, test = (f1_of(folder / f"{split}.jsonl", TYPES[name]) for split in ("validation", "test"))
                rows.append((seed, "its own model" if kind == name else kind, name, dev, test))
                print(rows[-1], flush=True)
    print("| corpus | model | seeds | dev F1 | difference | test F1 | difference |\n|---|---|---|---|---|---|---|")
    for name in TYPES:
        figures = {kind: np.array([row[3:] for row in rows if row[1:3] == (kind, name)]) for _, kind, *_ in rows}
        own = figures["its own model"]
        for kind, found in figures.items():
            means, lost = found.mean(0), (found - own).mean(0) * 100
            cells = [f"{mean:.4f} | {points:+.1f}" for mean, points in zip(means, lost, strict=True)]
            print(f"| {name} | {kind} | {len(found)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
