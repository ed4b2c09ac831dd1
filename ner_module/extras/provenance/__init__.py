"""Where a model comes from."""

from ner_module.offers import Offer

OFFER = Offer(callbacks="ner_module.extras.provenance.callback:callbacks")
