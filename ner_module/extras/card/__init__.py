"""The model card."""

from ner_module.offers import Offer

# What it is written from comes before it.
OFFER = Offer(callbacks="ner_module.extras.card.card:callbacks", after=("analysis", "audit", "operating_points"))
