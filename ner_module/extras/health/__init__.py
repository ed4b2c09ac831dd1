"""Says in plain words what goes wrong in a training."""

from __future__ import annotations

from ner_module.offers import Offer

OFFER = Offer(callbacks="ner_module.extras.health.callback:callbacks")
