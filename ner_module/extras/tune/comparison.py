"""Is the recipe that was found better than the first one? Both are trained again, with seeds that chose neither."""

from __future__ import annotations

import time
from statistics import fmean

from optuna.trial import FrozenTrial

from ner_module.errors import DataError, RunError
from ner_module.extras.analysis import main as compare
from ner_module.extras.analysis.uncertainty import welch_test
from ner_module.extras.tune.search import RECIPE, Search, run_of, seconds_of
from ner_module.extras.tune.trial import run_command, train
from ner_module.files import read_json_object
from ner_module.tables import say
from ner_module.training.runs import launch_command, run_lock


def compare_recipes(search: Search, best: FrozenTrial, seeds: int, deadline: float | None) -> None:
    """Train both with as many seeds as there is time for, and print the gain and the tests of ``compare``.

    Args:
        search: that has ended.
        best: its best trial.
        seeds: how many, at most: those that follow the recipe's.
        deadline: by ``time.monotonic()``.

    Raises:
        RunError: a training failed, or another worker is comparing.
    """
    folder, recipes = search.folder / "seeds", (run_of(best), RECIPE)
    took = {run_of(trial): seconds_of(trial) for trial in search.ranked()}
    first, used = search.recipe["seed_everything"] + 1, list[int]()
    with run_lock(folder):
        for seed in range(first, first + seeds):
            begun = time.monotonic()
            both = {run: folder / f"{run}-seed-{seed}" for run in recipes}
            left = {run: at for run, at in both.items() if not (at / "predictions" / "validation.jsonl").is_file()}
            if left and deadline is not None and begun + sum(took.get(run, 0.0) for run in left) > deadline:
                break
            for run, run_dir in left.items():
                problem = train(run_dir, [*search.arguments(run, best.params), f"--seed_everything={seed}"])
                if problem := problem or run_command(run_dir, ["validate"]):
                    raise RunError(f"the comparison stopped: {problem}")
            used.append(seed)
            say(f"seed {seed:<5} both recipes trained again  {(time.monotonic() - begun) / 60:.1f} min")
    launch = launch_command()
    if not used:
        again = f"{launch} tune --run_dir {search.folder} --trials 0"
        say(f"gain       not measured: the budget has no time for it. To do it:\n  {again}")
        return
    ours, theirs = sides = [[folder / f"{run}-seed-{seed}" for seed in used] for run in recipes]
    a, b = ([read_json_object(run / "results.json")["validate"]["val/f1"] for run in side] for side in sides)
    say(f"\nA: the recipe that was found; B: the recipe as it is; both trained again with {len(used)} seeds.\n")
    try:
        compare([*map(str, ours), "--against", *map(str, theirs), "--split", "validation"])
    except DataError:
        say("Each seed has held out validation sentences of its own: no test over sentences.")
    p = welch_test(a, b)
    say(
        f"gain       {fmean(a) - fmean(b):+.4f} F1 on validation data{'' if p is None else f', p {p:.4f} over seeds'}\n"
        "           These data chose the trial, too, and may flatter it; test data were not scored.\n\n"
        f"Next:\n  {launch} test --run_dir {search.run_dir(best)}"
    )
