"""The model card."""

from __future__ import annotations

from ner_module.offers import Offer

OFFER = Offer(
    callbacks="ner_module.extras.card.card:callbacks",
    after=("analysis", "audit"),  # the files the card is written from
)
