"""``RUN/README.md``, the model card: written after ``fit``, and again after ``validate`` and ``test``."""

from __future__ import annotations

import logging
from typing import Any

from lightning.pytorch import Callback, Trainer

from ner_module.extras.after_run import AfterRun
from ner_module.extras.card.card import write_run_card

log = logging.getLogger(__name__)


class RunCard(AfterRun):
    """Writes the card from ``results.json`` and the files beside it; runs after the callbacks that write those."""

    def write(self, trainer: Trainer) -> None:
        """Write the card."""
        try:
            write_run_card(self.run_dir)
        except (ValueError, KeyError, TypeError) as error:  # results.json or audit.json was edited
            log.warning("no model card was written: %s in %s", error, self.run_dir)


def callbacks(run: Any) -> list[Callback]:
    """The callbacks of a run."""
    return [RunCard(run.run_dir)]
