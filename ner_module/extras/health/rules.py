"""What can be wrong with a training: pure functions from its history to warnings, each a code, a message and advice.

The thresholds are rules of thumb, chosen so that they fire on the failures the tests cause and stay silent on the
corpora `docs/troubleshooting.md` names; they are not measured laws. Losses are medians of several logged steps, since
that of a single batch says little.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

_TOO_FEW_STEPS = 100  # The published few-shot run had 6 steps and found nothing, the small one 260.
_WINDOW = 10  # Logged steps whose median is the loss at that time.
_ENOUGH_STEPS = 50  # Before that, a model that predicts one label everywhere is only young.

_EXPLAINED_BY: dict[str, set[str]] = {
    "diverging_loss": {"loss_not_finite"},
    "flat_loss": {"loss_not_finite", "diverging_loss"},
    "no_entity_predicted": {"loss_not_finite"},
    "nothing_correct": {"loss_not_finite"},
    "overfitting": {"loss_not_finite", "diverging_loss", "one_label"},
}
"""A warning -> those of which it would only be a consequence."""

Problems = Iterator[tuple[str, str, str]]


@dataclass
class History:
    """A training so far.

    Attributes:
        max_epochs: 0 where ``max_steps`` ends the training before its last epoch.
        losses: those logged, with their steps, in order.
        epochs: the rows of ``results.json`` that have a validation.
        predicted, gold: how many words had each label in the last validation.
    """

    learning_rate: float = 0.0
    total_steps: float = math.inf
    max_epochs: int = 1
    outside_label: str | None = None
    num_labels: int = 2
    losses: list[tuple[int, float]] = field(default_factory=list)
    epochs: Sequence[Mapping[str, float]] = ()
    predicted: Mapping[str, int] = field(default_factory=dict)
    gold: Mapping[str, int] = field(default_factory=dict)
    finished: bool = False

    @property
    def last_step(self) -> int:
        """The last step whose loss was logged; 0 before the first."""
        return self.losses[-1][0] if self.losses else 0

    @property
    def validated_step(self) -> float:
        """The step of the last validation; 0 before the first."""
        return self.epochs[-1]["step"] if self.epochs else 0


def new_warnings(history: History, said: Collection[str] = ()) -> list[tuple[str, str, str]]:
    """All warnings but those given before (``said``, their codes) and mere consequences of others."""
    rules = (_length, _loss, _scores, _collapse, _overfitting)
    found = [warning for rule in rules for warning in rule(history)]
    known = {*said, *(code for code, *_ in found)}
    return [each for each in found if each[0] not in said and known.isdisjoint(_EXPLAINED_BY.get(each[0], ()))]


def _length(history: History) -> Problems:
    """Known before the first step."""
    steps, epochs = history.total_steps, history.max_epochs
    if 0 < steps < _TOO_FEW_STEPS:
        enough = 3 * _TOO_FEW_STEPS
        if epochs:
            how, advice = (
                f" ({epochs} epochs of {math.ceil(steps / epochs)})",
                f"epochs {math.ceil(enough * epochs / steps)}",
            )
        else:
            how, advice = " (--trainer.max_steps)", f"steps {enough}"
        yield (
            "too_few_steps",
            f"This training has {steps:g} steps in all{how}: a new classification head needs a few hundred before it "
            "predicts any entity, so expect F1 near 0.",
            f"Give --trainer.max_{advice}, or more sentences.",
        )


def _loss(history: History) -> Problems:
    """The training loss is lost, rises again, or does not fall."""
    losses, last_step = [loss for _, loss in history.losses], history.last_step
    for step, loss in history.losses:
        if not math.isfinite(loss):
            yield (
                "loss_not_finite",
                f"The training loss is {loss} at step {step:,}: the weights are lost, and training cannot recover.",
                f"Stop and start again. {_lower_rate(history)}, or train with --trainer.precision bf16-mixed or "
                "32-true instead of 16-mixed; configs/overlays/debug.yaml names the operation at fault.",
            )
            return
    # Of consecutive windows, the last ones whole: the remainder belongs to the first.
    edges = [0, *range(len(losses) % _WINDOW + _WINDOW, len(losses) + 1, _WINDOW)]
    medians = [median(losses[low:high]) for low, high in pairwise(edges)]
    # Single windows of an easy corpus double by chance: most of the progress must be gone, too.
    if len(medians) > 1 and medians[-1] > max(2 * min(medians), 0.7 * medians[0], 0.2):
        yield (
            "diverging_loss",
            f"The training loss diverges: it rose again from {min(medians):.3g} to {medians[-1]:.3g} by step "
            f"{last_step:,}.",
            f"{_lower_rate(history)}.",
        )
    if len(losses) < 5 or last_step < _ENOUGH_STEPS:
        return
    # The highest of the first: within these few, a healthy training has come down from there already.
    first, last = max(losses[:3]), median(losses[len(losses) // 2 :][-_WINDOW:])
    # With few labels even the first logged loss, of step 10, has come down already: that of an untrained head is the
    # logarithm of the number of labels.
    if 0.9 * first <= last <= 2 * first and last >= 0.7 * math.log(max(history.num_labels, 2)):
        yield (
            "flat_loss",
            f"The training loss has hardly changed in {last_step:,} steps: {first:.3g} at first, {last:.3g} now.",
            f"Try another --model.learning_rate ({_usual_rates(history)}); if it is a usual one, check that the tags "
            "belong to the words.",
        )


def _scores(history: History) -> Problems:
    """No entity is predicted, reported when half of the training is over; or none was ever right, at its end."""
    step, rate = history.validated_step, history.learning_rate
    gold, predicted = (
        sum(count for label, count in counts.items() if label != history.outside_label)
        for counts in (history.gold, history.predicted)
    )
    half_done = history.finished or step >= max(_ENOUGH_STEPS, history.total_steps / 2)
    too_short = "Most often training is too short: give more --trainer.max_epochs or data. Otherwise the learning rate"
    if gold and not predicted and half_done:
        yield (
            "no_entity_predicted",
            f"No entity at all is predicted after {step:,} steps, though the validation data has {gold:,} words in "
            "entities: F1 is 0.0.",
            f"{too_short} ({rate:g}) is too low, or so high that one label is predicted everywhere.",
        )
    elif gold and history.finished and not any(row["val/f1"] > 0 for row in history.epochs):
        yield (
            "nothing_correct",
            f"F1 stayed at 0.0: entities were predicted, but none was entirely correct in {step:,} steps.",
            f"{too_short} ({rate:g}) is unsuitable, or the tags of training and validation data do not agree.",
        )


def _collapse(history: History) -> Problems:
    """The same label for every word, and not the outside one; the published binary run, epochs 2 and 3."""
    label, most = max(history.predicted.items(), key=lambda entry: entry[1], default=("", 0))
    right = history.gold.get(label, 0) / max(sum(history.gold.values()), 1)
    everywhere = most and most >= 0.999 * sum(history.predicted.values())
    if everywhere and label != history.outside_label and right <= 0.99 and history.validated_step >= _ENOUGH_STEPS:
        yield (
            "one_label",
            f"The model predicts one label, {label!r}, for every word after {history.validated_step:,} steps; that is "
            f"correct for {right:.0%} of them.",
            f"It has collapsed, most often because the learning rate is too high. {_lower_rate(history)}; the epochs "
            "before may be usable (best.ckpt).",
        )


def _overfitting(history: History) -> Problems:
    """Training loss falls, validation loss rises, and F1 has not grown for two epochs or more."""
    rows = history.epochs
    if len(rows) < 3 or history.validated_step < _ENOUGH_STEPS:
        return
    best = max(range(len(rows)), key=lambda index: (rows[index]["val/f1"], -index))
    lowest, last = min(rows, key=lambda row: row["val/loss"]), rows[-1]
    train_loss, val_loss, lowest_loss = last["train/loss"], last["val/loss"], lowest["val/loss"]
    risen = min(val_loss, rows[-2]["val/loss"])  # twice, since a single bad epoch says nothing
    rising = risen > max(1.25 * lowest_loss, lowest_loss + 0.02)
    if best < len(rows) - 2 and rising and train_loss < 0.7 * lowest["train/loss"]:
        yield (
            "overfitting",
            f"The model memorises the training data: since epoch {lowest['epoch']:g} the training loss fell to "
            f"{train_loss:.3g} and the validation loss rose from {lowest_loss:.3g} to {val_loss:.3g}; F1 has not grown "
            f"since epoch {rows[best]['epoch']:g}, which best.ckpt holds.",
            "Give fewer --trainer.max_epochs (--config configs/overlays/early_stopping.yaml stops by itself), or add "
            "training data.",
        )


def _lower_rate(history: History) -> str:
    return f"Lower --model.learning_rate ({_usual_rates(history)}) and give --model.warmup_ratio 0.1"


def _usual_rates(history: History) -> str:
    return f"now {history.learning_rate:g}; 2e-5 to 5e-5 suit most encoders"
