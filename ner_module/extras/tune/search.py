"""The search: an Optuna study in a directory, its trials, and what is printed and written of them.

Any number of workers share the directory: ``recipe.yaml`` and ``space.yaml``, written by the first of them; the study's
``journal.log``; ``workers/N``, a file that worker N keeps locked for as long as it lives; a run for each trial.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import optuna
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState
from rich import get_console

from ner_module.errors import RunError
from ner_module.extras.tune.space import SPACE, Value, around, as_flag, default_space, draw, read_space, shown, value_of
from ner_module.extras.tune.trial import Rows, best_f1, epochs_of, train, when_free
from ner_module.files import try_lock, write_atomically
from ner_module.options import build_parser, parse_fit_options
from ner_module.tables import Column, Table, say
from ner_module.training.runs import new_run_dir
from ner_module.training.saved_config import read_config

RECIPE = "0000"
"""The run of the first trial: the recipe as it is."""
_MOST_RETRIES = 3  # after a killed worker: it may be the trial that kills them
_QUARTERS = 4


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
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", ".*importance of the parameter may be")  # inaccurate: the table says so
        recipe: dict[str, Any] | None = None
        if arguments or folder is None or not (folder / "recipe.yaml").is_file():
            parser = build_parser("fit")
            options = parser.parse(arguments)
            said = yaml.safe_load(parser.dump(options, skip_unset=False, skip_default=True))
            recipe = {name: value for name, value in said.items() if name not in ("run_dir", "ckpt_path")}
            recipe["seed_everything"] = options.seed_everything
            name = Path(str(options.config[0])).stem if options.config else "fit"
            folder = folder or new_run_dir(f"{name}-tune")
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with when_free(folder):
            # The tasks of a SLURM array differ in their seeds: the first one's is that of all.
            self.recipe = _settle(folder / "recipe.yaml", recipe, but="seed_everything")
            as_it_is = ["--config", str(folder / "recipe.yaml")]
            self.options, path = parse_fit_options(as_it_is), folder / "space.yaml"
            asked = read_space(space) if space else None if path.is_file() else default_space(self.options)
            _settle(path, SPACE.dump_python(around(asked, self.options)) if asked else None)
            self.space = read_space(path)
            ends = {n: w if isinstance(w, list) else [w.low, w.high] for n, w in self.space.items()}
            parse_fit_options([*as_it_is, *(as_flag(name, end) for name, found in ends.items() for end in found)])
            self._join()
        say(f"search     {folder}\n           what is searched: {path}")

    def _join(self) -> None:
        """Become one more worker, and take over what dead ones have left."""
        workers = self.folder / "workers"
        workers.mkdir(exist_ok=True)
        self.worker = str(len(list(workers.iterdir())))
        self._own_file = (workers / self.worker).open("w")
        try_lock(self._own_file)
        journal = str(self.folder / "journal.log")
        self.study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(journal, JournalFileOpenLock(journal))),
            study_name="tune",
            load_if_exists=True,
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=self.recipe["seed_everything"] + int(self.worker)),
            # Not before half of a training: until then a low learning rate looks worse than it is.
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=_QUARTERS // 2),
        )
        if not self.study.trials:
            self.study.enqueue_trial({name: value_of(self.options, name) for name in self.space}, {"run": RECIPE})
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            if not self._has_worker(trial):
                self._retry(trial, trial.user_attrs.get("killed", 0) + 1)

    # ------------------------------------------------------------------ trials

    def run(self, most: int | None, deadline: float | None, seeds: int) -> None:
        """Run trials until all workers together have ``most``, or the next would not fit into the time.

        Args:
            most: the number of trials.
            deadline: by ``time.monotonic()``.
            seeds: with how many of them recipes are to be compared.
        """
        budget = None if deadline is None else deadline - time.monotonic()
        while True:
            if deadline and budget and not self.has_time(deadline - time.monotonic(), budget, seeds):
                return
            with when_free(self.folder):
                trials = self.study.get_trials(deepcopy=False)
                waiting = any(trial.state is TrialState.WAITING for trial in trials)
                if most is not None and not waiting and len({run_of(trial) for trial in trials}) >= most:
                    return
                trial = self.study.ask()
                trial.set_user_attr("run", run_of(trial))
                trial.set_user_attr("worker", self.worker)
            self._run(trial)

    def _run(self, trial: Trial) -> None:
        values, run, begun = draw(self.space, trial), run_of(trial), time.monotonic()
        pruned, reported, run_dir = False, set[int](), self.run_dir(trial)

        def is_hopeless(rows: Rows) -> bool:
            nonlocal pruned
            for number, row in enumerate(rows, 1):
                quarter = int(_QUARTERS * self._share(row, values) + 1e-6)
                if quarter not in reported and quarter < _QUARTERS and (f1 := best_f1(rows[:number])) is not None:
                    reported.add(quarter)
                    trial.report(f1, quarter)
                    pruned = pruned or bool(trial.should_prune())  # it may be one of NumPy
            return pruned

        try:
            problem = train(run_dir, self.arguments(run, values), is_hopeless)
        except BaseException:
            self._retry(self.study.trials[trial.number], trial.user_attrs.get("killed", 0))
            raise
        f1 = best_f1(epochs_of(run_dir))
        if problem or f1 is None:
            said = f"failed: {problem or 'no val/f1; give validation data'}"
            if run == RECIPE:
                self._retry(self.study.trials[trial.number], 0)
                raise RunError(f"the recipe as it is {said}")
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, None if pruned else f1, TrialState.PRUNED if pruned else None)
            said = f"F1 {f1:.4f}" + ", falling behind: stopped" * pruned
        text = ", ".join(f"{name.rpartition('.')[2]} {shown(value)}" for name, value in values.items())
        text = "the recipe as it is" if run == RECIPE else text
        say(f"trial {trial.number:<4} {said}  {(time.monotonic() - begun) / 60:.1f} min  {text}")

    def _share(self, row: Mapping[str, float], values: Mapping[str, Value]) -> float:
        """How much of its training a trial has done: those of few and of many epochs are compared at equal shares."""
        limits = {"epoch": "trainer.max_epochs", "step": "trainer.max_steps"}
        ends = {key: values.get(name) or value_of(self.options, name) or 0 for key, name in limits.items()}
        return max((row[key] / float(end) for key, end in ends.items() if float(end) > 0), default=0.0)

    def _retry(self, trial: FrozenTrial, killed: int) -> None:
        """Have a trial that was interrupted resumed by whoever comes next."""
        self.study.tell(trial.number, state=TrialState.FAIL)
        if killed <= _MOST_RETRIES:
            values = trial.params or trial.system_attrs.get("fixed_params", {})
            self.study.enqueue_trial(values, {"run": run_of(trial), "killed": killed})

    def _has_worker(self, trial: FrozenTrial) -> bool:
        """Whether another worker that lives has a trial; closing its file here does not end its lock."""
        path = self.folder / "workers" / str(trial.user_attrs.get("worker"))
        if path.name == self.worker or not path.is_file():
            return False
        with path.open("a") as file:
            return not try_lock(file)

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

    def arguments(self, run: str, values: Mapping[str, Value]) -> list[str]:
        """Those of ``fit`` for a trial; the recipe as it is has no options of its own."""
        changed = {} if run == RECIPE else values
        return ["--config", str(self.folder / "recipe.yaml"), *(as_flag(*option) for option in changed.items())]

    # ------------------------------------------------------------------ results

    def summarise(self) -> FrozenTrial | None:
        """Print the best trials and write ``best.yaml``.

        Returns:
            The best trial, to be compared with the recipe; ``None`` where it is that, or other workers still search.
        """
        if not (ranked := self.ranked()):
            return None
        best, path, recipe = ranked[0], self.folder / "best.yaml", copy.deepcopy(self.recipe)
        for name, value in {} if run_of(best) == RECIPE else best.params.items():
            section, _, option = name.rpartition(".")
            (recipe.setdefault(section, {}) if section else recipe)[option] = value
        found = f"# Trial {best.number} of `tune`: F1 {best.value:.4f} on validation data, which chose it."
        text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
        write_atomically(path, f"# python -m ner_module fit --config {path}\n#\n{found}\n{text}")
        get_console().print("", self.table(ranked).for_terminal(), "", sep="\n")
        say(f"best       trial {best.number}: {self.run_dir(best)}\n           as a recipe: {path}")
        if run_of(best) == RECIPE:
            say("           no trial was better than the recipe as it is")
        elif any(map(self._has_worker, self.study.get_trials(states=(TrialState.RUNNING,)))):
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
        recipe = [trial for trial in ranked if run_of(trial) == RECIPE]
        chosen = [*[trial for trial in ranked if trial not in recipe][:3], *recipe]
        importance = optuna.importance.get_param_importances(self.study) if len(ranked) >= 5 else {}
        titles = ["recipe" if trial in recipe else f"trial {trial.number}" for trial in chosen]
        columns = [Column(""), *(Column(title, shown) for title in titles), Column("importance", "{:.2f}".format)]
        rows: list[list[Any]] = [["val/f1", *(f"{trial.value:.4f}" for trial in chosen), None]]
        rows.append(["minutes", *(f"{seconds_of(trial) / 60:.1f}" for trial in chosen), None])
        for name in sorted(self.space, key=lambda name: -importance.get(name, 0)):
            rows.append([name, *(shown(trial.params[name]) for trial in chosen), importance.get(name)])
        states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
        stopped, failed = (states.count(state) for state in (TrialState.PRUNED, TrialState.FAIL))
        note = f"{len(ranked)} trials trained to the end; stopped: {stopped}; failed or interrupted: {failed}."
        note += " Importances from few trials are rough." if importance else ""
        return Table("The best trials on validation data", columns, rows, frozenset({0}), note)


def run_of(trial: Trial | FrozenTrial) -> str:
    """The name of a trial's run, which a trial that takes it up again has, too."""
    return str(trial.user_attrs.get("run", f"{trial.number:04d}"))


def seconds_of(trial: FrozenTrial) -> float:
    """How long a trial took that has ended."""
    return trial.duration.total_seconds() if trial.duration else 0.0


def _settle(path: Path, wanted: dict[str, Any] | None, but: str = "") -> dict[str, Any]:
    """What a file of the search says; the first worker writes it, and the others must not want something else."""
    if not path.is_file():
        write_atomically(path, yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True))
    found = read_config(path)
    if wanted is not None and {**wanted, but: None} != {**found, but: None}:
        raise RunError(f"{path} is of another search: leave these options out, or choose another --run_dir")
    return found
