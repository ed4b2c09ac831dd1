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

    @property
    def lower_rate(self) -> str:
        """What to do against a learning rate that is too high."""
        usual = f"now {self.learning_rate:g}; 2e-5 to 5e-5 suit most encoders"
        return f"Lower --model.learning_rate ({usual}) and give --model.warmup_ratio 0.1"


def new_warnings(history: History, said: Collection[str] = ()) -> list[tuple[str, str, str]]:
    """All warnings but those given before (``said``, their codes) and mere consequences of others."""
    found = [*_lost_weights(history)] or [*_nothing_found(history), *_divergence(history), *_collapse(history)]
    return [each for each in (*_length(history), *found) if each[0] not in said]


def _length(history: History) -> Problems:
    """Known before the first step."""
    steps, epochs = history.total_steps, history.max_epochs
    if 0 < steps < _TOO_FEW_STEPS:
        how, advice = "--trainer.max_steps", f"steps {3 * _TOO_FEW_STEPS}"
        if epochs:
            how = f"{epochs} epochs of {math.ceil(steps / epochs)}"
            advice = f"epochs {math.ceil(3 * _TOO_FEW_STEPS * epochs / steps)}"
        yield (
            "too_few_steps",
            f"This training has {steps:g} steps in all ({how}): a new classification head needs a few hundred before "
            "it predicts any entity, so expect F1 near 0.",
            f"Give --trainer.max_{advice}, or more sentences.",
        )


def _lost_weights(history: History) -> Problems:
    """The training loss is no number, from the first such step on."""
    for step, loss in [entry for entry in history.losses if not math.isfinite(entry[1])][:1]:
        yield (
            "loss_not_finite",
            f"The training loss is {loss} at step {step:,}: the weights are lost, and training cannot recover.",
            f"Stop and start again. {history.lower_rate}, or train with --trainer.precision bf16-mixed or 32-true "
            "instead of 16-mixed; configs/overlays/debug.yaml names the operation at fault.",
        )


def _divergence(history: History) -> Problems:
    """The training loss rises again."""
    losses = [loss for _, loss in history.losses]
    # Of consecutive windows, the last ones whole: the remainder belongs to the first.
    edges = [0, *range(len(losses) % _WINDOW + _WINDOW, len(losses) + 1, _WINDOW)]
    medians = [median(losses[low:high]) for low, high in pairwise(edges)]
    # Single windows of an easy corpus double by chance: most of the progress must be gone, too.
    if len(medians) > 1 and medians[-1] > max(2 * min(medians), 0.7 * medians[0], 0.2):
        yield (
            "diverging_loss",
            f"The training loss diverges: it rose again from {min(medians):.3g} to {medians[-1]:.3g} by step "
            f"{history.last_step:,}.",
            f"{history.lower_rate}.",
        )


def _nothing_found(history: History) -> Problems:
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
            f"It has collapsed, most often because the learning rate is too high. {history.lower_rate}; the epochs "
            "before may be usable (best.ckpt).",
        )
