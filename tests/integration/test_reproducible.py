"""The same seed gives the same numbers, to the last digit; another seed gives others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_files import checkpoint, learnt, results

RunMain = Callable[..., Any]


@pytest.fixture
def first(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> Path:
    """A run with dropout, on a cold cache."""
    run_main("fit", *fit_options, "--run_dir", "first", "--data.cache_dir", "cache")
    return tmp_path / "first"


def same_weights(one: Path, other: Path) -> bool:
    weights, others = (checkpoint(run, "last")["state_dict"] for run in (one, other))
    assert weights.keys() == others.keys()
    return all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--data.cache_dir", "other_cache"],
        ["--data.num_workers", "2"],
        pytest.param(["--data.eval_batch_size", "32"], marks=pytest.mark.slow),
        pytest.param(["--trainer.num_sanity_val_steps", "2"], marks=pytest.mark.slow),
        pytest.param(["--trainer.enable_progress_bar", "false"], marks=pytest.mark.slow),
    ],
    ids=lambda options: options[0] if options else "warm cache",
)
def test_same_seed_same_numbers(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, first: Path, options: list[str]
) -> None:
    torch.manual_seed(1234)  # whatever was drawn before
    torch.rand(99)
    run_main("fit", *fit_options, "--run_dir", "again", "--data.cache_dir", "cache", *options)
    assert learnt(tmp_path / "again") == learnt(first)
    assert same_weights(first, tmp_path / "again")


def test_tests_and_predictions_are_the_same_twice(run_main: RunMain, trained_run: Path, tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        run_main("test", "--ckpt_path", trained_run / "checkpoints" / "best.ckpt", "--run_dir", name)
        written.append((tmp_path / name / "predictions" / "test.jsonl").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("options", [["--seed_everything", "43"], ["--data.batching", "grouped"]])
def test_another_seed_or_order_gives_others(
    run_main: RunMain, fit_options: list[str], tmp_path: Path, first: Path, options: list[str]
) -> None:
    run_main("fit", *fit_options, "--run_dir", "other", *options)
    assert results(first)["epochs"] != results(tmp_path / "other")["epochs"]
    assert not same_weights(first, tmp_path / "other")


def test_the_seed_decides_what_is_held_out(run_main: RunMain, fit_options: list[str], tmp_path: Path) -> None:
    position = fit_options.index("--data.validation_file")
    options = [*fit_options[:position], *fit_options[position + 2 :], "--trainer.max_epochs", "1"]
    held_out = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_main("fit", *options, "--run_dir", name, "--seed_everything", seed)
        run_main("validate", "--run_dir", name, "--ckpt_path", "best")
        held_out.append((tmp_path / name / "predictions" / "validation.jsonl").read_text(encoding="utf-8"))
    words = [[line.partition('"gold_tags"')[0] for line in text.splitlines()] for text in held_out]
    assert words[0] == words[1] != words[2]


def test_dropout_is_on_in_training_and_off_in_evaluation(
    run_main: RunMain, fit_options: list[str], tmp_path: Path
) -> None:
    """Nothing is learnt here, so the validation loss changes from epoch to epoch only if dropout is on in it."""
    frozen = ["--model.learning_rate", "1e-20", "--data.batch_size", 120]
    losses = {}
    for dropout in (0.0, 0.5):
        run_main("fit", *fit_options, *frozen, "--model.dropout", dropout, "--run_dir", f"run{dropout}")
        rows = results(tmp_path / f"run{dropout}")["epochs"]
        losses[dropout] = [(row["train/loss"], row["val/loss"]) for row in rows]
    (plain, again), (dropped, dropped_again) = losses[0.0], losses[0.5]
    assert plain == pytest.approx(again, abs=1e-5)
    # Draws differ by some hundredths as a rule, and now and then by little; the same ones by less than 1e-5, as above.
    assert dropped[0] != pytest.approx(dropped_again[0], abs=1e-4), "each epoch drops others"
    assert dropped[1] == dropped_again[1] == pytest.approx(plain[1], abs=1e-5), "evaluation drops none"
