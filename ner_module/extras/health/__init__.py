"""Says in plain words what goes wrong in a training."""

from ner_module.offers import Offer

OFFER = Offer(callbacks="ner_module.extras.health.callback:callbacks")
