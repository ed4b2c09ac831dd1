"""Two corpora with disjoint types in one model: what does each lose against a model of its own?

    python benchmarks/two_corpora.py --seeds 42 43 44

Wikigold (persons, locations, organisations, others) and NCBI-disease (diseases). Three trainings for each seed, of the
same recipe, fixed beforehand (three epochs, a head rate of 1e-3, warm-up 0.2, Viterbi decoding): each corpus alone, and
both together, with ``--data.annotated_types`` saying what each file annotates. Scored is the micro F1 of each corpus's
types on its test data, with the final weights. Stopped and started again with the same ``--output``, it goes on.
"""

from __future__ import annotations

import json
from statistics import mean, stdev

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

    recipes = [Recipe(name, options((name,))) for name in TYPES] + [Recipe("together", options(tuple(TYPES)))]
    trainings, rows = Trainings(arguments, recipes), []
    for seed in arguments.seeds:
        found = {}
        for recipe in recipes:
            figures = trainings.dev(recipe, "wikigold", seed)  # a name for the run; the recipe has the files of all
            trainings.add_test(figures, recipe)
            predictions = arguments.output / recipe.name / f"wikigold-seed{seed}" / "predictions" / "test.jsonl"
            found[recipe.name] = {
                name: f1_of(predictions, TYPES[name]) for name in TYPES if recipe.name in (name, "together")
            }
        rows.append({name: (found[name][name], found["together"][name]) for name in TYPES})
        print(seed, rows[-1], flush=True)
    print("| corpus | seeds | its own model: test F1 | together | difference |\n|---|---|---|---|---|")
    for name in TYPES:
        own, both = zip(*(row[name] for row in rows), strict=True)
        differences = [other - one for one, other in zip(own, both, strict=True)]
        spread = f" ± {stdev(differences):.4f}" if len(rows) > 1 else ""
        print(f"| {name} | {len(rows)} | {mean(own):.4f} | {mean(both):.4f} | {mean(differences):+.4f}{spread} |")


if __name__ == "__main__":
    main()
