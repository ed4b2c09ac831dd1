"""The search: an Optuna study in a directory, its trials, and what is printed and written of them.

Any number of workers share the directory: ``recipe.yaml`` and ``space.yaml``, written by the first of them; the study's
``journal.log``; a run for each trial in ``trials/``, and in ``workers/`` a folder that its worker keeps locked.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import optuna
import yaml
from optuna.storages import JournalStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState
from rich import get_console

from ner_module.errors import DataError, RunError
from ner_module.extras.analysis import main as compare
from ner_module.extras.analysis.uncertainty import welch_test
from ner_module.extras.tune.space import as_flags, default_space, read_space, shown, value_of
from ner_module.extras.tune.trial import Rows, best_f1, epochs_of, run_command, train, when_free
from ner_module.files import read_json_object, write_atomically
from ner_module.options import build_parser, parse_fit_options, read_ahead
from ner_module.tables import Column, Table, say
from ner_module.training.runs import launch_command, new_run_dir, run_lock
from ner_module.training.saved_config import read_config

RECIPE = "0000"
"""The run of the first trial: the recipe as it is."""
_QUARTERS = 4
_MOST_RETRIES = 10  # of an interrupted trial: it may be the trial that kills its workers


class Search:
    """A search as one of its workers sees it.

    Args:
        folder: of the search; ``None`` for a new one below ``runs/``.
        arguments: of ``fit``: the recipe. Those of a search that is continued may be left out.
        space: a file that says what is searched.

    Raises:
        UserError: the recipe or the space cannot be used, or is not that of the search in the folder.
    """

    def __init__(self, folder: Path | None, arguments: Sequence[str], space: Path | None) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore")  # optuna's: what is experimental, and importances from few trials
        is_new = folder is None or not (folder / "recipe.yaml").is_file()
        recipe = _recipe(arguments) if arguments or is_new else None
        name = Path([*read_ahead(arguments)[0]["config"], "fit"][0]).stem
        self.folder = folder or new_run_dir(f"{name}-tune")
        self.folder.mkdir(parents=True, exist_ok=True)
        with when_free(self.folder):
            # The tasks of a SLURM array differ in their seeds: the first one's is that of all.
            self.recipe = _settle(self.folder / "recipe.yaml", recipe, but="seed_everything")
            self.options, path = parse_fit_options(self.arguments(RECIPE, {})), self.folder / "space.yaml"
            _settle(path, read_config(space) if space else None if path.is_file() else default_space(self.options))
            self.space = read_space(path, self.options)
            spaces: dict[str, Any] = self.space
            ends = {name: getattr(at, "choices", None) or (at.low, at.high) for name, at in spaces.items()}
            flags = [flag for name, values in ends.items() for value in values for flag in as_flags({name: value})]
            parse_fit_options([*self.arguments(RECIPE, {}), *flags])  # each is one that `fit` takes
            journal = str(self.folder / "journal.log")
            self.study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(journal, JournalFileOpenLock(journal))),
                study_name="tune",
                load_if_exists=True,
                direction="maximize",
                # Not before half of a training: until then a low learning rate looks worse than it is.
                pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=_QUARTERS // 2),
            )
            if not self.study.trials:
                self.study.enqueue_trial({name: value_of(self.options, name) for name in self.space})
        say(f"search     {self.folder}\n           search space: {path}")

    def run(self, most: int | None, deadline: float | None, seeds: int) -> None:
        """Run trials until all workers together have ``most``, or the next would not fit into the time.

        Args:
            most: the number of trials.
            deadline: by ``time.monotonic()``.
            seeds: with how many of them recipes are to be compared.
        """
        budget = 0.0 if deadline is None else deadline - time.monotonic()
        while deadline is None or self.has_time(deadline - time.monotonic(), budget, seeds):
            with contextlib.ExitStack() as ours:
                with when_free(self.folder):
                    for left in self._running(alive=False):
                        self.study.tell(left.number, state=TrialState.FAIL)
                        RetryHeartbeatStaleTrialCallback(_MOST_RETRIES)(self.study, left)
                    trials = self.study.get_trials(deepcopy=False)
                    waiting = any(trial.state is TrialState.WAITING for trial in trials)
                    if most is not None and not waiting and len(set(map(run_of, trials))) >= most:
                        return
                    seed = self.recipe["seed_everything"] + len(trials)
                    self.study.sampler = optuna.samplers.TPESampler(seed=seed)
                    trial = self.study.ask(self.space)
                    trial.set_user_attr("run", run_of(trial))
                    ours.enter_context(run_lock(self.folder / "workers" / run_of(trial)))
                self._run(trial)

    def _run(self, trial: Trial) -> None:
        run, begun, run_dir, pruned = run_of(trial), time.monotonic(), self.run_dir(trial), False
        limits = {"epoch": "trainer.max_epochs", "step": "trainer.max_steps"}
        ends = {key: trial.params.get(name) or value_of(self.options, name) or 0 for key, name in limits.items()}

        def is_hopeless(rows: Rows) -> bool:
            """Compare trials of few and of many epochs at equal shares of their training."""
            nonlocal pruned
            for number, row in enumerate(rows, 1):
                share = max((row[key] / float(end) for key, end in ends.items() if float(end) > 0), default=0.0)
                quarter = int(_QUARTERS * share + 1e-6)
                if quarter < _QUARTERS and (f1 := best_f1(rows[:number])) is not None:
                    trial.report(f1, quarter)  # the first of a quarter counts
            pruned = bool(trial.should_prune())  # it may be one of NumPy
            return pruned

        problem = train(run_dir, self.arguments(run, trial.params), is_hopeless)
        f1 = best_f1(epochs_of(run_dir))
        if problem or f1 is None:
            said = f"failed: {problem or 'no val/f1; give validation data'}"
            if run == RECIPE:
                raise RunError(f"the recipe as it is {said}")
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, None if pruned else f1, TrialState.PRUNED if pruned else None)
            said = f"F1 {f1:.4f}" + ", falling behind: stopped" * pruned
        text = ", ".join(f"{name.rpartition('.')[2]} {shown(value)}" for name, value in trial.params.items())
        text = "the recipe as it is" if run == RECIPE else text
        say(f"trial {trial.number:<4} {said}  {(time.monotonic() - begun) / 60:.1f} min  {text}")

    def _running(self, alive: bool) -> list[FrozenTrial]:
        """The unfinished trials whose workers live, or do not."""
        found = []
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            try:
                with run_lock(self.folder / "workers" / run_of(trial)):
                    is_alive = False
            except RunError:
                is_alive = True
            if is_alive is alive:
                found.append(trial)
        return found

    def has_time(self, left: float, budget: float, seeds: int) -> bool:
        """Whether there is time for one more trial and then the comparison, which gets half of it all at most.

        Args:
            left: seconds.
            budget: how many there were.
            seeds: with how many the best trial and the recipe are to be trained again.
        """
        if not (ranked := self.ranked()):
            return True
        comparison = seeds * sum(seconds_of(trial) for trial in ranked if trial is ranked[0] or run_of(trial) == RECIPE)
        return median(map(seconds_of, ranked)) + min(comparison, budget / 2) <= left

    def run_dir(self, trial: Trial | FrozenTrial) -> Path:
        """Where a trial trains."""
        return self.folder / "trials" / run_of(trial)

    def arguments(self, run: str, values: Mapping[str, Any]) -> list[str]:
        """Those of ``fit`` for a trial; the recipe as it is has no options of its own."""
        return ["--config", str(self.folder / "recipe.yaml"), *as_flags({} if run == RECIPE else values)]

    def summarise(self) -> FrozenTrial | None:
        """Print the best trials and write ``best.yaml``.

        Returns:
            The best trial, to be compared with the recipe; ``None`` where it is that, or other workers still search.
        """
        if not (ranked := self.ranked()):
            return None
        best, path = ranked[0], self.folder / "best.yaml"
        found = f"# Trial {best.number} of `tune`: F1 {best.value:.4f} on validation data, which chose it."
        text = _dump(_recipe(self.arguments(run_of(best), best.params)))
        write_atomically(path, f"# python -m ner_module fit --config {path}\n#\n{found}\n{text}")
        get_console().print("", self.table(ranked).for_terminal(), "", sep="\n")
        say(f"best       trial {best.number}: {self.run_dir(best)}\n           as a recipe: {path}")
        if run_of(best) == RECIPE:
            say("           no trial was better than the original recipe")
        elif self._running(alive=True):
            say("           other workers are still searching: the last of them compares it with the recipe")
        else:
            return best
        return None

    def ranked(self) -> list[FrozenTrial]:
        """The trials that were trained to the end, the best first."""
        trained = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return sorted(trained, key=lambda trial: (-(trial.value or 0.0), trial.number))

    def table(self, ranked: Sequence[FrozenTrial]) -> Table:
        """The best trials, and the recipe, side by side; how much each option decided about F1."""
        chosen = [*ranked[:3], *(trial for trial in ranked[3:] if run_of(trial) == RECIPE)]
        importance = optuna.importance.get_param_importances(self.study) if len(ranked) >= 5 else {}
        titles = ["recipe" if run_of(trial) == RECIPE else f"trial {trial.number}" for trial in chosen]
        columns = [Column(""), *map(Column, titles), Column("importance", "{:.2f}".format)]
        rows: list[list[Any]] = [["val/f1", *(f"{trial.value:.4f}" for trial in chosen), None]]
        rows.append(["minutes", *(f"{seconds_of(trial) / 60:.1f}" for trial in chosen), None])
        for name in sorted(self.space, key=lambda name: -importance.get(name, 0)):
            rows.append([name, *(shown(trial.params[name]) for trial in chosen), importance.get(name)])
        note = f"{len(ranked)} trials were trained to the end; importances from few trials are rough."
        return Table("The best trials on validation data", columns, rows, frozenset({0}), note)


def compare_recipes(search: Search, best: FrozenTrial, seeds: int, deadline: float | None) -> None:
    """Is the recipe that was found better than the first one? Both are trained again, with seeds that chose neither.

    With as many as there is time for; prints the gain and the tests of ``compare``.

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
            say(f"seed {seed:<5} both recipes retrained  {(time.monotonic() - begun) / 60:.1f} min")
    launch = launch_command()
    if not used:
        again = f"{launch} tune --run_dir {search.folder} --trials 0"
        say(f"gain       not measured: no time left in the budget. To measure it:\n  {again}")
        return
    ours, theirs = sides = [[folder / f"{run}-seed-{seed}" for seed in used] for run in recipes]
    a, b = ([read_json_object(run / "results.json")["validate"]["val/f1"] for run in side] for side in sides)
    say(f"\nA: the recipe found; B: the original recipe; both retrained with {len(used)} seeds.\n")
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


def run_of(trial: Trial | FrozenTrial) -> str:
    """The name of a trial's run, which a trial that takes it up again has, too."""
    return str(trial.user_attrs.get("run", f"{trial.number:04d}"))


def seconds_of(trial: FrozenTrial) -> float:
    """How long a trial took that has ended."""
    return trial.duration.total_seconds() if trial.duration else 0.0


def _recipe(arguments: Sequence[str]) -> dict[str, Any]:
    """What arguments of ``fit`` say that is no default; the seed is said."""
    parser = build_parser("fit")
    options = parser.parse(arguments)
    said = yaml.safe_load(parser.dump(options, skip_unset=False, skip_default=True))
    recipe = {name: value for name, value in said.items() if name not in ("run_dir", "ckpt_path")}
    return recipe | {"seed_everything": options.seed_everything}


def _dump(content: Mapping[str, Any] | None) -> str:
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _settle(path: Path, wanted: dict[str, Any] | None, but: str = "") -> dict[str, Any]:
    """What a file of the search says; the first worker writes it, and the others must not want something else."""
    if not path.is_file():
        write_atomically(path, _dump(wanted))
    found = read_config(path)
    if wanted is not None and {**wanted, but: None} != {**found, but: None}:
        raise RunError(f"{path} is of another search: leave these options out, or choose another --run_dir")
    return found
