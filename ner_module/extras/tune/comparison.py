"""Is the recipe that was found better than the first one? Both are trained again, with seeds that chose neither."""

from __future__ import annotations

import time
from statistics import fmean

from optuna.trial import FrozenTrial

from ner_module.errors import RunError
from ner_module.extras.analysis.sentences import counts_of_runs, read_predictions
from ner_module.extras.analysis.uncertainty import f1_of, paired_test, welch_test
from ner_module.extras.tune.search import RECIPE, Search, run_of
from ner_module.extras.tune.trial import run_command, train
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
    typical = search.typical_seconds() or 0.0
    first = search.recipe["seed_everything"] + 1
    with run_lock(folder):
        for seed in range(first, first + seeds):
            begun = time.monotonic()
            if deadline is not None and begun + 2 * typical > deadline:
                break
            for run, values in ((run_of(best), best.params), (RECIPE, {})):
                run_dir = folder / f"{run}-seed-{seed}"
                if (run_dir / "predictions" / "validation.jsonl").is_file():
                    continue
                problem = train(run_dir, [*search.arguments(run, values), f"--seed_everything={seed}"])
                if problem := problem or run_command(run_dir, ["validate", f"--run_dir={run_dir}"]):
                    raise RunError(f"the comparison stopped: {problem}")
            used.append(seed)
            say(f"seed {seed:<5} both recipes trained again  {(time.monotonic() - begun) / 60:.1f} min")
    if not used:
        again = f"{launch} tune --run_dir {search.folder} --trials 0"
        say(f"gain       not measured: the budget has no time for it. To do it:\n  {again}")
        return
    ours, theirs = ([folder / f"{run}-seed-{seed}" for seed in used] for run in (run_of(best), RECIPE))
    _, counts = counts_of_runs([*ours, *theirs], [read_predictions(run, "validation") for run in [*ours, *theirs]])
    result = paired_test(counts[: len(used)], counts[len(used) :])
    f1s = [float(f1_of(of_run.sum((0, 1)).double())) for of_run in counts]
    a, b = f1s[: len(used)], f1s[len(used) :]
    difference, low, high = result.difference
    over_seeds = welch_test(a, b)
    sure = max(result.p_bootstrap, 1.0 if over_seeds is None else over_seeds) < 0.05
    say(
        f"\ngain       {difference:+.4f} F1 on validation data (95 % interval {low:+.4f} to {high:+.4f}): "
        f"{fmean(a):.4f}, and {fmean(b):.4f} for the recipe as it is; means over {len(used)} seeds that chose neither\n"
        f"           p {result.p_bootstrap:.4f} over sentences (paired bootstrap), "
        f"{'n/a' if over_seeds is None else f'{over_seeds:.4f}'} over seeds (Welch): "
        f"{'more than chance' if sure else 'it may be chance; more seeds would tell (--seeds)'}\n"
        "           The same sentences chose the trial, which flatters it. Test data were not scored.\n\n"
        f"Next:\n  {launch} test --run_dir {search.run_dir(best)}\n"
        f"  {launch} compare {' '.join(map(str, ours))} --against {' '.join(map(str, theirs))} --split validation"
    )
