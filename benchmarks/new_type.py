"""A type that is added to a trained model: what does it cost the types that it knew?

    python benchmarks/new_type.py --seeds 42 43 44

WNUT-17 in two seeded halves. A first model learns five of the six types from the first half (``before``). Then persons
are added, with the second half, where nothing but persons is annotated; in four ways, from the first model's weights:

* ``alone``: the second half with ``--data.annotated_types``, so that its other words may be what the model knew;
* ``distilled``: the same, with ``--model.distillation true``: those other words are learnt from the first model;
* ``replay``: both halves, each with the types that it annotates;
* ``as_outside``: the second half as it stands, where all but persons is outside.

Scored are the five old types (micro F1) and persons, on the development data, with the final weights. The recipe is
fixed beforehand: three epochs, a head rate of 1e-3, warm-up 0.2, Viterbi decoding. Stopped and started again with the
same ``--output``, it goes on.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev

from accuracy import Recipe, Trainings
from corpora import find_corpus
from partial_annotation import RECIPE, WNUT17_TYPES, arguments_of, halves_of, write

from ner_module.tagging import tags_to_spans

NEW = "person"
OLD = tuple(name for name in WNUT17_TYPES if name != NEW)


def f1_of(predictions: Path, types: tuple[str, ...]) -> float:
    """Micro F1 of some types, by the predictions of a run."""
    right = total = 0
    for line in predictions.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        gold, found = (
            {span for span in tags_to_spans(record[name]) if span.entity_type in types}
            for name in ("gold_tags", "predicted_tags")
        )
        right, total = right + len(gold & found), total + len(gold) + len(found)
    return 2 * right / total if total else 1.0


def main() -> None:
    arguments = arguments_of("WNUT-17: persons are added to a model of the other five types.", "new_type")
    corpus, folder = find_corpus("wnut17", arguments.data), arguments.output / "data"
    one, other = halves_of(corpus.train)
    old, new = write(folder / "old.conll", one, [NEW]), write(folder / "new.conll", other, OLD)
    dev = corpus.files["validation"]
    old_dev = write(folder / "old_dev.conll", dev.read_text(encoding="utf-8").strip("\n").split("\n\n"), [NEW])

    def options(files: list[Path], types: dict[Path, list[str]], base: Path | None) -> tuple[str, ...]:
        found = ["--data.train_file", json.dumps([str(file) for file in files]), "--data.test_file", "null", *RECIPE]
        found += ["--data.annotated_types", json.dumps({file.name: names for file, names in types.items()})] * bool(
            types
        )
        return (
            *found,
            *(("--model.model_name_or_path", str(base)) if base else ("--data.validation_file", str(old_dev))),
        )

    rows: dict[str, list[tuple[float, ...]]] = {}
    for seed in arguments.seeds:
        base = arguments.output / "before" / f"wnut17-seed{seed}"
        annotated = {new: [NEW], old: list(OLD)}
        recipes = [
            Recipe("before", options([old], {}, None)),
            Recipe("alone", options([new], {new: [NEW]}, base)),
            Recipe("distilled", (*options([new], {new: [NEW]}, base), "--model.distillation", "true")),
            Recipe("replay", options([old, new], annotated, base)),
            Recipe("as_outside", options([new], {}, base)),
        ]
        trainings = Trainings(arguments, recipes)
        for recipe in recipes:
            trainings.dev(recipe, "wnut17", seed)
            predictions = arguments.output / recipe.name / f"wnut17-seed{seed}" / "predictions" / "validation.jsonl"
            found = f1_of(predictions, OLD), f1_of(predictions, (NEW,))
            before = found if recipe.name == "before" else rows["before"][-1]
            rows.setdefault(recipe.name, []).append((*found, found[0] - before[0]))
            print(seed, recipe.name, [f"{value:.4f}" for value in rows[recipe.name][-1]], flush=True)
    print("| training | seeds | F1 of the five old types | against before | F1 of persons |\n|---|---|---|---|---|")
    for name, found_of in rows.items():
        old_f1, new_f1, differences = ([row[column] for row in found_of] for column in range(3))
        spread = f" ± {stdev(differences):.4f}" if len(found_of) > 1 else ""
        cells = [str(len(found_of)), f"{mean(old_f1):.4f}", f"{mean(differences):+.4f}{spread}", f"{mean(new_f1):.4f}"]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
