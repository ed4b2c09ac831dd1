"""How fast training is, and where its time goes."""

from __future__ import annotations

from ner_module.offers import Offer

OFFER = Offer(callbacks="ner_module.extras.throughput.callback:callbacks")
