"""How fast training is."""

from ner_module.offers import Offer

OFFER = Offer(callbacks="ner_module.extras.throughput.callback:callbacks")
