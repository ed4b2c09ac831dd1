"""Is the recipe that was found better than the first one? Both are trained again, with seeds that chose neither."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from optuna.trial import FrozenTrial

from ner_module.errors import DataError, RunError
from ner_module.extras.analysis.sentences import counts_of_runs, read_predictions
from ner_module.extras.analysis.uncertainty import paired_test, welch_test
from ner_module.extras.tune.search import RECIPE, Search, run_of, seconds_of
from ner_module.extras.tune.trial import run_command, train
from ner_module.files import read_json_object
from ner_module.tables import say
from ner_module.training.runs import launch_command, run_lock


def compare_recipes(search: Search, best: FrozenTrial, seeds: int, deadline: float | None) -> None:
    """Train both with as many seeds as there is time for, and print the gain and how sure it is.

    Args:
        search: that has ended.
        best: its best trial.
        seeds: how many, at most: those that follow the recipe's.
        deadline: by ``time.monotonic()``.

    Raises:
        RunError: a training failed, or another worker is comparing.
    """
    folder, launch, used = search.folder / "seeds", launch_command(), []
    took = {run_of(trial): seconds_of(trial) for trial in search.ranked()}
    first = search.recipe["seed_everything"] + 1
    with run_lock(folder):
        for seed in range(first, first + seeds):
            begun = time.monotonic()
            both = {run: folder / f"{run}-seed-{seed}" for run in (run_of(best), RECIPE)}
            left = {run: at for run, at in both.items() if not (at / "predictions" / "validation.jsonl").is_file()}
            if left and deadline is not None and begun + sum(took.get(run, 0.0) for run in left) > deadline:
                break
            for run, run_dir in left.items():
                problem = train(run_dir, [*search.arguments(run, best.params), f"--seed_everything={seed}"])
                if problem := problem or run_command(run_dir, ["validate", f"--run_dir={run_dir}"]):
                    raise RunError(f"the comparison stopped: {problem}")
            used.append(seed)
            say(f"seed {seed:<5} both recipes trained again  {(time.monotonic() - begun) / 60:.1f} min")
    if not used:
        again = f"{launch} tune --run_dir {search.folder} --trials 0"
        say(f"gain       not measured: the budget has no time for it. To do it:\n  {again}")
        return
    ours, theirs = ([folder / f"{run}-seed-{seed}" for seed in used] for run in (run_of(best), RECIPE))
    say(
        f"\n{gain(ours, theirs)}\n           Test data were not scored.\n\n"
        f"Next:\n  {launch} test --run_dir {search.run_dir(best)}\n"
        f"  {launch} compare {' '.join(map(str, ours))} --against {' '.join(map(str, theirs))} --split validation"
    )


def gain(ours: Sequence[Path], theirs: Sequence[Path]) -> str:
    """What the new recipe gained over the old one on validation data, how sure that is, and what to make of it.

    Args:
        ours: runs of the new recipe, scored by ``validate``.
        theirs: of the old one, with the same seeds.
    """
    a, b = ([read_json_object(run / "results.json")["validate"]["val/f1"] for run in side] for side in (ours, theirs))
    difference, over_seeds, num = fmean(a) - fmean(b), welch_test(a, b), len(a)
    p_values, caution = [1.0 if over_seeds is None else over_seeds], "were held out anew with each seed"
    lines = ["no p over seeds from these" if over_seeds is None else f"p {over_seeds:.4f} over seeds (Welch's t-test)"]
    with contextlib.suppress(DataError):  # runs of other seeds have other sentences
        _, counts = counts_of_runs([*ours, *theirs], [read_predictions(run, "validation") for run in [*ours, *theirs]])
        test, caution = paired_test(counts[:num], counts[num:]), "chose the trial, too, which flatters it"
        p_values.append(test.p_bootstrap)
        (_, low, high), p_over = test.difference, test.p_bootstrap
        lines.append(f"95 % interval {low:+.4f} to {high:+.4f}, p {p_over:.4f} (bootstrap over sentences)")
    verdict = "more than chance" if max(p_values) < 0.05 else "it may be chance; more seeds would tell (--seeds)"
    verdict = verdict if difference > 0 else "no gain: stay with the recipe as it is"
    head = f"gain       {difference:+.4f} F1 on validation data: {fmean(a):.4f}, the recipe as it is {fmean(b):.4f}"
    lines.insert(0, f"both trained again with {num} seed{'s' * (num > 1)} that chose neither")
    return "\n           ".join([head, *lines, verdict, f"The validation sentences {caution}."])
