"""The rules of training health at their edges, on histories written by hand."""

from __future__ import annotations

import math

import pytest

from ner_module.extras.health.rules import History, new_warnings


def _history(losses: list[float], **options: object) -> History:
    settings: dict[str, object] = {"learning_rate": 5e-5, "total_steps": 1000.0, "max_epochs": 3, "outside_label": "O"}
    history = History(**settings | options)  # type: ignore[arg-type]
    history.losses = [(10 * number, loss) for number, loss in enumerate(losses, 1)]
    return history


def _row(step: int, train_loss: float, val_loss: float, f1: float) -> dict[str, float]:
    return {"step": step, "epoch": step / 100, "train/loss": train_loss, "val/loss": val_loss, "val/f1": f1}


def _codes(history: History) -> list[str]:
    return [code for code, *_ in new_warnings(history)]


@pytest.mark.parametrize("steps", [0, 1, 9, 10, 11])
def test_too_few_steps_give_no_finding(steps: int) -> None:
    assert _codes(_history([2.5] * min(steps, 4))) == []


def test_what_cuts_a_training_short_is_named() -> None:
    [(_, by_steps, advice)] = new_warnings(History(total_steps=20.0, max_epochs=0))
    assert "20 steps in all (--trainer.max_steps)" in by_steps
    assert advice.startswith("Give --trainer.max_steps 300")
    [(_, by_epochs, advice)] = new_warnings(History(total_steps=6.0, max_epochs=3))
    assert "6 steps in all (3 epochs of 2)" in by_epochs
    assert advice.startswith("Give --trainer.max_epochs 150")


def test_noise_around_a_falling_loss_is_healthy() -> None:
    # What MiniLM on WNUT-17 logged every 10 steps (2 epochs, batch 16, 5e-5).
    losses = [1.13, 0.31, 0.29, 0.27, 0.3, 0.34, 0.12, 0.29, 0.41, 0.28, 0.14, 0.15, 0.22, 0.11, 0.09, 0.18, 0.19, 0.36]
    losses += [0.22, 0.16, 0.25, 0.11, 0.16, 0.15, 0.12, 0.19, 0.14, 0.09, 0.17, 0.12, 0.07, 0.2, 0.1, 0.1, 0.14, 0.32]
    for length in range(len(losses) + 1):
        assert _codes(_history(losses[:length])) == [], f"after {length} logged steps"


def test_a_loss_that_was_low_when_it_was_first_logged_is_healthy() -> None:
    # What MiniLM on NCBI-disease (3 labels) logged every 10 steps: most was learnt before the first of them.
    losses = [0.3, 0.23, 0.21, 0.27, 0.28, 0.16, 0.13, 0.1, 0.1, 0.18, 0.37, 0.05, 0.06, 0.08, 0.09, 0.09, 0.14, 0.06]
    for length in range(len(losses) + 1):
        assert _codes(_history(losses[:length])) == [], f"after {length} logged steps"


def test_a_single_spike_is_no_divergence_and_a_rise_is() -> None:
    falling = [2.0 - 0.09 * number for number in range(20)]
    assert _codes(_history([*falling, 9.0])) == []
    assert _codes(_history([*falling, *[2.2] * 10])) == ["diverging_loss"]
    assert _codes(_history([*falling, *[0.4] * 10])) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_the_only_finding(bad: float) -> None:
    assert _codes(_history([1.0] * 10 + [bad])) == ["loss_not_finite"]


def test_no_entity_is_reported_when_half_of_the_training_is_over() -> None:
    def codes(step: int, gold: int) -> list[str]:
        counts = {"predicted": {"O": 100, "B-PER": 0}, "gold": {"O": 100 - gold, "B-PER": gold}}
        return _codes(_history([], epochs=[_row(step, 0.5, 0.3, 0.0)], **counts))

    assert codes(400, 20) == []
    assert codes(500, 20) == ["no_entity_predicted"]
    assert codes(500, 0) == [], "there is none to be found"


def test_f1_that_stayed_at_zero_is_reported_at_the_end() -> None:
    counts = {"predicted": {"O": 90, "B-PER": 10}, "gold": {"O": 80, "B-PER": 20}}
    rows = [_row(100, 0.5, 0.3, 0.0), _row(200, 0.5, 0.3, 0.0)]
    assert _codes(_history([], epochs=rows, **counts)) == []
    assert _codes(_history([], epochs=rows, finished=True, **counts)) == ["nothing_correct"]
    rows[0]["val/f1"] = 0.1
    assert _codes(_history([], epochs=rows, finished=True, **counts)) == []


def test_one_label_everywhere_is_a_collapse_unless_it_is_outside_or_right() -> None:
    def codes(gold: dict[str, int], step: int = 100, outside: str = "O") -> list[str]:
        counts = {"predicted": {"B-PER": 100, "O": 0}, "gold": gold, "outside_label": outside}
        return _codes(_history([], epochs=[_row(step, 0.5, 0.3, 0.1)], **counts))

    assert codes({"O": 80, "B-PER": 20}) == ["one_label"]
    assert codes({"O": 80, "B-PER": 20}, step=49) == [], "it is only young"
    assert codes({"B-PER": 100}) == []
    assert "one_label" not in codes({"O": 80, "B-PER": 20}, outside="B-PER")
