"""What the predictions of a run say beyond one F1."""

from __future__ import annotations

from ner_module.offers import Offer

OFFER = Offer(callbacks="ner_module.extras.analysis.callback:callbacks")
