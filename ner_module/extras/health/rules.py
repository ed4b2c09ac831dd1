"""What can be wrong with a training, told from its history: pure functions, each `History` -> `Finding` or ``None``.

The bounds are rules of thumb, chosen so that they hold on the failures the tests cause and stay silent on the corpora
`docs/troubleshooting.md` names; they are no measurements of a law. Losses are medians of several logged steps, since
that of a single batch says little.

Not here: how the history is collected, and who is told (`health.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import NamedTuple

_TOO_FEW_STEPS = 100
"""The published few-shot run had 6 steps and found nothing, the small one 260."""

_WINDOW = 10
"""Logged steps whose median is taken for the loss, or the norm, at that time."""

_ENOUGH_STEPS = 50
"""Before that a model that predicts one label everywhere is only young."""


class Finding(NamedTuple):
    """Something wrong, in plain words."""

    code: str
    message: str
    advice: str


class Step(NamedTuple):
    """What was logged at an optimiser step."""

    step: int
    loss: float
    grad_norm: float | None


class Validation(NamedTuple):
    """A validation within ``fit``."""

    step: int
    epoch: float
    train_loss: float
    val_loss: float
    f1: float
    predicted: dict[str, int]
    """Words of each predicted label."""
    gold: dict[str, int]
    """Words of each gold label."""


@dataclass
class History:
    """A training so far."""

    learning_rate: float
    total_steps: float
    max_epochs: int
    outside_label: str | None
    num_labels: int = 2
    clip: float | None = None
    steps: list[Step] = field(default_factory=list)
    validations: list[Validation] = field(default_factory=list)
    memory: tuple[float, float] | None = None
    """Bytes in use at most, and bytes there are."""
    finished: bool = False


def too_few_steps(history: History) -> Finding | None:
    """A new head needs some hundred steps to leave "no entity" behind; known before the first one."""
    steps, epochs = history.total_steps, max(history.max_epochs, 1)
    if steps >= _TOO_FEW_STEPS:
        return None
    enough = math.ceil(3 * _TOO_FEW_STEPS / (steps / epochs))
    return Finding(
        "too_few_steps",
        f"This training has {steps:g} steps in all ({epochs} epochs of {math.ceil(steps / epochs)}): a new head needs "
        "some hundred to leave 'no entity' behind, so expect F1 near 0.",
        f"Give --trainer.max_epochs {enough}, or more sentences.",
    )


def loss_not_finite(history: History) -> Finding | None:
    """A loss of nan or infinity: the weights are lost."""
    for entry in history.steps:
        if not math.isfinite(entry.loss):
            return Finding(
                "loss_not_finite",
                f"The training loss is {entry.loss} at step {entry.step:,}: the weights are lost, and no later step "
                "mends them.",
                f"Stop, and train anew with a lower --model.learning_rate (now {history.learning_rate:g}), with "
                "--model.warmup_ratio 0.1, or with --trainer.precision bf16-mixed or 32-true instead of 16-mixed; "
                "configs/overlays/debug.yaml names the operation at fault.",
            )
    return None


def diverging_loss(history: History) -> Finding | None:
    """The loss rises well above what it had come down to, or started from."""
    losses = _medians([entry.loss for entry in history.steps])
    if len(losses) < 2 or not all(map(math.isfinite, losses)):
        return None
    first, lowest, last = losses[0], min(losses), losses[-1]
    # Single windows of an easy corpus double by chance; what was learnt must be mostly gone, too.
    if not (last > 2 * lowest and last > 0.7 * first and last > 0.2):
        return None
    return Finding(
        "diverging_loss",
        f"The training loss has gone up again, from {lowest:.3g} to {last:.3g} by step {history.steps[-1].step:,}.",
        f"The learning rate {history.learning_rate:g} is too high: give a lower --model.learning_rate (2e-5 to 5e-5 "
        "suit most encoders) and --model.warmup_ratio 0.1.",
    )


def flat_loss(history: History) -> Finding | None:
    """The loss has not come down: nothing is learnt."""
    losses = [entry.loss for entry in history.steps]
    if len(losses) < 5 or history.steps[-1].step < _ENOUGH_STEPS or not all(map(math.isfinite, losses)):
        return None
    # The highest of the first: a healthy training has come down from there within these few already.
    first, last = max(losses[:3]), median(losses[len(losses) // 2 :][-_WINDOW:])
    if last < 0.9 * first or last > 2 * first:
        return None
    # With few labels even the first logged loss, of step 10, has come down already: what an untrained head has is the
    # logarithm of the number of labels.
    if last < 0.7 * math.log(max(history.num_labels, 2)):
        return None
    rate = history.learning_rate
    advice = (
        f"The learning rate {rate:g} is too low: give --model.learning_rate 5e-5."
        if rate < 1e-5
        else f"The learning rate {rate:g} is high: give --model.learning_rate 2e-5 and --model.warmup_ratio 0.1."
        if rate > 1e-4
        else f"Check that the tags fit the words, then try another --model.learning_rate (now {rate:g})."
    )
    return Finding(
        "flat_loss",
        f"The training loss has hardly changed in {history.steps[-1].step:,} steps: {first:.3g} at first, {last:.3g} "
        "now.",
        advice,
    )


def no_entity_predicted(history: History) -> Finding | None:
    """Every word is predicted to be outside, though there are entities; told when half of the training is over."""
    if not history.validations or history.outside_label is None:
        return None
    last = history.validations[-1]
    entity_words = sum(last.gold.values()) - last.gold.get(history.outside_label, 0)
    predicted = sum(count for label, count in last.predicted.items() if label != history.outside_label)
    half_done = last.step >= max(_ENOUGH_STEPS, history.total_steps / 2)
    if predicted or not entity_words or not (half_done or history.finished):
        return None
    causes = "Most often training is too short: give more --trainer.max_epochs or data. Else the learning rate " + (
        f"({history.learning_rate:g}) is too low, or so high that one label is predicted everywhere."
    )
    return Finding(
        "no_entity_predicted",
        f"No entity at all is predicted after {last.step:,} steps, where the validation data has {entity_words:,} "
        "words in entities: F1 is 0.0.",
        causes,
    )


def nothing_correct(history: History) -> Finding | None:
    """Entities were predicted, and never one was right; told at the end."""
    if not history.finished or not history.validations or any(entry.f1 > 0 for entry in history.validations):
        return None
    if no_entity_predicted(history) or not any(
        label != history.outside_label and count for entry in history.validations for label, count in entry.gold.items()
    ):
        return None
    return Finding(
        "nothing_correct",
        f"F1 stayed 0.0: entities were predicted, and not one was entirely right in {history.validations[-1].step:,} "
        "steps.",
        "Most often training is too short: give more --trainer.max_epochs; else the learning rate "
        f"({history.learning_rate:g}) does not suit, or the tags of training and validation data do not agree.",
    )


def one_label(history: History) -> Finding | None:
    """Collapse: the same label for every word, and not the outside one; the published binary run, epochs 2 and 3."""
    if not history.validations:
        return None
    last = history.validations[-1]
    total, most = sum(last.predicted.values()), max(last.predicted.values(), default=0)
    label = max(last.predicted, key=lambda name: last.predicted[name], default="")
    if last.step < _ENOUGH_STEPS or not total or most < 0.999 * total or label == history.outside_label:
        return None
    share = last.gold.get(label, 0) / max(sum(last.gold.values()), 1)
    if share > 0.99:
        return None
    return Finding(
        "one_label",
        f"The model predicts one label, {label!r}, for every word after {last.step:,} steps; it is right for "
        f"{share:.0%} of them.",
        f"It has collapsed, most often because the learning rate {history.learning_rate:g} is too high: give "
        "--model.learning_rate 2e-5 and --model.warmup_ratio 0.1, and use the epochs before (best.ckpt).",
    )


def overfitting(history: History) -> Finding | None:
    """Training loss falls, validation loss rises, and F1 has not grown for two epochs or more."""
    rows = history.validations
    if len(rows) < 3 or rows[-1].step < _ENOUGH_STEPS:
        return None
    best = max(range(len(rows)), key=lambda index: (rows[index].f1, -index))
    lowest = min(range(len(rows)), key=lambda index: rows[index].val_loss)
    last = rows[-1]
    risen = min(last.val_loss, rows[-2].val_loss)  # twice, so that a single bad epoch says nothing
    rising = risen > 1.25 * rows[lowest].val_loss and risen > rows[lowest].val_loss + 0.02
    learning = last.train_loss < 0.7 * rows[lowest].train_loss
    if len(rows) - 1 - best < 2 or not rising or not learning:
        return None
    return Finding(
        "overfitting",
        f"The model learns the training data by heart: since epoch {rows[lowest].epoch:g} the training loss fell to "
        f"{last.train_loss:.3g} and the validation loss rose from {rows[lowest].val_loss:.3g} to {last.val_loss:.3g}; "
        f"F1 has not grown since epoch {rows[best].epoch:g}, which best.ckpt holds.",
        "Give fewer --trainer.max_epochs (--config configs/overlays/early_stopping.yaml ends by itself), or add "
        "training data.",
    )


def gradient_norm(history: History) -> Finding | None:
    """Gradients that are not finite, explode, or vanish while there is much to learn."""
    known = [entry for entry in history.steps if entry.grad_norm is not None]
    for entry in known:
        if entry.grad_norm is not None and not math.isfinite(entry.grad_norm) and math.isfinite(entry.loss):
            return Finding(
                "gradients_not_finite",
                f"The gradients are not finite at step {entry.step:,}, though the loss is.",
                f"Give a lower --model.learning_rate (now {history.learning_rate:g}), or --trainer.precision "
                "bf16-mixed or 32-true instead of 16-mixed.",
            )
    if len(known) < _WINDOW:
        return None
    norm = median(entry.grad_norm or 0.0 for entry in known[-_WINDOW:])
    loss = median(entry.loss for entry in known[-_WINDOW:])
    if norm > 100:
        clipped = f" and are cut to {history.clip:g} in every step" if history.clip else " and are not clipped"
        return Finding(
            "exploding_gradients",
            f"The gradients are very large (norm {norm:.3g}){clipped}.",
            "Give a lower --model.learning_rate and --model.warmup_ratio 0.1"
            + ("." if history.clip else ", and --trainer.gradient_clip_val 1.0."),
        )
    if norm < 1e-3 and loss > 0.1:
        return Finding(
            "vanishing_gradients",
            f"The gradients have vanished (norm {norm:.3g}) though the training loss is still {loss:.3g}: nothing is "
            "learnt any more.",
            f"The learning rate {history.learning_rate:g} may have destroyed the weights: train anew with "
            "--model.learning_rate 2e-5.",
        )
    return None


def memory_close(history: History) -> Finding | None:
    """Nine tenths of the memory and more: a longer batch may be one too many."""
    if history.memory is None:
        return None
    used, limit = history.memory
    if limit <= 0 or used < 0.92 * limit:
        return None
    return Finding(
        "memory_close_to_limit",
        f"Memory is nearly full: {used / 2**30:.1f} of {limit / 2**30:.1f} GiB.",
        "A batch of longer sentences may not fit: halve --data.batch_size and give --trainer.accumulate_grad_batches "
        "2, or shorten --data.max_seq_length, or train with configs/overlays/bf16.yaml.",
    )


RULES: tuple[Callable[[History], Finding | None], ...] = (
    too_few_steps,
    loss_not_finite,
    diverging_loss,
    flat_loss,
    no_entity_predicted,
    nothing_correct,
    one_label,
    overfitting,
    gradient_norm,
    memory_close,
)


_EXPLAINED_BY: dict[str, set[str]] = {
    "diverging_loss": {"loss_not_finite"},
    "flat_loss": {"loss_not_finite", "diverging_loss", "exploding_gradients"},
    "no_entity_predicted": {"loss_not_finite", "gradients_not_finite"},
    "nothing_correct": {"loss_not_finite", "gradients_not_finite"},
    "overfitting": {"loss_not_finite", "diverging_loss", "exploding_gradients", "one_label"},
    "exploding_gradients": {"loss_not_finite"},
}
"""A finding -> those of which it would only be a consequence; nobody needs to hear it then."""


def findings(history: History, said: Collection[str] = ()) -> list[Finding]:
    """What the rules find, without what was said before and what that already explains.

    Args:
        history: the training so far.
        said: the codes of earlier findings.
    """
    found = {finding.code: finding for rule in RULES if (finding := rule(history)) is not None}
    known = {*found, *said}
    return [
        finding
        for code, finding in found.items()
        if code not in said and not known.intersection(_EXPLAINED_BY.get(code, ()))
    ]


def _medians(values: Sequence[float]) -> list[float]:
    """Medians of consecutive windows, the last ones whole: what is left over belongs to the first.

    >>> _medians([9, *range(10), *[7] * 10])
    [5, 7.0]
    """
    count = len(values) // _WINDOW
    start = len(values) - count * _WINDOW
    edges = [0, *(start + _WINDOW * number for number in range(1, count + 1))]
    return [median(values[low:high]) for low, high in pairwise(edges)]
